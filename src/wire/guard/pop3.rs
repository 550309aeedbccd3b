//! Between client and server of POP3 (RFC 1939, 2449, 5034) until login.
//!
//! One command is in flight at a time. Only what may be said before login passes, put together
//! anew: a server's own commands, like XCLIENT and what else it calls it, are not for clients.

use super::lines::{
    Lines, REFUSALS, SASL_LINE, TooLong, clean, content, is_base64, is_mechanism, is_withheld,
};
use super::{GuardError, Taken};

/// A command line.
const LINE: usize = 2048;

/// A line that begins a SASL exchange, with the first response, or goes on with one.
const AUTH: usize = SASL_LINE + 128;

/// A line of the server.
const RESPONSE: usize = 16 * 1024;

/// What a server that believes clients of XCLIENT says in its greeting (Dovecot).
const CODE: &[u8] = b"[XCLIENT]";

/// The guard of one session.
pub(super) struct Pop3 {
    input: Lines,
    output: Lines,
    state: State,
    refused: usize,
}

#[derive(Clone, Copy)]
enum State {
    /// It is the client's turn.
    Idle,
    /// The server is to answer.
    InFlight(Success),
    /// It is listing something.
    Listing,
    /// It is the server's turn in a SASL exchange, or the client's, who was asked.
    Sasl { asked: bool },
    /// The server has taken its leave.
    Over,
    /// The client is logged in.
    Done,
}

/// What `+OK` means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Success {
    /// No more than that.
    Plain,
    /// More lines follow, up to a dot.
    Listing,
    /// The end of the guard.
    Login,
    /// The end of the guard; the server may ask first.
    Sasl,
}

impl Pop3 {
    pub(super) fn new() -> Self {
        Self {
            input: Lines::default(),
            output: Lines::default(),
            state: State::Idle,
            refused: 0,
        }
    }

