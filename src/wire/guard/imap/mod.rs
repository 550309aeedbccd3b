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
mod tests {
    use proptest::prelude::*;

    use crate::wire::guard::GuardError;
    use crate::wire::guard::oracle::imap::Imap as Server;
    use crate::wire::guard::oracle::{self, Turn};
    use crate::wire::mail::MailProtocol;

    fn dialogue(turns: &[Turn<'_>]) -> (bool, Option<GuardError>) {
        oracle::dialogue(MailProtocol::Imap, turns)
    }

    #[test]
    fn a_login_ends_it() {
        let passed = "* CAPABILITY IMAP4rev1\r\na OK in\r\n* anything {5}\r\nSTARTTLS";
        for login in [
            "LOGIN user \"pass word\"",
            "AUTHENTICATE EXTERNAL =",
            "login u \"\\\"\\\\\"",
        ] {
            let said = format!("a {login}\r\n");
            let upper = said.replace("login", "LOGIN");
            let end = dialogue(&[('C', &said, &upper, ""), ('S', passed, "", passed)]);
            assert_eq!(end, (true, None), "{login}");
        }
    }

    #[test]
    fn one_command_is_in_flight_at_a_time() {
        let end = dialogue(&[
            (
                'C',
                "a NOOP\r\nb capability\r\nc LOGOUT\r\nd STARTTLS\r\n",
                "a NOOP\r\n",
                "",
            ),
            ('S', "* OK hi\r\n", "", "* OK hi\r\n"),
            ('S', "a OK done\r\n", "b CAPABILITY\r\n", "a OK done\r\n"),
            (
                'S',
                "* CAPABILITY IMAP4rev1 STARTTLS\r\nb OK done\r\n",
                "c LOGOUT\r\n",
                "* CAPABILITY IMAP4rev1\r\nb OK done\r\n",
            ),
            (
                'S',
                "* BYE\r\nc OK done\r\n",
                "",
                "* BYE\r\nc OK done\r\nd BAD STARTTLS is not available here\r\n",
            ),
        ]);
        assert_eq!(end, (false, None));
    }

    #[test]
    fn literals_wait_until_the_server_asks() {
        let end = dialogue(&[
            ('C', "a LOGIN {4}\r\n", "", "+ OK\r\n"),
            (
                'C',
                "u\r\nr {3+}\r\npws\r\nb NOOP\r\n",
                "a LOGIN {4}\r\n",
                "",
            ),
            ('S', "+ go\r\n", "u\r\nr {3}\r\n", ""),
            ('S', "+ go\r\n", "pws\r\n", ""),
            ('S', "a NO no\r\n", "b NOOP\r\n", "a NO no\r\n"),
            ('S', "b OK\r\n", "", "b OK\r\n"),
            // The server does not want to know.
            (
                'C',
                "c LOGIN {1+}\r\nu {1+}\r\np\r\nd NOOP\r\n",
                "c LOGIN {1}\r\n",
                "",
            ),
            ('S', "c NO off\r\n", "d NOOP\r\n", "c NO off\r\n"),
            ('S', "d OK\r\n", "", "d OK\r\n"),
            ('C', "e LOGIN {1+}\r\nu p\r\n", "e LOGIN {1}\r\n", ""),
            ('S', "+\r\n", "u p\r\n", ""),
            ('S', "e OK in\r\n", "", "e OK in\r\n"),
        ]);
        assert_eq!(end, (true, None));
    }

    #[test]
    fn a_sasl_exchange_passes_line_by_line() {
        let end = dialogue(&[
            (
                'C',
                "a AUTHENTICATE LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n",
                "a AUTHENTICATE LOGIN\r\n",
                "",
            ),
            ('S', "+ VXNlcg==\r\n", "dXNlcg==\r\n", "+ VXNlcg==\r\n"),
            ('S', "+ UGFzcw==\r\n", "cGFzcw==\r\n", "+ UGFzcw==\r\n"),
            ('S', "a NO no\r\n", "", "a NO no\r\n"),
            (
                'C',
                "b authenticate PLAIN\r\n",
                "b AUTHENTICATE PLAIN\r\n",
                "",
            ),
            ('S', "+ \r\n", "", "+ \r\n"),
            ('C', "*\r\n", "*\r\n", ""),
            ('S', "b BAD cancelled\r\n", "", "b BAD cancelled\r\n"),
            // What no SASL response looks like would be a command if the server had given up.
            (
                'C',
                "c AUTHENTICATE PLAIN\r\n",
                "c AUTHENTICATE PLAIN\r\n",
                "",
            ),
            ('S', "+ \r\n", "", "+ \r\n"),
            ('C', "x ID (\"x-originating-ip\" \"::1\")\r\n", "*\r\n", ""),
            ('S', "c BAD cancelled\r\n", "", "c BAD cancelled\r\n"),
            (
                'C',
                "d AUTHENTICATE PLAIN\r\n",
                "d AUTHENTICATE PLAIN\r\n",
                "",
            ),
            ('S', "+ \r\n", "", "+ \r\n"),
            ('C', "AA.A\r\n", "*\r\n", ""),
            // The server gives up while the client still speaks.
            ('S', "d NO timeout\r\n", "", "d NO timeout\r\n"),
            ('C', "AAAA\r\n", "", "* BAD Malformed command\r\n"),
            (
                'C',
                "e AUTHENTICATE PLAIN AHUAcA==\r\n",
                "e AUTHENTICATE PLAIN AHUAcA==\r\n",
                "",
            ),
            ('S', "e OK in\r\n", "", "e OK in\r\n"),
        ]);
        assert_eq!(end, (true, None));
    }

    #[test]
    fn refused_commands_take_their_literals_with_them() {
        let unknown = "BAD Unknown command, or not one before login\r\n";
        let end = dialogue(&[
            (
                'C',
                "a XCLIENT {8+}\r\nb NOOP\r\n\r\n",
                "",
                &format!("a {unknown}"),
            ),
            ('C', "a SELECT {9}\r\n", "", &format!("a {unknown}")),
            (
                'C',
                "b NOOP {5+}\r\nd ID\n\r\n",
                "",
                "b BAD Malformed command\r\n",
            ),
            (
                'C',
                "c LOGIN \"u {5+}\r\n12345\" p\r\n",
                "",
                "c BAD Malformed command\r\n",
            ),
            (
                'C',
                "d LOGIN u ~{1+}\r\np\r\n",
                "",
                "d BAD Malformed command\r\n",
            ),
            ('C', "e NOOP\r\n", "e NOOP\r\n", ""),
        ]);
        assert_eq!(end, (false, None));
    }

    #[test]
    fn sessions_end_at_the_limits() {
        use GuardError::{LineTooLong, LiteralTooLong, Server, TooManyErrors};

        let long = "x".repeat(12_500);
        let too_long = "* BYE Command line too long\r\n";
        let literal = "* BYE Literal too long\r\n";
        let login = format!("a LOGIN u {}\r\n", &long[..8_200]);
        let cases: [(&[Turn<'_>], GuardError); 12] = [
            (&[('C', &long, "", too_long)], LineTooLong),
            (&[('C', &login, "", too_long)], LineTooLong),
            (&[('C', "a LOGIN {8190}\r\n", "", literal)], LiteralTooLong),
            (&[('C', "a LOGIN {4097+}\r\n", "", literal)], LiteralTooLong),
            (
                &[('C', "a NOOP {99999999999999999999+}\r\n", "", literal)],
                LiteralTooLong,
            ),
            (&[('S', "+ what?\r\n", "", "")], Server),
            (&[('S', "a OK what?\r\n", "", "")], Server),
            (&[('S', "* ID (\"name\" {99999999}\r\n", "", "")], Server),
            (&[('S', &long.repeat(2), "", "")], Server),
            (
                &[
                    ('C', "a NOOP\r\n", "a NOOP\r\n", ""),
                    ('S', "+ go\r\n", "", ""),
                ],
                Server,
            ),
            (
                &[
                    ('C', "a LOGIN {1+}\r\nu p\r\n", "a LOGIN {1}\r\n", ""),
                    ('S', "a OK in\r\n", "", ""),
                ],
                Server,
            ),
            (
                &[(
                    'C',
                    &"\r\n".repeat(11),
                    "",
                    &("* BAD Malformed command\r\n".repeat(11) + "* BYE Too many errors\r\n"),
                )],
                TooManyErrors,
            ),
        ];
        for (turns, error) in cases {
            assert_eq!(dialogue(turns), (false, Some(error)));
        }
    }

    #[test]
    fn literals_of_the_server_are_no_lines() {
        let id = "* ID (\"name\" {23}\r\na OK in\r\n* CAPABILITY A\r \"v\" {0}\r\n)\r\n";
        let end = dialogue(&[
            ('C', "a LOGIN u p\r\n", "a LOGIN u p\r\n", ""),
            ('S', id, "", id),
            ('S', "a NO no\r\n", "", "a NO no\r\n"),
        ]);
        assert_eq!(end, (false, None));
    }

    #[test]
    fn greetings_are_cut_down() {
        let mut guard = super::Imap::new();
        let seen = guard.greeting(b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hi\r\n");
        assert_eq!(seen, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n");
        assert!(!guard.login_is_disabled());
        let seen = guard.greeting(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\r\n");
        assert_eq!(seen, b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n");
        assert!(guard.login_is_disabled());
    }

    fn words() -> impl Strategy<Value = Vec<u8>> {
        let known = vec![
            "a ",
            "b ",
            "ID ",
            "id ",
            "LOGIN ",
            "AUTHENTICATE ",
            "PLAIN",
            "STARTTLS",
            "NOOP",
            "NIL",
            "XCLIENT ADDR=1.2.3.4",
            "\r\n",
            "\r\n",
            "\r\n",
            "\n",
            "\r",
            "\0",
            "\"",
            "\"",
            "(",
            ")",
            " ",
            " ",
            "{5}\r\n",
            "{16+}\r\n",
            "{16}\r\n",
            "{0}\r\n",
            "{0+}\r\n",
            "\\",
            "x-originating-ip",
            "\"X-Forward-a\" \"b\"",
            "\"name\" \"c\"",
            "*",
            "=",
            "u p",
            "\u{e9}",
            "a ID (\"x-originating-ip\" \"1.2.3.4\")\r\n",
            "c STARTTLS\r\n",
            "d LOGIN u {3+}\r\n",
            "e LOGIN {16}\r\nf STARTTLS\r\nNIL {0+}\r\n\r\n",
            "g AUTHENTICATE PLAIN\r\n",
            "h ID (\"x-Connected-port\" {3+}\r\n143 {4+}\r\nname {1}\r\nx)\r\n",
        ];
        oracle::sayings(known)
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
