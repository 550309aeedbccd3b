//! What stands between client and server until login: nothing is announced that must not be,
//! nothing passes that a server would believe of us and must not believe of a client.

mod imap;
mod lines;
mod managesieve;
#[cfg(test)]
mod oracle;
mod pop3;
mod smtp;

use std::fmt;

use crate::wire::mail::MailProtocol;
use imap::Imap;
use managesieve::ManageSieve;
use pop3::Pop3;
use smtp::Smtp;

/// How the client's end is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// TLS (or a listener without any, where STARTTLS is not to be had): STARTTLS is neither
    /// announced nor taken.
    Closed,
    /// In clear on a listener with STARTTLS (SMTP, submission): it is announced as ours, AUTH
    /// is neither announced nor taken.
    Open,
}

/// The guard of one session.
pub struct Guard(Dialogue);

/// The guards of the protocols; boxed, so that a session holds no more than its own needs.
enum Dialogue {
    Smtp(Box<Smtp>),
    Imap(Box<Imap>),
    Pop3(Box<Pop3>),
    ManageSieve(Box<ManageSieve>),
}

/// What one call of [`Guard::client`] came to.
#[derive(Debug, Eq, PartialEq)]
pub struct Taken {
    /// Bytes that are done with. The others are to be offered again after the next bytes of the
    /// server: what they mean depends on its answer.
    pub consumed: usize,
    /// Whether the client said STARTTLS ([`Mode::Open`]): the answers end with the go-ahead, the
    /// STARTTLS line was the last thing it said, and the server is not to hear of it.
    pub start_tls: bool,
}

/// Why a session cannot go on. What is to be said to the client is among the answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GuardError {
    /// A command line of the client longer than the protocol's limit.
    #[error("a command line longer than the limit")]
    LineTooLong,
    /// A literal of the client longer than the limit.
    #[error("a literal longer than the limit")]
    LiteralTooLong,
    /// More commands of the client that had to be refused than anyone needs.
    #[error("too many commands that had to be refused")]
    TooManyErrors,
    /// Bytes behind the client's STARTTLS line.
    #[error("bytes came together with STARTTLS")]
    Injection,
    /// The end of a message that servers read in two ways, to a server that trusts our address.
    #[error("an end of message that is ambiguous")]
    Ambiguous,
    /// An answer of the server that cannot be one.
    #[error("the server's answer is malformed")]
    Server,
}

impl Guard {
    /// A guard for a session whose server has greeted. `known` is what the server has announced
    /// in this session (as in [`crate::wire::announced::Announced`]), empty if that is nothing;
    /// what it has told others, a health probe for one, need not hold here.
    pub fn new(protocol: MailProtocol, mode: Mode, known: &[String]) -> Self {
        Self(match protocol {
            MailProtocol::Smtp | MailProtocol::Submission => {
                Dialogue::Smtp(Box::new(Smtp::new(mode, known)))
            }
            MailProtocol::Imap => Dialogue::Imap(Box::new(Imap::new())),
            MailProtocol::Pop3 => Dialogue::Pop3(Box::new(Pop3::new())),
            MailProtocol::ManageSieve => Dialogue::ManageSieve(Box::new(ManageSieve::new())),
        })
    }

    /// Takes bytes of the client: appends what goes to the server to `server`, and our own
    /// answers to `client`. Parts of lines are kept here; bytes of a message are not.
    ///
    /// # Errors
    /// The session is to be ended, after `client` is sent.
    pub fn client(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Taken, GuardError> {
        match &mut self.0 {
            Dialogue::Smtp(smtp) => smtp.client(bytes, server, client),
            Dialogue::Imap(imap) => imap.client(bytes, server, client),
            Dialogue::Pop3(pop3) => pop3.client(bytes, server, client),
            Dialogue::ManageSieve(sieve) => sieve.client(bytes, server, client),
        }
    }

    /// Takes bytes of the server, all of them, and appends what goes to the client.
    ///
    /// # Errors
    /// The session is to be ended, after `client` is sent.
    pub fn server(&mut self, bytes: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        match &mut self.0 {
            Dialogue::Smtp(smtp) => smtp.server(bytes, client),
            Dialogue::Imap(imap) => imap.server(bytes, client),
            Dialogue::Pop3(pop3) => pop3.server(bytes, client),
            Dialogue::ManageSieve(sieve) => sieve.server(bytes, client),
        }
    }

    /// The greeting of a server as the client may see it: without STARTTLS and what is like it.
    pub fn greeting(&mut self, greeting: &[u8]) -> Vec<u8> {
        match &mut self.0 {
            Dialogue::Smtp(smtp) => smtp.greeting(greeting),
            Dialogue::Imap(imap) => imap.greeting(greeting),
            Dialogue::Pop3(pop3) => pop3.greeting(greeting),
            Dialogue::ManageSieve(sieve) => sieve.greeting(greeting),
        }
    }

    /// Whether nothing is left to be guarded: from now on all bytes pass unchanged, both ways.
    /// Only ever becomes true in [`Self::server`], when all bytes it was given are passed on.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Dialogue::Smtp(smtp) => smtp.is_done(),
            Dialogue::Imap(imap) => imap.is_done(),
            Dialogue::Pop3(pop3) => pop3.is_done(),
            Dialogue::ManageSieve(sieve) => sieve.is_done(),
        }
    }
}

impl Guard {
    /// Whether an IMAP server has announced LOGINDISABLED: clients are told, and cannot log in.
    pub fn login_is_disabled(&self) -> bool {
        match &self.0 {
            Dialogue::Imap(imap) => imap.login_is_disabled(),
            Dialogue::Smtp(_) | Dialogue::Pop3(_) | Dialogue::ManageSieve(_) => false,
        }
    }
}

impl fmt::Debug for Guard {
    /// Says nothing of what is kept: it can be part of a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}
