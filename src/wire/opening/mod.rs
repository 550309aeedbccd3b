//! What is said to a server before it is the client's turn: the greeting is awaited, TLS asked
//! for, and the server told who the client is.
//!
//! One flow for all protocols, whose words are in a dialect each. It knows
//! nothing of sockets, time or TLS, and nothing of the client but what its [`Plan`] says. What a
//! server says in clear before TLS is forgotten when TLS begins.

mod answer;
mod dialect;
mod imap;
mod inquiry;
mod managesieve;
mod pop3;
mod smtp;
#[cfg(test)]
mod tests;
mod xclient;

use std::net::SocketAddr;

pub use inquiry::{Inquiry, Reply, farewell};

use crate::wire::announced::Announced;
use crate::wire::mail::MailProtocol;
use crate::wire::opening::answer::Answer;
use crate::wire::opening::dialect::{Asked, Dialect, Known, Meaning, Need, Verdict};

/// The longest banner that is told further.
const MAX_BANNER: usize = 200;

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
    /// end; the answer is dropped. Anything but one such line with its CRLF is not said.
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
pub struct Opening {
    dialect: &'static dyn Dialect,
    /// What is still to be done.
    plan: Plan,
    stage: Stage,
    answer: Answer,
    /// Capabilities in the answer so far.
    learnt: Vec<String>,
    known: Known,
}

