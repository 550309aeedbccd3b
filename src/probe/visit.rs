//! One connection to a server, from dialling to the farewell, as a client's would be.
//!
//! Everything up to the client's turn is what the proxy itself does ([`Way::reach`]); what is
//! asked after that is the first thing that a client would ask.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::config::{ClientAddress, Protocol, ServerAddress, Upstream, UpstreamEncryption};
use crate::probe::report::{Manner, Pace};
use crate::proxy::{Failure, Purpose, Reached, Request, Way, host_of};
use crate::time::Clock;
use crate::tls::{ClientTls, ClientTlsError, Peer};
use crate::wire::announced::Announced;
use crate::wire::mail::MailProtocol;
use crate::wire::opening::{Inquiry, Opened, OpeningError, Reply, announced, farewell};
use crate::wire::proxy_protocol::{Announcement, SslInfo};

/// The longest that a command waits for a greeting, or for all that is asked after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a server is waited for that has been told goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where we say that clients come from where it does not matter: never a port of a listener.
const CLIENT_PORT: u16 = 49_152;

/// What clients of today come with.
const SSL: SslInfo<'static> = SslInfo {
    version: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
};

/// Where visits go, and on whose behalf.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) server: ServerAddress,
    pub(super) protocol: Protocol,
    pub(super) manner: Manner,
    /// The name in our own words to servers.
    pub(super) own_name: String,
    /// The name that clients ask for.
    pub(super) hostname: Option<String>,
    /// The port that clients connect to.
    pub(super) listener_port: u16,
    /// Our address as the server will probably see it.
    pub(super) us: IpAddr,
    pub(super) clock: Clock,
}

/// What came of a visit.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) pace: Pace,
    /// What a mail server says of itself.
    pub(super) said: Option<Announced>,
    /// Whether the server knows its capabilities at all (POP3 is older than CAPA).
    pub(super) has_capabilities: bool,
    /// The first answer, if that was none to the question.
    pub(super) junk: Option<String>,
    /// Whether the greeting had more than one line.
    pub(super) long_greeting: bool,
    pub(super) peer: Option<Peer>,
    /// What a web server answers to the first question.
    pub(super) status: Option<u16>,
    /// Our own address.
    pub(super) us: Option<IpAddr>,
}

