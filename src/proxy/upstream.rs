//! The servers' end: which one, how it is reached, and what it is told about the client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::{self, ClientAddress, Protocol, ServerAddress};
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::proxy::listener::KEEPALIVE;
use crate::proxy::socket::Socket;
use crate::wire::proxy_protocol::{Announcement, encode_v1, encode_v2};

/// An upstream at work: its servers, and how many connections each has.
#[derive(Debug)]
pub struct Upstream {
    config: Arc<config::Upstream>,
    servers: Box<[Server]>,
    metrics: Arc<UpstreamMetrics>,
    since: Instant,
}

#[derive(Debug)]
struct Server {
    address: ServerAddress,
    /// As the status and the metrics show it.
    label: String,
    active: AtomicUsize,
    /// How the last connect went: one of [`UNKNOWN`], [`UP`], [`DOWN`].
    health: AtomicU8,
    /// Milliseconds after the upstream's `since` until which it is passed over while down.
    avoided_until: AtomicU64,
}

/// How long a server that could not be reached is passed over if there is another one. After
/// that one connection tries it again.
const AVOIDED: Duration = Duration::from_secs(10);

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// One server as the status shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerStatus {
    /// As it is written in the configuration.
    pub address: String,
    /// Whether the last connect succeeded; `None` before the first.
    pub up: Option<bool>,
    /// Connections now.
    pub connections: usize,
}

/// A connection to a server, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) socket: Socket,
    pub(super) lease: Lease,
}

/// One connection in a server's count.
#[derive(Debug)]
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    server: usize,
}

impl Upstream {
    /// Puts the servers of `config` to work.
    pub fn new(config: Arc<config::Upstream>, metrics: &Metrics) -> Arc<Self> {
        let server = |address: &ServerAddress| Server {
            address: address.clone(),
            label: address.to_string(),
            active: AtomicUsize::new(0),
            health: AtomicU8::new(UNKNOWN),
            avoided_until: AtomicU64::new(0),
        };
        let servers: Box<[Server]> = config.servers.iter().map(server).collect();
        Arc::new(Self {
            servers,
            metrics: metrics.upstream(&config.name),
            config,
            since: Instant::now(),
        })
    }

    /// What it was made of.
    pub fn config(&self) -> &Arc<config::Upstream> {
        &self.config
    }

    /// Its servers now.
    pub fn status(&self) -> Vec<ServerStatus> {
        let status = |server: &Server| ServerStatus {
            address: server.label.clone(),
            up: match server.health.load(Ordering::Relaxed) {
                UNKNOWN => None,
                health => Some(health == UP),
            },
            connections: server.active.load(Ordering::Relaxed),
        };
        self.servers.iter().map(status).collect()
    }

    /// Connects to the server with the fewest connections, or to the next one if that fails,
    /// and tells it who the client is.
    ///
    /// # Errors
    /// A bounded word for why the last server could not be reached.
    pub(super) async fn connect(
        self: &Arc<Self>,
        protocol: Protocol,
        announcement: &Announcement<'_>,
    ) -> Result<Connected, &'static str> {
        let mut tried = vec![false; self.servers.len()];
        let mut reason = "no-server";
        while let Some(n) = self.least_connections(&tried, self.since.elapsed()) {
            tried[n] = true;
            let server = &self.servers[n];
            // If it is down, only this connection finds out whether it still is.
            server.avoid_from(self.since.elapsed());
            // Counted from here on, so that the next connection sees this one.
            let lease = self.lease(n);
            let started = Instant::now();
            let attempt = connect(&server.address, protocol, || self.header(announcement));
            let outcome = match timeout(self.config.connect_timeout, attempt).await {
                Ok(outcome) => outcome,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            self.note(server, outcome.as_ref().err());
            match outcome {
                Ok(socket) => {
                    let seconds = started.elapsed().as_secs_f64();
                    self.metrics.connect_seconds.observe(seconds);
                    return Ok(Connected { socket, lease });
                }
                Err(error) => {
                    reason = connect_reason(&error);
                    self.metrics.error(reason);
                    tracing::debug!(upstream = self.config.name, server = server.label, %error, "connect failed");
                }
            }
        }
        Err(reason)
    }

    /// Remembers how a connect went, and says so where it is news.
    fn note(&self, server: &Server, failure: Option<&io::Error>) {
        let up = failure.is_none();
        let health = if up { UP } else { DOWN };
        if server.health.load(Ordering::Relaxed) == health {
            return;
        }
        let before = server.health.swap(health, Ordering::Relaxed);
        self.metrics.up(&server.label, up);
        let (upstream, server) = (&self.config.name, &server.label);
        match (before, failure) {
            (_, Some(error)) => {
                tracing::warn!(upstream, server, %error, "server cannot be reached");
            }
            (DOWN, None) => tracing::info!(upstream, server, "server answers again"),
            _ => {}
        }
    }

    fn lease(self: &Arc<Self>, server: usize) -> Lease {
        self.servers[server].active.fetch_add(1, Ordering::Relaxed);
        Lease {
            upstream: Arc::clone(self),
            server,
        }
    }

