//! The servers' end: which one, how it is reached, and what it is told about the client.

mod health;
mod page;
mod reach;
mod web;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::causes;
use crate::config::{self, Balance, Protocol, ServerAddress, UpstreamEncryption};
use crate::metrics::{Metrics, UpstreamMetrics};
use crate::proxy::http::Idle;
use crate::proxy::inbound::Inbound;
use crate::proxy::socket::Socket;
use crate::proxy::upstream::health::{Asked, Health};
use crate::proxy::upstream::reach::A_CHECK;
use crate::time::Clock;
use crate::tls::{ClientTls, ClientTlsError};
use crate::wire::announced::Announced;
use crate::wire::opening::{Opened, OpeningError};
use crate::wire::proxy_protocol::Announcement;

pub use page::host_of;
pub use reach::{Failure, Reached, Way};
pub(super) use web::Asking;

/// An upstream at work: its servers, and how many connections each has.
#[derive(Debug)]
pub struct Upstream {
    config: Arc<config::Upstream>,
    /// There is one if its servers are spoken to in TLS.
    tls: ArcSwapOption<ClientTls>,
    servers: Box<[Server]>,
    /// What all servers that answer say of themselves, by [`Protocol::index`].
    announced: [ArcSwapOption<Announced>; Protocol::COUNT],
    metrics: Arc<UpstreamMetrics>,
    since: Instant,
}

#[derive(Debug)]
struct Server {
    address: ServerAddress,
    /// As the status and the metrics show it.
    label: String,
    active: AtomicUsize,
    health: Health,
    /// What it said of itself last, by [`Protocol::index`].
    announced: [ArcSwapOption<Announced>; Protocol::COUNT],
    /// Tells those who wait for it, by [`Protocol::index`], that a health check has waited in vain.
    silent: [Notify; Protocol::COUNT],
    /// Milliseconds after the upstream's `since` until which it is passed over while down.
    avoided_until: AtomicU64,
    /// Connections of HTTP that wait for their next request.
    idle: Idle,
}

/// How long a server that could not be reached is passed over if there is another one. After
/// that one connection tries it again, unless health checks do: a server that hangs would cost a
/// client minutes each time.
const AVOIDED: Duration = Duration::from_secs(10);

/// One server as the status shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerStatus {
    /// As it is written in the configuration.
    pub address: String,
    /// Whether it answered last time, in everything that it is asked for; `None` before the
    /// first time.
    pub up: Option<bool>,
    /// Connections now.
    pub connections: usize,
}

/// What a connection to a server is for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is spoken.
    pub protocol: Protocol,
    /// What the server is told of the client; `None` where there is no client.
    pub announcement: Option<&'a Announcement<'a>>,
    /// The name in our own words to servers.
    pub own_name: &'a str,
    /// Who speaks it.
    pub purpose: Purpose<'a>,
}

/// Who speaks with the server.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// We greet and end TLS, then the client speaks the protocol. `hello`: its EHLO or HELO
    /// line, said already, to be said again for it.
    Session {
        /// With its line end.
        hello: Option<&'a [u8]>,
    },
    /// A client of a protocol in which we have nothing to say; it has said something already.
    Begun,
    /// The client, from the first byte: its TLS passes through.
    Untouched,
    /// A client that is too old for our TLS, in TLS with the server itself.
    Legacy {
        /// Whether it has said STARTTLS, so that a server with both is asked for it too.
        in_clear_first: bool,
    },
    /// Nobody but us: whether it is there, and what it says of itself.
    Probe,
}

/// A connection to a server, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) socket: Socket,
    pub(super) lease: Lease,
    /// How a mail server opened the session.
    pub(super) opened: Option<Opened>,
    /// What it has said since.
    pub(super) inbound: Inbound,
}

/// Why there is no connection to any server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectError {
    /// No server could be used; a bounded word for why the last one could not.
    Unavailable(&'static str),
    /// A server refuses this client; its own words.
    Refused(String),
}

/// One connection in a server's count.
#[derive(Debug)]
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    server: usize,
}

impl Upstream {
    /// Puts the servers of `config` to work.
    ///
    /// # Errors
    /// If its TLS cannot be put together.
    pub fn new(
        config: Arc<config::Upstream>,
        metrics: &Metrics,
        clock: Clock,
    ) -> Result<Arc<Self>, ClientTlsError> {
        let server = |address: &ServerAddress| Server {
            address: address.clone(),
            label: address.to_string(),
            active: AtomicUsize::new(0),
            health: Health::default(),
            announced: Default::default(),
            silent: Default::default(),
            avoided_until: AtomicU64::new(0),
            idle: Idle::default(),
        };
        let tls = client_tls(&config, clock)?;
        Ok(Arc::new(Self {
            servers: config.servers.iter().map(server).collect(),
            announced: Default::default(),
            metrics: metrics.upstream(&config.name),
            tls: ArcSwapOption::new(tls),
            config,
            since: Instant::now(),
        }))
    }

