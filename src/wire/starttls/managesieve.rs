//! ManageSieve in clear (RFC 5804).

use super::words::{banner, capabilities, capability_name, literal_at_end, split_command};
use super::{Dialogue, Outcome};
use crate::wire::announced::Announced;

const MAX_LINE: usize = 2048;

/// The longest quoted string (RFC 5804 section 4).
const MAX_QUOTED: usize = 1024;

/// What is true of any server, where nothing is known of this one.
const UNKNOWN_SERVER: &str =
    "\"IMPLEMENTATION\" \"Gatepost\"\r\n\"SIEVE\" \"\"\r\n\"VERSION\" \"1.0\"\r\n";

/// Commands of the state behind a login, and what servers take from trusted addresses.
const REFUSED: &[&str] = &[
    "CHECKSCRIPT",
    "DELETESCRIPT",
    "GETSCRIPT",
    "HAVESPACE",
    "LISTSCRIPTS",
    "PUTSCRIPT",
    "RENAMESCRIPT",
    "SETACTIVE",
    "UNAUTHENTICATE",
    "XCLIENT",
];

pub(super) struct ManageSieve {
    banner: String,
    /// Capability lines, each with its line end.
    capabilities: String,
    /// A command of which a literal, or what follows one, is still to come.
    unfinished: Option<Command>,
}

/// A command, as far as it means something before TLS.
enum Command {
    Capability,
    Logout,
    Noop,
    /// NOOP with a word that is to come back.
    NoopTagged(Vec<u8>),
    StartTls,
    Refused(&'static str),
    Unknown,
}

const NO_ARGUMENTS: &str = "NO \"No arguments expected\"\r\n";
const NO_TAG: &str = "NO \"One short string expected\"\r\n";

impl ManageSieve {
    pub(super) fn new(announced: Option<&Announced>) -> Self {
        let mut lines = String::new();
        for line in capabilities(announced).filter(|line| is_capability(line)) {
            lines.push_str(&format!("{line}\r\n"));
        }
        // RFC 5804 section 1.7: no server goes without IMPLEMENTATION.
        let has_name = |line: &str| capability_name(line).eq_ignore_ascii_case("IMPLEMENTATION");
        if !lines.lines().any(has_name) {
            lines = UNKNOWN_SERVER.to_owned();
        }
        lines.push_str("\"SASL\" \"\"\r\n\"STARTTLS\"\r\n");
        let banner = banner(announced, &[], "Ready").replace(['"', '\\'], "'");
        Self {
            banner,
            capabilities: lines,
            unfinished: None,
        }
    }

    fn carry_out(&self, command: Command) -> Outcome {
        Outcome::Say(match command {
            Command::Capability => {
                format!("{}OK \"CAPABILITY completed\"\r\n", self.capabilities)
            }
            Command::Noop => "OK \"NOOP completed\"\r\n".to_owned(),
            Command::NoopTagged(tag) => noop_tagged(tag),
            Command::Refused(answer) => answer.to_owned(),
            Command::Unknown => {
                return Outcome::Unknown("NO \"Unknown command\"\r\n".to_owned());
            }
            Command::Logout => return Outcome::Quit("OK \"LOGOUT completed\"\r\n".to_owned()),
            Command::StartTls => {
                return Outcome::StartTls("OK \"Begin TLS negotiation now\"\r\n".to_owned());
            }
        })
    }
}

impl Dialogue for ManageSieve {
    fn greeting(&self) -> String {
        format!("{}OK \"{}\"\r\n", self.capabilities, self.banner)
    }

    fn limit(&self, _line: &[u8]) -> usize {
        MAX_LINE
    }

    fn line(&mut self, line: &[u8]) -> Outcome {
        let command = match self.unfinished.take() {
            None => Command::parse(line),
            Some(Command::NoopTagged(_)) if !line.is_empty() => Command::Refused(NO_TAG),
            Some(command) => command,
        };
        // Literals of a client need no leave here, so none of them is waited with.
        let Some(literal) = literal_at_end(line) else {
            return self.carry_out(command);
        };
        let keep = matches!(command, Command::NoopTagged(_));
        self.unfinished = Some(command);
        Outcome::Literal {
            size: literal.size,
            keep,
        }
    }

    fn literal(&mut self, bytes: Vec<u8>) {
        if let Some(Command::NoopTagged(tag)) = &mut self.unfinished {
            *tag = bytes;
        }
    }

    fn last_word(&self, text: &str) -> String {
        format!("BYE \"{text}\"\r\n")
    }

