//! ManageSieve (RFC 5804), with Dovecot's XCLIENT.

use crate::wire::opening::answer::Answer;
use crate::wire::opening::dialect::{
    Asked, Dialect, Known, Meaning, Need, Verdict, capability, word,
};
use crate::wire::opening::{Opened, Tell, xclient};

#[derive(Debug)]
pub(super) struct ManageSieve;

impl Dialect for ManageSieve {
    fn name(&self) -> &'static str {
        "ManageSieve"
    }

    fn meaning(&self, _: Asked, answer: &Answer) -> Meaning {
        let line = answer.line();
        let (first, _) = word(line);
        match first {
            _ if line.starts_with(b"\"") => Meaning::Part,
            _ if first.eq_ignore_ascii_case(b"OK") => Meaning::End(Verdict::Yes),
            _ if first.eq_ignore_ascii_case(b"NO") => Meaning::End(Verdict::No),
            _ if first.eq_ignore_ascii_case(b"BYE") => Meaning::End(Verdict::Gone),
            _ => Meaning::Strange,
        }
    }

    /// Any string may be written as a literal.
    fn has_literals(&self, _: &[u8]) -> bool {
        true
    }

    /// Lines with a literal are more than one line, and left out with what cannot be shown.
    fn learn(&self, asked: Asked, answer: &Answer, capabilities: &mut Vec<String>) {
        let line = answer.line();
        let listed = matches!(asked, Asked::Greeting | Asked::Capabilities);
        if listed && line.starts_with(b"\"") {
            capabilities.extend(capability(line));
        }
    }

    fn ask(&self, _: &str) -> String {
        "CAPABILITY\r\n".to_owned()
    }

    fn starttls(&self, known: &Known) -> Need {
        match offers(known, "STARTTLS") {
            true => Need::Command("STARTTLS\r\n".to_owned()),
            false => Need::Missing,
        }
    }

    fn tell(&self, tell: &Tell, known: &Known) -> Need {
        match tell {
            Tell::Xclient(client) if offers(known, "XCLIENT") => {
                Need::Command(xclient::login(client))
            }
            _ => Need::Missing,
        }
    }

    fn neutral_greeting(&self, _: &str) -> Option<String> {
        None
    }

    fn leave(&self) -> &'static str {
        "LOGOUT\r\n"
    }

    fn banner(&self, opened: &Opened) -> String {
        let mut lines = opened.capabilities.iter().flatten();
        let value = lines.find_map(|line| {
            let (name, value) = quoted(line)?;
            let is_it = name.eq_ignore_ascii_case("IMPLEMENTATION");
            is_it.then(|| quoted(value.trim_start()))?
        });
        value.map(|(value, _)| value).unwrap_or_default()
    }
}

/// Whether the server has a capability, which it says with its greeting.
fn offers(known: &Known, capability: &str) -> bool {
    known.has(|line| quoted(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case(capability)))
}

/// The quoted string that `text` begins with, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}
