//! The path of one connection, stage by stage.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cert::DnsName;
use crate::config::{Encryption, Listener};
use crate::metrics::ListenerMetrics;
use crate::proxy::downstream::Downstream;
use crate::proxy::inbound::Inbound;
use crate::proxy::limits::{ClientLimit, Counted};
use crate::proxy::listener::Ending;
use crate::proxy::relay::Relay;
use crate::proxy::report::Report;
use crate::proxy::route::RouteTable;
use crate::proxy::socket::Socket;
use crate::proxy::{SessionError, Stage};
use crate::tls::{Alert, Buffer, ServerTls, Session};
use crate::wire::client_hello::{self, ClientHello};
use crate::wire::mail;
use crate::wire::proxy_protocol::{self, Announcement, Received, SslInfo};

/// A listener at work: everything that its connections need. A connection takes it at
/// accept and keeps it to its end; a reload puts another one in its place.
#[derive(Debug)]
pub struct Active {
    /// The listener's configuration.
    pub config: Arc<Listener>,
    /// Its TLS; `None` unless TLS ends here.
    pub tls: Option<ServerTls>,
    /// Where its names go.
    pub routes: RouteTable,
    /// Its counters.
    pub metrics: Arc<ListenerMetrics>,
    /// How many connections a client may have, over all listeners.
    pub client_limit: Arc<ClientLimit>,
    /// How long PROXY header and TLS handshake may take together.
    pub handshake_timeout: Duration,
    /// The name in our own words to clients of this listener.
    pub hostname: Arc<str>,
    /// Whether the end of each connection is logged.
    pub access: bool,
}

/// Whose connection it is, and where it arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoints {
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
}

/// The client's end, ready for an upstream.
struct Ready {
    downstream: Downstream,
    /// Plaintext that came with the last message of the handshake.
    early: Option<Buffer>,
}

/// What is left when the handshake is done.
struct Shaken {
    /// What the client said together with its last message,
    plain: Buffer,
    /// and whether it has said close_notify with it.
    closed: bool,
    /// A message of ours that nobody waits for: the session ticket.
    ticket: Vec<u8>,
}

/// Takes one accepted connection along the whole path, and reports how it ended.
pub(super) async fn serve(
    active: Arc<Active>,
    stream: TcpStream,
    endpoints: Endpoints,
    ending: &Ending,
) {
    let mut report = Report::new(endpoints.client);
    let mut connection = Connection {
        active: &active,
        local: endpoints.local,
        report: &mut report,
        stage: Stage::Identify,
        counted: None,
    };
    let outcome = connection.run(stream, ending).await;
    report.finish(&active, &outcome);
}

struct Connection<'a> {
    active: &'a Active,
    /// Where the client connected to: the socket's address, or what a believed PROXY header says.
    local: SocketAddr,
    report: &'a mut Report,
    stage: Stage,
    /// The place in the client's count, kept to the end.
    counted: Option<Counted>,
}

impl<'a> Connection<'a> {
    /// The path. Everything before the relay runs in a box of its own, which is gone while
    /// bytes are passed on: an idle connection keeps only what the relay needs.
    async fn run(&mut self, stream: TcpStream, ending: &Ending) -> Result<(), SessionError> {
        let idle = self.active.config.idle_timeout;
        let mut ended = pin!(ending.wait());
        let mut relay = tokio::select! {
            biased;
            relay = Box::pin(self.establish(stream)) => relay?,
            () = &mut ended => return Err(SessionError::Drained),
        };
        let outcome = tokio::select! {
            biased;
            outcome = relay.run(idle) => outcome,
            () = &mut ended => Err(SessionError::Drained),
        };
        if let Err(error) = &outcome {
            relay.pass_on(error).await;
        }
        self.report.bytes = relay.bytes;
        outcome
    }