    fn kept(&self) -> usize {
        match &self.unfinished {
            Some(Command::NoopTagged(tag)) => tag.len(),
            _ => 0,
        }
    }
}

impl Command {
    fn parse(line: &[u8]) -> Self {
        let (verb, arguments) = split_command(line);
        match (verb.as_str(), arguments) {
            ("CAPABILITY", b"") => Self::Capability,
            ("LOGOUT", b"") => Self::Logout,
            ("STARTTLS", b"") => Self::StartTls,
            ("CAPABILITY" | "LOGOUT" | "STARTTLS", _) => Self::Refused(NO_ARGUMENTS),
            ("NOOP", b"") => Self::Noop,
            ("NOOP", tag) => Self::noop_tagged(tag),
            ("AUTHENTICATE", _) => Self::Refused(
                "NO (ENCRYPT-NEEDED) \"TLS is required to log in: STARTTLS first\"\r\n",
            ),
            (verb, _) if REFUSED.contains(&verb) => {
                Self::Refused("NO \"Not before STARTTLS and login\"\r\n")
            }
            _ => Self::Unknown,
        }
    }

    /// NOOP with one string, which may be a literal that is still to come.
    fn noop_tagged(tag: &[u8]) -> Self {
        let brace = tag.iter().rposition(|&byte| byte == b'{');
        if brace == Some(0) && literal_at_end(tag).is_some() {
            return Self::NoopTagged(Vec::new());
        }
        match quoted(tag) {
            Some((tag, b"")) => Self::NoopTagged(tag),
            _ => Self::Refused(NO_TAG),
        }
    }
}

/// RFC 5804 section 2.13. Strings are UTF-8; one that would need a literal is not said.
fn noop_tagged(tag: Vec<u8>) -> String {
    match String::from_utf8(tag) {
        Ok(tag) if tag.len() <= MAX_QUOTED && !tag.contains(['\r', '\n']) => {
            let tag = tag.replace('\\', "\\\\").replace('"', "\\\"");
            format!("OK (TAG \"{tag}\") \"NOOP completed\"\r\n")
        }
        _ => NO_TAG.to_owned(),
    }
}

/// The quoted string at the beginning of `text`, without its quotes, and what follows it.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut found = Vec::new();
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some((found, after)),
            [b'\\', escaped @ (b'"' | b'\\'), after @ ..] => {
                found.push(*escaped);
                after
            }
            [b'\\', ..] | [] => return None,
            [byte, after @ ..] => {
                found.push(*byte);
                after
            }
        };
    }
}