    /// Of the servers not tried yet, one that is not to be avoided and has the fewest
    /// connections; among equals the first. `now` is counted from `since`.
    fn least_connections(&self, tried: &[bool], now: Duration) -> Option<usize> {
        let load = |server: &Server| {
            let active = server.active.load(Ordering::Relaxed);
            (server.is_avoided(now), active)
        };
        let servers = self.servers.iter().enumerate().zip(tried);
        servers
            .filter(|(_, tried)| !**tried)
            .min_by_key(|((_, server), _)| load(server))
            .map(|((n, _), _)| n)
    }

    /// The PROXY header that this upstream wants; empty if it wants none.
    fn header(&self, announcement: &Announcement<'_>) -> Vec<u8> {
        let mut header = Vec::new();
        match self.config.client_address {
            ClientAddress::None
            | ClientAddress::Xclient
            | ClientAddress::ImapId
            | ClientAddress::Transparent => {}
            ClientAddress::ProxyV1 => encode_v1(announcement, &mut header),
            ClientAddress::ProxyV2 => encode_v2(announcement, &mut header),
        }
        header
    }
}

impl Server {
    fn is_avoided(&self, now: Duration) -> bool {
        let until = Duration::from_millis(self.avoided_until.load(Ordering::Relaxed));
        self.health.load(Ordering::Relaxed) == DOWN && now < until
    }

    fn avoid_from(&self, now: Duration) {
        let until = u64::try_from((now + AVOIDED).as_millis()).unwrap_or(u64::MAX);
        self.avoided_until.store(until, Ordering::Relaxed);
    }
}

impl Lease {
    /// The server's address, as written in the configuration.
    pub(super) fn server(&self) -> &str {
        &self.upstream.servers[self.server].label
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let server = &self.upstream.servers[self.server];
        server.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to one server and sends `header` in one write (Dovecot drops a header in pieces).
async fn connect(
    address: &ServerAddress,
    protocol: Protocol,
    header: impl Fn() -> Vec<u8>,
) -> io::Result<Socket> {
    let header = header();
    match address {
        ServerAddress::Unix(path) => {
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(&header).await?;
            Ok(Socket::Unix(stream))
        }
        ServerAddress::Tcp { host, port } => {
            let port = port
                .or_else(|| protocol.plaintext_port())
                .ok_or(io::ErrorKind::InvalidInput)?;
            let mut stream = connect_tcp(host, port).await?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
            stream.write_all(&header).await?;
            Ok(Socket::Tcp(stream))
        }
    }
}

/// An address is used as it is; a name is looked up anew for every connection, and each of
/// its addresses tried.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    match host.parse::<IpAddr>() {
        Ok(ip) => TcpStream::connect(SocketAddr::new(ip, port)).await,
        Err(_) => TcpStream::connect((host, port)).await,
    }
}

/// A bounded word for why a connect failed; label `reason` of the metrics.
fn connect_reason(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;

    match error.kind() {
        Kind::ConnectionRefused => "refused",
        Kind::TimedOut => "timeout",
        Kind::HostUnreachable | Kind::NetworkUnreachable => "unreachable",
        Kind::ConnectionReset | Kind::BrokenPipe => "reset",
        Kind::NotFound => "not-found",
        Kind::PermissionDenied => "permission",
        // What the resolver says has no kind of its own.
        Kind::Other => "resolve",
        _ => "io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(servers: &[&str]) -> Arc<Upstream> {
        let server = |host: &&str| ServerAddress::Tcp {
            host: (*host).to_owned(),
            port: None,
        };
        let config = config::Upstream {
            name: "behind".to_owned(),
            servers: servers.iter().map(server).collect(),
            client_address: ClientAddress::None,
            connect_timeout: Duration::from_secs(5),
            encryption: config::UpstreamEncryption::Off,
            verification: config::Verification {
                verify: true,
                trust: Vec::new(),
                server_name: None,
                pin: None,
            },
            greeting_timeout: Duration::from_secs(300),
            balance: config::Balance::LeastConnections,
            health_interval: None,
        };
        Upstream::new(Arc::new(config), &Metrics::new("0"))
    }

    #[test]
    fn a_server_that_was_down_is_tried_again_by_one_connection() {
        let upstream = upstream(&["192.0.2.1", "192.0.2.2"]);
        let next = |seconds| upstream.least_connections(&[false; 2], Duration::from_secs(seconds));
        let busy = upstream.lease(1);
        assert_eq!(next(0), Some(0), "the fewest connections");

        let down = &upstream.servers[0];
        down.avoid_from(Duration::ZERO);
        upstream.note(down, Some(&io::ErrorKind::ConnectionRefused.into()));
        assert_eq!(next(9), Some(1));
        let rest = upstream.least_connections(&[false, true], Duration::from_secs(9));
        assert_eq!(rest, Some(0), "where no other is left");
        assert_eq!(next(10), Some(0), "it may be back");
        down.avoid_from(Duration::from_secs(10));
        assert_eq!(next(10), Some(1), "one connection is enough to find out");

        upstream.note(down, None);
        assert_eq!(next(10), Some(0));
        drop(busy);
    }
}
