//! The plaintext phase of a listener with STARTTLS: what is said to a client before TLS.
//!
//! A [`Preamble`] answers by itself whatever can be answered without the server, and without
//! knowing who the client is. It owns all that was said in clear, and gives nothing of it away
//! when TLS begins: [`Step::StartTls`] carries no bytes. It knows no sockets, no time, and no TLS.

mod imap;
mod input;
mod managesieve;
mod pop3;
mod smtp;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use self::imap::Imap;
use self::input::{Input, Piece};
use self::managesieve::ManageSieve;
use self::pop3::Pop3;
use self::smtp::Smtp;
use crate::wire::announced::Announced;
use crate::wire::mail::MailProtocol;

/// Commands in one plaintext phase: more than anyone needs who wants TLS.
const MAX_COMMANDS: usize = 50;

/// Unknown ones among them: more than any client of the protocol has.
const MAX_UNKNOWN: usize = 10;

/// What a client may do in clear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Nothing private: TLS first.
    Required,
    /// SMTP and submission: messages may be sent in clear. Logins never are, in any protocol.
    Optional,
}

/// The server's side of one plaintext phase. It is over with the first step that is not
/// [`Step::More`].
pub struct Preamble {
    dialogue: Box<dyn Dialogue>,
    input: Input,
    commands: usize,
    unknown: usize,
}

/// What one call of [`Preamble::receive`] came to.
#[derive(Debug, Eq, PartialEq)]
pub struct Received {
    /// Bytes of the input that are done with. All of them, unless `step` is `Forward`.
    pub consumed: usize,
    /// What to do after the answer is sent.
    pub step: Step,
}

/// What to do next, once everything in `answer` is sent.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// Wait for more from the client.
    More,
    /// Begin TLS: the answer ends with the go-ahead, and the STARTTLS line was the last thing
    /// the client has said.
    StartTls,
    /// The client wants in clear what needs the server (SMTP, [`Policy::Optional`]).
    Forward(Forward),
    /// End the connection; the answer, if there is one, is the last word.
    Close(Reason),
}

/// Where a client that goes on in clear stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forward {
    /// Its last EHLO or HELO line with the line end, if it has said any: to be said to the
    /// server for it.
    pub hello: Option<Vec<u8>>,
    /// The command that needs the server, with its line end: the first that the server is to
    /// get from the client. What follows it in the input is not consumed.
    pub command: Vec<u8>,
}

/// Why a plaintext phase ends without TLS; a label of the metrics.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// The client said goodbye.
    Quit,
    /// Bytes came together with the STARTTLS line, behind it.
    Injection,
    /// A line longer than the protocol's limit.
    LineTooLong,
    /// A literal longer than anyone needs.
    LiteralTooLong,
    /// More commands than anyone needs.
    TooManyCommands,
    /// More unknown commands than a client has.
    TooManyErrors,
    /// Bare CR, bare LF or NUL.
    Malformed,
}

/// One protocol's side of the plaintext phase.
trait Dialogue: Send + Sync {
    fn greeting(&self) -> String;

    /// How long the lines of a command that begins like `line` may be together, line ends
    /// included.
    fn limit(&self, line: &[u8]) -> usize;

    /// Takes a line, without its line end: a command, or what follows a literal.
    fn line(&mut self, line: &[u8]) -> Outcome;

    /// Takes a literal that was to be kept.
    fn literal(&mut self, _bytes: Vec<u8>) {}

    /// How the protocol says that the connection ends, and `text` why.
    fn last_word(&self, text: &str) -> String;

    /// How many bytes of an unfinished command are kept.
    fn kept(&self) -> usize {
        0
    }
}

/// What a line came to; a text is an answer with its line ends.
enum Outcome {
    /// An answer, and that is all.
    Say(String),
    /// The answer to what is no command of the protocol.
    Unknown(String),
    /// The answer to a goodbye.
    Quit(String),
    /// The go-ahead, if STARTTLS was the last thing that the client said.
    StartTls(String),
    /// Needs the server.
    Forward(Forward),
    /// No answer yet: the command goes on with a literal.
    Literal { size: usize, keep: bool },
}

