//! What an opening needs to know of a protocol: its words, and what the server's mean.

use std::fmt::Debug;

use crate::wire::mail::MailProtocol;
use crate::wire::opening::answer::Answer;
use crate::wire::opening::imap::Imap;
use crate::wire::opening::managesieve::ManageSieve;
use crate::wire::opening::pop3::Pop3;
use crate::wire::opening::smtp::Smtp;
use crate::wire::opening::{Opened, Tell};

/// What the server owes an answer to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// The connection: its greeting.
    Greeting,
    Capabilities,
    StartTls,
    /// Who the client is.
    Client,
    /// The client's own EHLO or HELO.
    Hello,
    Leave,
}

/// What a line is within an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// More lines follow.
    Part,
    /// The last one.
    End(Verdict),
    /// The server takes everyone for logged in (IMAP).
    Preauth,
    /// Not of this protocol.
    Strange,
}

/// What an answer comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Yes,
    No,
    /// A no for good, to the client of whom it was told.
    Unwelcome,
    /// The server ends the connection.
    Gone,
}

/// What is known of a server. Whoever begins TLS begins with a new one.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) greeting: Vec<u8>,
    pub(super) capabilities: Option<Vec<String>>,
    /// Whether it was asked for its capabilities, so that there is no use in asking again.
    pub(super) asked: bool,
    pub(super) encrypted: bool,
    /// Whether its greeting says that it believes what we say of clients. The one word in clear
    /// that outlives STARTTLS: without it we do not go on, and with it nothing is trusted more.
    pub(super) believes: bool,
}

impl Known {
    /// Whether one of the capabilities is the right one.
    pub(super) fn has(&self, is: impl Fn(&str) -> bool) -> bool {
        let mut capabilities = self.capabilities.iter().flatten();
        capabilities.any(|entry| is(entry))
    }

    /// The server may take BDAT no more, and what is in chunks for commands, until EHLO has said
    /// again that it does (RFC 3030 section 2): it was told HELO, or has begun anew.
    pub(super) fn forget_chunking(&mut self) {
        if let Some(capabilities) = &mut self.capabilities {
            capabilities.retain(|entry| !begins_with(entry, "CHUNKING"));
        }
    }
}

/// What a wish takes.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// The server has to be asked for its capabilities first.
    Capabilities,
    /// A command, with its line end.
    Command(String),
    /// The server, or the protocol, does not have it.
    Missing,
}

/// One protocol as a client speaks it before login.
pub(super) trait Dialect: Debug + Send + Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// What the line that `answer` has read last means in an answer to `asked`.
    fn meaning(&self, asked: Asked, answer: &Answer) -> Meaning;

    /// Whether such a line goes on with a literal if it announces one.
    fn has_literals(&self, line: &[u8]) -> bool {
        let _ = line;
        false
    }

    /// Notes the capabilities that stand in a line of an answer to `asked`.
    fn learn(&self, asked: Asked, answer: &Answer, capabilities: &mut Vec<String>);

    /// The command that asks for the capabilities.
    fn ask(&self, own_name: &str) -> String;

    /// How TLS is asked for.
    fn starttls(&self, known: &Known) -> Need;

    /// How the server is told who the client is.
    fn tell(&self, tell: &Tell, known: &Known) -> Need;

    /// Whether a greeting says that the server believes what we say of clients.
    fn believes(&self, greeting: &[u8]) -> bool {
        let _ = greeting;
        false
    }

    /// Whether the answer to what it is told is a greeting, which holds from then on.
    fn greets_when_told(&self) -> bool {
        false
    }

    /// A greeting that stands for the one in clear, of which nothing is kept, after TLS has
    /// begun. `None` if the server greets anew by itself.
    fn neutral_greeting(&self, own_name: &str) -> Option<String>;

    /// The command that takes leave.
    fn leave(&self) -> &'static str;

    /// What a server says of itself in its greeting, less what the protocol has there.
    fn banner(&self, opened: &Opened) -> String;
}

/// The dialect of a protocol.
pub(super) fn of(protocol: MailProtocol) -> &'static dyn Dialect {
    match protocol {
        MailProtocol::Smtp | MailProtocol::Submission => &Smtp,
        MailProtocol::Imap => &Imap,
        MailProtocol::Pop3 => &Pop3,
        MailProtocol::ManageSieve => &ManageSieve,
    }
}

/// A capability, if it can be shown to others: printable ASCII.
pub(super) fn capability(bytes: &[u8]) -> Option<String> {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let bytes = bytes.trim_ascii();
    let fits = !bytes.is_empty() && bytes.iter().all(is_printable);
    fits.then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// Whether the first word of `text` is `word`, in any case.
pub(super) fn begins_with(text: &str, word: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    first.eq_ignore_ascii_case(word)
}

/// The first word of a line, and what follows the space behind it.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', line).and_then(|end| line.split_at_checked(end)) {
        Some((word, rest)) => (word, rest.get(1..).unwrap_or_default()),
        None => (line, b""),
    }
}

/// What stands behind the first word of the first line.
pub(super) fn behind_first_word(greeting: &[u8]) -> String {
    let first = greeting.split(|&byte| byte == b'\n').next();
    let (_, text) = word(first.unwrap_or_default());
    String::from_utf8_lossy(text).into_owned()
}

/// A text without the response code in brackets that it may begin with.
pub(super) fn without_code(text: &str) -> &str {
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, text)) => text,
        None => text,
    }
}
