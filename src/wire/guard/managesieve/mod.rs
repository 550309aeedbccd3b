//! Between client and server of ManageSieve (RFC 5804) until login.
//!
//! One command is in flight at a time, and none is begun that is not whole. Clients send
//! literals without being asked; servers get them only where they await a string and nothing
//! else, so that none is ever taken for a command.

mod command;
mod strings;

use super::lines::{Lines, REFUSALS, SASL_LINE, TooLong, is_withheld};
use super::{GuardError, Taken};
use command::Command;
use strings::Text;

/// A whole command, with its literals.
const COMMAND: usize = 2048;

/// A command that begins a SASL exchange, with the first response, or a later one.
const AUTHENTICATE: usize = SASL_LINE + 128;

/// A whole response, with its literals.
const RESPONSE: usize = 16 * 1024;

/// The guard of one session.
pub(super) struct ManageSieve {
    input: Lines,
    output: Lines,
    state: State,
    /// Whether the last byte of the command in flight is left with the caller, because the
    /// server has to ask for the first response before.
    held_back: bool,
    refused: usize,
}

enum State {
    /// It is the client's turn.
    Idle,
    /// The server is to answer.
    InFlight,
    /// It is the server's turn in a SASL exchange, or the turn of the one it has asked: ours if
    /// we have the client's first response.
    Sasl {
        initial: Option<Vec<u8>>,
        asked: bool,
    },
    /// The server has taken its leave.
    Over,
    /// The client is logged in.
    Done,
}

impl ManageSieve {
    pub(super) fn new() -> Self {
        Self {
            input: Lines::default(),
            output: Lines::default(),
            state: State::Idle,
            held_back: false,
            refused: 0,
        }
    }

