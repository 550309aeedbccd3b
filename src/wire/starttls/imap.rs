//! IMAP in clear (RFC 9051, 3501, 2595, 2971, 5530, 7888).

use super::words::{banner, capabilities, is_any, literal_at_end};
use super::{Dialogue, Outcome};
use crate::wire::announced::Announced;

const MAX_LINE: usize = 8192;

/// Commands of the states behind a login, RFC 9051 and the extensions that clients use.
const AFTER_LOGIN: &[&str] = &[
    "APPEND",
    "CHECK",
    "CLOSE",
    "COMPRESS",
    "COPY",
    "CREATE",
    "DELETE",
    "DELETEACL",
    "ENABLE",
    "EXAMINE",
    "EXPUNGE",
    "FETCH",
    "GETACL",
    "GETMETADATA",
    "GETQUOTA",
    "GETQUOTAROOT",
    "IDLE",
    "LIST",
    "LISTRIGHTS",
    "LSUB",
    "MOVE",
    "MYRIGHTS",
    "NAMESPACE",
    "NOTIFY",
    "RENAME",
    "SEARCH",
    "SELECT",
    "SETACL",
    "SETMETADATA",
    "SETQUOTA",
    "SORT",
    "STATUS",
    "STORE",
    "SUBSCRIBE",
    "THREAD",
    "UID",
    "UNAUTHENTICATE",
    "UNSELECT",
    "UNSUBSCRIBE",
    "XLIST",
];

pub(super) struct Imap {
    banner: String,
    capabilities: String,
    /// A command of which a literal is still to come.
    unfinished: Option<Command>,
}

/// A command, as far as it means something before TLS.
struct Command {
    tag: String,
    verdict: Verdict,
}

