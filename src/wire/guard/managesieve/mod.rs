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
mod tests {
    use proptest::prelude::*;

    use super::ManageSieve;
    use crate::wire::guard::GuardError;
    use crate::wire::guard::oracle::managesieve::ManageSieve as Server;
    use crate::wire::guard::oracle::{self, Turn};
    use crate::wire::mail::MailProtocol;

    fn dialogue(turns: &[Turn<'_>]) -> (bool, Option<GuardError>) {
        oracle::dialogue(MailProtocol::ManageSieve, turns)
    }

    #[test]
    fn a_login_ends_it() {
        let said = "authenticate \"PLAIN\" {8+}\r\nAHUAcA==\r\n";
        let heard = "AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\r\n";
        let passed = "OK (SASL {5}\r\nNO\r\n!) \"in\"\r\n\"STARTTLS\"\r\n{5";
        let end = dialogue(&[('C', said, heard, ""), ('S', passed, "", passed)]);
        assert_eq!(end, (true, None));
    }

    #[test]
    fn one_command_is_in_flight_at_a_time() {
        let end = dialogue(&[
            (
                'C',
                "CAPABILITY\r\nNOOP \"a\"\r\nXCLIENT ADDR=::1\r\nSTARTTLS\r\n",
                "CAPABILITY\r\n",
                "",
            ),
            (
                'S',
                "\"SIEVE\" {7}\r\nfile\"\r\n\r\n\"StartTLS\"\r\n\"XCLIENT\" \"a\"\r\n{8}\r\nSTARTTLS\r\n",
                "",
                "\"SIEVE\" {7}\r\nfile\"\r\n\r\n",
            ),
            (
                'S',
                "\"SASL\" \"\"\r\nOK {4}\r\ndone\r\n",
                "NOOP \"a\"\r\n",
                "\"SASL\" \"\"\r\nOK {4}\r\ndone\r\n",
            ),
            (
                'S',
                "OK (TAG {3}\r\nNO\r) \"done\"\r\n",
                "",
                "OK (TAG {3}\r\nNO\r) \"done\"\r\nNO \"Unknown command, or not one before login\"\r\n\
                 NO \"STARTTLS is not available here\"\r\n",
            ),
            ('C', "logout\r\n", "LOGOUT\r\n", ""),
            ('S', "OK \"bye {5}\"\r\n", "", "OK \"bye {5}\"\r\n"),
        ]);
        assert_eq!(end, (false, None));
    }

    #[test]
    fn a_sasl_exchange_passes_string_by_string() {
        let long = "A".repeat(1200);
        let literal = format!("{{1200+}}\r\n{long}\r\n");
        let end = dialogue(&[
            (
                'C',
                "AUTHENTICATE \"LOGIN\"\r\n{8+}\r\ndXNlcg==\r\n",
                "AUTHENTICATE \"LOGIN\"\r\n",
                "",
            ),
            (
                'S',
                "{8}\r\nVXNlcg==\r\n",
                "\"dXNlcg==\"\r\n",
                "{8}\r\nVXNlcg==\r\n",
            ),
            ('S', "\"UGFzcw==\"\r\n", "", "\"UGFzcw==\"\r\n"),
            ('C', &literal, &literal, ""),
            ('S', "NO \"no\"\r\n", "", "NO \"no\"\r\n"),
            // What no response looks like would be a command if the server had given up.
            (
                'C',
                "AUTHENTICATE \"PLAIN\"\r\nXCLIENT ADDR=::1\r\n",
                "AUTHENTICATE \"PLAIN\"\r\n",
                "",
            ),
            ('S', "\"\"\r\n", "\"*\"\r\n", "\"\"\r\n"),
            ('S', "NO \"cancelled\"\r\n", "", "NO \"cancelled\"\r\n"),
            (
                'C',
                "AUTHENTICATE \"PLAIN\"\r\n",
                "AUTHENTICATE \"PLAIN\"\r\n",
                "",
            ),
            ('S', "\"\"\r\n", "", "\"\"\r\n"),
            ('C', "{4}\r\nNOOP\r\n", "\"*\"\r\n", ""),
            (
                'S',
                "NO \"cancelled\"\r\n",
                "NOOP\r\n",
                "NO \"cancelled\"\r\n",
            ),
            ('S', "OK\r\n", "", "OK\r\n"),
        ]);
        assert_eq!(end, (false, None));
    }

    #[test]
    fn a_long_first_response_waits_until_the_server_asks() {
        let long = "A".repeat(1200);
        let said = format!("AUTHENTICATE \"GSSAPI\" {{1200+}}\r\n{long}\r\nNOOP\r\n");
        let (heard, literal) = (
            "AUTHENTICATE \"GSSAPI\"\r\n",
            format!("{{1200+}}\r\n{long}\r\n"),
        );
        let end = dialogue(&[
            ('C', &said, heard, ""),
            // The server does not know the mechanism.
            ('S', "NO \"no\"\r\n", "NOOP\r\n", "NO \"no\"\r\n"),
            ('S', "OK\r\n", "", "OK\r\n"),
            // The mechanism begins with the server.
            ('C', &said, heard, ""),
            ('S', "\"YQ==\"\r\n", "\"*\"\r\n", ""),
            ('S', "NO \"no\"\r\n", "NOOP\r\n", "NO \"no\"\r\n"),
            ('S', "OK\r\n", "", "OK\r\n"),
            ('C', &said, heard, ""),
            ('S', "{0}\r\n\r\n", &literal, ""),
            ('S', "\"YQ==\"\r\n", "\"*\"\r\n", "\"YQ==\"\r\n"),
            ('S', "OK \"in\"\r\n", "", "OK \"in\"\r\n"),
        ]);
        assert_eq!(end, (true, None));
    }

    #[test]
    fn sessions_end_at_the_limits() {
        use GuardError::{LineTooLong, LiteralTooLong, Server, TooManyErrors};

        let long = "A".repeat(12_500);
        let too_long = "BYE \"Command line too long\"\r\n";
        let literal = "BYE \"Literal too long\"\r\n";
        let noop = format!("NOOP \"{}\"\r\n", &long[..2050]);
        let malformed = "NO \"Malformed command\"\r\n".repeat(10) + "BYE \"Too many errors\"\r\n";
        let sasl = ("AUTHENTICATE \"PLAIN\"\r\n", "\"\"\r\n");
        let cases: [(&[Turn<'_>], GuardError); 11] = [
            (&[('C', &long, "", too_long)], LineTooLong),
            (&[('C', &noop, "", too_long)], LineTooLong),
            (
                &[('C', "PUTSCRIPT \"a\" {2100+}\r\n", "", literal)],
                LiteralTooLong,
            ),
            (
                &[('C', "AUTHENTICATE \"A\" {12500+}\r\n", "", literal)],
                LiteralTooLong,
            ),
            (
                &[
                    ('C', sasl.0, sasl.0, ""),
                    ('S', sasl.1, "", sasl.1),
                    ('C', "{99999999+}\r\n", "", literal),
                ],
                LiteralTooLong,
            ),
            (&[('S', "OK what?\r\n", "", "")], Server),
            (&[('S', "what?\r\n", "", "")], Server),
            (&[('S', "\"a\" {17000}\r\n", "", "")], Server),
            (&[('S', &long.repeat(2), "", "")], Server),
            (
                &[
                    ('C', sasl.0, sasl.0, ""),
                    ('S', sasl.1, "", sasl.1),
                    ('S', "OK in\r\n", "", ""),
                ],
                Server,
            ),
            (
                &[('C', &"NOOP x\r\n".repeat(11), "", &malformed)],
                TooManyErrors,
            ),
        ];
        for (turns, error) in cases {
            assert_eq!(dialogue(turns), (false, Some(error)));
        }
        let end = dialogue(&[
            (
                'S',
                "BYE \"idle for too long\"\r\n",
                "",
                "BYE \"idle for too long\"\r\n",
            ),
            ('C', "NOOP\r\nNOO", "", ""),
        ]);
        assert_eq!(end, (false, None));
    }

    #[test]
    fn greetings_are_cut_down() {
        let greeting =
            b"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\n\"starttls\"\r\n\"SIEVE\" {10}\r\n\
            \"XCLIENT\"\n\r\n\"XCLIENT\"\r\nOK {10}\r\n\"STARTTLS\"\r\n";
        let seen = ManageSieve::new().greeting(greeting);
        let expected = b"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\n\"SIEVE\" {10}\r\n\
            \"XCLIENT\"\n\r\nOK {10}\r\n\"STARTTLS\"\r\n";
        assert_eq!(
            seen.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    fn words() -> impl Strategy<Value = Vec<u8>> {
        let known = vec![
            "CAPABILITY",
            "noop",
            "AUTHENTICATE ",
            "\"PLAIN\"",
            "\"AAAA\"",
            "STARTTLS",
            "STARTTLS\r\n",
            "XCLIENT ADDR=1.2.3.4\r\n",
            "\r\n",
            "\r\n",
            "\r\n",
            "\n",
            "\r",
            "\0",
            " ",
            "\"",
            "\\",
            "\"*\"",
            "{4+}\r\nAAAA",
            "{8+}\r\n",
            "{8}\r\n",
            "{0+}\r\n",
            "{22+}\r\nXCLIENT ADDR=1.2.3.4\r\n",
            "AUTHENTICATE \"PLAIN\"\r\n",
            "AUTHENTICATE \"X\" {1100+}\r\n",
            "\u{e9}",
        ];
        let long = Just(b"A".repeat(1100));
        prop_oneof![4 => oracle::sayings(known.clone()), 1 => (oracle::sayings(known), long)
            .prop_map(|(said, long)| [b"AUTHENTICATE \"X\" {1100+}\r\n", &*long, b"\r\n", &*said].concat())]
    }

    proptest! {
        #[test]
        fn no_client_gets_a_word_past(
            said in words(),
            split in 0_usize..200,
            moods in prop::collection::vec(any::<u8>(), 0..32),
        ) {
            oracle::hold::<Server<'_>>(&said, split, &moods);
        }
    }
}
