//! Between client and server of IMAP (RFC 9051) until login.
//!
//! One command is in flight at a time, and none is begun that is not whole: what the server
//! reads is one command that was judged, whatever literals it was given with. Literals reach the
//! server when it asks for them, so that its opinion of where a command ends is never guessed.

mod command;
mod response;

use super::lines::{Lines, REFUSALS, SASL_LINE, TooLong, clean, is_base64};
use super::{GuardError, Taken};
use command::{Command, Kind};
use response::Response;

/// A whole command, with its literals.
const COMMAND: usize = 8192;

/// A command that begins a SASL exchange, with the first response.
const AUTHENTICATE: usize = SASL_LINE + 128;

/// A literal that a client sends without being asked (RFC 7888 section 5).
const UNASKED: usize = 4096;

/// A whole response, with its literals.
const RESPONSE: usize = 16 * 1024;

/// The guard of one session.
pub(super) struct Imap {
    input: Lines,
    output: Lines,
    state: State,
    /// Whether the last byte of the command in flight is left with the caller, because the
    /// server has to ask for more of it first.
    held_back: bool,
    /// Whether the server has said that it takes no password.
    login_disabled: bool,
    refused: usize,
}

enum State {
    /// It is the client's turn.
    Idle,
    /// It is the server's turn, or, once that has said `+`, the turn of what it asked for.
    InFlight { command: Command, asked: bool },
    /// The client is logged in.
    Done,
}

impl Imap {
    pub(super) fn new() -> Self {
        Self {
            input: Lines::default(),
            output: Lines::default(),
            state: State::Idle,
            held_back: false,
            login_disabled: false,
            refused: 0,
        }
    }