    /// The TLS of its configuration put together anew, for [`Self::renew`]: the files that
    /// `trust` names may say something else now.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn renewed_tls(&self, clock: Clock) -> Result<Option<Arc<ClientTls>>, ClientTlsError> {
        client_tls(&self.config, clock)
    }

    /// Takes another TLS into use for connections to come.
    pub fn renew(&self, tls: Option<Arc<ClientTls>>) {
        self.tls.store(tls);
    }

    /// What it was made of.
    pub fn config(&self) -> &Arc<config::Upstream> {
        &self.config
    }

    /// Its servers now.
    pub fn status(&self) -> Vec<ServerStatus> {
        let status = |server: &Server| ServerStatus {
            address: server.label.clone(),
            up: server.health.up(),
            connections: server.active.load(Ordering::Relaxed),
        };
        self.servers.iter().map(status).collect()
    }

    /// What all its servers say of themselves in this protocol, as far as is known.
    pub(super) fn announced(&self, protocol: Protocol) -> Option<Arc<Announced>> {
        self.announced[protocol.index()].load_full()
    }

    /// Connects to the server that `balance` names, or to the next one if that fails, tells it
    /// who the client is, and comes as far as it being the client's turn.
    ///
    /// # Errors
    /// Why no server could be used. A server that refuses the client is not followed by others.
    pub(super) async fn connect(
        self: &Arc<Self>,
        request: &Request<'_>,
    ) -> Result<Connected, ConnectError> {
        let client = request.announcement.map(|client| client.source.ip());
        let asked = request.asked();
        // What an old client's own TLS meets, often on another port, says nothing of the rest.
        let counts = !matches!(request.purpose, Purpose::Legacy { .. });
        let tls = self.tls.load_full();
        let mut tried = vec![false; self.servers.len()];
        let mut reason = "no-server";
        while let Some(n) = self.choose(&tried, asked, client, self.since.elapsed()) {
            tried[n] = true;
            let others = tried.contains(&false);
            let connected = self.try_server(n, request, (counts, others), tls.as_deref());
            match connected.await {
                Ok(connected) => return Ok(connected),
                Err(failure) => {
                    reason = failure.reason();
                    // What was said before its TLS may be anybody's words.
                    let in_clear = self.config.encryption == UpstreamEncryption::StartTls;
                    if let Failure::Opening(OpeningError::Refused(words)) = failure
                        && !in_clear
                    {
                        return Err(ConnectError::Refused(words));
                    }
                }
            }
        }
        Err(ConnectError::Unavailable(reason))
    }

    /// Connects to one server, and remembers what comes of it if that `counts` for others. With
    /// `others` left to try, it is waited for only until a health check has given it up.
    async fn try_server(
        self: &Arc<Self>,
        n: usize,
        request: &Request<'_>,
        (counts, others): (bool, bool),
        tls: Option<&ClientTls>,
    ) -> Result<Connected, Failure> {
        let asked = request.asked();
        let server = &self.servers[n];
        if counts {
            // If it is down, only this connection finds out whether it still is.
            server.avoid_from(self.since.elapsed());
        }
        // Counted from here on, so that the next connection sees this one.
        let lease = self.lease(n);
        let started = Instant::now();
        let way = self.way(server, tls);
        let reached = tokio::select! {
            biased;
            reached = way.reach(request) => reached,
            () = server.silent[request.protocol.index()].notified(), if counts && others => {
                Err(Failure::Timeout(A_CHECK))
            }
        };
        match reached {
            Ok(Reached {
                socket,
                opened,
                inbound,
            }) => {
                if counts && !self.judges_by_page(request.protocol) {
                    self.note(server, asked, None);
                }
                let seconds = started.elapsed().as_secs_f64();
                self.metrics.connect_seconds.observe(seconds);
                Ok(Connected {
                    socket,
                    lease,
                    opened,
                    inbound,
                })
            }
            Err(failure) => {
                self.metrics.error(failure.reason());
                if counts && failure.is_down() {
                    self.note(server, asked, Some(&failure));
                }
                let (upstream, server) = (&self.config.name, &server.label);
                let error = causes::in_one_line(&failure);
                tracing::debug!(upstream, server, error, "the server cannot be used");
                Err(failure)
            }
        }
    }

    fn way<'a>(&'a self, server: &'a Server, tls: Option<&'a ClientTls>) -> Way<'a> {
        Way {
            config: &self.config,
            tls,
            address: &server.address,
        }
    }

    /// Whether health checks look at more than a connect, so that one says nothing.
    fn judges_by_page(&self, protocol: Protocol) -> bool {
        let config = &self.config;
        let checked = config.health_path.is_some() && config.health_interval.is_some();
        protocol == Protocol::Http && checked
    }

    /// Remembers whether a server could be used, and says so where it is news.
    fn note(&self, server: &Server, asked: Asked, failure: Option<&Failure>) {
        let Some(change) = server.health.note(asked, failure.is_none()) else {
            return;
        };
        self.metrics.up(&server.label, change.up);
        let (upstream, server) = (&self.config.name, &server.label);
        let protocol = asked.protocol().as_str();
        match failure {
            Some(failure) => {
                let error = causes::in_one_line(failure);
                tracing::warn!(upstream, server, protocol, error, "server cannot be used");
            }
            None if change.again => {
                tracing::info!(upstream, server, protocol, "server answers again");
            }
            None => {}
        }
    }

    /// A server as the status and the metrics show it.
    pub(super) fn label(&self, server: usize) -> &str {
        self.servers.get(server).map_or("", |server| &server.label)
    }

    fn lease(self: &Arc<Self>, server: usize) -> Lease {
        self.servers[server].active.fetch_add(1, Ordering::Relaxed);
        Lease {
            upstream: Arc::clone(self),
            server,
        }
    }

    /// Of the servers not `tried` yet (none of those that it says nothing of), one that is not to be avoided, and of these the one that
    /// `balance` says; among equals the first. `now` is counted from `since`.
    fn choose(
        &self,
        tried: &[bool],
        asked: Asked,
        client: Option<IpAddr>,
        now: Duration,
    ) -> Option<usize> {
        let by_address = client.filter(|_| self.config.balance == Balance::ClientAddress);
        let cost = |server: &Server| {
            let order = match by_address {
                Some(client) => draw(client, &server.label),
                None => server.active.load(Ordering::Relaxed) as u64,
            };
            let probed = self.config.health_interval.is_some();
            (server.is_avoided(asked, probed, now), order)
        };
        let servers = self.servers.iter().enumerate();
        servers
            .filter(|(n, _)| tried.get(*n) != Some(&true))
            .min_by_key(|(_, server)| cost(server))
            .map(|(n, _)| n)
    }
}

