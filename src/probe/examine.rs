//! One server: what is found out, and in which order.
//!
//! First the visit that a client's connection would be. What it says is taken apart if it went
//! well; if not, others follow that differ in one thing, until one of them shows what is wrong.

use std::io;
use std::sync::Arc;

use crate::causes;
use crate::config::{ClientAddress, Protocol, Upstream, UpstreamEncryption};
use crate::probe::advice::{Advisor, HiddenLogin};
use crate::probe::certificate;
use crate::probe::login::{Login, offers_starttls};
use crate::probe::relay::{self, RECIPIENT, Relay, STRANGER};
use crate::probe::report::{Finding, Manner, ServerReport};
use crate::probe::software::Software;
use crate::probe::transparent;
use crate::probe::visit::{Destination, TalkError, Trouble, Visit, sends_header};
use crate::proxy::Failure;
use crate::tls::UpstreamTlsError;
use crate::wire::announced::Announced;
use crate::wire::opening::OpeningError;

const HEADER: &str = "PROXY header";
const CLIENT: &str = "client address";
const CONNECTION: &str = "connection";
const STARTTLS: &str = "STARTTLS";
const TLS: &str = "TLS";
const ANSWER: &str = "answer";
const LOGIN: &str = "login";
const RELAY: &str = "relay";

/// One server, and the way to it.
#[derive(Debug)]
pub(super) struct Examination {
    pub(super) destination: Destination,
    pub(super) upstream: Arc<Upstream>,
}

impl Examination {
    /// Finds out everything.
    pub(super) async fn report(self) -> ServerReport {
        let (findings, pace) = match self.destination.visit(&self.upstream).await {
            Ok(visit) => (self.works(&visit).await, Some(visit.pace)),
            Err(trouble) => (vec![self.fails(&trouble).await], None),
        };
        ServerReport {
            upstream: self.upstream.name.clone(),
            server: self.destination.server.to_string(),
            protocol: self.destination.protocol,
            manner: self.destination.manner,
            pace,
            findings,
        }
    }

