//! The plaintext phase of a listener with STARTTLS: what is said to a client before TLS.

use crate::wire::announced::Announced;
use crate::wire::mail::MailProtocol;

/// What a client may do in clear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Nothing private: TLS first.
    Required,
    /// SMTP and submission: messages may be sent in clear. Logins never are, in any protocol.
    Optional,
}

/// The server's side of one plaintext phase.
#[derive(Debug)]
pub struct Preamble(());

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

impl Preamble {
    /// A phase that begins now. `hostname` is the name in our own words, `announced` what the
    /// server behind says of itself, if that is known.
    pub fn new(
        protocol: MailProtocol,
        policy: Policy,
        hostname: &str,
        announced: Option<&Announced>,
    ) -> Self {
        let _ = (protocol, policy, hostname, announced);
        todo!()
    }

    /// What is said before the client has said anything.
    pub fn greeting(&self) -> Vec<u8> {
        todo!()
    }

    /// Takes what the client has said, in pieces of any size, and appends the answers.
    pub fn receive(&mut self, bytes: &[u8], answer: &mut Vec<u8>) -> Received {
        let _ = (bytes, answer);
        todo!()
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