impl Request<'_> {
    fn asked(&self) -> Asked {
        match self.purpose {
            Purpose::Untouched => Asked::Untouched(self.protocol),
            Purpose::Session { .. } | Purpose::Begun | Purpose::Legacy { .. } | Purpose::Probe => {
                Asked::Spoken(self.protocol)
            }
        }
    }
}

/// The TLS towards the servers, if there is any. Files are read for it.
fn client_tls(
    config: &config::Upstream,
    clock: Clock,
) -> Result<Option<Arc<ClientTls>>, ClientTlsError> {
    match config.encryption {
        UpstreamEncryption::Off => Ok(None),
        UpstreamEncryption::Implicit | UpstreamEncryption::StartTls => {
            Ok(Some(Arc::new(ClientTls::new(config, clock)?)))
        }
    }
}

/// The lot that a client draws at a server (rendezvous hashing): while a server is away, only
/// its own clients go elsewhere, and they come back; also after a restart. A /64 of IPv6 is one
/// client.
fn draw(client: IpAddr, server: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    match client {
        IpAddr::V4(address) => address.hash(&mut hasher),
        IpAddr::V6(address) => address.segments()[..4].hash(&mut hasher),
    }
    server.hash(&mut hasher);
    hasher.finish()
}

impl Server {
    /// `probed`: whether health checks find out when it is back.
    fn is_avoided(&self, asked: Asked, probed: bool, now: Duration) -> bool {
        let until = Duration::from_millis(self.avoided_until.load(Ordering::Relaxed));
        self.health.is_down(asked) && (probed || now < until)
    }

    fn avoid_from(&self, now: Duration) {
        let until = u64::try_from((now + AVOIDED).as_millis()).unwrap_or(u64::MAX);
        self.avoided_until.store(until, Ordering::Relaxed);
    }
}

impl Lease {
    /// Whose server it is.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

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

#[cfg(test)]
mod tests;
