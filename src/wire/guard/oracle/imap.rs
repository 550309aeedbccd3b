//! A server of IMAP that reads what a guard lets through, as strictly or as leniently as servers
//! do, and is indignant if a client has got a word past it.

use super::{Moods, Server};
use crate::wire::mail::MailProtocol;

/// A server that has heard nothing yet.
pub(crate) struct Imap<'a> {
    moods: Moods<'a>,
    input: Vec<u8>,
    state: State,
}

enum State {
    /// At the beginning of a command, or in it: what there is of it, with its literals.
    Command(Vec<u8>),
    /// In a literal of which so many bytes are missing.
    Literal(Vec<u8>, usize),
    /// It has sent a challenge, the tag being this.
    Sasl(Vec<u8>),
}

impl Imap<'_> {
    /// The next line (any LF ends one), or the next literal.
    fn next_part(&mut self) -> Option<Vec<u8>> {
        let end = match self.state {
            State::Literal(_, missing) => missing,
            _ => self.input.iter().position(|byte| *byte == b'\n')? + 1,
        };
        (end <= self.input.len()).then(|| self.input.drain(..end).collect())
    }

    fn challenge(&mut self, tag: Vec<u8>, answer: &mut Vec<u8>) {
        match self.moods.next(4) {
            0 => answer.extend([&tag[..], b" NO no\r\n"].concat()),
            1 => answer.extend([&tag[..], b" OK [CAPABILITY IMAP4rev1 STARTTLS] in\r\n"].concat()),
            _ => {
                answer.extend(b"+ Y2hhbGxlbmdl\r\n");
                self.state = State::Sasl(tag);
            }
        }
    }

    /// A line of a command; `command` is what came before it.
    fn line(&mut self, mut command: Vec<u8>, line: &[u8], answer: &mut Vec<u8>) {
        command.extend(line);
        let mut words = command.split(|byte| *byte <= b' ');
        let tag = words.next().unwrap_or_default().to_vec();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        judge(&verb, &command);
        let understands = self.moods.next(3) < 2;
        if let Some((length, asks)) = literal(line).filter(|_| understands) {
            if asks {
                answer.extend(b"+ OK\r\n");
            }
            self.state = State::Literal(command, length);
        } else if verb == b"AUTHENTICATE" {
            self.challenge(tag, answer);
        } else {
            let status: &[u8] = match self.moods.next(2) {
                0 => b" NO [CAPABILITY XCLIENT IMAP4rev1] no\r\n",
                _ => b" OK ok\r\n",
            };
            answer.extend(b"* CAPABILITY IMAP4rev1 XCLIENT StartTLS\r\n");
            answer.extend([&tag, status].concat());
        }
    }
}

impl<'a> Server<'a> for Imap<'a> {
    const PROTOCOL: MailProtocol = MailProtocol::Imap;
    const WITHHELD: &'static [&'static str] = &[" XCLIENT", " StartTLS", " STARTTLS]"];

    fn new(moods: Moods<'a>) -> Self {
        Self {
            moods,
            input: Vec::new(),
            state: State::Command(Vec::new()),
        }
    }

    fn answer(&mut self, heard: &[u8]) -> Vec<u8> {
        self.input.extend(heard);
        let mut answer = Vec::new();
        while let Some(part) = self.next_part() {
            match std::mem::replace(&mut self.state, State::Command(Vec::new())) {
                State::Command(command) => self.line(command, &part, &mut answer),
                State::Literal(mut command, _) => {
                    command.extend(part);
                    self.state = State::Command(command);
                }
                State::Sasl(tag) => {
                    // It could have given up, and would take the line for a command.
                    let words = part.trim_ascii_end().contains(&b' ');
                    assert!(!words, "{}", part.escape_ascii());
                    self.challenge(tag, &mut answer);
                }
            }
        }
        answer
    }
}

/// The literal at the end of a line, quoted or not, and whether it is to be asked for.
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let text = line.trim_ascii_end().strip_suffix(b"}")?;
    let (text, asks) = match text.strip_suffix(b"+") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let digits = text.rsplit(|byte| *byte == b'{').next()?;
    let length = str::from_utf8(digits).ok()?.parse().ok()?;
    Some((length, asks))
}

/// Nothing of what a server would believe may ever arrive.
fn judge(verb: &[u8], command: &[u8]) {
    let harmless: [&[u8]; 7] = [
        b"AUTHENTICATE",
        b"CAPABILITY",
        b"ENABLE",
        b"ID",
        b"LOGIN",
        b"LOGOUT",
        b"NOOP",
    ];
    assert!(harmless.contains(&verb), "{}", command.escape_ascii());
    if verb == b"ID" {
        let list = command.iter().position(|byte| *byte == b'(');
        let arguments = list.map_or(&[][..], |at| &command[at..]);
        for key in strings(arguments).iter().step_by(2) {
            let key = key.to_ascii_lowercase();
            let believed = [
                &b"x-originating-"[..],
                b"x-connected-",
                b"x-session-",
                b"x-proxy-ttl",
                b"x-forward-",
            ];
            let believed = believed.iter().any(|start| key.starts_with(start));
            assert!(!believed, "{}", command.escape_ascii());
        }
    }
}

/// The strings of a list, as far as it goes, without their quoting, and each NIL.
fn strings(list: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'"' {
            let mut string = Vec::new();
            while let Some((byte, after)) = rest.split_first() {
                rest = after;
                match byte {
                    b'"' => break,
                    b'\\' => {
                        string.extend(rest.first());
                        rest = rest.get(1..).unwrap_or_default();
                    }
                    _ => string.push(*byte),
                }
            }
            found.push(string);
        } else if *first == b'{' {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            let length = literal(&[b"{", line].concat()).map_or(0, |(length, _)| length);
            let (string, after) = after.split_at(length.min(after.len()));
            found.push(string.to_vec());
            rest = after;
        } else if matches!(rest.get(..3), Some(nil) if nil.eq_ignore_ascii_case(b"NIL")) {
            found.push(b"NIL".to_vec());
        }
    }
    found
}