/// A capability line: one or two quoted strings.
fn is_capability(line: &str) -> bool {
    match quoted(line.as_bytes()) {
        Some((_, b"")) => true,
        Some((_, rest)) => rest
            .strip_prefix(b" ")
            .and_then(quoted)
            .is_some_and(|(_, rest)| rest.is_empty()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::super::{Policy, Preamble, Reason, Step};
    use super::*;
    use crate::wire::mail::MailProtocol;

    const MINIMUM: &str = "\"IMPLEMENTATION\" \"Gatepost\"\r\n\"SIEVE\" \"\"\r\n\
                           \"VERSION\" \"1.0\"\r\n\"SASL\" \"\"\r\n\"STARTTLS\"\r\n";
    const ENCRYPT: &str = "NO (ENCRYPT-NEEDED) \"TLS is required to log in: STARTTLS first\"\r\n";
    const NOOP: &str = "OK \"NOOP completed\"\r\n";

    fn preamble(announced: Option<&Announced>) -> Preamble {
        Preamble::new(
            MailProtocol::ManageSieve,
            Policy::Required,
            "sieve.example.com",
            announced,
        )
    }

    #[test]
    fn what_is_said() {
        let go_ahead = "OK \"Begin TLS negotiation now\"\r\n";
        let capability = format!("{MINIMUM}OK \"CAPABILITY completed\"\r\n");
        check(
            || preamble(None),
            &[
                ("CAPABILITY\r\n", &capability, Step::More),
                ("capability \r\n", &capability, Step::More),
                ("CAPABILITY \"x\"\r\n", NO_ARGUMENTS, Step::More),
                ("STARTTLS\r\n", go_ahead, Step::StartTls),
                (
                    "NOOP\r\nStartTls\r\n",
                    &format!("{NOOP}{go_ahead}"),
                    Step::StartTls,
                ),
                ("STARTTLS \"now\"\r\n", NO_ARGUMENTS, Step::More),
                (
                    "LOGOUT\r\nNOOP\r\n",
                    "OK \"LOGOUT completed\"\r\n",
                    Step::Close(Reason::Quit),
                ),
                (
                    "LISTSCRIPTS\r\n",
                    "NO \"Not before STARTTLS and login\"\r\n",
                    Step::More,
                ),
                ("FOO\r\n", "NO \"Unknown command\"\r\n", Step::More),
                ("\r\n", "NO \"Unknown command\"\r\n", Step::More),
            ],
        );
        assert_eq!(
            preamble(None).greeting(),
            format!("{MINIMUM}OK \"Ready\"\r\n").as_bytes()
        );
    }

    #[test]
    fn logins_are_refused_and_their_bytes_are_no_commands() {
        check(
            || preamble(None),
            &[
                ("AUTHENTICATE \"PLAIN\"\r\n", ENCRYPT, Step::More),
                (
                    "Authenticate \"PLAIN\" \"AGEAYg==\"\r\n",
                    ENCRYPT,
                    Step::More,
                ),
                (
                    "AUTHENTICATE {5+}\r\nPLAIN {10+}\r\nSTARTTLS\r\n\r\nNOOP\r\n",
                    &format!("{ENCRYPT}{NOOP}"),
                    Step::More,
                ),
                (
                    "AUTHENTICATE \"PLAIN\" {10}\r\nSTARTTLS\r\n\r\nNOOP\r\n",
                    &format!("{ENCRYPT}{NOOP}"),
                    Step::More,
                ),
                (
                    "PUTSCRIPT \"a\" {10+}\r\nSTARTTLS\r\n\r\n",
                    "NO \"Not before STARTTLS and login\"\r\n",
                    Step::More,
                ),
                (
                    "FOO {10+}\r\nSTARTTLS\r\n\r\n",
                    "NO \"Unknown command\"\r\n",
                    Step::More,
                ),
                (
                    "AUTHENTICATE \"PLAIN\" {4097+}\r\n",
                    "BYE \"Literal too long\"\r\n",
                    Step::Close(Reason::LiteralTooLong),
                ),
                (
                    &format!("AUTHENTICATE \"{}\"\r\n", "x".repeat(2048)),
                    "BYE \"Line too long\"\r\n",
                    Step::Close(Reason::LineTooLong),
                ),
            ],
        );
    }

    #[test]
    fn noop_gives_its_word_back() {
        let tag = |text: &str| format!("OK (TAG \"{text}\") \"NOOP completed\"\r\n");
        let long = "x".repeat(1024);
        check(
            || preamble(None),
            &[
                ("NOOP \"\"\r\n", &tag(""), Step::More),
                ("noop \"sync 42\"\r\n", &tag("sync 42"), Step::More),
                ("NOOP \"a\\\"b\\\\c\"\r\n", &tag("a\\\"b\\\\c"), Step::More),
                ("NOOP \"\u{e9}\"\r\n", &tag("\u{e9}"), Step::More),
                (
                    "NOOP {16+}\r\nSTARTTLS-SYNC-42\r\nNOOP\r\n",
                    &format!("{}{NOOP}", tag("STARTTLS-SYNC-42")),
                    Step::More,
                ),
                ("NOOP {3+}\r\n\"\\x\r\n", &tag("\\\"\\\\x"), Step::More),
                ("NOOP {0+}\r\n\r\n", &tag(""), Step::More),
                (
                    &format!("NOOP {{1024+}}\r\n{long}\r\n"),
                    &tag(&long),
                    Step::More,
                ),
                (
                    &format!("NOOP {{1025+}}\r\n{long}x\r\n"),
                    NO_TAG,
                    Step::More,
                ),
                ("NOOP {3+}\r\na\r\n\r\n", NO_TAG, Step::More),
                ("NOOP {1+}\r\na \"b\"\r\n", NO_TAG, Step::More),
                (
                    "NOOP {1+}\r\na {1+}\r\nb\r\nNOOP\r\n",
                    &format!("{NO_TAG}{NOOP}"),
                    Step::More,
                ),
                ("NOOP \"a\" \"b\"\r\n", NO_TAG, Step::More),
                ("NOOP \"a\" {1+}\r\nb\r\n", NO_TAG, Step::More),
                ("NOOP \"a\r\n", NO_TAG, Step::More),
                ("NOOP \"\\a\"\r\n", NO_TAG, Step::More),
                ("NOOP a\r\n", NO_TAG, Step::More),
            ],
        );
        let mut answer = Vec::new();
        preamble(None).receive(b"NOOP \"\xff\"\r\n", &mut answer);
        assert_eq!(answer, NO_TAG.as_bytes());
    }

    #[test]
    fn the_server_is_announced_cut_down() {
        let announced = Announced {
            banner: "Dovecot \"sieve\" ready.".to_owned(),
            capabilities: [
                "\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"",
                "\"SIEVE\" \"fileinto reject\"",
                "\"SASL\" \"PLAIN\"",
                "\"STARTTLS\"",
                "\"XCLIENT\" \"ADDR PORT\"",
                "\"NOTIFY\" {6}",
                "OK \"early\"",
                "\"ODD\" \"a\" \"b\"",
                "\"VERSION\" \"1.0\"",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let lines = "\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n\
                     \"SIEVE\" \"fileinto reject\"\r\n\"VERSION\" \"1.0\"\r\n\
                     \"SASL\" \"\"\r\n\"STARTTLS\"\r\n";
        assert_eq!(
            preamble(Some(&announced)).greeting(),
            format!("{lines}OK \"Dovecot 'sieve' ready.\"\r\n").as_bytes()
        );
        assert_eq!(
            preamble(Some(&Announced::default())).greeting(),
            format!("{MINIMUM}OK \"Ready\"\r\n").as_bytes()
        );
    }
}
