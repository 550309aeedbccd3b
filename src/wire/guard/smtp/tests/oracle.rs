//! A server that reads what a guard lets through in one of the ways in which servers read, and
//! a session with it. No client may make it see what is not for clients.
//!
//! Shared with the fuzz target, which is why everything comes from the module above.

use super::{Guard, GuardError, MailProtocol, Mode};

/// How a session is held; `choices` decides what the server answers and where the bytes of both
/// sides are cut, over and over again.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) mode: Mode,
    /// Whether what the server announces is known before the session.
    pub(crate) known: bool,
    pub(crate) server: Server,
    pub(crate) choices: Vec<u8>,
    /// Whether the bytes come in pieces.
    pub(crate) cut: bool,
}

/// What a server announces, and how it reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Server {
    /// Announces XCLIENT and XFORWARD.
    pub(crate) trusting: bool,
    /// Announces CHUNKING.
    pub(crate) chunking: bool,
    /// Takes a bare LF for a line end in commands.
    pub(crate) bare_lf: bool,
    /// Takes bare CR and bare LF for a line end everywhere, and does not see NUL. This and what
    /// follows is looked at only if the server is trusting.
    pub(crate) lax: bool,
    /// Cuts a command line that is too long, and takes the rest for a command.
    pub(crate) cutting: bool,
    /// Stops taking chunks when it gets something else between two of them, or an empty one,
    /// and takes them for commands until RSET.
    pub(crate) sulking: bool,
    /// Does not wait for the end of a message to answer it, or gives up in its middle.
    pub(crate) hasty: bool,
}

/// How a session went.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) to_server: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    pub(crate) start_tls: bool,
    pub(crate) error: Option<GuardError>,
}

impl Server {
    /// From the bits of a number.
    pub(crate) fn from_bits(bits: u8) -> Self {
        let bit = |number: u8| bits & (1 << number) != 0;
        let trusting = bit(0);
        Self {
            trusting,
            chunking: bit(1),
            bare_lf: bit(2),
            lax: trusting && bit(3),
            cutting: trusting && bit(4),
            sulking: trusting && bit(5),
            hasty: trusting && bit(6),
        }
    }

    fn keywords(self) -> Vec<String> {
        let mut keywords = vec!["AUTH PLAIN LOGIN", "8BITMIME", "STARTTLS"];
        if self.chunking {
            keywords.insert(1, "CHUNKING");
        }
        if self.trusting {
            keywords.extend(["XCLIENT NAME ADDR", "XFORWARD NAME ADDR"]);
        }
        keywords.into_iter().map(str::to_owned).collect()
    }
}

/// Holds a session with a client that says `client`, whatever it hears.
///
/// # Panics
/// If the server sees what is not for clients.
pub(crate) fn hold(setting: &Setting, client: &[u8]) -> Outcome {
    let known = if setting.known {
        setting.server.keywords()
    } else {
        Vec::new()
    };
    let mut guard = Guard::new(MailProtocol::Smtp, setting.mode, &known);
    let mut reader = Reader::new(setting);
    let mut outcome = Outcome::default();
    // With the number, some are more than none, whatever was chosen.
    let mut sizes = setting.choices.iter().cycle().zip(0_usize..);
    let mut size = |all: usize| match sizes.next() {
        Some((&size, number)) if setting.cut => ((usize::from(size) + number) % 16).min(all),
        _ => all,
    };
    let (mut said, mut offered) = (0, 0);
    while !guard.is_done() {
        offered += size(client.len() - offered);
        let before = (said, outcome.to_server.len(), outcome.to_client.len());
        match guard.client(
            &client[said..offered],
            &mut outcome.to_server,
            &mut outcome.to_client,
        ) {
            Ok(taken) => {
                said += taken.consumed;
                outcome.start_tls = taken.start_tls;
            }
            Err(error) => outcome.error = Some(error),
        }
        assert!(said <= offered);
        reader.read(&outcome.to_server[before.1..]);
        if outcome.error.is_some() || outcome.start_tls {
            assert!(setting.mode == Mode::Open || !outcome.start_tls);
            return outcome;
        }
        let replies: Vec<u8> = reader.replies.drain(..size(reader.replies.len())).collect();
        if let Err(error) = guard.server(&replies, &mut outcome.to_client) {
            outcome.error = Some(error);
            return outcome;
        }
        let after = (said, outcome.to_server.len(), outcome.to_client.len());
        if before == after && offered == client.len() && reader.replies.is_empty() {
            return outcome;
        }
    }
    assert!(!setting.server.trusting && setting.mode == Mode::Closed);
    outcome
}

