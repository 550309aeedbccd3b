//! One connection to one server: the socket, the PROXY header, TLS, and what is said before the
//! client's turn.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol as Transmission, TcpKeepalive, Type};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::config::{self, ClientAddress, Protocol, ServerAddress, UpstreamEncryption};
use crate::proxy::inbound::Inbound;
use crate::proxy::listener::KEEPALIVE;
use crate::proxy::socket::Socket;
use crate::proxy::upstream::{Purpose, Request};
use crate::tls::{ClientTls, Peer, UpstreamTlsError};
use crate::wire::opening::{Client, Opened, Opening, OpeningError, Plan, Step, Tell};
use crate::wire::proxy_protocol::{encode_v1, encode_v1_local, encode_v2, encode_v2_local};

/// A server at our service.
#[derive(Debug)]
pub struct Reached {
    pub(super) socket: Socket,
    /// How a mail server opened the session.
    pub opened: Option<Opened>,
    /// What it has said since.
    pub(super) inbound: Inbound,
}

/// Why a server is not at our service.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its name leads to no address.
    #[error("its name cannot be looked up")]
    Resolve(#[source] io::Error),
    /// This host cannot connect from the client's address.
    #[error("this host cannot connect from the client's address")]
    Transparent(#[source] io::Error),
    /// It cannot be connected to.
    #[error("it cannot be connected to")]
    Connect(#[source] io::Error),
    /// Its connection failed before it was the client's turn.
    #[error("its connection failed")]
    Io(#[source] io::Error),
    /// It closed before it was the client's turn.
    #[error("it closed the connection instead of an answer")]
    Closed,
    /// It took longer than `connect_timeout`, `greeting_timeout` or the time of a health check.
    #[error("it did not answer within {0}")]
    Timeout(&'static str),
    /// A page that shows whether it works is answered with another status.
    #[error("it answers health_path with status {0}, expected 200 to 399")]
    Unhealthy(u16),
    /// TLS with it failed.
    #[error("TLS with it failed")]
    Tls(#[source] UpstreamTlsError),
    /// What it says does not do.
    #[error(transparent)]
    Opening(#[from] OpeningError),
}

/// How long a health check waits, which is less than `greeting_timeout`.
pub(super) const A_CHECK: &str = "the time of a health check";

impl Failure {
    /// A bounded word for it; label `reason` of the metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::Transparent(_) => "transparent",
            Self::Connect(error) | Self::Io(error) => io_reason(error),
            Self::Closed => "closed",
            Self::Timeout(limit) => match *limit {
                "connect_timeout" => "timeout",
                _ => "greeting-timeout",
            },
            Self::Unhealthy(_) => "unhealthy",
            Self::Tls(error) => error.reason(),
            Self::Opening(error) => error.reason(),
        }
    }

    /// Whether the server is to be held for down: not if it only refuses this client, or what
    /// it is told of the client, nor if it was never asked.
    pub(super) fn is_down(&self) -> bool {
        use OpeningError as Opening;
        !matches!(
            self,
            Self::Transparent(_)
                | Self::Opening(
                    Opening::Refused(_) | Opening::NoXclient | Opening::ClientRefused(_)
                )
        )
    }
}

/// A bounded word for why a socket failed.
fn io_reason(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;

    match error.kind() {
        Kind::ConnectionRefused => "refused",
        Kind::TimedOut => "timeout",
        Kind::HostUnreachable | Kind::NetworkUnreachable => "unreachable",
        Kind::ConnectionReset | Kind::BrokenPipe => "reset",
        Kind::NotFound => "not-found",
        Kind::PermissionDenied => "permission",
        _ => "io",
    }
}

/// The way to one server.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// How the server is spoken to.
    pub config: &'a config::Upstream,
    /// There is one if the upstream is spoken to in TLS.
    pub tls: Option<&'a ClientTls>,
    /// Where the server is.
    pub address: &'a ServerAddress,
}

impl Reached {
    /// Says something to the server.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn say(&mut self, words: &[u8]) -> io::Result<()> {
        self.socket.send(words).await
    }

    /// Waits until the server says more; 0 if it has closed.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn listen(&mut self) -> io::Result<usize> {
        self.inbound.fill(&mut self.socket).await
    }

    /// What the server has said and nobody has heeded yet.
    pub fn heard(&self) -> &[u8] {
        self.inbound.filled()
    }

    /// Drops `n` bytes of what was heard.
    pub fn heed(&mut self, n: usize) {
        self.inbound.consume(n);
    }

    /// Who the server is, if TLS of ours runs with it.
    pub fn peer(&self) -> Option<Peer> {
        self.socket.peer()
    }

    /// Our own end of the connection; a Unix socket has none.
    pub fn own_address(&self) -> Option<SocketAddr> {
        self.socket.own_address()
    }
}

impl Way<'_> {
    /// Connects, tells who the client is, and comes as far as it being the client's turn.
    ///
    /// # Errors
    /// Why the server cannot be used.
    pub async fn reach(&self, request: &Request<'_>) -> Result<Reached, Failure> {
        // Pinned in here: a future that is handed over takes room on both sides.
        let connect = pin!(self.connect(request));
        let socket = within(self.config.connect_timeout, "connect_timeout", connect).await?;
        let mail = request.protocol.mail();
        match mail.and_then(|protocol| Some((protocol, self.plan(request)?))) {
            Some((protocol, plan)) => {
                let handover = plan.handover;
                let opening = Opening::new(protocol, plan);
                let opening = pin!(self.open(socket, opening, handover));
                within(self.config.greeting_timeout, "greeting_timeout", opening).await
            }
            None => Ok(Reached {
                socket,
                opened: None,
                inbound: Inbound::default(),
            }),
        }
    }

    /// What is to be said before the client's turn; `None` if nothing is, for the server's
    /// first word is not in clear or not for us.
    fn plan(&self, request: &Request<'_>) -> Option<Plan> {
        let client = request.announcement.map(|announcement| Client {
            source: announcement.source,
            destination: announcement.destination,
        });
        let tell = match (self.config.client_address, client) {
            (ClientAddress::Xclient, Some(client)) => Tell::Xclient(client),
            (ClientAddress::ImapId, Some(client)) => Tell::ImapId(client),
            _ => Tell::Nothing,
        };
        let plan = Plan {
            own_name: request.own_name.to_owned(),
            starttls: self.config.encryption == UpstreamEncryption::StartTls,
            ..Plan::default()
        };
        match request.purpose {
            Purpose::Session { hello } => Some(Plan {
                tell,
                hello: hello.map(<[u8]>::to_vec),
                ..plan
            }),
            Purpose::Probe => Some(Plan {
                probe: true,
                ..plan
            }),
            // What is said before STARTTLS is forgotten by it: nothing is told of the client.
            Purpose::Legacy { .. } if self.hands_over_in_clear(request) => Some(Plan {
                handover: true,
                ..plan
            }),
            Purpose::Begun | Purpose::Untouched | Purpose::Legacy { .. } => None,
        }
    }

    /// Whether a client's own TLS begins after STARTTLS on the server too.
    fn hands_over_in_clear(&self, request: &Request<'_>) -> bool {
        let in_clear_first = matches!(
            request.purpose,
            Purpose::Legacy {
                in_clear_first: true
            }
        );
        in_clear_first && self.config.encryption != UpstreamEncryption::Implicit
    }

    /// The socket, with the PROXY header sent in one write (Dovecot drops one in pieces), and
    /// TLS on it if the server expects that from the first byte.
    async fn connect(&self, request: &Request<'_>) -> Result<Socket, Failure> {
        let mut socket = self.dial(request).await?;
        let header = self.header(request);
        socket.send(&header).await.map_err(Failure::Io)?;
        let theirs = matches!(request.purpose, Purpose::Untouched | Purpose::Legacy { .. });
        match self.config.encryption {
            // In a box: it would make every connection's way to its server larger.
            UpstreamEncryption::Implicit if !theirs => Box::pin(self.encrypt(socket)).await,
            _ => Ok(socket),
        }
    }

    async fn dial(&self, request: &Request<'_>) -> Result<Socket, Failure> {
        let (host, port) = match self.address {
            ServerAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                return stream.map(Socket::Unix).map_err(Failure::Connect);
            }
            ServerAddress::Tcp { host, port } => (host, *port),
        };
        let port = port.or_else(|| self.default_port(request));
        let port = port.ok_or_else(|| Failure::Connect(io::ErrorKind::InvalidInput.into()))?;
        let from = match (self.config.client_address, request.announcement) {
            (ClientAddress::Transparent, Some(announcement)) => Some(announcement.source.ip()),
            _ => None,
        };
        let stream = dial_tcp(host, port, from, self.speaks_at_once(request)).await?;
        Ok(Socket::connected(stream))
    }

    /// Whether something goes to the server as soon as the connection stands.
    fn speaks_at_once(&self, request: &Request<'_>) -> bool {
        let by_header = matches!(
            self.config.client_address,
            ClientAddress::ProxyV1 | ClientAddress::ProxyV2
        );
        let in_tls = self.config.encryption == UpstreamEncryption::Implicit;
        by_header
            || match request.purpose {
                Purpose::Begun | Purpose::Untouched => true,
                Purpose::Legacy { .. } => !self.hands_over_in_clear(request),
                Purpose::Session { .. } => in_tls || request.protocol == Protocol::Http,
                Purpose::Probe => in_tls,
            }
    }

    fn default_port(&self, request: &Request<'_>) -> Option<u16> {
        let implicit = match request.purpose {
            Purpose::Legacy { .. } => !self.hands_over_in_clear(request),
            _ => self.config.encryption == UpstreamEncryption::Implicit,
        };
        match implicit {
            true => request.protocol.tls_port(),
            false => request.protocol.plaintext_port(),
        }
    }

    /// The PROXY header that this upstream wants; empty if it wants none.
    fn header(&self, request: &Request<'_>) -> Vec<u8> {
        let mut header = Vec::new();
        match (self.config.client_address, request.announcement) {
            (ClientAddress::ProxyV1, Some(client)) => encode_v1(client, &mut header),
            (ClientAddress::ProxyV1, None) => encode_v1_local(&mut header),
            (ClientAddress::ProxyV2, Some(client)) => encode_v2(client, &mut header),
            (ClientAddress::ProxyV2, None) => encode_v2_local(&mut header),
            _ => {}
        }
        header
    }

    async fn encrypt(&self, socket: Socket) -> Result<Socket, Failure> {
        let host = match self.address {
            ServerAddress::Tcp { host, .. } => host,
            // The configuration demands a server_name then.
            ServerAddress::Unix(_) => "",
        };
        let (Some(tls), Some(transport)) = (self.tls, socket.into_transport()) else {
            unreachable!("an upstream with TLS has its TLS, and it is begun once");
        };
        let stream = tls.connect(host, transport).await;
        stream
            .map(|stream| Socket::Tls(Box::new(stream)))
            .map_err(Failure::Tls)
    }

    /// Speaks with a mail server until it is the client's turn. No buffer is held while it is
    /// waited for.
    async fn open(
        &self,
        mut socket: Socket,
        mut opening: Opening,
        handover: bool,
    ) -> Result<Reached, Failure> {
        let mut inbound = Inbound::default();
        let mut say = Vec::new();
        loop {
            if inbound.fill(&mut socket).await.map_err(Failure::Io)? == 0 {
                let opened = Some(opening.closed().ok_or(Failure::Closed)?);
                return Ok(Reached {
                    socket,
                    opened,
                    inbound,
                });
            }
            let received = opening.receive(inbound.filled(), &mut say)?;
            inbound.consume(received.consumed);
            let mut step = received.step;
            if let Step::StartTls = step {
                socket.send(&say).await.map_err(Failure::Io)?;
                say.clear();
                // What the server said behind its go-ahead would count as said in TLS.
                if !inbound.filled().is_empty() {
                    return Err(OpeningError::Injection.into());
                }
                if handover {
                    return Ok(Reached {
                        socket,
                        opened: None,
                        inbound,
                    });
                }
                socket = Box::pin(self.encrypt(socket)).await?;
                step = opening.encrypted(&mut say)?;
            }
            socket.send(&say).await.map_err(Failure::Io)?;
            say.clear();
            if let Step::Done(opened) = step {
                return Ok(Reached {
                    socket,
                    opened: Some(opened),
                    inbound,
                });
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    name: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Timeout(name)),
    }
}