    pub(super) fn client(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Taken, GuardError> {
        let mut consumed = self.send_more(bytes, server);
        while consumed < bytes.len() && self.listens() {
            let taken = self.input.take(&bytes[consumed..], AUTHENTICATE);
            let Ok((used, whole)) = taken else {
                return Err(too_long(client));
            };
            consumed += used;
            if !whole && self.input.whole().len() > self.limit() {
                return Err(too_long(client));
            }
            if whole {
                self.line(server, client)?;
            }
            if self.held_back {
                consumed -= 1;
            }
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
            if !whole {
                continue;
            }
            let literal = response::announced(self.output.whole(), self.output.literal());
            if let Some(literal) = literal {
                let expected = self.output.expect(&literal, RESPONSE);
                expected.map_err(|TooLong| GuardError::Server)?;
            } else {
                let response = self.output.finish();
                self.response(response, client)?;
            }
        }
        client.extend_from_slice(rest);
        Ok(())
    }

    pub(super) fn greeting(&mut self, greeting: &[u8]) -> Vec<u8> {
        let lines = greeting.split_inclusive(|byte| *byte == b'\n');
        let shown: Vec<u8> = lines
            .flat_map(|line| response::filtered(line.to_vec()))
            .collect();
        self.login_disabled |= response::disables_login(&shown);
        shown
    }

    pub(super) fn login_is_disabled(&self) -> bool {
        self.login_disabled
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether a line of the client is awaited.
    fn listens(&self) -> bool {
        match &self.state {
            State::Idle => true,
            State::InFlight { command, asked } => *asked && command.kind == Kind::Sasl,
            State::Done => false,
        }
    }

    /// The most that is kept of what the client is saying.
    fn limit(&self) -> usize {
        match self.state {
            State::Idle if !command::is_authenticate(self.input.whole()) => COMMAND,
            _ => AUTHENTICATE,
        }
    }

    /// Sends the next piece of the command in flight if the server has asked for it. Returns how
    /// many bytes of the client are done with.
    fn send_more(&mut self, bytes: &[u8], server: &mut Vec<u8>) -> usize {
        if !self.held_back || bytes.is_empty() {
            return 0;
        }
        if let State::InFlight { command, asked } = &mut self.state {
            if *asked && let Some(piece) = command.pieces.next() {
                server.extend(piece);
                *asked = false;
            }
            if command.pieces.len() > 0 {
                return 0;
            }
        }
        self.held_back = false;
        1
    }

    /// Takes a line of the client.
    fn line(&mut self, server: &mut Vec<u8>, client: &mut Vec<u8>) -> Result<(), GuardError> {
        if let State::InFlight { asked, .. } = &mut self.state {
            *asked = false;
            let line = self.input.finish();
            if line.len() > SASL_LINE {
                return Err(too_long(client));
            }
            let sane = clean(&line).is_some_and(|text| text == b"*" || is_base64(text));
            server.extend_from_slice(if sane { &line } else { b"*\r\n" });
            return Ok(());
        }
        if self.input.whole().len() > self.limit() {
            return Err(too_long(client));
        }
        if self.awaits_literal(client)? {
            return Ok(());
        }
        match command::judge(&self.input.finish()) {
            Ok(command) => self.forward(command, server),
            Err(answer) => self.refuse(&answer, client)?,
        }
        Ok(())
    }

    /// Whether the command goes on with a literal. Nothing is in flight yet: it is us who ask.
    fn awaits_literal(&mut self, client: &mut Vec<u8>) -> Result<bool, GuardError> {
        let Some(literal) = self.input.literal() else {
            return Ok(false);
        };
        if literal.synchronising && !command::takes_literals(self.input.whole()) {
            return Ok(false);
        }
        let unasked = !literal.synchronising && literal.length > UNASKED;
        if unasked || self.input.expect(&literal, COMMAND).is_err() {
            client.extend_from_slice(b"* BYE Literal too long\r\n");
            return Err(GuardError::LiteralTooLong);
        }
        if literal.synchronising {
            client.extend_from_slice(b"+ OK\r\n");
        }
        Ok(true)
    }

    fn forward(&mut self, mut command: Command, server: &mut Vec<u8>) {
        server.extend(command.pieces.next().unwrap_or_default());
        self.held_back = command.pieces.len() > 0;
        self.state = State::InFlight {
            command,
            asked: false,
        };
    }

    fn refuse(&mut self, answer: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        client.extend_from_slice(answer);
        self.refused += 1;
        if self.refused > REFUSALS {
            client.extend_from_slice(b"* BYE Too many errors\r\n");
            return Err(GuardError::TooManyErrors);
        }
        Ok(())
    }

    fn response(&mut self, response: Vec<u8>, client: &mut Vec<u8>) -> Result<(), GuardError> {
        let tag = match &self.state {
            State::InFlight { command, .. } => Some(command.tag.as_slice()),
            State::Idle | State::Done => None,
        };
        match response::kind(&response, tag).ok_or(GuardError::Server)? {
            Response::GoAhead if !self.go_ahead()? => return Ok(()),
            Response::Tagged { ok } => self.answered(ok)?,
            Response::GoAhead | Response::Untagged => {}
        }
        let shown = response::filtered(response);
        self.login_disabled |= response::disables_login(&shown);
        client.extend(shown);
        Ok(())
    }

    /// The server asks for more. Whether the client is to hear of it: it is if it is asked.
    fn go_ahead(&mut self) -> Result<bool, GuardError> {
        match &mut self.state {
            State::InFlight { command, asked }
                if !*asked && (command.kind == Kind::Sasl || command.pieces.len() > 0) =>
            {
                *asked = true;
                Ok(command.kind == Kind::Sasl)
            }
            _ => Err(GuardError::Server),
        }
    }

    /// The server has answered. It cannot have said OK to what it has not had all of.
    fn answered(&mut self, ok: bool) -> Result<(), GuardError> {
        let State::InFlight { command, asked } = &self.state else {
            return Err(GuardError::Server);
        };
        if ok && (*asked || command.pieces.len() > 0) {
            return Err(GuardError::Server);
        }
        let login = ok && command.kind != Kind::Plain;
        self.state = if login { State::Done } else { State::Idle };
        Ok(())
    }
}

fn too_long(client: &mut Vec<u8>) -> GuardError {
    client.extend_from_slice(b"* BYE Command line too long\r\n");
    GuardError::LineTooLong
}

#[cfg(test)]
mod tests;
