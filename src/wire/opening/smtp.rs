//! SMTP (RFC 5321, RFC 3207) and submission.

use crate::wire::opening::answer::Answer;
use crate::wire::opening::dialect::{
    Asked, Dialect, Known, Meaning, Need, Verdict, begins_with, behind_first_word, capability,
};
use crate::wire::opening::{Opened, Tell, xclient};

#[derive(Debug)]
pub(super) struct Smtp;

impl Dialect for Smtp {
    fn name(&self) -> &'static str {
        "SMTP"
    }

    /// The code of the last line counts: a postscreen that has changed its mind begins with
    /// `220-` and ends with `550 `.
    fn meaning(&self, asked: Asked, answer: &Answer) -> Meaning {
        let Some((code, last)) = code(answer.line()) else {
            return Meaning::Strange;
        };
        if !last {
            return Meaning::Part;
        }
        let wanted = match asked {
            Asked::Capabilities | Asked::Hello => b"250",
            Asked::Leave => b"221",
            Asked::Greeting | Asked::StartTls | Asked::Client => b"220",
        };
        Meaning::End(match code {
            code if code == wanted => Verdict::Yes,
            b"421" => Verdict::Gone,
            // A refusal is passed on: to a client that waits for an answer this would be consent.
            [b'2' | b'3', ..] if asked == Asked::Greeting => return Meaning::Strange,
            [b'5', ..] if asked == Asked::Client && !is_about_us(answer.line()) => {
                Verdict::Unwelcome
            }
            _ => Verdict::No,
        })
    }

    fn learn(&self, asked: Asked, answer: &Answer, capabilities: &mut Vec<String>) {
        // The first line is the server's name.
        if matches!(asked, Asked::Capabilities | Asked::Hello) && !answer.is_first() {
            let text = answer.line().get(4..).unwrap_or_default();
            capabilities.extend(capability(text));
        }
    }

    fn ask(&self, own_name: &str) -> String {
        format!("EHLO {own_name}\r\n")
    }

    fn starttls(&self, known: &Known) -> Need {
        if !known.asked {
            return Need::Capabilities;
        }
        match known.has(|entry| begins_with(entry, "STARTTLS")) {
            true => Need::Command("STARTTLS\r\n".to_owned()),
            false => Need::Missing,
        }
    }

    fn tell(&self, tell: &Tell, known: &Known) -> Need {
        let Tell::Xclient(client) = tell else {
            return Need::Missing;
        };
        if !known.asked {
            return Need::Capabilities;
        }
        let mut capabilities = known.capabilities.iter().flatten();
        let listed = capabilities.find(|entry| begins_with(entry, "XCLIENT"));
        match listed.and_then(|listed| xclient::smtp(client, listed)) {
            Some(command) => Need::Command(command),
            None => Need::Missing,
        }
    }

    fn greets_when_told(&self) -> bool {
        true
    }

    fn neutral_greeting(&self, own_name: &str) -> Option<String> {
        Some(format!("220 {own_name} ESMTP\r\n"))
    }

    fn leave(&self) -> &'static str {
        "QUIT\r\n"
    }

    /// The first line is the one with the host's name (RFC 5321 section 4.2); the others are
    /// for people.
    fn banner(&self, opened: &Opened) -> String {
        let text = opened.greeting.get(4..).unwrap_or_default();
        behind_first_word(text)
    }
}

/// Whether a refusal of XCLIENT is of the command, or of us who say it, and not the greeting that
/// the client gets (Postfix's `XCLIENT_README`): this is for its administrator to mend, and no
/// reason for a client to give its message up. 550 stands for either: what is said to us has
/// 5.7.0 (Postfix), 5.7.14 (Dovecot) or no enhanced code (Exim, Haraka).
fn is_about_us(line: &[u8]) -> bool {
    line.starts_with(b"50") || line.starts_with(b"550") && !line.starts_with(b"550 5.7.1 ")
}

/// The code of a line, and whether the line is the last one of its answer.
fn code(line: &[u8]) -> Option<(&[u8], bool)> {
    let (code, rest) = line.split_at_checked(3)?;
    let is_code = matches!(code, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']);
    match rest.first() {
        _ if !is_code => None,
        None | Some(b' ') => Some((code, true)),
        Some(b'-') => Some((code, false)),
        Some(_) => None,
    }
}