/// An address is used as it is; a name is looked up anew for every connection, and each of
/// its addresses tried.
async fn dial_tcp(
    host: &str,
    port: u16,
    from: Option<IpAddr>,
    at_once: bool,
) -> Result<TcpStream, Failure> {
    let addresses = lookup_host((host, port)).await.map_err(Failure::Resolve)?;
    let mut failure = None;
    for address in addresses {
        let socket = match from {
            None => socket_for(address).map_err(Failure::Connect),
            Some(from) if from.is_ipv4() == address.is_ipv4() => {
                socket_at(from).map_err(Failure::Transparent)
            }
            Some(_) => continue,
        };
        let outcome = match socket {
            Ok(socket) => connect(socket, address, at_once)
                .await
                .map_err(Failure::Connect),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| match from {
        None => Failure::Resolve(io::ErrorKind::NotFound.into()),
        // The server has no address of the client's family.
        Some(_) => Failure::Transparent(io::ErrorKind::AddrNotAvailable.into()),
    }))
}

/// Connects. `at_once` is a promise that something is sent as soon as the connection stands.
async fn connect(socket: socket2::Socket, to: SocketAddr, at_once: bool) -> io::Result<TcpStream> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    if at_once {
        // The last segment of TCP's handshake waits for our first bytes, up to 200 ms, and goes
        // with them. A server that speaks first would wait as long, so only on a promise.
        socket.set_tcp_quickack(false)?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
            return Err(error);
        }
        _ => {}
    }
    // On the same host the connection stands by now: no need to wait to be told so.
    let connected = socket.peer_addr().is_ok();
    let stream = TcpStream::from_std(socket.into())?;
    if !connected {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}