    fn advisor(&self, visit: Option<&Visit>) -> Advisor<'_> {
        let said = visit.and_then(|visit| visit.said.as_ref());
        Advisor {
            upstream: &self.upstream,
            server: &self.destination.server,
            protocol: self.destination.protocol,
            software: said.and_then(Software::of),
            us: visit
                .and_then(|visit| visit.us)
                .unwrap_or(self.destination.us),
            postscreen: visit.is_some_and(|visit| visit.long_greeting),
        }
    }

    /// What to say of a server that answers.
    async fn works(&self, visit: &Visit) -> Vec<Finding> {
        if let Some(finding) = self.web_header_of(visit).await {
            return vec![finding];
        }
        if let Some(finding) = self.header_of(visit).await {
            return vec![finding];
        }
        if let Some(junk) = &visit.junk {
            let text = format!("the server answers {junk:?} to the first question");
            return vec![Finding::error(CONNECTION, text)];
        }
        let advisor = self.advisor(Some(visit));
        let mut findings: Vec<_> = self.told(visit).into_iter().collect();
        if let Some(peer) = &visit.peer {
            let now = i64::try_from(self.destination.clock.now().as_secs()).unwrap_or(i64::MAX);
            findings.extend(certificate::shown(peer, &self.upstream, &advisor, now));
        }
        findings.extend(visit.status.map(|status| self.answers(status)));
        if let Some(said) = &visit.said {
            findings.extend(self.starttls(visit, said));
            findings.extend(self.login(visit, said).await);
            findings.extend(self.relay(visit).await);
        }
        findings
    }

    /// A web server that takes a PROXY header for a request, or for which one is missing: it says
    /// that it makes no sense, and without the header, or with it, something else.
    async fn web_header_of(&self, visit: &Visit) -> Option<Finding> {
        const BAD_REQUEST: u16 = 400;
        if visit.status != Some(BAD_REQUEST) {
            return None;
        }
        let other = self.destination.visit(&self.other_header()).await.ok()?;
        if other.status? == BAD_REQUEST {
            return None;
        }
        let happened = format!("the server answers with status {BAD_REQUEST}");
        Some(match sends_header(&self.upstream) {
            true => self.header_not_expected(&happened, &other),
            false => self.header_expected(&happened, &other),
        })
    }

    /// What a web server answers to the first question.
    fn answers(&self, status: u16) -> Finding {
        let checked = self.upstream.health_path.as_deref();
        let path = checked.unwrap_or("/");
        let text = format!("GET {path} is answered with status {status}");
        match (status, checked) {
            (200..=399, _) => Finding::note(ANSWER, text),
            (_, Some(_)) => {
                let text = format!("{text}: health checks will hold the server for down");
                Finding::error(ANSWER, text)
            }
            (500.., None) => Finding::warning(ANSWER, text),
            (_, None) => Finding::note(ANSWER, text),
        }
    }

    /// A server that answers a PROXY header instead of the first question, or that answers
    /// nothing for want of one (Exim greets all the same). A POP3 server that says no to CAPA
    /// may only be old: whether it greets without a header tells.
    async fn header_of(&self, visit: &Visit) -> Option<Finding> {
        visit.said.as_ref()?;
        let sent = sends_header(&self.upstream);
        let happened = match &visit.junk {
            Some(junk) => format!("the server answers {junk:?} to the first question"),
            None if sent && !visit.has_capabilities => {
                "the server greets without one too".to_owned()
            }
            None => return None,
        };
        let other = self.destination.visit(&self.other_header()).await.ok()?;
        match sent {
            true => Some(self.header_not_expected(&happened, &other)),
            false if other.junk.is_none() => Some(self.header_expected(&happened, &other)),
            false => None,
        }
    }

    fn header_expected(&self, happened: &str, other: &Visit) -> Finding {
        let text = format!("not sent, and the server waits for one: {happened}");
        Finding::error(HEADER, text).with(self.advisor(Some(other)).send_header())
    }

    fn header_not_expected(&self, happened: &str, other: &Visit) -> Finding {
        let word = self.upstream.client_address.as_str();
        let text = format!("sent ({word}), and not expected: {happened}");
        Finding::error(HEADER, text).with(self.advisor(Some(other)).header_not_expected())
    }

    /// What the server is told of the client.
    fn told(&self, visit: &Visit) -> Option<Finding> {
        let advisor = self.advisor(Some(visit));
        let us = advisor.us;
        Some(match self.upstream.client_address {
            ClientAddress::ProxyV1 | ClientAddress::ProxyV2
                if visit.said.is_none() && visit.status.is_none() =>
            {
                let word = self.upstream.client_address.as_str();
                let text =
                    format!("sent ({word}); whether it is expected shows nobody but a client");
                Finding::note(HEADER, text)
            }
            ClientAddress::ProxyV1 | ClientAddress::ProxyV2 => {
                let word = self.upstream.client_address.as_str();
                Finding::note(HEADER, format!("expected, and sent ({word})"))
            }
            _ if visit.said.is_none() => return None,
            ClientAddress::None => {
                let text = format!("not told: the server takes every client for {us}");
                Finding::note(CLIENT, text)
            }
            ClientAddress::Xclient => Finding::note(
                CLIENT,
                "told with XCLIENT, which the server offers to this host",
            ),
            ClientAddress::ImapId => {
                let text = format!(
                    "told with IMAP ID, which Dovecot believes if its login_trusted_networks has {us}"
                );
                Finding::note(CLIENT, text)
            }
            ClientAddress::Transparent => {
                Finding::note(CLIENT, "connections come from it (transparent)")
            }
        })
    }

    fn starttls(&self, visit: &Visit, said: &Announced) -> Option<Finding> {
        let protocol = self.destination.protocol.mail()?;
        let text = match (self.upstream.encryption, visit.peer.is_some()) {
            (UpstreamEncryption::StartTls, true) => "offered, and used",
            (UpstreamEncryption::Off, _) => match offers_starttls(protocol, &said.capabilities) {
                true => "offered, and not used: the way to the server is in clear",
                false => "not offered; TLS to the client is ours",
            },
            _ => return None,
        };
        Some(Finding::note(STARTTLS, text))
    }

    /// Whether clients could log in.
    async fn login(&self, visit: &Visit, said: &Announced) -> Option<Finding> {
        let protocol = self.destination.protocol.mail()?;
        if !visit.has_capabilities {
            return None;
        }
        let how = match Login::of(protocol, &said.capabilities) {
            Login::Offered(ways) => return Some(Finding::note(LOGIN, ways)),
            Login::Unknown => return None,
            Login::Hidden(how) => how,
        };
        let starttls = visit.peer.is_none() && offers_starttls(protocol, &said.capabilities);
        let hidden = HiddenLogin {
            starttls,
            in_tls: match starttls {
                true => Some(self.would_log_in(UpstreamEncryption::StartTls).await),
                false => None,
            },
        };
        let reason = match self.destination.manner {
            Manner::Encrypted => "the server does not know that clients are on TLS",
            Manner::Clear | Manner::Untouched => "clients are not on TLS",
        };
        let text = format!("refused: {how}; {reason}");
        let software = self.software(visit).await;
        let advisor = Advisor {
            software,
            ..self.advisor(Some(visit))
        };
        Some(Finding::error(LOGIN, text).with(advisor.login_hidden(hidden)))
    }

    /// Whether the server offers login where our TLS with it is this one.
    async fn would_log_in(&self, encryption: UpstreamEncryption) -> bool {
        let visit = self.destination.visit(&self.unverified(encryption)).await;
        let said = visit.ok().and_then(|visit| visit.said);
        let protocol = self.destination.protocol.mail();
        said.zip(protocol).is_some_and(|(said, protocol)| {
            matches!(Login::of(protocol, &said.capabilities), Login::Offered(_))
        })
    }

    /// Whether the server would take mail from anybody for anybody.
    async fn relay(&self, visit: &Visit) -> Option<Finding> {
        if !matches!(
            self.destination.protocol,
            Protocol::Smtp | Protocol::Submission
        ) {
            return None;
        }
        let found = relay::try_relay(&self.destination, &self.upstream).await;
        let found = match found {
            Ok(found) => found?,
            Err(trouble) => {
                let text = format!("cannot be tried: {}", causes::in_one_line(&trouble));
                return Some(Finding::warning(RELAY, text));
            }
        };
        let advisor = Advisor {
            software: self.software(visit).await,
            ..self.advisor(Some(visit))
        };
        let told = relay::is_told(&self.upstream);
        let client = match told {
            true => STRANGER,
            false => advisor.us,
        };
        Some(match found {
            Relay::Refused(words) => {
                let text = format!("foreign mail from {client} is refused ({words:?})");
                Finding::note(RELAY, text)
            }
            Relay::WantsTls(words) => {
                let text = format!("the server takes no mail in clear ({words:?})");
                Finding::error(RELAY, text).with(advisor.demands_tls())
            }
            // Clients come with their own addresses, and this was ours.
            Relay::Open(words) if self.upstream.client_address == ClientAddress::Transparent => {
                let text = format!("foreign mail is taken from this host ({words:?})");
                Finding::note(RELAY, text)
            }
            Relay::Open(words) => {
                let who = match told {
                    true => format!("from anybody ({client})"),
                    false => format!("from {client}, which every client is taken for,"),
                };
                let text = format!("open: mail {who} for <{RECIPIENT}> is taken ({words:?})");
                Finding::error(RELAY, text).with(advisor.open_relay(told))
            }
        })
    }

    /// What is wrong with a server that cannot be used.
    async fn fails(&self, trouble: &Trouble) -> Finding {
        if let Some(finding) = self.plain_trouble(trouble).await {
            return finding;
        }
        let in_starttls = self.upstream.encryption == UpstreamEncryption::StartTls;
        match trouble {
            // It has understood STARTTLS: its PROXY header is as it should be.
            Trouble::Reach(Failure::Tls(error)) if in_starttls => {
                return no_tls(error, &self.advisor(None));
            }
            _ => {}
        }
        if let Some(finding) = self.wrong_header(trouble).await {
            return finding;
        }
        if let Trouble::Reach(Failure::Tls(error)) = trouble {
            let in_clear = self.speaks_in_clear().await;
            return in_clear.unwrap_or_else(|| no_tls(error, &self.advisor(None)));
        }
        if sends_header(&self.upstream) && is_closed(trouble) {
            let text = "the server closes with one and without: it may not believe this host";
            let remedies = self.advisor(None).header_not_believed();
            return Finding::error(HEADER, text).with(remedies);
        }
        Finding::error(CONNECTION, causes::in_one_line(trouble))
    }

    /// Trouble that says all there is to know.
    async fn plain_trouble(&self, trouble: &Trouble) -> Option<Finding> {
        let advisor = self.advisor(None);
        let text = causes::in_one_line(trouble);
        Some(match trouble {
            Trouble::Reach(Failure::Transparent(error)) => {
                let remedies = match error.kind() {
                    io::ErrorKind::PermissionDenied => transparent::capability(),
                    _ => Vec::new(),
                };
                Finding::error(CONNECTION, text).with(remedies)
            }
            Trouble::Tls(_) | Trouble::Reach(Failure::Connect(_) | Failure::Resolve(_)) => {
                Finding::error(CONNECTION, text)
            }
            Trouble::Reach(Failure::Timeout("connect_timeout"))
                if self.upstream.encryption != UpstreamEncryption::Implicit =>
            {
                Finding::error(CONNECTION, text)
            }
            Trouble::Reach(Failure::Tls(
                error @ (UpstreamTlsError::Refused { .. } | UpstreamTlsError::NoName { .. }),
            )) => certificate::refused(error, &advisor),
            Trouble::Reach(Failure::Opening(error)) => match error {
                OpeningError::NoStartTls | OpeningError::StartTlsRefused(_) => {
                    Finding::error(STARTTLS, text).with(advisor.without_tls())
                }
                OpeningError::NoXclient | OpeningError::ClientRefused(_) => {
                    self.not_told(text).await
                }
                OpeningError::Preauth | OpeningError::Injection | OpeningError::TooLong => {
                    Finding::error(CONNECTION, text)
                }
                OpeningError::Refused(_) | OpeningError::Malformed(..) => return None,
            },
            _ => return None,
        })
    }

    /// The server cannot be told who the client is.
    async fn not_told(&self, text: String) -> Finding {
        let untold = Upstream {
            client_address: ClientAddress::None,
            ..self.unverified(self.upstream.encryption)
        };
        let visit = self.destination.visit(&untold).await.ok();
        let software = match &visit {
            Some(visit) => self.software(visit).await,
            None => None,
        };
        let advisor = Advisor {
            software,
            ..self.advisor(visit.as_ref())
        };
        Finding::error(CLIENT, text).with(advisor.xclient_not_offered())
    }

    /// Whether all would be well with a PROXY header, or without.
    async fn wrong_header(&self, trouble: &Trouble) -> Option<Finding> {
        let other = self.destination.visit(&self.other_header()).await.ok()?;
        let silent = other.said.is_none() && other.peer.is_none() && other.status.is_none();
        if other.junk.is_some() || silent {
            return None;
        }
        let happened = causes::in_one_line(trouble);
        if sends_header(&self.upstream) {
            return Some(self.header_not_expected(&happened, &other));
        }
        Some(self.header_expected(&happened, &other))
    }

    /// Whether the server speaks in clear where TLS was expected.
    async fn speaks_in_clear(&self) -> Option<Finding> {
        let in_clear = self.unverified(UpstreamEncryption::Off);
        let visit = self.destination.visit(&in_clear).await.ok()?;
        let offered = match (self.destination.protocol.mail(), visit.said) {
            (Some(protocol), Some(said)) => offers_starttls(protocol, &said.capabilities),
            _ => visit.status.map(|_| false)?,
        };
        let remedies = self.advisor(None).in_clear(offered);
        Some(Finding::error(TLS, "the server speaks in clear here").with(remedies))
    }

    /// What the server is. After STARTTLS nothing is known of its banner: then it is asked once
    /// more, in clear.
    async fn software(&self, visit: &Visit) -> Option<Software> {
        let known = visit.said.as_ref().and_then(Software::of);
        if known.is_some() || self.upstream.encryption != UpstreamEncryption::StartTls {
            return known;
        }
        let in_clear = Upstream {
            client_address: match sends_header(&self.upstream) {
                true => self.upstream.client_address,
                false => ClientAddress::None,
            },
            ..self.unverified(UpstreamEncryption::Off)
        };
        let visit = self.destination.visit(&in_clear).await.ok()?;
        visit.said.as_ref().and_then(Software::of)
    }

    /// The same upstream with a PROXY header, or without, and any certificate.
    fn other_header(&self) -> Upstream {
        Upstream {
            client_address: match sends_header(&self.upstream) {
                true => ClientAddress::None,
                false => ClientAddress::ProxyV2,
            },
            ..self.unverified(self.upstream.encryption)
        }
    }

    /// The same upstream with other TLS, and any certificate.
    fn unverified(&self, encryption: UpstreamEncryption) -> Upstream {
        let mut upstream = Upstream::clone(&self.upstream);
        upstream.encryption = encryption;
        upstream.verification.verify = false;
        upstream.verification.pin = None;
        upstream
    }
}

/// There is no TLS with the server. One that is too old for ours says so with an alert, or
/// closes.
fn no_tls(error: &UpstreamTlsError, advisor: &Advisor<'_>) -> Finding {
    let text = causes::in_one_line(error);
    let why = match error {
        UpstreamTlsError::Incompatible(_) => "",
        UpstreamTlsError::Io(_) => "; servers do so that know only older TLS",
        _ => return Finding::error(TLS, text),
    };
    let text = format!("{text}{why}; on a safe network it is reached in clear");
    Finding::error(TLS, text).with(advisor.without_tls())
}

/// Whether the server closed, and said nothing.
fn is_closed(trouble: &Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Reach(Failure::Closed | Failure::Io(_))
            | Trouble::Talk(TalkError::Closed | TalkError::Io(_))
    )
}
