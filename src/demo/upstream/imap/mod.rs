//! A mailbox of two messages, read-only (a subset of IMAP4rev1, RFC 3501, and IDLE, RFC 2177).
//!
//! Any user and password will do. What is left out is refused with NO or BAD, never half done.

mod arguments;
mod mailbox;

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::lines::read_line;
use super::{Client, Stream, malformed};
use arguments::{Cursor, literal_at_end};
use mailbox::{Item, MESSAGES, matches_inbox, parse_set};

const MAX_LINE: u64 = 8192;
/// One command with all its literals.
const MAX_COMMAND: usize = 16 << 10;
const CAPABILITIES: &str = "IMAP4rev1 IDLE";

pub(super) async fn serve(stream: Stream, client: Client) -> io::Result<()> {
    let mut session = Session {
        stream,
        state: State::Connected,
    };
    let who = client.describe();
    session
        .send(&format!(
            "* OK [CAPABILITY {CAPABILITIES}] Gatepost demo sees {who}"
        ))
        .await?;
    while let Some(command) = session.read_command().await? {
        if session.execute(&command).await? == Next::Close {
            break;
        }
    }
    session.stream.shutdown().await
}

#[derive(Eq, PartialEq)]
enum Next {
    Go,
    Close,
}

/// RFC 3501 section 3.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum State {
    Connected,
    LoggedIn,
    Selected,
}

struct Session {
    stream: Stream,
    state: State,
}

impl Session {
    async fn send(&mut self, line: &str) -> io::Result<()> {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await
    }

    /// Reads a command with its literals, which stay in the text as `{n}CRLF` and n bytes.
    async fn read_command(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(mut command) = read_line(&mut self.stream, MAX_LINE).await? else {
            return Ok(None);
        };
        while let Some((length, waits)) = literal_at_end(&command) {
            let start = command.len() + 2;
            if length > MAX_COMMAND || start + length > MAX_COMMAND {
                self.send("* BYE Command over 16,384 bytes").await?;
                return Err(malformed("command too long"));
            }
            if waits {
                self.send("+ Go ahead").await?;
            }
            command.extend_from_slice(b"\r\n");
            command.resize(start + length, 0);
            let literal = command.get_mut(start..).unwrap_or_default();
            self.stream.read_exact(literal).await?;
            match read_line(&mut self.stream, MAX_LINE).await? {
                Some(rest) => command.extend_from_slice(&rest),
                None => return Ok(None),
            }
        }
        Ok(Some(command))
    }

    async fn execute(&mut self, command: &[u8]) -> io::Result<Next> {
        let mut cursor = Cursor(command);
        let (Some(tag), Some(mut verb)) = (cursor.atom(), cursor.atom()) else {
            self.send("* BAD Expected a tag and a command").await?;
            return Ok(Next::Go);
        };
        let by_uid = verb.eq_ignore_ascii_case("UID");
        if by_uid {
            verb = cursor.atom().unwrap_or_default();
        }
        let answer = match verb.to_ascii_uppercase().as_str() {
            "LOGOUT" if !by_uid => {
                self.send("* BYE Come again").await?;
                self.send(&format!("{tag} OK Logged out")).await?;
                return Ok(Next::Close);
            }
            "FETCH" => self.fetch(cursor, by_uid).await?,
            _ if by_uid => Answer::Bad("Only UID FETCH is in this demo"),
            "CAPABILITY" => {
                self.send(&format!("* CAPABILITY {CAPABILITIES}")).await?;
                Answer::Ok("Those are all")
            }
            "NOOP" | "CHECK" => Answer::Ok("Nothing done"),
            "LOGIN" => self.login(cursor),
            "LIST" | "LSUB" => self.list(verb, cursor).await?,
            "SELECT" | "EXAMINE" => self.select(cursor).await?,
            "CLOSE" => self.close(),
            "IDLE" => self.idle().await?,
            "AUTHENTICATE" => Answer::No("Use LOGIN"),
            "CREATE" | "DELETE" | "RENAME" | "SUBSCRIBE" | "UNSUBSCRIBE" | "STATUS" | "APPEND"
            | "EXPUNGE" | "SEARCH" | "STORE" | "COPY" => Answer::No("Not in this demo"),
            _ => Answer::Bad("No such command"),
        };
        self.send(&format!("{tag} {answer}")).await?;
        Ok(Next::Go)
    }

