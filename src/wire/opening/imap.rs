//! IMAP (RFC 9051), with ID (RFC 2971) for telling Dovecot who the client is.

use crate::wire::opening::answer::Answer;
use crate::wire::opening::dialect::{
    Asked, Dialect, Known, Meaning, Need, Verdict, behind_first_word, capability, without_code,
    word,
};
use crate::wire::opening::{Client, Opened, Tell};

#[derive(Debug)]
pub(super) struct Imap;

impl Dialect for Imap {
    fn name(&self) -> &'static str {
        "IMAP"
    }

    fn meaning(&self, asked: Asked, answer: &Answer) -> Meaning {
        let (first, rest) = word(answer.line());
        let status = status(rest);
        match (first, asked) {
            (b"*", Asked::Greeting) => match status {
                Some(Status::Ok) => Meaning::End(Verdict::Yes),
                Some(Status::Bye) => Meaning::End(Verdict::Gone),
                Some(Status::Preauth) => Meaning::Preauth,
                _ => Meaning::Strange,
            },
            // With LOGOUT, the tagged answer is still to come.
            (b"*", Asked::Leave) => Meaning::Part,
            (b"*", _) if status == Some(Status::Bye) => Meaning::End(Verdict::Gone),
            // Not about what was asked (RFC 9051 section 7.1.3): about a PROXY header, say.
            (b"*", _) if status == Some(Status::Bad) => Meaning::Strange,
            (b"*", _) => Meaning::Part,
            (first, asked) if first == tag(asked).as_bytes() => match status {
                Some(Status::Ok) => Meaning::End(Verdict::Yes),
                Some(Status::No | Status::Bad) => Meaning::End(Verdict::No),
                _ => Meaning::Strange,
            },
            _ => Meaning::Strange,
        }
    }

    /// Data may have literals; the text of a status never does, whatever it ends in.
    fn has_literals(&self, line: &[u8]) -> bool {
        let (first, rest) = word(line);
        first == b"*" && status(rest).is_none()
    }

    fn learn(&self, _: Asked, answer: &Answer, capabilities: &mut Vec<String>) {
        let (_, rest) = word(answer.line());
        if let Some(list) = listed(rest) {
            *capabilities = list
                .split(|&byte| byte == b' ')
                .filter_map(capability)
                .collect();
        }
    }

    fn ask(&self, _: &str) -> String {
        format!("{} CAPABILITY\r\n", tag(Asked::Capabilities))
    }

    fn starttls(&self, known: &Known) -> Need {
        match known.has(|entry| entry.eq_ignore_ascii_case("STARTTLS")) {
            true => Need::Command(format!("{} STARTTLS\r\n", tag(Asked::StartTls))),
            false if known.asked => Need::Missing,
            false => Need::Capabilities,
        }
    }

    fn tell(&self, tell: &Tell, _: &Known) -> Need {
        match tell {
            Tell::ImapId(client) => Need::Command(id(client)),
            Tell::Nothing | Tell::Xclient(_) => Need::Missing,
        }
    }

    fn neutral_greeting(&self, _: &str) -> Option<String> {
        Some("* OK IMAP service ready\r\n".to_owned())
    }

    fn leave(&self) -> &'static str {
        "gp4 LOGOUT\r\n"
    }

    fn banner(&self, opened: &Opened) -> String {
        let status = behind_first_word(&opened.greeting);
        let (_, text) = status.split_once(' ').unwrap_or_default();
        without_code(text).to_owned()
    }
}

/// Commands are said one at a time, each with a tag of its own.
fn tag(asked: Asked) -> &'static str {
    match asked {
        Asked::Greeting | Asked::Hello => "*",
        Asked::Capabilities => "gp1",
        Asked::StartTls => "gp2",
        Asked::Client => "gp3",
        Asked::Leave => "gp4",
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

/// What a line says behind `*` or a tag, if that is a status.
fn status(rest: &[u8]) -> Option<Status> {
    const STATUSES: [(&[u8], Status); 5] = [
        (b"OK", Status::Ok),
        (b"NO", Status::No),
        (b"BAD", Status::Bad),
        (b"BYE", Status::Bye),
        (b"PREAUTH", Status::Preauth),
    ];
    let (said, _) = word(rest);
    let found = STATUSES
        .iter()
        .find(|(name, _)| said.eq_ignore_ascii_case(name));
    found.map(|&(_, status)| status)
}

/// The list of `* CAPABILITY …`, and of the code `[CAPABILITY …]` behind OK.
fn listed(rest: &[u8]) -> Option<&[u8]> {
    let (first, rest) = word(rest);
    if first.eq_ignore_ascii_case(b"CAPABILITY") {
        return Some(rest);
    }
    let (code, list) = word(rest.strip_prefix(b"[")?);
    let end = memchr::memchr(b']', list)?;
    let is_list = first.eq_ignore_ascii_case(b"OK") && code.eq_ignore_ascii_case(b"CAPABILITY");
    list.get(..end).filter(|_| is_list)
}

/// Dovecot believes these keys of the first ID from `login_trusted_networks`, and answers OK
/// to everyone.
fn id(client: &Client) -> String {
    let (source, destination) = (client.source, client.destination);
    format!(
        "{} ID (\"x-originating-ip\" \"{}\" \"x-originating-port\" \"{}\" \
         \"x-connected-ip\" \"{}\" \"x-connected-port\" \"{}\")\r\n",
        tag(Asked::Client),
        source.ip().to_canonical(),
        source.port(),
        destination.ip().to_canonical(),
        destination.port()
    )
}
