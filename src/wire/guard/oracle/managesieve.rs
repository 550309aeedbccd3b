//! A server of ManageSieve that reads what a guard lets through as strictly or as leniently as
//! servers do, and is indignant if a client has got a word past it.

use super::{Moods, Server};
use crate::wire::mail::MailProtocol;

/// A server that has heard nothing yet.
pub(crate) struct ManageSieve<'a> {
    moods: Moods<'a>,
    input: Vec<u8>,
    /// Bytes missing of a literal that it swallows, and of the line behind it.
    literal: Option<usize>,
    /// Whether it has sent a challenge.
    asks: bool,
}

impl ManageSieve<'_> {
    fn challenge(&mut self) -> &'static [u8] {
        let mood = self.moods.next(5);
        self.asks = mood > 1;
        match mood {
            0 => b"NO \"no\"\r\n",
            1 => b"OK (SASL {2}\r\nNO) \"in\"\r\n",
            2 => b"\"\"\r\n",
            3 => b"{0}\r\n\r\n",
            _ => b"{4}\r\nYQ==\r\n",
        }
    }

    /// What it says to a line.
    fn line(&mut self, line: &[u8]) -> &'static [u8] {
        if self.asks {
            self.response(line);
            return match self.literal {
                Some(_) => b"",
                None => self.challenge(),
            };
        }
        // It takes no literal for one, as after a mistake in front of it.
        let mut words = line.split(|byte| *byte <= b' ');
        match words.next().unwrap_or_default() {
            b"AUTHENTICATE" => self.challenge(),
            b"CAPABILITY" => {
                b"\"SIEVE\" \"a\"\r\n\"xclient\"\r\n{8}\r\nStartTLS\r\n\"STARTTLS\"\r\nOK\r\n"
            }
            b"LOGOUT" | b"NOOP" if self.moods.next(2) == 0 => b"OK (TAG {2}\r\n\r\n) \"ok\"\r\n",
            b"LOGOUT" | b"NOOP" => b"NO \"no {9}\"\r\n",
            _ => panic!("{}", line.escape_ascii()),
        }
    }

    /// A line in answer to a challenge.
    fn response(&mut self, line: &[u8]) {
        // It could have given up, and would take the line for a command.
        let text = line.trim_ascii_end();
        assert!(!text.contains(&b' '), "{}", line.escape_ascii());
        self.literal = text
            .strip_prefix(b"{")
            .and_then(|text| text.strip_suffix(b"+}"))
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        let quoted = text.len() > 1 && text.starts_with(b"\"") && text.ends_with(b"\"");
        assert!(quoted || self.literal.is_some(), "{}", line.escape_ascii());
    }
}

impl<'a> Server<'a> for ManageSieve<'a> {
    const PROTOCOL: MailProtocol = MailProtocol::ManageSieve;
    const WITHHELD: &'static [&'static str] = &["\"xclient\"", "\nStartTLS\r", "\"STARTTLS\"\r"];

    fn new(moods: Moods<'a>) -> Self {
        Self {
            moods,
            input: Vec::new(),
            literal: None,
            asks: false,
        }
    }

    fn answer(&mut self, heard: &[u8]) -> Vec<u8> {
        self.input.extend(heard);
        let mut answer = Vec::new();
        loop {
            let literal = self.literal.unwrap_or_default();
            let line = self.input.get(literal..).unwrap_or_default();
            let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
                return answer;
            };
            let line: Vec<u8> = self.input.drain(..=literal + end).collect();
            if self.literal.take().is_some() {
                // Nor would it make sense of a single word longer than any command.
                let words = line.trim_ascii_end().contains(&b' ');
                assert!(!words && literal > 1024, "{}", line.escape_ascii());
                answer.extend(self.challenge());
            } else {
                answer.extend(self.line(&line));
            }
        }
    }
}
