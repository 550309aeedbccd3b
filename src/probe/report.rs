//! What a probe found: values, which others put into words on a screen.

use std::fmt;
use std::time::Duration;

use crate::config::Protocol;

/// Everything that was found, server by server, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Report {
    /// One for each server and each way in which it is spoken to.
    pub servers: Vec<ServerReport>,
}

/// What was found at one server.
#[derive(Debug)]
pub struct ServerReport {
    /// Name of the upstream.
    pub upstream: String,
    /// The server, as it is written in the configuration.
    pub server: String,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// Who speaks with it.
    pub manner: Manner,
    /// How quick it is; `None` if it could not be used.
    pub pace: Option<Pace>,
    /// What there is to say, in the order in which it was found.
    pub findings: Vec<Finding>,
}

/// Who speaks with a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Manner {
    /// Clients that have come over TLS.
    Encrypted,
    /// Clients that have come in clear.
    Clear,
    /// Clients whose TLS passes through.
    Untouched,
}

/// How quick a server is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the beginning of the connection until it is the client's turn.
    pub greeting: Duration,
    /// One question and its answer; `None` if nothing could be asked.
    pub answer: Option<Duration>,
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub subject: &'static str,
    /// What was found.
    pub text: String,
    /// What can be done about it: one of these is enough.
    pub remedies: Vec<Remedy>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// It is as it should be, or nobody's fault.
    Note,
    /// It works, and should not stay so.
    Warning,
    /// Clients are not served, or should not be.
    Error,
}

/// What can be done: all of these together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remedy(pub Vec<Change>);

/// Lines for one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Where they belong.
    pub place: Place,
    /// The lines, to be taken as they are.
    pub lines: Vec<String>,
}

/// Where something is to be set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// `proxy.toml`, in the table of this upstream.
    Proxy(String),
    /// Dovecot's `dovecot.conf`.
    Dovecot,
    /// Postfix's `main.cf`.
    PostfixMain,
    /// Postfix's `master.cf`, below the service on this port.
    PostfixMaster(u16),
    /// Exim's main configuration.
    Exim,
    /// The authenticators of Exim's configuration.
    EximAuthenticator,
    /// The administration pages of Kerio Connect.
    Kerio,
    /// A shell of root on this host.
    Shell,
    /// The unit of systemd that starts the proxy.
    Unit,
}

impl Report {
    /// How many servers would not work.
    pub fn broken(&self) -> usize {
        self.servers.iter().filter(|one| !one.works()).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        let findings = self.servers.iter().flat_map(|server| &server.findings);
        findings
            .filter(|finding| finding.severity == Severity::Warning)
            .count()
    }
}

impl ServerReport {
    /// Whether clients would be served, as they should be.
    pub fn works(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.severity < Severity::Error)
    }
}

impl Finding {
    /// Something that is as it should be.
    pub(super) fn note(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Note, subject, text)
    }

    /// Something that works, and should not stay so.
    pub(super) fn warning(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, subject, text)
    }

    /// Something that keeps clients from being served, or serves too many.
    pub(super) fn error(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(Severity::Error, subject, text)
    }

    fn new(severity: Severity, subject: &'static str, text: impl Into<String>) -> Self {
        Self {
            severity,
            subject,
            text: text.into(),
            remedies: Vec::new(),
        }
    }

    /// The same, with what can be done about it.
    pub(super) fn with(mut self, remedies: Vec<Remedy>) -> Self {
        self.remedies = remedies;
        self
    }
}

impl Remedy {
    /// Lines for one place.
    pub(super) fn one<L: Into<String>>(place: Place, lines: impl IntoIterator<Item = L>) -> Self {
        Self(Vec::new()).and(place, lines)
    }

    /// The same, and lines for another place.
    pub(super) fn and<L: Into<String>>(
        mut self,
        place: Place,
        lines: impl IntoIterator<Item = L>,
    ) -> Self {
        let lines = lines.into_iter().map(Into::into).collect();
        self.0.push(Change { place, lines });
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(upstream) => write!(f, "proxy.toml, [[upstream]] {upstream:?}"),
            Self::Dovecot => f.write_str("dovecot.conf"),
            Self::PostfixMain => f.write_str("Postfix's main.cf"),
            Self::PostfixMaster(port) => {
                write!(f, "Postfix's master.cf, below the service on port {port}")
            }
            Self::Exim => f.write_str("Exim's configuration, before the first \"begin\""),
            Self::EximAuthenticator => f.write_str("Exim's configuration, in its authenticators"),
            Self::Kerio => f.write_str("the administration of Kerio Connect"),
            Self::Shell => f.write_str("a shell of root on this host"),
            Self::Unit => f.write_str("the [Service] part of Gatepost's systemd unit"),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