    fn login(&mut self, mut cursor: Cursor<'_>) -> Answer {
        if self.state != State::Connected {
            return Answer::Bad("Already logged in");
        }
        match (cursor.string(), cursor.string(), cursor.is_done()) {
            (Some(_), Some(_), true) => {
                self.state = State::LoggedIn;
                Answer::Ok("Welcome, whoever you are")
            }
            _ => Answer::Bad("Expected a user and a password"),
        }
    }

    async fn list(&mut self, verb: &str, mut cursor: Cursor<'_>) -> io::Result<Answer> {
        if self.state < State::LoggedIn {
            return Ok(Answer::NOT_LOGGED_IN);
        }
        let (Some(reference), Some(pattern)) = (cursor.string(), cursor.string()) else {
            return Ok(Answer::Bad("Expected a reference and a pattern"));
        };
        let verb = verb.to_ascii_uppercase();
        let wanted = [reference, pattern].concat();
        if wanted.is_empty() {
            self.send(&format!("* {verb} (\\Noselect) \"/\" \"\""))
                .await?;
        } else if matches_inbox(&wanted) {
            self.send(&format!("* {verb} (\\Noinferiors) \"/\" INBOX"))
                .await?;
        }
        Ok(Answer::Ok("Those are all"))
    }

    async fn select(&mut self, mut cursor: Cursor<'_>) -> io::Result<Answer> {
        if self.state < State::LoggedIn {
            return Ok(Answer::NOT_LOGGED_IN);
        }
        // A SELECT that fails leaves nothing selected (RFC 3501 section 6.3.1).
        self.state = State::LoggedIn;
        match cursor.string() {
            Some(name) if name.eq_ignore_ascii_case(b"INBOX") => {}
            Some(_) => return Ok(Answer::No("There is only INBOX")),
            None => return Ok(Answer::Bad("Expected a mailbox")),
        }
        let (count, next) = (MESSAGES.len(), MESSAGES.len() + 1);
        self.send(&format!(
            "* {count} EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n\
             * OK [PERMANENTFLAGS ()] None can be changed\r\n\
             * OK [UIDVALIDITY 1] Ever the same\r\n* OK [UIDNEXT {next}] Next"
        ))
        .await?;
        self.state = State::Selected;
        Ok(Answer::Ok("[READ-ONLY] INBOX it is"))
    }

    fn close(&mut self) -> Answer {
        if self.state != State::Selected {
            return Answer::NOT_SELECTED;
        }
        self.state = State::LoggedIn;
        Answer::Ok("Closed")
    }

    async fn fetch(&mut self, mut cursor: Cursor<'_>, by_uid: bool) -> io::Result<Answer> {
        if self.state != State::Selected {
            return Ok(Answer::NOT_SELECTED);
        }
        let Some(set) = cursor.atom().and_then(parse_set) else {
            return Ok(Answer::Bad("Expected a set of messages"));
        };
        let Some(mut items) = Item::parse_all(cursor.rest()) else {
            return Ok(Answer::Bad(
                "This demo has FLAGS UID INTERNALDATE RFC822.SIZE BODY[] BODY[HEADER] BODY[TEXT]",
            ));
        };
        if by_uid && !items.iter().any(|(item, _)| *item == Item::Uid) {
            items.insert(0, (Item::Uid, "UID".to_owned()));
        }
        for (number, message) in (1_u32..).zip(MESSAGES) {
            if set.iter().any(|range| range.contains(&number)) {
                let items: Vec<_> = items
                    .iter()
                    .map(|(item, label)| format!("{label} {}", item.value(number, message)))
                    .collect();
                self.send(&format!("* {number} FETCH ({})", items.join(" ")))
                    .await?;
            }
        }
        Ok(Answer::Ok("Fetched"))
    }