/// What an opening waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Answer(Asked),
    /// TLS, which is begun by others.
    Handshake,
    Nothing,
}

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
    /// The greeting that holds now, as sent: the last one, after XCLIENT. After STARTTLS, when
    /// only ManageSieve greets anew, one that says nothing: no word in clear gets to a client
    /// that is on TLS.
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
    pub fn new(protocol: MailProtocol, mut plan: Plan) -> Self {
        let has_hello = matches!(protocol, MailProtocol::Smtp | MailProtocol::Submission);
        plan.hello = plan.hello.filter(|line| has_hello && is_hello(line));
        Self {
            dialect: dialect::of(protocol),
            plan,
            stage: Stage::Answer(Asked::Greeting),
            answer: Answer::default(),
            learnt: Vec::new(),
            known: Known::default(),
        }
    }

    /// TLS was begun, as [`Step::StartTls`] asked: appends what is to be said now. Most servers
    /// wait for us then; where nothing is to be said, the opening is done at once.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn encrypted(&mut self, say: &mut Vec<u8>) -> Result<Step, OpeningError> {
        self.known = Known {
            encrypted: true,
            believes: self.known.believes,
            ..Known::default()
        };
        match self.dialect.neutral_greeting(&self.plan.own_name) {
            Some(greeting) => {
                self.known.greeting = greeting.into_bytes();
                self.advance(say)
            }
            None => {
                self.stage = Stage::Answer(Asked::Greeting);
                Ok(Step::More)
            }
        }
    }

    /// Takes what the server has said, in pieces of any size, and appends what is to be said.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn receive(&mut self, bytes: &[u8], say: &mut Vec<u8>) -> Result<Received, OpeningError> {
        let mut consumed = 0;
        while let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
            let asked = match self.stage {
                Stage::Answer(asked) => asked,
                Stage::Handshake => return Err(OpeningError::Injection),
                Stage::Nothing => break,
            };
            let (length, ended) = self.answer.take(rest)?;
            consumed += length;
            if ended {
                self.line(asked, say)?;
            }
        }
        let step = match self.stage {
            Stage::Answer(_) => Step::More,
            Stage::Handshake => Step::StartTls,
            Stage::Nothing => Step::Done(self.opened()),
        };
        Ok(Received { consumed, step })
    }

    /// The server has closed the connection: what was learnt, if nothing but its farewell was
    /// still to come (a probe).
    pub fn closed(&self) -> Option<Opened> {
        matches!(self.stage, Stage::Answer(Asked::Leave)).then(|| self.opened())
    }

    /// A line has come.
    fn line(&mut self, asked: Asked, say: &mut Vec<u8>) -> Result<(), OpeningError> {
        let goes_on = self.dialect.has_literals(self.answer.line());
        if goes_on && self.answer.expects_literal()? {
            return Ok(());
        }
        match self.dialect.meaning(asked, &self.answer) {
            Meaning::Part => {
                self.learn(asked);
                self.answer.next_line();
                Ok(())
            }
            Meaning::End(verdict) => self.end(asked, verdict, say),
            Meaning::Preauth => Err(OpeningError::Preauth),
            Meaning::Strange => {
                let name = self.dialect.name();
                Err(OpeningError::Malformed(self.answer.quoted(), name))
            }
        }
    }

    fn learn(&mut self, asked: Asked) {
        self.dialect.learn(asked, &self.answer, &mut self.learnt);
    }

    /// An answer has come.
    fn end(
        &mut self,
        asked: Asked,
        verdict: Verdict,
        say: &mut Vec<u8>,
    ) -> Result<(), OpeningError> {
        match (asked, verdict) {
            (Asked::StartTls, Verdict::No | Verdict::Gone) => {
                return Err(OpeningError::StartTlsRefused(self.answer.quoted()));
            }
            (Asked::Client, Verdict::No | Verdict::Gone) => {
                return Err(OpeningError::ClientRefused(self.answer.quoted()));
            }
            (_, Verdict::Unwelcome)
            | (Asked::Greeting, Verdict::No)
            | (Asked::Greeting | Asked::Capabilities | Asked::Hello, Verdict::Gone) => {
                return Err(OpeningError::Refused(self.answer.quoted()));
            }
            // A refused EHLO is for the client to see, when its next command is.
            _ => {}
        }
        self.keep(asked, verdict);
        match asked {
            Asked::StartTls => self.stage = Stage::Handshake,
            Asked::Leave => self.stage = Stage::Nothing,
            _ => {
                self.advance(say)?;
            }
        }
        Ok(())
    }

    /// Notes what an answer says.
    fn keep(&mut self, asked: Asked, verdict: Verdict) {
        self.learn(asked);
        let learnt = std::mem::take(&mut self.learnt);
        let answer = self.answer.finish();
        let is_yes = verdict == Verdict::Yes;
        let begins_anew = asked == Asked::Client && self.dialect.greets_when_told();
        if begins_anew || asked == Asked::Hello {
            self.known.forget_chunking();
        }
        if is_yes && (asked == Asked::Capabilities || !learnt.is_empty()) {
            self.known.capabilities = Some(learnt);
        }
        match asked {
            Asked::Greeting => {
                self.known.believes = self.dialect.believes(&answer);
                self.known.greeting = answer;
            }
            Asked::Capabilities => self.known.asked = true,
            Asked::Client => {
                self.plan.tell = Tell::Nothing;
                if self.dialect.greets_when_told() {
                    self.known.greeting = answer;
                }
            }
            Asked::StartTls | Asked::Hello | Asked::Leave => {}
        }
    }

    /// Says what comes next, now that the server has answered everything.
    fn advance(&mut self, say: &mut Vec<u8>) -> Result<Step, OpeningError> {
        let wants_tls = self.plan.starttls || self.plan.handover;
        if wants_tls && !self.known.encrypted {
            let need = self.dialect.starttls(&self.known);
            return self.fulfil(need, Asked::StartTls, OpeningError::NoStartTls, say);
        }
        if self.plan.tell != Tell::Nothing {
            let need = self.dialect.tell(&self.plan.tell, &self.known);
            return self.fulfil(need, Asked::Client, OpeningError::NoXclient, say);
        }
        if let Some(hello) = self.plan.hello.take() {
            return Ok(self.say(Asked::Hello, &hello, say));
        }
        if self.plan.probe {
            return Ok(self.probe(say));
        }
        self.stage = Stage::Nothing;
        Ok(Step::Done(self.opened()))
    }

    fn fulfil(
        &mut self,
        need: Need,
        asked: Asked,
        missing: OpeningError,
        say: &mut Vec<u8>,
    ) -> Result<Step, OpeningError> {
        match need {
            Need::Command(command) => Ok(self.say(asked, command.as_bytes(), say)),
            Need::Capabilities => Ok(self.ask(say)),
            Need::Missing => Err(missing),
        }
    }

    fn probe(&mut self, say: &mut Vec<u8>) -> Step {
        if self.known.capabilities.is_none() && !self.known.asked {
            return self.ask(say);
        }
        self.say(Asked::Leave, self.dialect.leave().as_bytes(), say)
    }

    fn ask(&mut self, say: &mut Vec<u8>) -> Step {
        let command = self.dialect.ask(&self.plan.own_name);
        self.say(Asked::Capabilities, command.as_bytes(), say)
    }

    fn say(&mut self, asked: Asked, command: &[u8], say: &mut Vec<u8>) -> Step {
        self.stage = Stage::Answer(asked);
        say.extend_from_slice(command);
        Step::More
    }

    fn opened(&self) -> Opened {
        Opened {
            greeting: self.known.greeting.clone(),
            capabilities: self.known.capabilities.clone(),
        }
    }
}

/// What a server said of itself in an opening: printable ASCII, and of its banner no more than
/// people read.
pub fn announced(protocol: MailProtocol, opened: &Opened) -> Announced {
    let banner = dialect::of(protocol).banner(opened);
    let is_printable = |character: &char| matches!(character, ' '..='~');
    let banner = banner.trim().chars().filter(is_printable);
    Announced {
        banner: banner
            .take(MAX_BANNER)
            .collect::<String>()
            .trim()
            .to_owned(),
        capabilities: opened.capabilities.clone().unwrap_or_default(),
    }
}

/// Whether that is one EHLO or HELO with its CRLF, so that nothing else can be said with it.
fn is_hello(line: &[u8]) -> bool {
    let Some(text) = line.strip_suffix(b"\r\n") else {
        return false;
    };
    let verb = text.split(|byte| b" \t".contains(byte)).next();
    let verb = verb.unwrap_or_default();
    let is_verb = verb.eq_ignore_ascii_case(b"EHLO") || verb.eq_ignore_ascii_case(b"HELO");
    is_verb && !text.iter().any(|byte| b"\r\n\0".contains(byte))
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
