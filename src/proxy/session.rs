//! The path of one connection, stage by stage.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::cert::DnsName;
use crate::config::{Encryption, Listener, Protocol};
use crate::metrics::ListenerMetrics;
use crate::proxy::boundary::{Arrived, Ciphertext, Clear, Client, Injection};
use crate::proxy::downstream::{Downstream, DownstreamError};
use crate::proxy::guarded::Guarded;
use crate::proxy::handshake::Answered;
use crate::proxy::http::{self, Routes as HttpRoutes, Visitor};
use crate::proxy::limits::{ClientLimit, Counted};
use crate::proxy::listener::Ending;
use crate::proxy::relay::{Ended, Relay};
use crate::proxy::report::Report;
use crate::proxy::route::RouteTable;
use crate::proxy::socket::Socket;
use crate::proxy::upstream::{ConnectError, Connected, Purpose, Request, Upstream};
use crate::proxy::{SessionError, Stage};
use crate::tls::{Alert, Buffer, ServerTls};
use crate::wire::guard::{Guard, GuardError, Mode};
use crate::wire::mail;
use crate::wire::proxy_protocol::{self, Announcement, Received, SslInfo};
use crate::wire::starttls::{Forward, Policy, Preamble, Reason, Step};

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
    /// Where its requests go; there is one if it speaks HTTP.
    pub web: Option<HttpRoutes>,
    /// Comes when another one takes its place, or a drain begins: what can end then, ends.
    pub retired: Ending,
    /// Its counters.
    pub metrics: Arc<ListenerMetrics>,
    /// How many connections a client may have, over all listeners.
    pub client_limit: Arc<ClientLimit>,
    /// Where clients go that are too old for our TLS, if not where their name is routed.
    pub legacy: Option<Arc<Upstream>>,
    /// How long PROXY header and TLS handshake may take together, and a handshake after
    /// STARTTLS.
    pub handshake_timeout: Duration,
    /// How long a client may speak in clear before STARTTLS.
    pub preamble_timeout: Duration,
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

/// What comes of a client that is ready.
enum Established<'a> {
    Relay(Relay<'a>),
    /// It speaks HTTP; with what came with its handshake.
    Http(Downstream, Option<Buffer>),
}

/// What a client in clear goes on with.
enum Said {
    StartTls,
    Forward(Forward),
}

/// When the server was connected to, seen from the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Moment {
    /// Before it was greeted: the server's greeting is its own.
    Early,
    /// After it was greeted by us.
    Late,
    /// The same, and the client goes on in clear.
    Clear,
}

/// Takes one accepted connection along the whole path, and reports how it ended.
///
/// What it is given is lent or in a box: from one future to the next it would take room in both.
pub(super) async fn serve(
    active: &Arc<Active>,
    stream: Box<TcpStream>,
    endpoints: &Endpoints,
    ending: &Ending,
) {
    let mut report = Report::new(endpoints.client);
    let mut connection = Connection {
        active,
        local: endpoints.local,
        report: &mut report,
        stage: Stage::Identify,
        counted: None,
        ending,
    };
    let outcome = connection.run(stream).await;
    report.finish(active, &outcome);
}

/// One connection on its way.
pub(super) struct Connection<'a> {
    pub(super) active: &'a Arc<Active>,
    /// Where the client connected to: the socket's address, or what a believed PROXY header says.
    pub(super) local: SocketAddr,
    pub(super) report: &'a mut Report,
    stage: Stage,
    /// The place in the client's count, kept to the end.
    counted: Option<Counted>,
    ending: &'a Ending,
}

impl<'a> Connection<'a> {
    /// The path. Everything before the relay runs in a box of its own, which is gone while
    /// bytes are passed on: an idle connection keeps only what the relay needs.
    async fn run(&mut self, stream: Box<TcpStream>) -> Result<(), SessionError> {
        let idle = self.active.config.idle_timeout;
        let mut ended = pin!(self.ending.wait());
        let mut established = tokio::select! {
            biased;
            established = Box::pin(self.establish(*stream)) => established?,
            () = &mut ended => return Err(SessionError::Drained(self.stage)),
        };
        loop {
            let mut relay = match established {
                Established::Relay(relay) => relay,
                Established::Http(downstream, early) => {
                    let http = Box::pin(self.serve_http(downstream, early));
                    return tokio::select! {
                        biased;
                        outcome = http => outcome,
                        () = &mut ended => Err(SessionError::Drained(Stage::Relay)),
                    };
                }
            };
            let outcome = tokio::select! {
                biased;
                outcome = relay.run(idle) => outcome,
                () = &mut ended => Err(SessionError::Drained(Stage::Relay)),
            };
            if let Err(error) = &outcome {
                let text = self.last_word(error).unwrap_or_default();
                relay.pass_on(error, text.as_bytes()).await;
            }
            self.report.bytes += relay.bytes;
            if outcome? == Ended::Done {
                return Ok(());
            }
            // Begun anew: the server that was spoken with in clear hears no more.
            let client = relay.into_client();
            established = tokio::select! {
                biased;
                established = Box::pin(self.start_tls(client)) => established?,
                () = &mut ended => return Err(SessionError::Drained(self.stage)),
            };
        }
    }