    /// From accept to both ends standing.
    async fn establish(&mut self, stream: TcpStream) -> Result<Relay<'a>, SessionError> {
        let patience = self.active.handshake_timeout;
        let ready = match timeout(patience, self.prepare(Socket::Tcp(stream))).await {
            Ok(ready) => ready?,
            Err(_) => return Err(SessionError::Timeout(self.stage)),
        };
        let Ready {
            mut downstream,
            early,
        } = ready;
        match self.connect().await {
            Ok(upstream) => Ok(Relay::new(
                downstream,
                upstream,
                early,
                &self.active.metrics,
            )),
            Err(error) => {
                let text = self.last_word(&error).unwrap_or_default();
                // The client may be gone, or not read: nothing more can be done for it.
                let _ = timeout(patience, downstream.say_last(text.as_bytes())).await;
                Err(error)
            }
        }
    }

    /// Who the client is, and its TLS.
    async fn prepare(&mut self, mut socket: Socket) -> Result<Ready, SessionError> {
        let mut inbound = Inbound::default();
        let identified = self.identify(&mut socket, &mut inbound).await;
        if let (Err(error), Encryption::Off) = (&identified, self.active.config.encryption)
            && let Some(text) = self.last_word(error)
        {
            let _ = self.send(&mut socket, text.as_bytes()).await;
        }
        identified?;
        self.stage = Stage::Handshake;
        match (self.active.config.encryption, &self.active.tls) {
            (Encryption::Implicit, Some(tls)) => self.handshake(tls, socket, inbound).await,
            (Encryption::Passthrough, _) => {
                let hello = self.hello(&mut socket, &mut inbound).await?;
                self.name(&hello);
                Ok(Ready {
                    downstream: Downstream::plain(socket, inbound),
                    early: None,
                })
            }
            (_, _) => Ok(Ready {
                downstream: Downstream::plain(socket, inbound),
                early: None,
            }),
        }
    }

    /// Reads the PROXY header that a believed sender must send; others are who they are.
    async fn identify(
        &mut self,
        socket: &mut Socket,
        inbound: &mut Inbound,
    ) -> Result<(), SessionError> {
        let peer = self.report.client.ip();
        let believed = &self.active.config.accept_proxy_from;
        if believed.iter().any(|network| network.contains(peer)) {
            let (received, length) = loop {
                match proxy_protocol::parse(inbound.filled()) {
                    Ok(Some(header)) => break header,
                    Ok(None) => self.fill(socket, inbound).await?,
                    Err(error) => return Err(SessionError::ProxyHeader(error)),
                }
            };
            inbound.consume(length);
            if let Received::Proxied {
                source,
                destination,
            } = received
            {
                self.report.client = source;
                self.local = destination;
            }
        }
        let client = self.report.client.ip();
        self.counted = self.active.client_limit.enter(client);
        match self.counted {
            Some(_) => Ok(()),
            None => Err(SessionError::ClientLimit),
        }
    }

    /// Waits for a whole ClientHello, and leaves it where it is.
    async fn hello(
        &self,
        socket: &mut Socket,
        inbound: &mut Inbound,
    ) -> Result<ClientHello, SessionError> {
        loop {
            match client_hello::peek(inbound.filled()) {
                Ok(Some(hello)) => return Ok(hello),
                Ok(None) => self.fill(socket, inbound).await?,
                Err(error) => return Err(SessionError::Hello(error)),
            }
        }
    }

    /// Notes the name asked for. What is not a name (an IP literal, say) counts as none.
    fn name(&mut self, hello: &ClientHello) {
        let name = hello.server_name.as_deref().map(DnsName::parse);
        self.report.server_name = name.and_then(Result::ok).map(Arc::new);
    }

    /// TLS with the certificate chosen at the ClientHello.
    async fn handshake(
        &mut self,
        tls: &ServerTls,
        mut socket: Socket,
        mut inbound: Inbound,
    ) -> Result<Ready, SessionError> {
        let begun = Instant::now();
        let hello = match self.hello(&mut socket, &mut inbound).await {
            Ok(hello) => hello,
            Err(error @ SessionError::Hello(_)) => {
                self.refuse_hello(tls, &mut socket, &mut inbound).await;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.name(&hello);
        if let Some(name) = &self.report.server_name
            && tls.refuses(name)
        {
            self.send(&mut socket, &Alert::UnrecognizedName.record())
                .await?;
            return Err(SessionError::UnknownName);
        }
        let name = self.report.server_name.clone();
        let mut session = tls
            .session(&hello, name, self.local.ip())
            .map(Box::new)
            .map_err(SessionError::Handshake)?;
        let Shaken {
            plain,
            ticket,
            closed,
        } = self
            .shake_hands(&mut session, &mut socket, &mut inbound)
            .await?;
        self.negotiated(&mut session, begun);
        Ok(Ready {
            downstream: Downstream::tls(socket, session, inbound, ticket, closed),
            early: (!plain.is_empty()).then_some(plain),
        })
    }

    /// Answers what is not a ClientHello with the alert that rustls has for it.
    async fn refuse_hello(&self, tls: &ServerTls, socket: &mut Socket, inbound: &mut Inbound) {
        let mut control = Vec::new();
        let session = tls.session(&ClientHello::default(), None, self.local.ip());
        let refused = session.and_then(|mut session| {
            session.open(inbound.filled_mut(), &mut Buffer::take(), &mut control)
        });
        // Where rustls sees less wrong with it than we do, or waits for the rest of what is
        // refused here already, its answer is not for the client; sometimes it has none.
        if refused.is_ok() || control.is_empty() {
            control = Alert::DecodeError.record().to_vec();
        }
        let _ = self.send(socket, &control).await;
    }

    /// Runs the handshake to its end.
    async fn shake_hands(
        &self,
        session: &mut Session,
        socket: &mut Socket,
        inbound: &mut Inbound,
    ) -> Result<Shaken, SessionError> {
        let mut plain = Buffer::take();
        let mut control = Vec::new();
        loop {
            let opened = session.open(inbound.filled_mut(), &mut plain, &mut control);
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    let _ = self.send(socket, &control).await;
                    return Err(SessionError::Handshake(error));
                }
            };
            inbound.consume(opened.consumed);
            let done = !session.is_handshaking();
            if !(done && session.ends_with_ticket()) {
                self.send(socket, &control).await?;
                control.clear();
            }
            if done {
                return Ok(Shaken {
                    plain,
                    ticket: control,
                    closed: opened.closed,
                });
            }
            if opened.closed {
                return Err(SessionError::Closed(Stage::Handshake));
            }
            self.fill(socket, inbound).await?;
        }
    }

    fn negotiated(&mut self, session: &mut Session, begun: Instant) {
        let seconds = begun.elapsed().as_secs_f64();
        let metrics = &self.active.metrics;
        self.report.negotiated = session.negotiated();
        if let Some(tls) = &self.report.negotiated {
            metrics.handshake(tls.version, tls.resumed, seconds);
        }
        self.report.chosen = session.take_chosen();
        if let Some(chosen) = &self.report.chosen {
            metrics.selected(chosen.rank.number());
        }
    }

    /// Finds the upstream for the name and connects to it.
    async fn connect(&mut self) -> Result<Socket, SessionError> {
        self.stage = Stage::Route;
        let active = self.active;
        let name = self.report.server_name.clone();
        let routed = name.as_deref().or(active.config.hostname.as_ref());
        let upstream = active.routes.find(routed).ok_or(SessionError::NoRoute)?;
        self.report.upstream = Some(Arc::clone(upstream));
        self.stage = Stage::Connect;
        let announcement = Announcement {
            source: self.report.client,
            destination: self.local,
            ssl: self.report.negotiated.as_ref().map(|tls| SslInfo {
                version: match tls.version {
                    "1.2" => "TLSv1.2",
                    _ => "TLSv1.3",
                },
                cipher: tls.suite,
            }),
            authority: name.as_deref().map(DnsName::as_str),
            alpn: self.report.negotiated.and_then(|tls| tls.alpn),
        };
        let connected = upstream
            .connect(active.config.protocol, &announcement)
            .await
            .map_err(SessionError::Connect)?;
        self.report.lease = Some(connected.lease);
        Ok(connected.socket)
    }

    /// What the protocol says to a client that gets no upstream. Nothing can be said into
    /// TLS that is not ours.
    fn last_word(&self, error: &SessionError) -> Option<String> {
        if self.active.config.encryption == Encryption::Passthrough {
            return None;
        }
        let protocol = self.active.config.protocol.mail()?;
        match error {
            SessionError::NoRoute => Some(mail::no_route(protocol).to_owned()),
            SessionError::ClientLimit => Some(mail::too_many(protocol).to_owned()),
            SessionError::Connect(_) => Some(mail::unavailable(protocol, &self.active.hostname)),
            _ => None,
        }
    }

    /// Waits for more from the client.
    async fn fill(&self, socket: &mut Socket, inbound: &mut Inbound) -> Result<(), SessionError> {
        match inbound.fill(socket).await {
            Ok(0) => Err(SessionError::Closed(self.stage)),
            Ok(_) => Ok(()),
            Err(error) => Err(SessionError::Io(self.stage, error)),
        }
    }

    async fn send(&self, socket: &mut Socket, mut bytes: &[u8]) -> Result<(), SessionError> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| socket.poll_write(cx, bytes))
                .await
                .map_err(|error| SessionError::Io(self.stage, error))?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }
}