/// Why a visit came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The TLS of the upstream cannot be put together.
    #[error("its TLS cannot be put together")]
    Tls(#[from] ClientTlsError),
    /// The server cannot be used.
    #[error(transparent)]
    Reach(#[from] Failure),
    /// It does not answer as it should.
    #[error(transparent)]
    Talk(#[from] TalkError),
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TalkError {
    /// The connection failed.
    #[error("its connection failed")]
    Io(#[from] io::Error),
    /// The server closed.
    #[error("it closed the connection instead of an answer")]
    Closed,
    /// It said something else.
    #[error(transparent)]
    Reply(#[from] OpeningError),
    /// It said nothing.
    #[error("it did not answer within 30 seconds")]
    Late,
}

/// A conversation with a mail server, whose turn to ask is ours.
#[derive(Debug)]
pub(super) struct Talk<'a> {
    protocol: MailProtocol,
    own_name: &'a str,
    reached: Reached,
}

impl Destination {
    /// Connects as `upstream` says, asks what the server has to offer, and leaves.
    pub(super) async fn visit(&self, upstream: &Upstream) -> Result<Visit, Trouble> {
        let begun = Instant::now();
        let reached = self.reach(upstream, self.us).await?;
        let mut visit = Visit {
            pace: Pace {
                greeting: begun.elapsed(),
                answer: None,
            },
            said: None,
            has_capabilities: false,
            junk: None,
            long_greeting: false,
            status: None,
            peer: reached.peer(),
            us: reached
                .own_address()
                .map(|address| address.ip().to_canonical()),
        };
        if self.protocol == Protocol::Http {
            visit.ask_page(reached, upstream, &self.server).await?;
            return Ok(visit);
        }
        let Some(protocol) = self.protocol.mail() else {
            return Ok(visit);
        };
        let Some(opened) = reached.opened.clone() else {
            return Ok(visit);
        };
        visit.long_greeting = opened.greeting.starts_with(b"220-");
        let talk = Talk {
            protocol,
            own_name: &self.own_name,
            reached,
        };
        match timeout(PATIENCE, visit.ask(talk, opened)).await {
            Ok(asked) => asked?,
            Err(_) => return Err(TalkError::Late.into()),
        }
        Ok(visit)
    }

    /// A connection where it is the client's turn, who is said to come from `source`.
    pub(super) async fn talk(
        &self,
        upstream: &Upstream,
        source: IpAddr,
    ) -> Result<Option<Talk<'_>>, Trouble> {
        let reached = self.reach(upstream, source).await?;
        Ok(self.protocol.mail().map(|protocol| Talk {
            protocol,
            own_name: &self.own_name,
            reached,
        }))
    }

    async fn reach(&self, upstream: &Upstream, source: IpAddr) -> Result<Reached, Trouble> {
        let mut upstream = upstream.clone();
        let cut_short = upstream.greeting_timeout > PATIENCE;
        upstream.greeting_timeout = upstream.greeting_timeout.min(PATIENCE);
        upstream.connect_timeout = upstream.connect_timeout.min(PATIENCE);
        let tls = match upstream.encryption {
            UpstreamEncryption::Off => None,
            UpstreamEncryption::Implicit | UpstreamEncryption::StartTls => {
                Some(ClientTls::new(&upstream, self.clock.clone())?)
            }
        };
        let announcement = Announcement {
            source: SocketAddr::new(source, CLIENT_PORT),
            destination: SocketAddr::new(self.us, self.listener_port),
            ssl: (self.manner == Manner::Encrypted).then_some(SSL),
            authority: self.hostname.as_deref(),
            alpn: None,
        };
        let request = Request {
            protocol: self.protocol,
            announcement: Some(&announcement),
            own_name: &self.own_name,
            purpose: match self.manner {
                Manner::Untouched => Purpose::Untouched,
                Manner::Encrypted | Manner::Clear => Purpose::Session { hello: None },
            },
        };
        let way = Way {
            config: &upstream,
            tls: tls.as_ref(),
            address: &self.server,
        };
        let reached = way.reach(&request).await;
        reached.map_err(|failure| trouble(failure, cut_short))
    }
}

/// Why a server was not reached. `cut_short`: it was waited for no longer than a command waits,
/// which is less than `greeting_timeout`.
fn trouble(failure: Failure, cut_short: bool) -> Trouble {
    match failure {
        Failure::Timeout("greeting_timeout") if cut_short => TalkError::Late.into(),
        failure => failure.into(),
    }
}

/// Whether the server is sent a PROXY header.
pub(super) fn sends_header(upstream: &Upstream) -> bool {
    matches!(
        upstream.client_address,
        ClientAddress::ProxyV1 | ClientAddress::ProxyV2
    )
}

impl Visit {
    /// Asks a web server for what health checks ask for, or for its first page.
    async fn ask_page(
        &mut self,
        mut reached: Reached,
        upstream: &Upstream,
        server: &ServerAddress,
    ) -> Result<(), Trouble> {
        let begun = Instant::now();
        let path = upstream.health_path.as_deref().unwrap_or("/");
        let host = host_of(upstream, server);
        let status = match timeout(PATIENCE, reached.page(&host, path)).await {
            Ok(status) => status?,
            Err(_) => return Err(TalkError::Late.into()),
        };
        self.pace.answer = Some(begun.elapsed());
        self.status = Some(status);
        Ok(())
    }

    /// Asks for the capabilities, and leaves.
    async fn ask(&mut self, mut talk: Talk<'_>, mut opened: Opened) -> Result<(), TalkError> {
        let protocol = talk.protocol;
        let begun = Instant::now();
        match talk.capabilities().await {
            Ok(reply) if reply.yes => {
                self.pace.answer = Some(begun.elapsed());
                self.has_capabilities = true;
                opened.capabilities = Some(reply.capabilities);
            }
            // Some POP3 servers are older than CAPA; all else must be able to say what it is.
            Ok(reply) => {
                self.pace.answer = Some(begun.elapsed());
                self.junk = (protocol != MailProtocol::Pop3).then_some(reply.words);
            }
            Err(TalkError::Reply(
                OpeningError::Malformed(line, _) | OpeningError::Refused(line),
            )) => {
                self.junk = Some(line);
            }
            Err(error) => return Err(error),
        }
        self.said = Some(announced(protocol, &opened));
        talk.leave().await;
        Ok(())
    }
}

impl Talk<'_> {
    /// Asks what the server has to offer.
    pub(super) async fn capabilities(&mut self) -> Result<Reply, TalkError> {
        let mut say = Vec::new();
        let inquiry = Inquiry::capabilities(self.protocol, self.own_name, &mut say);
        self.ask(inquiry, &say).await
    }

    /// Says a command of SMTP, without its line end.
    pub(super) async fn smtp(&mut self, command: &str) -> Result<Reply, TalkError> {
        let mut say = Vec::new();
        let inquiry = Inquiry::smtp(command, &mut say);
        self.ask(inquiry, &say).await
    }

    async fn ask(&mut self, mut inquiry: Inquiry, words: &[u8]) -> Result<Reply, TalkError> {
        self.reached.say(words).await?;
        loop {
            let (n, reply) = inquiry.receive(self.reached.heard())?;
            self.reached.heed(n);
            if let Some(reply) = reply {
                return Ok(reply);
            }
            if self.reached.listen().await? == 0 {
                return Err(TalkError::Closed);
            }
        }
    }

    /// Takes leave, and waits until the server has closed: so it has nothing to complain of.
    pub(super) async fn leave(mut self) {
        let leaving = async {
            self.reached.say(farewell(self.protocol).as_bytes()).await?;
            while self.reached.listen().await? > 0 {
                self.reached.heed(self.reached.heard().len());
            }
            io::Result::Ok(())
        };
        // All is said: whatever goes wrong now is of no interest.
        let _ = timeout(FAREWELL, leaving).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_for_less_than_its_time_is_not_said_to_have_taken_it() {
        let said = |limit, cut_short| trouble(Failure::Timeout(limit), cut_short).to_string();
        let cases = [
            ("greeting_timeout", true, "30 seconds"),
            ("greeting_timeout", false, "greeting_timeout"),
            ("connect_timeout", true, "connect_timeout"),
        ];
        for (limit, cut_short, time) in cases {
            let text = format!("it did not answer within {time}");
            assert_eq!(said(limit, cut_short), text);
        }
    }
}
