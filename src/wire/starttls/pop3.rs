//! POP3 in clear (RFC 1939, 2449, 2595).

use super::words::{banner, capabilities, split_command};
use super::{Dialogue, Outcome};
use crate::wire::announced::Announced;

const MAX_LINE: usize = 2048;

/// Commands that carry or begin a login.
const LOGINS: &[&str] = &["APOP", "AUTH", "PASS", "USER"];

/// Other commands that are refused, but known.
const REFUSED: &[&str] = &[
    "DELE", "LANG", "LIST", "NOOP", "RETR", "RSET", "STAT", "TOP", "UIDL", "UTF8", "XCLIENT",
];

pub(super) struct Pop3 {
    banner: String,
    /// The whole answer to CAPA.
    capabilities: String,
}

impl Pop3 {
    pub(super) fn new(announced: Option<&Announced>) -> Self {
        let mut answer = "+OK Capability list follows\r\n".to_owned();
        // A line with a dot at its beginning would end the list, or look as if it did.
        for line in capabilities(announced).filter(|line| !line.starts_with('.')) {
            answer.push_str(&format!("{line}\r\n"));
        }
        answer.push_str("STLS\r\n.\r\n");
        Self {
            // APOP would be computed over a timestamp (RFC 1939 section 7), and a server that
            // takes XCLIENT says so in brackets.
            banner: banner(announced, &[('<', '>'), ('[', ']')], "Ready"),
            capabilities: answer,
        }
    }
}

impl Dialogue for Pop3 {
    fn greeting(&self) -> String {
        format!("+OK {}\r\n", self.banner)
    }

    fn limit(&self, _line: &[u8]) -> usize {
        MAX_LINE
    }

    fn line(&mut self, line: &[u8]) -> Outcome {
        let (verb, arguments) = split_command(line);
        let answer = match (verb.as_str(), arguments) {
            ("CAPA", b"") => return Outcome::Say(self.capabilities.clone()),
            ("QUIT", _) => return Outcome::Quit("+OK Bye\r\n".to_owned()),
            ("STLS", b"") => {
                return Outcome::StartTls("+OK Begin TLS negotiation now\r\n".to_owned());
            }
            ("CAPA" | "STLS", _) => "-ERR No arguments expected\r\n",
            (verb, _) if LOGINS.contains(&verb) => "-ERR TLS is required to log in: STLS first\r\n",
            (verb, _) if REFUSED.contains(&verb) => "-ERR Not before STLS and login\r\n",
            _ => return Outcome::Unknown("-ERR Unknown command\r\n".to_owned()),
        };
        Outcome::Say(answer.to_owned())
    }

    fn last_word(&self, text: &str) -> String {
        format!("-ERR {text}, closing connection\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::super::{Policy, Preamble, Reason, Step};
    use super::*;
    use crate::wire::mail::MailProtocol;

    fn preamble(announced: Option<&Announced>) -> Preamble {
        Preamble::new(
            MailProtocol::Pop3,
            Policy::Required,
            "pop.example.com",
            announced,
        )
    }

    #[test]
    fn what_is_said() {
        let capa = "+OK Capability list follows\r\nSTLS\r\n.\r\n";
        let go_ahead = "+OK Begin TLS negotiation now\r\n";
        let no_login = "-ERR TLS is required to log in: STLS first\r\n";
        let not_yet = "-ERR Not before STLS and login\r\n";
        let no_arguments = "-ERR No arguments expected\r\n";
        check(
            || preamble(None),
            &[
                ("CAPA\r\n", capa, Step::More),
                ("capa \r\n", capa, Step::More),
                ("CAPA all\r\n", no_arguments, Step::More),
                ("STLS\r\n", go_ahead, Step::StartTls),
                ("stls\r\n", go_ahead, Step::StartTls),
                ("STLS now\r\n", no_arguments, Step::More),
                ("USER a\r\n", no_login, Step::More),
                ("PASS b\r\n", no_login, Step::More),
                ("APOP a 0123456789abcdef\r\n", no_login, Step::More),
                ("AUTH PLAIN AGEAYg==\r\n", no_login, Step::More),
                ("AUTH PLAIN\r\n", no_login, Step::More),
                ("AUTH\r\n", no_login, Step::More),
                (
                    "USER a\r\nSTLS\r\n",
                    &format!("{no_login}{go_ahead}"),
                    Step::StartTls,
                ),
                ("NOOP\r\n", not_yet, Step::More),
                ("STAT\r\n", not_yet, Step::More),
                ("UTF8\r\n", not_yet, Step::More),
                ("LANG\r\n", not_yet, Step::More),
                ("XCLIENT ADDR=::1\r\n", not_yet, Step::More),
                ("FOO\r\n", "-ERR Unknown command\r\n", Step::More),
                ("\r\n", "-ERR Unknown command\r\n", Step::More),
                ("QUIT\r\nSTLS\r\n", "+OK Bye\r\n", Step::Close(Reason::Quit)),
                (
                    &format!("NOOP {}\r\n", "x".repeat(2042)),
                    "-ERR Line too long, closing connection\r\n",
                    Step::Close(Reason::LineTooLong),
                ),
                (
                    &format!("NOOP {}\r\n", "x".repeat(2041)),
                    not_yet,
                    Step::More,
                ),
            ],
        );
        assert_eq!(preamble(None).greeting(), b"+OK Ready\r\n");
    }

    #[test]
    fn the_server_is_announced_cut_down() {
        let announced = Announced {
            banner: "[XCLIENT] Dovecot <1896.697170952@example.com> ready.".to_owned(),
            capabilities: [
                "TOP",
                "USER",
                "SASL PLAIN",
                "STLS",
                "XCLIENT",
                "AUTH-RESP-CODE",
                ".",
                "UIDL\r\n.",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        assert_eq!(
            preamble(Some(&announced)).greeting(),
            b"+OK Dovecot ready.\r\n"
        );
        check(
            || preamble(Some(&announced)),
            &[(
                "CAPA\r\n",
                "+OK Capability list follows\r\nTOP\r\nAUTH-RESP-CODE\r\nSTLS\r\n.\r\n",
                Step::More,
            )],
        );
    }
}