    async fn idle(&mut self) -> io::Result<Answer> {
        if self.state < State::LoggedIn {
            return Ok(Answer::NOT_LOGGED_IN);
        }
        self.send("+ Nothing will happen").await?;
        match read_line(&mut self.stream, MAX_LINE).await? {
            Some(line) if line.eq_ignore_ascii_case(b"DONE") => Ok(Answer::Ok("As you see")),
            _ => Ok(Answer::Bad("Expected DONE")),
        }
    }
}

/// The tagged end of a command.
enum Answer {
    Ok(&'static str),
    No(&'static str),
    Bad(&'static str),
}

impl Answer {
    const NOT_LOGGED_IN: Self = Self::Bad("LOGIN comes first");
    const NOT_SELECTED: Self = Self::Bad("SELECT comes first");
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(text) => write!(f, "OK {text}"),
            Self::No(text) => write!(f, "NO {text}"),
            Self::Bad(text) => write!(f, "BAD {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::super::tests::converse;

    /// The answers to `input`, after the greeting and up to the end of LOGOUT.
    async fn session(input: &str) -> String {
        let answer = converse(Service::Imap, &format!("{input}\r\nz LOGOUT\r\n")).await;
        let (greeting, answer) = answer.split_once("\r\n").unwrap();
        assert_eq!(
            greeting,
            "* OK [CAPABILITY IMAP4rev1 IDLE] Gatepost demo sees 192.0.2.7:4711 over TLSv1.3, \
             asking for mail.demo.test"
        );
        let end = "* BYE Come again\r\nz OK Logged out\r\n";
        answer.strip_suffix(end).unwrap_or(answer).to_owned()
    }

    #[tokio::test]
    async fn mail_is_read() {
        let answer = session(
            "a LOGIN \"me \\\" too\" {6}\r\nse cre\r\nb LIST \"\" *\r\nc select inbox\r\n\
             d FETCH 1:* (FLAGS RFC822.SIZE)\r\ne UID FETCH 2 BODY.PEEK[TEXT]\r\n\
             f IDLE\r\nDONE\r\ng NOOP\r\nh CLOSE\r\ni FETCH 1 FLAGS",
        )
        .await;
        assert_eq!(
            answer,
            "+ Go ahead\r\na OK Welcome, whoever you are\r\n\
             * LIST (\\Noinferiors) \"/\" INBOX\r\nb OK Those are all\r\n\
             * 2 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n\
             * OK [PERMANENTFLAGS ()] None can be changed\r\n\
             * OK [UIDVALIDITY 1] Ever the same\r\n* OK [UIDNEXT 3] Next\r\n\
             c OK [READ-ONLY] INBOX it is\r\n\
             * 1 FETCH (FLAGS (\\Seen) RFC822.SIZE 243)\r\n\
             * 2 FETCH (FLAGS (\\Seen) RFC822.SIZE 247)\r\nd OK Fetched\r\n\
             * 2 FETCH (UID 2 BODY[TEXT] {94}\r\n\
             The greeting said who you are: the proxy tells the server\r\n\
             your address with a PROXY header.\r\n)\r\ne OK Fetched\r\n\
             + Nothing will happen\r\nf OK As you see\r\ng OK Nothing done\r\n\
             h OK Closed\r\ni BAD SELECT comes first\r\n"
        );
    }

    #[tokio::test]
    async fn what_is_wrong_is_refused() {
        let table = [
            ("a", "* BAD "),
            ("a SELECT INBOX", "a BAD LOGIN"),
            ("a LOGIN me", "a BAD "),
            ("a LOGIN \"me secret", "a BAD "),
            ("a LOGIN me secret more", "a BAD "),
            ("a AUTHENTICATE PLAIN", "a NO "),
            ("a UID", "a BAD "),
            ("a STARTTLS", "a BAD "),
            ("a LOGIN {99999}", "* BYE "),
        ];
        for (input, expected) in table {
            let answer = session(input).await;
            assert!(answer.starts_with(expected), "{input}: {answer}");
        }
    }
}