    /// From accept to both ends standing.
    async fn establish(&mut self, stream: TcpStream) -> Result<Established<'a>, SessionError> {
        let mut client = Client::new(Socket::accepted(stream));
        let deadline = Instant::now() + self.active.handshake_timeout;
        let identified = timeout_at(deadline, self.identify(&mut client)).await;
        if let Err(error) = identified.unwrap_or_else(|_| self.late()) {
            if self.active.config.encryption.begins_in_clear() {
                self.refuse_in_clear(&mut client, &error).await;
            } else if let SessionError::ClientLimit = error {
                self.refuse_before_tls(&mut client).await;
            }
            return Err(error);
        }
        match self.active.config.encryption {
            // In a box of its own, as below: it would make the plaintext phase as large as itself.
            Encryption::Implicit => {
                Box::pin(self.secure(client.in_tls(), deadline, Moment::Early)).await
            }
            Encryption::StartTls | Encryption::StartTlsOptional => {
                self.greet(client.in_clear()).await
            }
            Encryption::Passthrough => {
                let mut client = client.in_tls();
                self.stage = Stage::Handshake;
                let hello = timeout_at(deadline, self.hello(&mut client)).await;
                self.name(&hello.unwrap_or_else(|_| self.late())?);
                let connected = Box::pin(self.connect(Purpose::Untouched)).await?;
                let downstream = Downstream::plain(client);
                let relay = self.relay(downstream, None, connected, None);
                Ok(Established::Relay(relay))
            }
            Encryption::Off => {
                let downstream = Downstream::plain(client.in_clear());
                Box::pin(self.ready(downstream, None, Moment::Early)).await
            }
        }
    }

    /// Runs out of time where the path has come to.
    fn late<T>(&self) -> Result<T, SessionError> {
        Err(SessionError::Timeout(self.stage))
    }

    /// The plaintext phase of a listener with STARTTLS.
    async fn greet(&mut self, mut client: Client<Clear>) -> Result<Established<'a>, SessionError> {
        self.stage = Stage::Preamble;
        self.report.starttls = Some("none");
        let deadline = Instant::now() + self.active.preamble_timeout;
        let said = tokio::select! {
            biased;
            said = timeout_at(deadline, self.preamble(&mut client)) => said,
            () = self.ending.wait() => Ok(Err(SessionError::Drained(self.stage))),
        };
        match said.unwrap_or_else(|_| self.late()) {
            // In boxes of their own: a client that is still in clear costs only what that takes.
            Ok(Said::StartTls) => Box::pin(self.start_tls(client)).await,
            Ok(Said::Forward(forward)) => {
                let relay = Box::pin(self.go_on_in_clear(client, forward)).await?;
                Ok(Established::Relay(relay))
            }
            Err(error) => {
                match error {
                    SessionError::Timeout(_) | SessionError::Drained(_) => {
                        self.refuse_in_clear(&mut client, &error).await;
                    }
                    // Its last word was among the answers.
                    SessionError::Preamble(_) => client.linger().await,
                    _ => {}
                }
                Err(error)
            }
        }
    }

    /// Speaks with a client in clear until it says STARTTLS, or what needs the server.
    async fn preamble(&self, client: &mut Client<Clear>) -> Result<Said, SessionError> {
        let config = &self.active.config;
        let Some(protocol) = config.protocol.mail() else {
            unreachable!("the configuration has STARTTLS for mail protocols only");
        };
        let policy = match config.encryption {
            Encryption::StartTlsOptional => Policy::Optional,
            _ => Policy::Required,
        };
        let upstream = self.active.routes.find(config.hostname.as_ref());
        let announced = upstream.and_then(|upstream| upstream.announced(config.protocol));
        let hostname = &self.active.hostname;
        let mut preamble = Preamble::new(protocol, policy, hostname, announced.as_deref());
        self.send(client, &preamble.greeting()).await?;
        let mut answer = Vec::new();
        loop {
            // Something may have come together with a PROXY header.
            if client.unread().is_empty() {
                self.fill(client).await?;
            }
            let received = preamble.receive(client.unread(), &mut answer);
            client.consume(received.consumed);
            self.send(client, &answer).await?;
            answer.clear();
            match received.step {
                Step::More => {}
                Step::StartTls => return Ok(Said::StartTls),
                Step::Forward(forward) => return Ok(Said::Forward(forward)),
                Step::Close(Reason::Injection) => return Err(SessionError::Injection),
                Step::Close(reason) => return Err(SessionError::Preamble(reason)),
            }
        }
    }

    /// The client was told to go ahead: TLS, or nothing.
    async fn start_tls(&mut self, client: Client<Clear>) -> Result<Established<'a>, SessionError> {
        self.stage = Stage::Handshake;
        self.report.starttls = Some("failed");
        let client = client.start_tls();
        let client = client.map_err(|Injection| SessionError::Injection)?;
        let deadline = Instant::now() + self.active.handshake_timeout;
        self.secure(client, deadline, Moment::Late).await
    }

    /// A client in clear wants what needs the server.
    async fn go_on_in_clear(
        &mut self,
        mut client: Client<Clear>,
        forward: Forward,
    ) -> Result<Relay<'a>, SessionError> {
        self.report.starttls = Some("clear");
        let mut early = Buffer::take();
        early.append(&forward.command);
        let n = early.append(client.unread());
        client.consume(n);
        let downstream = Downstream::plain(client);
        let hello = forward.hello.as_deref();
        self.join(downstream, Some(early), Moment::Clear, hello)
            .await
    }

    /// TLS with the client, and then the server; or, for a client too old for our TLS, the
    /// server's own.
    async fn secure(
        &mut self,
        client: Client<Ciphertext>,
        deadline: Instant,
        moment: Moment,
    ) -> Result<Established<'a>, SessionError> {
        self.stage = Stage::Handshake;
        let active = self.active;
        let Some(tls) = &active.tls else {
            unreachable!("a listener whose TLS ends here has it");
        };
        let answered = timeout_at(deadline, self.handshake(tls, client, moment)).await;
        match answered.unwrap_or_else(|_| self.late())? {
            Answered::Session { downstream, early } => {
                self.note_starttls("ok");
                self.ready(downstream, early, moment).await
            }
            Answered::Legacy(client) => {
                self.note_starttls("legacy");
                let relay = self.hand_over(client, moment).await?;
                Ok(Established::Relay(relay))
            }
        }
    }

    /// On listeners with STARTTLS, what came of it.
    fn note_starttls(&mut self, outcome: &'static str) {
        if let Some(noted) = &mut self.report.starttls {
            *noted = outcome;
        }
    }

    /// A client that is ready: connects it to the server, unless each of its requests is.
    async fn ready(
        &mut self,
        downstream: Downstream,
        early: Option<Buffer>,
        moment: Moment,
    ) -> Result<Established<'a>, SessionError> {
        match self.active.config.protocol {
            Protocol::Http => Ok(Established::Http(downstream, early)),
            _ => {
                let relay = self.join(downstream, early, moment, None).await?;
                Ok(Established::Relay(relay))
            }
        }
    }

    /// Answers the requests of a client that is ready.
    async fn serve_http(
        &mut self,
        downstream: Downstream,
        early: Option<Buffer>,
    ) -> Result<(), SessionError> {
        self.stage = Stage::Relay;
        self.report.by_request = true;
        let visitor = Visitor::new(Arc::clone(self.active), self.report, self.local);
        http::serve(downstream, early, visitor, self.ending).await
    }

    /// Connects a client that is ready to the server; one that gets none is told so. `hello`:
    /// its EHLO or HELO line, which the server is still to hear.
    async fn join(
        &mut self,
        mut downstream: Downstream,
        mut early: Option<Buffer>,
        moment: Moment,
        hello: Option<&[u8]>,
    ) -> Result<Relay<'a>, SessionError> {
        let connected = self.connect_unless_gone(&mut downstream, &mut early, hello);
        match connected.await {
            Ok(connected) => {
                let greeting = match (moment, self.active.config.protocol) {
                    // After STARTTLS a ManageSieve server shows its capabilities again (RFC
                    // 5804 section 2.2), which is what its greeting is; no other greets twice.
                    (Moment::Clear, _) => None,
                    (Moment::Late, protocol) if protocol != Protocol::ManageSieve => None,
                    _ => connected.opened.as_ref().map(|opened| &*opened.greeting),
                };
                let mode = match moment {
                    Moment::Clear => Mode::Open,
                    Moment::Early | Moment::Late => Mode::Closed,
                };
                let guarded = self.guard(&connected, mode, greeting);
                Ok(self.relay(downstream, early, connected, guarded))
            }
            Err(error @ SessionError::Closed(_)) => Err(error),
            Err(error) => {
                let text = self.last_word(&error).unwrap_or_default();
                let patience = self.active.handshake_timeout;
                // The client may be gone, or not read: nothing more can be done for it.
                let _ = timeout(patience, downstream.say_last(text.as_bytes())).await;
                Err(error)
            }
        }
    }

    /// Connects to the server, for as long as the client waits: a server may take minutes to
    /// greet. A mail client that ends before it is greeted is gone if it has said nothing; else
    /// it may have said all that it has to say, and the server has a moment to hear it.
    async fn connect_unless_gone(
        &mut self,
        downstream: &mut Downstream,
        early: &mut Option<Buffer>,
        hello: Option<&[u8]>,
    ) -> Result<Connected, SessionError> {
        let patience = self.active.handshake_timeout;
        let is_mail = self.active.config.protocol.mail().is_some();
        // In just its own size while the server is waited for.
        let said = early.take().map(|early| early.filled().to_vec());
        let mut said = said.unwrap_or_default();
        let mut gone_at = None;
        let purpose = match is_mail || said.is_empty() {
            true => Purpose::Session { hello },
            false => Purpose::Begun,
        };
        let mut connecting = pin!(self.connect(purpose));
        let connected = loop {
            // Beside so much a whole buffer still fits into one.
            let listens = is_mail && gone_at.is_none() && said.len() <= Buffer::SPARE;
            let heard = tokio::select! {
                biased;
                connected = &mut connecting => break connected,
                heard = downstream.recv(), if listens => heard,
                () = until(gone_at) => return Err(SessionError::Closed(Stage::Connect)),
            };
            match heard {
                Ok(plain) if !plain.is_empty() => said.extend_from_slice(plain.filled()),
                Ok(_) if said.is_empty() => return Err(SessionError::Closed(Stage::Connect)),
                Ok(_) => gone_at = Some(Instant::now() + patience),
                Err(DownstreamError::Io(error)) => {
                    return Err(SessionError::Io(Stage::Connect, error));
                }
                Err(error) => return Err(SessionError::Downstream(error)),
            }
        };
        if !said.is_empty() {
            early.insert(Buffer::with_room(said.len())).append(&said);
        }
        connected
    }

    /// Hands a client over to a server's own TLS, with all it has said.
    async fn hand_over(
        &mut self,
        mut client: Client<Ciphertext>,
        moment: Moment,
    ) -> Result<Relay<'a>, SessionError> {
        let purpose = Purpose::Legacy {
            in_clear_first: moment == Moment::Late,
        };
        match self.connect(purpose).await {
            Ok(connected) => Ok(self.relay(Downstream::plain(client), None, connected, None)),
            Err(error) => {
                // No words before TLS, and no TLS that the client could read.
                self.refuse(&mut client, &Alert::HandshakeFailure.record())
                    .await;
                Err(error)
            }
        }
    }

    /// The guard between client and server; only mail has one.
    fn guard(
        &self,
        connected: &Connected,
        mode: Mode,
        greeting: Option<&[u8]>,
    ) -> Option<Box<Guarded>> {
        let protocol = self.active.config.protocol.mail()?;
        let opened = connected.opened.as_ref()?;
        let known = opened.capabilities.as_deref().unwrap_or_default();
        let mut guard = Guard::new(protocol, mode, known);
        let greeting = greeting.map(|greeting| guard.greeting(greeting));
        let mut guarded = Guarded::new(guard, greeting.unwrap_or_default());
        if !connected.inbound.filled().is_empty() {
            guarded.server_said(connected.inbound.filled());
        }
        Some(Box::new(guarded))
    }

    fn relay(
        &mut self,
        downstream: Downstream,
        early: Option<Buffer>,
        connected: Connected,
        guarded: Option<Box<Guarded>>,
    ) -> Relay<'a> {
        self.report.lease = Some(connected.lease);
        let metrics = &self.active.metrics;
        Relay::new(downstream, connected.socket, early, guarded, metrics)
    }

    /// Says to a client in clear why it is not served, as far as it reads.
    async fn refuse_in_clear<Phase>(&self, client: &mut Client<Phase>, error: &SessionError) {
        if let Some(text) = self.last_word(error) {
            let patience = self.active.handshake_timeout;
            // The client may be gone, or not read: nothing more can be done for it.
            let said = timeout(patience, client.send(text.as_bytes())).await;
            let _farewell = match error {
                SessionError::ClientLimit => match self.active.client_limit.farewell() {
                    Some(farewell) => Some(farewell),
                    None => return,
                },
                // Who is not served is not given more of our time.
                SessionError::Denied => return,
                _ => None,
            };
            if let Ok(Ok(())) = said {
                client.linger().await;
            }
        }
    }

    /// Says to a client that has too many connections, and will speak TLS, that it is not our
    /// TLS that is broken.
    async fn refuse_before_tls<Phase>(&self, client: &mut Client<Phase>) {
        let sent = client.send(&Alert::InternalError.record()).await;
        if let (Ok(()), Some(_farewell)) = (sent, self.active.client_limit.farewell()) {
            client.linger().await;
        }
    }

    /// Reads the PROXY header that a believed sender must send; others are who they are.
    async fn identify(&mut self, client: &mut Client<Arrived>) -> Result<(), SessionError> {
        let peer = self.report.client.ip();
        let believed = &self.active.config.accept_proxy_from;
        if believed.iter().any(|network| network.contains(peer)) {
            let (received, length) = loop {
                match proxy_protocol::parse(client.unread()) {
                    Ok(Some(header)) => break header,
                    Ok(None) => self.fill(client).await?,
                    Err(error) => return Err(SessionError::ProxyHeader(error)),
                }
            };
            client.consume(length);
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
        // Clients of HTTP are told so in answer to their requests.
        if self.active.config.protocol != Protocol::Http && !self.active.config.allows(client) {
            return Err(SessionError::Denied);
        }
        self.counted = self.active.client_limit.enter(client);
        match self.counted {
            Some(_) => Ok(()),
            None => Err(SessionError::ClientLimit),
        }
    }

    /// Finds the upstream for the name and connects to it.
    async fn connect(&mut self, purpose: Purpose<'_>) -> Result<Connected, SessionError> {
        self.stage = Stage::Route;
        let active = self.active;
        let name = self.report.server_name.clone();
        let routed = name.as_deref().or(active.config.hostname.as_ref());
        let legacy = match purpose {
            Purpose::Legacy { .. } => active.legacy.as_ref(),
            _ => None,
        };
        let upstream = legacy.or_else(|| active.routes.find(routed));
        let upstream = upstream.ok_or(SessionError::NoRoute)?;
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
        let request = Request {
            protocol: active.config.protocol,
            announcement: Some(&announcement),
            own_name: &active.hostname,
            purpose,
        };
        let connected = upstream.connect(&request).await;
        connected.map_err(SessionError::Connect)
    }

    /// What the protocol says to a client that gets no upstream, or one that makes no sense.
    fn last_word(&self, error: &SessionError) -> Option<String> {
        let protocol = self.active.config.protocol.mail()?;
        let hostname = &self.active.hostname;
        match error {
            SessionError::NoRoute => Some(mail::no_route(protocol).to_owned()),
            SessionError::ClientLimit => Some(mail::too_many(protocol).to_owned()),
            SessionError::Denied => Some(mail::denied(protocol).to_owned()),
            SessionError::Timeout(Stage::Preamble) => Some(mail::timed_out(protocol, hostname)),
            SessionError::Connect(ConnectError::Refused(words)) => Some(format!("{words}\r\n")),
            SessionError::Connect(_)
            | SessionError::Guard(GuardError::Server)
            | SessionError::Drained(Stage::Preamble) => Some(mail::unavailable(protocol, hostname)),
            _ => None,
        }
    }

    /// Waits for more from the client.
    pub(super) async fn fill<Phase>(&self, client: &mut Client<Phase>) -> Result<(), SessionError> {
        match client.fill().await {
            Ok(0) => Err(SessionError::Closed(self.stage)),
            Ok(_) => Ok(()),
            Err(error) => Err(SessionError::Io(self.stage, error)),
        }
    }

    pub(super) async fn send<Phase>(
        &self,
        client: &mut Client<Phase>,
        bytes: &[u8],
    ) -> Result<(), SessionError> {
        let sent = client.send(bytes).await;
        sent.map_err(|error| SessionError::Io(self.stage, error))
    }
}

/// Waits until then, or for ever.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