enum Verdict {
    Capability,
    Id,
    Logout,
    Noop,
    StartTls,
    Refused(&'static str),
    Unknown(&'static str),
}

impl Imap {
    pub(super) fn new(announced: Option<&Announced>) -> Self {
        let mut said = "IMAP4rev1 ".to_owned();
        for atom in capabilities(announced).filter(|entry| entry.bytes().all(is_atom_char)) {
            if !is_any(atom, &["IMAP4rev1"]) {
                said.push_str(atom);
                said.push(' ');
            }
        }
        said.push_str("STARTTLS LOGINDISABLED");
        Self {
            banner: banner(announced, &[('[', ']')], "Ready"),
            capabilities: said,
            unfinished: None,
        }
    }

    fn carry_out(&self, Command { tag, verdict }: Command) -> Outcome {
        Outcome::Say(match verdict {
            Verdict::Capability => format!(
                "* CAPABILITY {}\r\n{tag} OK CAPABILITY completed\r\n",
                self.capabilities
            ),
            Verdict::Id => format!("* ID NIL\r\n{tag} OK ID completed\r\n"),
            Verdict::Noop => format!("{tag} OK NOOP completed\r\n"),
            Verdict::Refused(answer) => format!("{tag} {answer}\r\n"),
            Verdict::Unknown(answer) => return Outcome::Unknown(format!("{tag} {answer}\r\n")),
            Verdict::Logout => {
                return Outcome::Quit(format!("* BYE Bye\r\n{tag} OK LOGOUT completed\r\n"));
            }
            Verdict::StartTls => {
                return Outcome::StartTls(format!("{tag} OK Begin TLS negotiation now\r\n"));
            }
        })
    }
}

impl Dialogue for Imap {
    fn greeting(&self) -> String {
        format!(
            "* OK [CAPABILITY {}] {}\r\n",
            self.capabilities, self.banner
        )
    }

    fn limit(&self, _line: &[u8]) -> usize {
        MAX_LINE
    }

    fn line(&mut self, line: &[u8]) -> Outcome {
        let mut command = self
            .unfinished
            .take()
            .unwrap_or_else(|| Command::parse(line));
        match literal_at_end(line) {
            None => self.carry_out(command),
            Some(literal) if literal.synchronising => {
                command.refuse_literal();
                self.carry_out(command)
            }
            Some(literal) => {
                self.unfinished = Some(command);
                Outcome::Literal {
                    size: literal.size,
                    keep: false,
                }
            }
        }
    }

    fn last_word(&self, text: &str) -> String {
        format!("* BYE {text}\r\n")
    }

    fn kept(&self) -> usize {
        self.unfinished
            .as_ref()
            .map_or(0, |command| command.tag.len())
    }
}

impl Command {
    fn parse(line: &[u8]) -> Self {
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let tag = words.next().unwrap_or_default();
        // RFC 9051 section 9: a tag has the characters of an atom, and `]`, but no `+`.
        let is_tag_char = |&byte: &u8| byte != b'+' && (byte == b']' || is_atom_char(byte));
        if tag.is_empty() || !tag.iter().all(is_tag_char) {
            return Self {
                tag: "*".to_owned(),
                verdict: Verdict::Unknown("BAD Illegal tag"),
            };
        }
        let verb = words.next().unwrap_or_default();
        let arguments = words.next().unwrap_or_default().trim_ascii();
        Self {
            tag: String::from_utf8_lossy(tag).into_owned(),
            verdict: Verdict::on(
                &String::from_utf8_lossy(verb).to_ascii_uppercase(),
                !arguments.is_empty(),
            ),
        }
    }

    /// The client waits for leave to send a literal. The tagged answer says that there is none,
    /// and that the command is over (RFC 9051 section 7).
    fn refuse_literal(&mut self) {
        if !matches!(self.verdict, Verdict::Refused(_) | Verdict::Unknown(_)) {
            self.verdict = Verdict::Refused("NO Literals are not taken before STARTTLS");
        }
    }
}

impl Verdict {
    fn on(verb: &str, has_arguments: bool) -> Self {
        match (verb, has_arguments) {
            ("CAPABILITY", false) => Self::Capability,
            ("ID", true) => Self::Id,
            ("LOGOUT", false) => Self::Logout,
            ("NOOP", false) => Self::Noop,
            ("STARTTLS", false) => Self::StartTls,
            ("CAPABILITY" | "LOGOUT" | "NOOP" | "STARTTLS", true) => {
                Self::Refused("BAD No arguments expected")
            }
            ("ID", false) => Self::Refused("BAD Arguments expected"),
            ("LOGIN" | "AUTHENTICATE", _) => {
                Self::Refused("NO [PRIVACYREQUIRED] TLS is required to log in: STARTTLS first")
            }
            (verb, _) if AFTER_LOGIN.contains(&verb) => {
                Self::Refused("BAD Not before STARTTLS and login")
            }
            _ => Self::Unknown("BAD Unknown command"),
        }
    }
}

/// ATOM-CHAR of RFC 9051 section 9.
fn is_atom_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::super::{Policy, Preamble, Reason, Step};
    use super::*;
    use crate::wire::mail::MailProtocol;

    const GO_AHEAD: &str = "OK Begin TLS negotiation now\r\n";
    const PRIVACY: &str = "a NO [PRIVACYREQUIRED] TLS is required to log in: STARTTLS first\r\n";
    const NO_LITERALS: &str = "a NO Literals are not taken before STARTTLS\r\n";
    const ID: &str = "* ID NIL\r\na OK ID completed\r\n";
    const NOOP: &str = "b OK NOOP completed\r\n";

    fn preamble(announced: Option<&Announced>) -> Preamble {
        Preamble::new(
            MailProtocol::Imap,
            Policy::Required,
            "imap.example.com",
            announced,
        )
    }

    #[test]
    fn what_is_said() {
        check(
            || preamble(None),
            &[
                (
                    "a CAPABILITY\r\n",
                    "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK CAPABILITY completed\r\n",
                    Step::More,
                ),
                ("b noop\r\n", NOOP, Step::More),
                ("b NOOP \r\n", NOOP, Step::More),
                (
                    "x NOOP y\r\n",
                    "x BAD No arguments expected\r\n",
                    Step::More,
                ),
                (
                    "a LoGoUt\r\nb NOOP\r\n",
                    "* BYE Bye\r\na OK LOGOUT completed\r\n",
                    Step::Close(Reason::Quit),
                ),
                (
                    "A.1-]! STARTTLS\r\n",
                    &format!("A.1-]! {GO_AHEAD}"),
                    Step::StartTls,
                ),
                ("1 starttls\r\n", &format!("1 {GO_AHEAD}"), Step::StartTls),
                (
                    "a STARTTLS now\r\n",
                    "a BAD No arguments expected\r\n",
                    Step::More,
                ),
                (
                    "a SELECT INBOX\r\n",
                    "a BAD Not before STARTTLS and login\r\n",
                    Step::More,
                ),
                ("a FOO\r\n", "a BAD Unknown command\r\n", Step::More),
                ("a\r\n", "a BAD Unknown command\r\n", Step::More),
                ("a  NOOP\r\n", "a BAD Unknown command\r\n", Step::More),
                ("\r\n", "* BAD Illegal tag\r\n", Step::More),
                ("+ NOOP\r\n", "* BAD Illegal tag\r\n", Step::More),
                ("* NOOP\r\n", "* BAD Illegal tag\r\n", Step::More),
                (" a NOOP\r\n", "* BAD Illegal tag\r\n", Step::More),
                ("a+b NOOP\r\n", "* BAD Illegal tag\r\n", Step::More),
                ("\u{e9} NOOP\r\n", "* BAD Illegal tag\r\n", Step::More),
                ("a\tNOOP\r\n", "* BAD Illegal tag\r\n", Step::More),
            ],
        );
    }

    #[test]
    fn the_client_may_say_who_it_is() {
        check(
            || preamble(None),
            &[
                ("a ID NIL\r\n", ID, Step::More),
                ("a id (\"name\" \"x {5+}\")\r\n", ID, Step::More),
                (
                    "a ID (\"name\" {8+}\r\nSTARTTLS \"os\" {3+}\r\n\n\r\n)\r\nb NOOP\r\n",
                    &format!("{ID}{NOOP}"),
                    Step::More,
                ),
                ("a ID\r\n", "a BAD Arguments expected\r\n", Step::More),
                ("a ID (\"name\" {4}\r\n", NO_LITERALS, Step::More),
                (
                    "a ID (\"name\" {4+}\r\nabcd \"os\" {4}\r\nb NOOP\r\n",
                    &format!("{NO_LITERALS}{NOOP}"),
                    Step::More,
                ),
            ],
        );
    }

    #[test]
    fn logins_are_refused_and_their_bytes_are_no_commands() {
        let literal = format!("a LOGIN {{4096+}}\r\n{} x\r\n", "b NOOP\r\n".repeat(512));
        check(
            || preamble(None),
            &[
                ("a LOGIN me secret\r\n", PRIVACY, Step::More),
                ("a login \"me\" \"secret\"\r\n", PRIVACY, Step::More),
                ("a LOGIN {2}\r\n", PRIVACY, Step::More),
                ("a LOGIN me {99999999999999999999}\r\n", PRIVACY, Step::More),
                ("a AUTHENTICATE PLAIN\r\n", PRIVACY, Step::More),
                ("a AUTHENTICATE PLAIN AGEAYg==\r\n", PRIVACY, Step::More),
                (
                    "a LOGIN {2+}\r\nme {13+}\r\n\r\nb STARTTLS\r\r\nb NOOP\r\n",
                    &format!("{PRIVACY}{NOOP}"),
                    Step::More,
                ),
                (
                    "a LOGIN {2+}\r\nme {6}\r\nb NOOP\r\n",
                    &format!("{PRIVACY}{NOOP}"),
                    Step::More,
                ),
                (
                    "a LOGIN {0+}\r\n {0+}\r\n\r\nb NOOP\r\n",
                    &format!("{PRIVACY}{NOOP}"),
                    Step::More,
                ),
                (&literal, PRIVACY, Step::More),
                (
                    "a LOGIN {4097+}\r\n",
                    "* BYE Literal too long\r\n",
                    Step::Close(Reason::LiteralTooLong),
                ),
                (
                    "a LOGIN \"me\" {3+}\r\na\0b\r\n",
                    "* BYE Bare CR, bare LF or NUL\r\n",
                    Step::Close(Reason::Malformed),
                ),
            ],
        );
    }

    #[test]
    fn other_literals_are_no_commands_either() {
        check(
            || preamble(None),
            &[
                (
                    "a STARTTLS {12+}\r\nb STARTTLS\r\n\r\n",
                    "a BAD No arguments expected\r\n",
                    Step::More,
                ),
                (
                    "a FOO {12+}\r\nb STARTTLS\r\nx\r\n",
                    "a BAD Unknown command\r\n",
                    Step::More,
                ),
                (
                    "* {12+}\r\nb STARTTLS\r\n\r\n",
                    "* BAD Illegal tag\r\n",
                    Step::More,
                ),
                (
                    "a APPEND x {5}\r\nb NOOP\r\n",
                    &format!("a BAD Not before STARTTLS and login\r\n{NOOP}"),
                    Step::More,
                ),
            ],
        );
    }

    #[test]
    fn a_command_is_bounded_with_all_its_lines() {
        let fits = format!("b NOOP{}\r\n", " ".repeat(8192 - 8));
        let too_long = format!("b NOOP{}\r\n", " ".repeat(8192 - 7));
        let endless = format!("a ID {}", "{0+}\r\n".repeat(2000));
        let line_too_long = "* BYE Line too long\r\n";
        check(
            || preamble(None),
            &[
                (&fits, NOOP, Step::More),
                (&too_long, line_too_long, Step::Close(Reason::LineTooLong)),
                (&endless, line_too_long, Step::Close(Reason::LineTooLong)),
            ],
        );
    }

    #[test]
    fn the_server_is_announced_cut_down() {
        let announced = Announced {
            banner: "[ALERT] Dovecot ready.".to_owned(),
            capabilities: [
                "ID",
                "imap4REV1",
                "IMAP4rev2",
                "SASL-IR",
                "LITERAL+",
                "STARTTLS",
                "LOGINDISABLED",
                "AUTH=PLAIN",
                "auth=login",
                "XCLIENT",
                "ENABLE]",
                "two words",
                "IDLE",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let said = "IMAP4rev1 ID IMAP4rev2 LITERAL+ IDLE STARTTLS LOGINDISABLED";
        assert_eq!(
            preamble(Some(&announced)).greeting(),
            format!("* OK [CAPABILITY {said}] Dovecot ready.\r\n").as_bytes()
        );
        check(
            || preamble(Some(&announced)),
            &[(
                "a CAPABILITY\r\n",
                &format!("* CAPABILITY {said}\r\na OK CAPABILITY completed\r\n"),
                Step::More,
            )],
        );
        assert_eq!(
            preamble(None).greeting(),
            b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] Ready\r\n"
        );
    }
}
