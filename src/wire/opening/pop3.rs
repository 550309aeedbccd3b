//! POP3 (RFC 1939, RFC 2449, RFC 2595), with Dovecot's XCLIENT.

use crate::wire::opening::answer::Answer;
use crate::wire::opening::dialect::{
    Asked, Dialect, Known, Meaning, Need, Verdict, begins_with, behind_first_word, capability,
    without_code, word,
};
use crate::wire::opening::{Opened, Tell, xclient};

#[derive(Debug)]
pub(super) struct Pop3;

impl Dialect for Pop3 {
    fn name(&self) -> &'static str {
        "POP3"
    }

    fn meaning(&self, asked: Asked, answer: &Answer) -> Meaning {
        let line = answer.line();
        if !answer.is_first() {
            return match line {
                b"." => Meaning::End(Verdict::Yes),
                _ => Meaning::Part,
            };
        }
        let (status, _) = word(line);
        match asked {
            Asked::Capabilities if status.eq_ignore_ascii_case(b"+OK") => Meaning::Part,
            _ if status.eq_ignore_ascii_case(b"+OK") => Meaning::End(Verdict::Yes),
            _ if status.eq_ignore_ascii_case(b"-ERR") => Meaning::End(Verdict::No),
            _ => Meaning::Strange,
        }
    }

    fn learn(&self, _: Asked, answer: &Answer, capabilities: &mut Vec<String>) {
        // Only the answer to CAPA has more than one line.
        let line = answer.line();
        if !answer.is_first() && line != b"." {
            capabilities.extend(capability(line));
        }
    }

    fn ask(&self, _: &str) -> String {
        "CAPA\r\n".to_owned()
    }

    fn starttls(&self, known: &Known) -> Need {
        if !known.asked {
            return Need::Capabilities;
        }
        // A server may be older than CAPA and still have STLS.
        let offered = known.has(|entry| begins_with(entry, "STLS"));
        match offered || known.capabilities.is_none() {
            true => Need::Command("STLS\r\n".to_owned()),
            false => Need::Missing,
        }
    }

    fn tell(&self, tell: &Tell, known: &Known) -> Need {
        let Tell::Xclient(client) = tell else {
            return Need::Missing;
        };
        let offered = known.believes || known.has(|entry| begins_with(entry, "XCLIENT"));
        match offered {
            true => Need::Command(xclient::login(client)),
            false if known.asked => Need::Missing,
            false => Need::Capabilities,
        }
    }

    /// Dovecot says `[XCLIENT]` here and nowhere else. It has to be looked for: to a host that it
    /// does not believe, Dovecot answers `+OK Updated` as well.
    fn believes(&self, greeting: &[u8]) -> bool {
        let text = behind_first_word(greeting);
        text.trim_start().starts_with("[XCLIENT]")
    }

    fn neutral_greeting(&self, _: &str) -> Option<String> {
        Some("+OK POP3 service ready\r\n".to_owned())
    }

    fn leave(&self) -> &'static str {
        "QUIT\r\n"
    }

    fn banner(&self, opened: &Opened) -> String {
        let text = behind_first_word(&opened.greeting);
        without_timestamps(without_code(&text))
    }
}

/// A client that finds `<…>` in a greeting computes APOP over it (RFC 1939 section 7).
fn without_timestamps(text: &str) -> String {
    let mut kept = String::new();
    for (n, part) in text.split('<').enumerate() {
        kept += match n {
            0 => part,
            _ => part.split_once('>').map_or("", |(_, behind)| behind),
        };
    }
    kept
}