/// The server at work.
struct Reader<'a> {
    server: Server,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    state: State,
    /// Whether BDAT is understood: EHLO has said so.
    chunks: bool,
    /// The line, or the line of a message, so far.
    line: Vec<u8>,
    replies: Vec<u8>,
    /// Whether the last byte was a CR that has ended a line.
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Command,
    Response,
    Message { answer: Answer },
    Chunk { left: u64, last: bool },
    BetweenChunks,
    Sulking,
    Gone,
}

/// When a message is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    AtEnd,
    BeforeEnd,
    Given,
}

impl<'a> Reader<'a> {
    fn new(setting: &'a Setting) -> Self {
        // In clear EHLO was said for the client; elsewhere only a trusting server insists on it.
        let understood = setting.mode == Mode::Open || !setting.server.trusting;
        Self {
            server: setting.server,
            choices: setting.choices.iter().cycle(),
            state: State::Command,
            chunks: setting.known && understood && setting.server.chunking,
            line: Vec::new(),
            replies: Vec::new(),
            after_cr: false,
        }
    }

    fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        let choice = self.choices.next().copied().unwrap_or(0);
        among[usize::from(choice >> 4) % among.len()]
    }

    fn say(&mut self, reply: &str) {
        self.replies.extend_from_slice(reply.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }

    fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // A lax server has ended the line at CR; LF behind it is part of that end.
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                continue;
            }
            if let State::Chunk { left, last } = self.state {
                let left = left - 1;
                self.state = State::Chunk { left, last };
                self.end_of_chunk();
                continue;
            }
            if self.server.lax && byte == 0 {
                continue;
            }
            if self.server.lax && byte == b'\r' {
                self.after_cr = true;
                self.line.push(b'\n');
                self.end_of_line();
                continue;
            }
            self.line.push(byte);
            let message = matches!(self.state, State::Message { .. });
            let bare_lf = self.server.lax || self.server.bare_lf && !message;
            if byte == b'\n' && (bare_lf || self.line.ends_with(b"\r\n")) {
                self.end_of_line();
            } else if self.server.cutting && !message && self.line.len() == 2048 {
                self.line.push(b'\n');
                self.end_of_line();
            }
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        match self.state {
            State::Message { answer } => self.message_line(&line, answer),
            State::Response => self.authenticated(),
            State::Command | State::BetweenChunks | State::Sulking => self.command(&line),
            State::Gone => {}
            State::Chunk { .. } => unreachable!("chunks have no lines"),
        }
    }

    fn message_line(&mut self, line: &[u8], answer: Answer) {
        if line == b".\r\n" || self.server.lax && line == b".\n" {
            self.state = State::Command;
            if answer != Answer::Given {
                let reply = self.choose(&["250 2.0.0 queued", "550-5.7.1 no\r\n550 5.7.1 no"]);
                self.say(reply);
            }
        } else if answer == Answer::BeforeEnd {
            let answer = Answer::Given;
            let (reply, state) = self.choose(&[
                ("552 5.3.4 too much", State::Message { answer }),
                ("421 4.3.2 going down", State::Gone),
            ]);
            self.state = state;
            self.say(reply);
        }
    }

    fn authenticated(&mut self) {
        let reply = self.choose(&["334 ", "535 5.7.8 no", "235 2.7.0 yes", "334 Zm9v"]);
        self.state = match reply.starts_with("334") {
            true => State::Response,
            false => State::Command,
        };
        self.say(reply);
    }

    fn command(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).to_ascii_uppercase();
        let text = text.trim_matches(|c: char| c == ' ' || c.is_ascii_control());
        let end = text.find(|c: char| !c.is_ascii_alphanumeric());
        let (verb, arguments) = text.split_at(end.unwrap_or(text.len()));
        // The rest of a line that was cut can be any word, and the answer to it what another
        // line gets; but never with arguments, without which nothing comes of it.
        let harmless = self.server.cutting && arguments.is_empty();
        if ["XCLIENT", "XFORWARD", "STARTTLS"].contains(&verb) && !harmless {
            panic!("the server sees {}", line.escape_ascii());
        }
        if self.server.sulking && self.is_spoilt(text, verb) {
            return self.say("503 only RSET accepted now");
        }
        match verb {
            "EHLO" => self.greet(),
            "HELO" => {
                self.chunks = false;
                self.say("250 me");
            }
            "AUTH" => self.authenticated(),
            "DATA" => self.data(),
            "BDAT" => self.bdat(arguments),
            _ => {
                let reply = ["250 ok", "550 no", "250-so\r\n250 ok", "421 bye"];
                let reply = self.choose(&reply);
                self.say(reply);
            }
        }
    }

    /// Whether a command is refused since the order of chunks was not kept.
    fn is_spoilt(&mut self, text: &str, verb: &str) -> bool {
        self.state = match (self.state, text) {
            (State::BetweenChunks, "NOOP" | "QUIT") => State::BetweenChunks,
            (State::BetweenChunks, "BDAT 0") => State::Sulking,
            (State::BetweenChunks, _) if verb == "BDAT" => State::Command,
            (State::BetweenChunks | State::Sulking, "RSET") => State::Command,
            (State::BetweenChunks | State::Sulking, _) => State::Sulking,
            (state, _) => state,
        };
        self.state == State::Sulking
    }

    fn greet(&mut self) {
        if self.choose(&[true, true, true, false]) {
            self.chunks = self.server.chunking;
            let keywords = self.server.keywords();
            self.say("250-me");
            for keyword in &keywords[1..] {
                self.say(&format!("250-{keyword}"));
            }
            self.say(&format!("250 {}", keywords[0]));
        } else {
            self.chunks = false;
            self.say("501 5.5.4 no");
        }
    }

    fn data(&mut self) {
        let reply = self.choose(&["354 go on", "354-go\r\n354 on", "503 no", "354 go on"]);
        if reply.starts_with("354") {
            let answer = match self.server.hasty {
                true => Answer::BeforeEnd,
                false => Answer::AtEnd,
            };
            self.state = State::Message { answer };
        }
        self.say(reply);
    }

    /// BDAT as `sscanf("%u")` reads it.
    fn bdat(&mut self, arguments: &str) {
        let arguments = arguments.trim_start();
        let digits = arguments.bytes().take_while(u8::is_ascii_digit).count();
        let (octets, end) = arguments.split_at(digits);
        let octets: u128 = match octets.parse() {
            Ok(octets) if self.chunks => octets,
            _ => return self.say("503 no"),
        };
        let wrap = if self.server.trusting {
            1 << 32
        } else {
            1 << 64
        };
        self.state = State::Chunk {
            left: u64::try_from(octets % wrap).expect("64 bits"),
            last: end.trim() == "LAST",
        };
        self.end_of_chunk();
    }

    fn end_of_chunk(&mut self) {
        let State::Chunk { left: 0, last } = self.state else {
            return;
        };
        let reply = self.choose(&["250 octets", "554 no", "250 octets"]);
        self.state = match reply.starts_with("250") && !last {
            true => State::BetweenChunks,
            false => State::Command,
        };
        self.say(reply);
    }
}