    pub(super) fn client(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Taken, GuardError> {
        let mut consumed = self.send_initial(bytes, server);
        while consumed < bytes.len() && self.listens() {
            let taken = self.input.take(&bytes[consumed..], AUTHENTICATE);
            let (used, whole) = taken.map_err(|TooLong| too_long(client))?;
            consumed += used;
            if self.input.whole().len() > self.limit() {
                return Err(too_long(client));
            }
            if whole {
                self.line(server, client)?;
            }
            if self.held_back {
                consumed -= 1;
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
            let (used, response) = next_response(&mut self.output, rest)?;
            rest = &rest[used..];
            if let Some(response) = response {
                self.response(&response, client)?;
            }
        }
        client.extend_from_slice(rest);
        Ok(())
    }

    pub(super) fn greeting(&self, greeting: &[u8]) -> Vec<u8> {
        let mut seen = Vec::with_capacity(greeting.len());
        let mut lines = Lines::default();
        let mut rest = greeting;
        while let Ok((used, response)) = next_response(&mut lines, rest)
            && !rest.is_empty()
        {
            rest = &rest[used..];
            seen.extend(
                response
                    .filter(|response| !is_withheld_line(response))
                    .into_iter()
                    .flatten(),
            );
        }
        seen
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn listens(&self) -> bool {
        matches!(
            self.state,
            State::Idle
                | State::Sasl {
                    initial: None,
                    asked: true
                }
        )
    }

    /// The most that is kept of what the client is saying.
    fn limit(&self) -> usize {
        let verb = Text(self.input.whole()).word();
        match self.state {
            State::Idle if !verb.eq_ignore_ascii_case(b"AUTHENTICATE") => COMMAND,
            _ => AUTHENTICATE,
        }
    }

    /// Sends the client's first response if the server has asked for it. Returns how many bytes
    /// of the client are done with.
    fn send_initial(&mut self, bytes: &[u8], server: &mut Vec<u8>) -> usize {
        if !self.held_back || bytes.is_empty() {
            return 0;
        }
        if let State::Sasl { initial, asked } = &mut self.state
            && let Some(response) = initial
        {
            if !*asked {
                return 0;
            }
            server.extend([&*strings::write(response), b"\r\n"].concat());
            (*initial, *asked) = (None, false);
        }
        self.held_back = false;
        1
    }

    /// Takes a line of the client, unless it goes on with a literal.
    fn line(&mut self, server: &mut Vec<u8>, client: &mut Vec<u8>) -> Result<(), GuardError> {
        if let Some(literal) = self.input.literal()
            && !literal.synchronising
        {
            let limit = self.limit();
            return self.input.expect(&literal, limit).map_err(|TooLong| {
                client.extend_from_slice(b"BYE \"Literal too long\"\r\n");
                GuardError::LiteralTooLong
            });
        }
        let line = self.input.finish();
        if let State::Sasl { asked, .. } = &mut self.state {
            *asked = false;
            let response = command::response(&line);
            let response = response.as_deref().unwrap_or(b"*");
            server.extend([&*strings::write(response), b"\r\n"].concat());
            return Ok(());
        }
        match command::judge(&line) {
            Ok(Command::Plain(command)) => {
                server.extend(command);
                self.state = State::InFlight;
            }
            Ok(Command::Authenticate(command, initial)) => {
                server.extend(command);
                self.held_back = initial.is_some();
                self.state = State::Sasl {
                    initial,
                    asked: false,
                };
            }
            Err(why) => self.refuse(why, client)?,
        }
        Ok(())
    }

    fn refuse(&mut self, why: &str, client: &mut Vec<u8>) -> Result<(), GuardError> {
        self.refused += 1;
        if self.refused > REFUSALS {
            client.extend_from_slice(b"BYE \"Too many errors\"\r\n");
            return Err(GuardError::TooManyErrors);
        }
        client.extend_from_slice(format!("NO \"{why}\"\r\n").as_bytes());
        Ok(())
    }

    /// Takes a whole line of the server.
    fn response(&mut self, response: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        let passes = match Text(response).word().to_ascii_uppercase().as_slice() {
            b"BYE" => {
                self.state = State::Over;
                true
            }
            b"NO" => self.answered(false)?,
            b"OK" => self.answered(true)?,
            b"" => self.string(response)?,
            _ => return Err(GuardError::Server),
        };
        if passes {
            client.extend_from_slice(response);
        }
        Ok(())
    }

    /// The server has answered. It cannot have said OK to what it has not had all of.
    fn answered(&mut self, ok: bool) -> Result<bool, GuardError> {
        self.state = match &self.state {
            State::InFlight => State::Idle,
            State::Sasl { .. } if !ok => State::Idle,
            State::Sasl {
                initial: None,
                asked: false,
            } => State::Done,
            State::Over => State::Over,
            _ => return Err(GuardError::Server),
        };
        Ok(true)
    }

    /// A line of strings: a challenge, or a capability. Whether the client is to see it.
    fn string(&mut self, response: &[u8]) -> Result<bool, GuardError> {
        let State::Sasl { initial, asked } = &mut self.state else {
            return Ok(!is_withheld_line(response));
        };
        let challenge = Text(response).string();
        if *asked || challenge.is_none() {
            return Err(GuardError::Server);
        }
        *asked = true;
        if let Some(response) = initial
            && challenge.is_some_and(|challenge| !challenge.is_empty())
        {
            // The mechanism begins with the server: the client cannot respond yet.
            *response = b"*".to_vec();
        }
        Ok(initial.is_none())
    }
}

/// Takes bytes of the server up to the end of a line that does not go on with a literal.
fn next_response(lines: &mut Lines, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), GuardError> {
    let malformed = |TooLong| GuardError::Server;
    let (used, whole) = lines.take(bytes, RESPONSE).map_err(malformed)?;
    if !whole {
        return Ok((used, None));
    }
    match lines.literal() {
        Some(literal) => lines.expect(&literal, RESPONSE).map_err(malformed)?,
        None => return Ok((used, Some(lines.finish()))),
    }
    Ok((used, None))
}

/// Whether it is a capability that clients are not to know of.
fn is_withheld_line(response: &[u8]) -> bool {
    Text(response)
        .string()
        .is_some_and(|name| is_withheld(&name))
}

fn too_long(client: &mut Vec<u8>) -> GuardError {
    client.extend_from_slice(b"BYE \"Command line too long\"\r\n");
    GuardError::LineTooLong
}

#[cfg(test)]
mod tests;
