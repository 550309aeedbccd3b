//! Between client and server of SMTP (RFC 5321) until login, or until the end where the server
//! believes us what we say of others.
//!
//! Owns where commands, messages, chunks and replies begin and end. That has to be what the
//! server takes them for at every byte: a client that could make one of us read as a message what
//! the other reads as commands could say XCLIENT behind our back. Commands whose reply decides
//! how the next bytes are read therefore go to the server alone; nothing else is sent before it
//! has answered. Refuses to know what the commands mean, and what is in a message.

mod command;
mod ehlo;
mod message;
mod replies;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::mem;

use memchr::memchr;

use super::lines::REFUSALS;
use super::{GuardError, Mode, Taken};
use command::{Chunk, Command, MAX_AUTH_LINE, MAX_LINE};
use ehlo::Announcement;
use message::Message;
use replies::{End, Piece, Replies};

/// The most replies that may be awaited at a time.
const MAX_OUTSTANDING: usize = 1000;

/// The longest answer to EHLO, and its longest line.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_ANSWER_LINE: usize = 8 * 1024;

/// The guard of one session.
pub(super) struct Smtp {
    mode: Mode,
    /// Whether the server has announced that it believes us what we say of others (XCLIENT,
    /// XFORWARD); `None` while it has announced nothing.
    believed: Option<bool>,
    /// Whether the server reads octets behind BDAT.
    chunking: bool,
    /// What the next byte of the client is part of.
    input: Input,
    /// The part of a line that has come.
    line: Vec<u8>,
    /// Whether the next line has to wait until no reply is awaited.
    held: bool,
    /// How many replies are awaited.
    outstanding: usize,
    /// What the only awaited reply decides.
    decisive: Option<Decisive>,
    /// Whether more chunks of a message must follow.
    between_chunks: bool,
    replies: Replies,
    /// Whether the reply that is passing by is one that was awaited.
    awaited: bool,
    /// The answer to EHLO so far.
    answer: Vec<u8>,
    /// How many commands were refused here since the server answered one.
    refused: usize,
    logged_in: bool,
    done: bool,
}

/// What the next byte of the client is part of.
enum Input {
    Command,
    /// A line of a SASL exchange.
    Response,
    Message(Message),
    /// A chunk, of which so much is still to come.
    Chunk(u64),
}

/// A command whose reply decides how the session goes on.
#[derive(Clone, Copy)]
enum Decisive {
    Hello {
        extended: bool,
    },
    Auth,
    Data,
    /// BDAT, or RSET after it: whether more chunks are to follow if it succeeds.
    Chunks {
        more: bool,
    },
}

/// What becomes of a command.
enum Verdict {
    Pass,
    /// Passes once no reply is awaited, and nothing follows it before its own.
    PassAlone(Decisive),
    /// The same, with octets behind it.
    PassChunk(Chunk),
    /// Is not for the server; our answer, without the line end.
    Answer(&'static str),
    StartTls,
}

/// What became of a line.
enum Line {
    Taken(usize),
    Waits,
    StartTls(usize),
}

impl Smtp {
    pub(super) fn new(mode: Mode, known: &[String]) -> Self {
        let announcement = Announcement::of(known.iter().map(String::as_bytes));
        let believed = (!known.is_empty()).then_some(announcement.impersonation);
        // Under TLS the client has to say EHLO itself before the server reads chunks.
        let chunking = announcement.chunking && (mode == Mode::Open || believed == Some(false));
        Self {
            mode,
            believed,
            chunking,
            input: Input::Command,
            line: Vec::new(),
            held: false,
            outstanding: 0,
            decisive: None,
            between_chunks: false,
            replies: Replies::default(),
            awaited: false,
            answer: Vec::new(),
            refused: 0,
            logged_in: false,
            done: false,
        }
    }