fn socket_for(address: SocketAddr) -> io::Result<socket2::Socket> {
    socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Transmission::TCP),
    )
}

/// A socket at an address that need not be ours (IP_TRANSPARENT, which takes CAP_NET_ADMIN).
fn socket_at(from: IpAddr) -> io::Result<socket2::Socket> {
    let from = SocketAddr::new(from, 0);
    let socket = socket_for(from)?;
    match from {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    socket.bind(&from.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Balance;
    use crate::proxy::upstream::tests::probed;

    #[tokio::test]
    async fn a_server_is_not_down_for_what_it_was_not_asked() {
        // Longer than any label: no resolver asks anybody for it.
        let nameless = format!("{}.invalid", "a".repeat(64));
        let client = Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        for (host, from, expected) in [
            (nameless.as_str(), None, ("resolve", true)),
            ("127.0.0.1", None, ("refused", true)),
            ("127.0.0.1", client, ("transparent", false)),
        ] {
            let failure = dial_tcp(host, 1, from, false).await.unwrap_err();
            assert_eq!((failure.reason(), failure.is_down()), expected, "{host}");
        }
    }

    /// Whether a server hears of a connection before anything is sent on it.
    async fn is_heard_of(at_once: bool) -> bool {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let socket = socket_for(to).unwrap();
        let stream = connect(socket, to, at_once).await.unwrap();
        let soon = timeout(Duration::from_millis(20), server.accept()).await;
        let mut socket = Socket::connected(stream);
        socket.send(b"hello").await.unwrap();
        let accepted = match &soon {
            Ok(accepted) => &accepted.as_ref().unwrap().0,
            Err(_) => &server.accept().await.unwrap().0,
        };
        accepted.readable().await.unwrap();
        let mut heard = [0; 8];
        assert_eq!(accepted.try_read(&mut heard).unwrap(), 5);
        soon.is_ok()
    }

    #[tokio::test]
    async fn a_connection_waits_for_the_first_bytes_only_where_they_are_promised() {
        let mut promised = false;
        for _ in 0..10 {
            assert!(is_heard_of(false).await);
            // Where the test stands still for too long, TCP does not wait any longer.
            promised |= !is_heard_of(true).await;
        }
        assert!(promised, "the handshake ends with the first bytes");
    }

    #[tokio::test]
    async fn a_connection_that_does_not_stand_at_once_is_waited_for() {
        let server = socket_for(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        server
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        server.listen(0).unwrap();
        let server = TcpListener::from_std(server.into()).unwrap();
        let to = server.local_addr().unwrap();
        let dial = async || connect(socket_for(to).unwrap(), to, false).await;
        // The queue has one place.
        let _first = dial().await.unwrap();
        let second = tokio::spawn(async move { connect(socket_for(to).unwrap(), to, true).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!second.is_finished());
        server.accept().await.unwrap();
        // Its segment was dropped, and comes again after a second.
        let second = timeout(Duration::from_secs(30), second).await;
        assert!(second.unwrap().unwrap().is_ok());
    }

    #[test]
    fn the_first_bytes_are_promised_where_we_or_the_client_have_them() {
        let upstream = probed(&["127.0.0.1:1"], Balance::LeastConnections, None);
        let config = upstream.config().as_ref();
        let speaks = |protocol, encryption, client_address, purpose| {
            let config = config::Upstream {
                encryption,
                client_address,
                ..config.clone()
            };
            let way = Way {
                config: &config,
                tls: None,
                address: &config.servers[0],
            };
            way.speaks_at_once(&Request {
                protocol,
                announcement: None,
                own_name: "proxy.example",
                purpose,
            })
        };
        let session = Purpose::Session { hello: None };
        let legacy = |in_clear_first| Purpose::Legacy { in_clear_first };
        use ClientAddress::{ImapId, None as Untold, ProxyV1, ProxyV2};
        use Protocol::{Http, Imap, Tcp};
        use UpstreamEncryption::{Implicit, Off, StartTls};
        for (protocol, encryption, client_address, purpose, expected) in [
            (Imap, Off, Untold, session, false),
            (Imap, StartTls, ImapId, session, false),
            (Imap, Off, Untold, Purpose::Probe, false),
            (Imap, Implicit, Untold, session, true),
            (Imap, Off, ProxyV1, session, true),
            (Imap, StartTls, ProxyV2, Purpose::Probe, true),
            (Imap, StartTls, Untold, legacy(true), false),
            (Imap, Off, Untold, legacy(false), true),
            (Imap, Off, Untold, Purpose::Untouched, true),
            (Tcp, Off, Untold, session, false),
            (Tcp, Off, Untold, Purpose::Begun, true),
            (Http, Off, Untold, session, true),
        ] {
            let found = speaks(protocol, encryption, client_address, purpose);
            assert_eq!(found, expected, "{protocol:?} {encryption:?} {purpose:?}");
        }
    }
}