    pub(super) fn client(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Taken, GuardError> {
        let mut consumed = 0;
        while consumed < bytes.len() && self.listens() {
            let taken = self.input.take(&bytes[consumed..], AUTH);
            let (used, whole) = taken.map_err(|TooLong| too_long(client))?;
            consumed += used;
            if self.input.whole().len() > self.limit() {
                return Err(too_long(client));
            }
            if whole {
                let line = self.input.finish();
                self.line(&line, server, client)?;
            }
        }
        if matches!(self.state, State::Over) {
            consumed = bytes.len();
        }
        Ok(Taken {
            consumed,
            start_tls: false,
        })
    }

    pub(super) fn server(&mut self, bytes: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_done() {
            let taken = self.output.take(rest, RESPONSE);
            let (used, whole) = taken.map_err(|TooLong| GuardError::Server)?;
            rest = &rest[used..];
            if whole {
                let line = self.output.finish();
                self.response(&line, client)?;
            }
        }
        client.extend_from_slice(rest);
        Ok(())
    }

    pub(super) fn greeting(&self, greeting: &[u8]) -> Vec<u8> {
        let mut seen = greeting.to_vec();
        while let Some(at) = seen
            .windows(CODE.len())
            .position(|window| window.eq_ignore_ascii_case(CODE))
        {
            let space = seen.get(at + CODE.len()) == Some(&b' ');
            seen.drain(at..at + CODE.len() + usize::from(space));
        }
        seen
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn listens(&self) -> bool {
        matches!(self.state, State::Idle | State::Sasl { asked: true })
    }

    /// The longest line that is taken now.
    fn limit(&self) -> usize {
        let verb = self.input.whole().get(..4).unwrap_or_default();
        match self.state {
            State::Idle if !verb.eq_ignore_ascii_case(b"AUTH") => LINE,
            _ => AUTH,
        }
    }

    /// Takes a line of the client.
    fn line(
        &mut self,
        line: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), GuardError> {
        if let State::Sasl { .. } = self.state {
            let sane = clean(line).is_some_and(|text| text == b"*" || is_base64(text));
            server.extend_from_slice(if sane { line } else { b"*\r\n" });
            self.state = State::Sasl { asked: false };
            return Ok(());
        }
        match judge(line) {
            Ok((success, command)) => {
                server.extend(command);
                self.state = match success {
                    Success::Sasl => State::Sasl { asked: false },
                    _ => State::InFlight(success),
                };
                Ok(())
            }
            Err(why) => self.refuse(why, client),
        }
    }

    fn refuse(&mut self, why: &str, client: &mut Vec<u8>) -> Result<(), GuardError> {
        self.refused += 1;
        if self.refused > REFUSALS {
            client.extend_from_slice(b"-ERR Too many errors\r\n");
            return Err(GuardError::TooManyErrors);
        }
        client.extend_from_slice(format!("-ERR {why}\r\n").as_bytes());
        Ok(())
    }

    /// Takes a line of the server.
    fn response(&mut self, line: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        let text = content(line);
        if matches!(self.state, State::Listing) {
            if text == b"." {
                self.state = State::Idle;
            }
            if !is_withheld(text.trim_ascii_start()) {
                client.extend_from_slice(line);
            }
            return Ok(());
        }
        let begins = |word: &[u8]| {
            let start = text.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        self.state = match self.state {
            State::InFlight(Success::Plain) if begins(b"+OK") => State::Idle,
            State::InFlight(Success::Listing) if begins(b"+OK") => State::Listing,
            State::InFlight(Success::Login) | State::Sasl { asked: false } if begins(b"+OK") => {
                State::Done
            }
            State::InFlight(_) | State::Sasl { .. } if begins(b"-ERR") => State::Idle,
            State::Sasl { asked: false } if begins(b"+") => State::Sasl { asked: true },
            State::Idle if begins(b"-ERR") => State::Over,
            State::Over => State::Over,
            _ => return Err(GuardError::Server),
        };
        client.extend_from_slice(line);
        Ok(())
    }
}

fn too_long(client: &mut Vec<u8>) -> GuardError {
    client.extend_from_slice(b"-ERR Command line too long\r\n");
    GuardError::LineTooLong
}

/// What a command can lead to, and the command as the server is to get it; the error is why it
/// is refused.
fn judge(line: &[u8]) -> Result<(Success, Vec<u8>), &'static str> {
    const MALFORMED: &str = "Malformed command";

    let text = clean(line).ok_or(MALFORMED)?;
    let (verb, arguments) = match text.iter().position(|byte| *byte == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, &[][..]),
    };
    let verb = verb.to_ascii_uppercase();
    let nothing = arguments.trim_ascii().is_empty();
    let (success, fits) = match verb.as_slice() {
        b"CAPA" => (Success::Listing, nothing),
        b"NOOP" | b"QUIT" | b"UTF8" => (Success::Plain, nothing),
        b"USER" => (Success::Plain, !nothing),
        b"PASS" => (Success::Login, !arguments.is_empty()),
        b"APOP" => (Success::Login, !nothing),
        b"AUTH" | b"LANG" if nothing => (Success::Listing, true),
        b"AUTH" => (Success::Sasl, is_exchange(arguments)),
        b"LANG" => (Success::Plain, true),
        b"STLS" => return Err("STLS is not available here"),
        _ => return Err("Unknown command, or not one before login"),
    };
    if !fits {
        return Err(MALFORMED);
    }
    let space: &[u8] = if nothing && verb != b"PASS" {
        b""
    } else {
        b" "
    };
    let arguments = if space.is_empty() { b"" } else { arguments };
    Ok((success, [&verb, space, arguments, b"\r\n"].concat()))
}

/// Whether it is a mechanism, perhaps with a first response (RFC 5034 section 4).
fn is_exchange(arguments: &[u8]) -> bool {
    let mut words = arguments.split(|byte| *byte == b' ');
    words.next().is_some_and(is_mechanism)
        && words
            .next()
            .is_none_or(|initial| !initial.is_empty() && is_base64(initial))
        && words.next().is_none()
}

#[cfg(test)]
mod tests;