impl Preamble {
    /// A phase that begins now. `hostname` is the name in our own words, `announced` what the
    /// server behind says of itself, if that is known.
    pub fn new(
        protocol: MailProtocol,
        policy: Policy,
        hostname: &str,
        announced: Option<&Announced>,
    ) -> Self {
        let dialogue: Box<dyn Dialogue> = match protocol {
            MailProtocol::Smtp | MailProtocol::Submission => {
                Box::new(Smtp::new(policy, hostname, announced))
            }
            MailProtocol::Imap => Box::new(Imap::new(announced)),
            MailProtocol::Pop3 => Box::new(Pop3::new(announced)),
            MailProtocol::ManageSieve => Box::new(ManageSieve::new(announced)),
        };
        Self {
            dialogue,
            input: Input::default(),
            commands: 0,
            unknown: 0,
        }
    }

    /// What is said before the client has said anything.
    pub fn greeting(&self) -> Vec<u8> {
        self.dialogue.greeting().into_bytes()
    }

    /// Takes what the client has said, in pieces of any size, and appends the answers.
    pub fn receive(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> Received {
        let mut rest = bytes;
        let step = loop {
            if let Some(step) = self.advance(&mut rest, answer) {
                break step;
            }
        };
        if let Step::Close(reason) = &step {
            answer.extend_from_slice(self.last_word(*reason).as_bytes());
            self.input.end_command();
        }
        let left = match &step {
            Step::Forward(_) => rest.len(),
            _ => 0,
        };
        Received {
            consumed: bytes.len() - left,
            step,
        }
    }

    /// How many bytes of an unfinished command are kept: never more than a command may have.
    pub fn kept(&self) -> usize {
        self.input.kept() + self.dialogue.kept()
    }

    /// Takes one line or literal from `rest`; `None` if that was one, and there may be more.
    fn advance(&mut self, rest: &mut &[u8], answer: &mut Vec<u8>) -> Option<Step> {
        let is_new = !self.input.within_command();
        let line = match self.input.next(rest, |line| self.dialogue.limit(line)) {
            Ok(Some(Piece::Line(line))) => line,
            Ok(Some(Piece::Literal(bytes))) => {
                self.dialogue.literal(bytes);
                return None;
            }
            Ok(None) => return Some(Step::More),
            Err(reason) => return Some(Step::Close(reason)),
        };
        self.commands += usize::from(is_new);
        if self.commands > MAX_COMMANDS {
            return Some(Step::Close(Reason::TooManyCommands));
        }
        let outcome = self.dialogue.line(&line);
        if !matches!(outcome, Outcome::Literal { .. }) {
            self.input.end_command();
        }
        self.carry_out(outcome, rest.is_empty(), answer)
    }

    /// Answers a command. `is_last` says whether the client has said nothing behind it.
    fn carry_out(&mut self, outcome: Outcome, is_last: bool, answer: &mut Vec<u8>) -> Option<Step> {
        let (text, step) = match outcome {
            Outcome::Say(text) => (text, None),
            Outcome::Unknown(text) => {
                self.unknown += 1;
                if self.unknown > MAX_UNKNOWN {
                    return Some(Step::Close(Reason::TooManyErrors));
                }
                (text, None)
            }
            Outcome::Quit(text) => (text, Some(Step::Close(Reason::Quit))),
            Outcome::StartTls(text) if is_last => (text, Some(Step::StartTls)),
            // Whoever put the bytes there could be another than who speaks TLS afterwards.
            Outcome::StartTls(_) => return Some(Step::Close(Reason::Injection)),
            Outcome::Forward(forward) => return Some(Step::Forward(forward)),
            Outcome::Literal { size, keep } => {
                return self.input.expect_literal(size, keep).err().map(Step::Close);
            }
        };
        answer.extend_from_slice(text.as_bytes());
        step
    }

    fn last_word(&self, reason: Reason) -> String {
        let text = match reason {
            // Is answered in its own words.
            Reason::Quit => return String::new(),
            Reason::Injection => "Nothing may follow STARTTLS before TLS",
            Reason::LineTooLong => "Line too long",
            Reason::LiteralTooLong => "Literal too long",
            Reason::TooManyCommands => "Too many commands",
            Reason::TooManyErrors => "Too many unknown commands",
            Reason::Malformed => "Bare CR, bare LF or NUL",
        };
        self.dialogue.last_word(text)
    }
}

/// What a client says in clear can be a password: only numbers are shown.
impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preamble")
            .field("commands", &self.commands)
            .field("unknown", &self.unknown)
            .field("kept", &self.kept())
            .finish_non_exhaustive()
    }
}

impl Reason {
    /// Text of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Injection => "injection",
            Self::LineTooLong => "line-too-long",
            Self::LiteralTooLong => "literal-too-long",
            Self::TooManyCommands => "too-many-commands",
            Self::TooManyErrors => "too-many-errors",
            Self::Malformed => "malformed",
        }
    }
}
