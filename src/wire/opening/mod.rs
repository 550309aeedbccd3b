//! What is said to a server before it is the client's turn: the greeting is awaited, TLS asked
//! for, and the server told who the client is.

use std::net::SocketAddr;

use crate::wire::announced::Announced;
use crate::wire::mail::MailProtocol;

/// What is to be done in an opening.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The name that we say EHLO with.
    pub own_name: String,
    /// Whether TLS is to be asked for.
    pub starttls: bool,
    /// Whether, after the greeting, raw TLS of the client follows: then the opening ends with
    /// the server's go-ahead for STARTTLS ([`Step::StartTls`]).
    pub handover: bool,
    /// Whom the server is told that the client is.
    pub tell: Tell,
    /// SMTP: a line that the client has said in clear, EHLO or HELO, to be said for it at the
    /// end; the answer is dropped.
    pub hello: Option<Vec<u8>>,
    /// Whether to ask for the capabilities, and to take leave afterwards: a probe.
    pub probe: bool,
}

/// How the server is told about the client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Tell {
    /// Not in the protocol.
    #[default]
    Nothing,
    /// XCLIENT.
    Xclient(Client),
    /// IMAP ID.
    ImapId(Client),
}

/// What the server is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// The client's side of one opening.
#[derive(Debug)]
pub struct Opening(());

/// What one call of [`Opening::receive`] came to.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the input that are done with; what follows them when the opening is done is
    /// the server's first word to the client.
    pub consumed: usize,
    /// What to do, once everything in `say` is sent.
    pub step: Step,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Wait for more from the server.
    More,
    /// Begin TLS: the server has said yes, and nothing behind it. Without
    /// [`Plan::handover`], [`Opening::encrypted`] goes on afterwards.
    StartTls,
    /// It is the client's turn; or the probe is over, and the connection can be closed when the
    /// server has closed it.
    Done(Opened),
}

/// What was learnt.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Opened {
    /// The greeting that holds now, as sent: the last one, after XCLIENT.
    pub greeting: Vec<u8>,
    /// What the server announced last, if it was asked or said so by itself; entries as in
    /// [`crate::wire::announced::Announced`].
    pub capabilities: Option<Vec<String>>,
}

/// Why a server cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpeningError {
    /// It greets with a refusal; its line.
    #[error("the server greets with {0:?}")]
    Refused(String),
    /// What it says is not the protocol.
    #[error("the server says {0:?}, which is no greeting or answer of {1}")]
    Malformed(String, &'static str),
    /// IMAP PREAUTH: everyone would be logged in.
    #[error("the server greets with PREAUTH: it takes everyone for logged in")]
    Preauth,
    /// It does not offer STARTTLS.
    #[error("the server does not offer STARTTLS")]
    NoStartTls,
    /// It refuses STARTTLS; its line.
    #[error("the server refuses STARTTLS with {0:?}")]
    StartTlsRefused(String),
    /// Bytes came behind its go-ahead.
    #[error("the server sent bytes behind its answer to STARTTLS")]
    Injection,
    /// It does not offer XCLIENT to us.
    #[error("the server does not offer XCLIENT to this host")]
    NoXclient,
    /// It refuses what we say about the client; its line.
    #[error("the server refuses to be told the client's address with {0:?}")]
    ClientRefused(String),
    /// A line, or an answer, longer than any server's.
    #[error("the server's answer is longer than 64 KiB, or has a line longer than 8 KiB")]
    TooLong,
}

impl Opening {
    /// An opening on a new connection. Nothing is to be sent before the server greets.
    pub fn new(protocol: MailProtocol, plan: Plan) -> Self {
        let _ = (protocol, plan);
        todo!()
    }

    /// TLS was begun, as [`Step::StartTls`] asked: appends what is to be said now. Most servers
    /// wait for us then; where nothing is to be said, the opening is done at once.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn encrypted(&mut self, say: &mut Vec<u8>) -> Result<Step, OpeningError> {
        let _ = say;
        todo!()
    }

    /// Takes what the server has said, in pieces of any size, and appends what is to be said.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn receive(&mut self, bytes: &[u8], say: &mut Vec<u8>) -> Result<Received, OpeningError> {
        let _ = (bytes, say);
        todo!()
    }

    /// The server has closed the connection: what was learnt, if nothing but its farewell was
    /// still to come (a probe).
    pub fn closed(&mut self) -> Option<Opened> {
        todo!()
    }
}

/// What a server said of itself in an opening.
pub fn announced(protocol: MailProtocol, opened: &Opened) -> Announced {
    let _ = (protocol, opened);
    todo!()
}

impl OpeningError {
    /// A bounded word for it; label `reason` of the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "greeting-refused",
            Self::Malformed(..) => "greeting-malformed",
            Self::Preauth => "preauth",
            Self::NoStartTls => "starttls-not-offered",
            Self::StartTlsRefused(_) => "starttls-refused",
            Self::Injection => "starttls-injection",
            Self::NoXclient => "xclient-not-offered",
            Self::ClientRefused(_) => "client-address-refused",
            Self::TooLong => "answer-too-long",
        }
    }
}