    pub(super) fn client(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Taken, GuardError> {
        let mut consumed = 0;
        let mut start_tls = false;
        while let Some(rest) = bytes.get(consumed..)
            && !rest.is_empty()
            && !start_tls
        {
            consumed += match self.input {
                Input::Message(_) | Input::Chunk(_) => self.pass_data(rest, server, client)?,
                Input::Command | Input::Response if self.must_wait() => break,
                Input::Command | Input::Response => match self.take_line(rest, server, client)? {
                    Line::Taken(length) => length,
                    Line::Waits => break,
                    Line::StartTls(length) => {
                        start_tls = true;
                        length
                    }
                },
            };
        }
        Ok(Taken {
            consumed,
            start_tls,
        })
    }

    pub(super) fn server(&mut self, bytes: &[u8], client: &mut Vec<u8>) -> Result<(), GuardError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = self.replies.take(rest);
            rest = rest.get(piece.bytes.len()..).unwrap_or(&[]);
            self.take_reply(&piece, client)?;
        }
        self.done |= self.logged_in
            && self.mode == Mode::Closed
            && !self.is_wary()
            && self.outstanding == 0
            && self.line.is_empty()
            && matches!(self.input, Input::Command);
        Ok(())
    }

    /// A greeting of SMTP announces nothing.
    pub(super) fn greeting(&self, greeting: &[u8]) -> Vec<u8> {
        greeting.to_vec()
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether what servers read in two ways must not reach this one: it believes us what we say
    /// of others, or has not said yet that it does not.
    fn is_wary(&self) -> bool {
        self.believed != Some(false)
    }

    fn must_wait(&self) -> bool {
        self.decisive.is_some()
            || self.outstanding >= MAX_OUTSTANDING
            || self.held && self.outstanding > 0
    }

    /// Passes what belongs to a message or a chunk, and says how much that is.
    fn pass_data(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<usize, GuardError> {
        let wary = self.is_wary();
        let (length, ended) = match &mut self.input {
            Input::Message(message) => {
                let end = message.end(bytes, wary).inspect_err(|_| {
                    say(client, "550 5.5.2 Lone dot without CRLF around it");
                })?;
                self.outstanding += usize::from(end.is_some());
                (end.unwrap_or(bytes.len()), end.is_some())
            }
            Input::Chunk(left) => {
                let length = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                *left -= u64::try_from(length).expect("no more than what is left");
                (length, *left == 0)
            }
            Input::Command | Input::Response => (0, false),
        };
        if ended {
            self.input = Input::Command;
        }
        server.extend_from_slice(bytes.get(..length).unwrap_or(bytes));
        Ok(length)
    }

    /// Takes a line, or the part of it that is there.
    fn take_line(
        &mut self,
        bytes: &[u8],
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Line, GuardError> {
        let end = memchr(b'\n', bytes);
        let piece = end.and_then(|end| bytes.get(..=end)).unwrap_or(bytes);
        let kept = self.line.len();
        let line = if kept == 0 {
            Cow::Borrowed(piece)
        } else {
            self.line.extend_from_slice(piece);
            Cow::Owned(mem::take(&mut self.line))
        };
        let missing = usize::from(end.is_none());
        let longest = self.longest(&line);
        if line.len() + missing > longest {
            // The first is for such lines alone (RFC 4954 section 6).
            let answer = match longest {
                MAX_AUTH_LINE => "500 5.5.6 Authentication exchange line is too long",
                _ => "500 5.5.2 Line too long",
            };
            say(client, answer);
            return Err(GuardError::LineTooLong);
        }
        if end.is_none() {
            self.line = line.into_owned();
            return Ok(Line::Taken(piece.len()));
        }
        let became = if matches!(self.input, Input::Response) {
            self.pass_response(&line, server);
            Line::Taken(piece.len())
        } else {
            self.take_command(&line, piece.len(), server, client)?
        };
        match became {
            Line::Waits => {
                self.line = line.into_owned();
                self.line.truncate(kept);
            }
            Line::StartTls(length) if length < bytes.len() => return Err(GuardError::Injection),
            Line::StartTls(_) => say(client, "220 2.0.0 Ready to start TLS"),
            Line::Taken(_) => {}
        }
        Ok(became)
    }

    fn longest(&self, line: &[u8]) -> usize {
        match self.input {
            Input::Response => MAX_AUTH_LINE,
            _ if line.len() >= MAX_LINE && Command::parse(line) == Command::Auth => MAX_AUTH_LINE,
            _ => MAX_LINE,
        }
    }

    /// Passes one line of a SASL exchange; to a wary guard what is none becomes the line that
    /// cancels the exchange.
    fn pass_response(&mut self, line: &[u8], server: &mut Vec<u8>) {
        let passes = !self.is_wary() || command::is_response(line);
        server.extend_from_slice(if passes { line } else { b"*\r\n" });
        self.input = Input::Command;
        self.awaits(Some(Decisive::Auth));
    }

    fn take_command(
        &mut self,
        line: &[u8],
        length: usize,
        server: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Line, GuardError> {
        let verdict = self.verdict(line);
        self.held = !matches!(verdict, Verdict::Pass) && self.outstanding > 0;
        if self.held {
            return Ok(Line::Waits);
        }
        match verdict {
            Verdict::Pass => self.awaits(None),
            Verdict::PassAlone(decisive) => self.awaits(Some(decisive)),
            Verdict::PassChunk(Chunk { octets, last }) => {
                if octets > 0 {
                    self.input = Input::Chunk(octets);
                }
                self.awaits(Some(Decisive::Chunks { more: !last }));
            }
            Verdict::Answer(answer) => {
                self.refuse(answer, client)?;
                return Ok(Line::Taken(length));
            }
            Verdict::StartTls => return Ok(Line::StartTls(length)),
        }
        server.extend_from_slice(line);
        Ok(Line::Taken(length))
    }

    /// Answers a command that is not for the server. A client that says nothing else is not
    /// listened to for ever: it need not even read the answers.
    fn refuse(&mut self, answer: &str, client: &mut Vec<u8>) -> Result<(), GuardError> {
        say(client, answer);
        self.refused += 1;
        if self.refused > REFUSALS {
            say(client, "421 4.7.0 Too many errors, closing connection");
            return Err(GuardError::TooManyErrors);
        }
        Ok(())
    }

    fn awaits(&mut self, decisive: Option<Decisive>) {
        self.outstanding += 1;
        self.decisive = decisive;
    }

    fn verdict(&self, line: &[u8]) -> Verdict {
        if self.is_wary() && !command::is_unmistakable(line) {
            return Verdict::Answer("500 5.5.2 Line with characters that no command has");
        }
        if self.is_wary() && self.between_chunks && !command::may_follow_chunk(line) {
            return Verdict::Answer("503 5.5.1 Only BDAT or RSET can follow a chunk");
        }
        match Command::parse(line) {
            Command::Hello { extended } => Verdict::PassAlone(Decisive::Hello { extended }),
            Command::Lhlo => Verdict::Answer("500 5.5.1 LMTP is not spoken here"),
            Command::Auth if self.mode == Mode::Open => Verdict::Answer(
                "538 5.7.11 Encryption required for requested authentication mechanism",
            ),
            Command::Auth => Verdict::PassAlone(Decisive::Auth),
            Command::Data => Verdict::PassAlone(Decisive::Data),
            Command::Bdat(_) if !self.chunking => Verdict::Answer("502 5.5.1 BDAT not offered"),
            Command::Bdat(Some(chunk)) if chunk.is_safe() || !self.is_wary() => {
                Verdict::PassChunk(chunk)
            }
            Command::Bdat(_) => Verdict::Answer("501 5.5.4 Syntax: BDAT octets [LAST]"),
            Command::StartTls { exact: false } => {
                Verdict::Answer("501 5.5.4 STARTTLS takes no arguments")
            }
            Command::StartTls { .. } if self.mode == Mode::Open => Verdict::StartTls,
            Command::StartTls { .. } => Verdict::Answer("503 5.5.1 STARTTLS is not to be had here"),
            Command::AnonymousTls => Verdict::Answer("502 5.5.1 X-ANONYMOUSTLS not offered"),
            Command::Impersonation => Verdict::Answer("550 5.7.1 Not for clients"),
            Command::Rset if self.between_chunks => {
                Verdict::PassAlone(Decisive::Chunks { more: false })
            }
            Command::Rset | Command::Ordinary => Verdict::Pass,
        }
    }

    fn take_reply(&mut self, piece: &Piece<'_>, client: &mut Vec<u8>) -> Result<(), GuardError> {
        if piece.first {
            self.awaited = self.outstanding > 0;
        }
        let collected = self.awaited && matches!(self.decisive, Some(Decisive::Hello { .. }));
        if collected {
            let length = self.answer.len() + piece.bytes.len();
            if piece.length > MAX_ANSWER_LINE || length > MAX_ANSWER {
                return Err(GuardError::Server);
            }
            self.answer.extend_from_slice(piece.bytes);
        } else {
            client.extend_from_slice(piece.bytes);
        }
        match piece.end {
            End::None => Ok(()),
            End::Malformed if self.awaited => Err(GuardError::Server),
            End::Malformed => Ok(()),
            End::Reply(code) => self.replied(code, client),
        }
    }

    /// A reply is whole.
    fn replied(&mut self, code: [u8; 3], client: &mut Vec<u8>) -> Result<(), GuardError> {
        if !self.awaited {
            return self.unasked(code);
        }
        self.outstanding -= 1;
        self.refused = 0;
        match (self.decisive.take(), &code) {
            (Some(Decisive::Data), b"354") => self.input = Input::Message(Message::new()),
            (Some(Decisive::Auth), b"334") => self.input = Input::Response,
            // The server awaits something that we do not see: whatever comes next, it would
            // read it otherwise than we do.
            (_, [b'3', ..]) if self.is_wary() => return Err(GuardError::Server),
            (Some(Decisive::Auth), b"235") => self.logged_in = true,
            (Some(Decisive::Hello { extended }), _) => self.greeted(extended, code, client),
            (Some(Decisive::Chunks { more }), _) => {
                self.between_chunks = more && code.starts_with(b"2");
            }
            _ => {}
        }
        Ok(())
    }

    /// A reply has come that none was awaited. With 421 a server goes (RFC 5321 section 3.8), and
    /// a message can be refused before it ends; any other means that we have lost count.
    fn unasked(&self, code: [u8; 3]) -> Result<(), GuardError> {
        let harmless = code == *b"421" || !matches!(self.input, Input::Command);
        if self.is_wary() && !harmless {
            return Err(GuardError::Server);
        }
        Ok(())
    }

    /// The server has answered EHLO or HELO.
    fn greeted(&mut self, extended: bool, code: [u8; 3], client: &mut Vec<u8>) {
        let answer = mem::take(&mut self.answer);
        self.chunking = false;
        if !code.starts_with(b"2") {
            client.extend_from_slice(&answer);
            return;
        }
        let announcement = Announcement::of_answer(&answer);
        if announcement.impersonation {
            self.believed = Some(true);
        } else if extended && self.believed.is_none() {
            self.believed = Some(false);
        }
        self.chunking = extended && announcement.chunking;
        let offer = extended && self.mode == Mode::Open;
        client.extend_from_slice(&ehlo::filter(&answer, self.mode, offer));
    }
}

fn say(client: &mut Vec<u8>, line: &str) {
    client.extend_from_slice(line.as_bytes());
    client.extend_from_slice(b"\r\n");
}
