//! A server of POP3 that reads what a guard lets through as leniently as servers do, and is
//! indignant if a client has got a word past it.

use super::{Moods, Server};
use crate::wire::mail::MailProtocol;

/// A server that has heard nothing yet.
pub(crate) struct Pop3<'a> {
    moods: Moods<'a>,
    input: Vec<u8>,
    /// Whether it has sent a challenge.
    asks: bool,
}

impl Pop3<'_> {
    fn challenge(&mut self) -> &'static [u8] {
        let mood = self.moods.next(4);
        self.asks = mood > 1;
        match mood {
            0 => b"-ERR no\r\n",
            1 => b"+OK in\r\n",
            _ => b"+ Y2hhbGxlbmdl\r\n",
        }
    }

    /// What it says to a line.
    fn line(&mut self, line: &[u8]) -> &'static [u8] {
        let mut words = line
            .split(|byte| *byte <= b' ')
            .filter(|word| !word.is_empty());
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        if self.asks {
            // It could have given up, and would take the line for a command.
            assert!(words.next().is_none(), "{}", line.escape_ascii());
            return self.challenge();
        }
        let lists = match verb.as_slice() {
            b"AUTH" if words.next().is_some() => return self.challenge(),
            b"AUTH" | b"CAPA" => true,
            b"LANG" => words.next().is_none(),
            b"APOP" | b"NOOP" | b"PASS" | b"QUIT" | b"USER" | b"UTF8" => false,
            _ => panic!("{}", line.escape_ascii()),
        };
        match self.moods.next(2) {
            0 => b"-ERR no\r\n",
            _ if lists => b"+OK\r\nUSER\r\nstls\r\nXCLIENT\r\n+OK\r\n.\r\n",
            _ => b"+OK ok\r\n",
        }
    }
}

impl<'a> Server<'a> for Pop3<'a> {
    const PROTOCOL: MailProtocol = MailProtocol::Pop3;
    const WITHHELD: &'static [&'static str] = &["\nstls\r", "\nXCLIENT\r"];

    fn new(moods: Moods<'a>) -> Self {
        Self {
            moods,
            input: Vec::new(),
            asks: false,
        }
    }

    fn answer(&mut self, heard: &[u8]) -> Vec<u8> {
        // Carriage returns are nothing to it, wherever they stand.
        self.input
            .extend(heard.iter().filter(|byte| **byte != b'\r'));
        let mut answer = Vec::new();
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            answer.extend(self.line(&line));
        }
        answer
    }
}
