//! SMTP and submission in clear (RFC 5321, 3207, 6409).

use super::words::{banner, capabilities, hostname, split_command};
use super::{Dialogue, Forward, Outcome, Policy};
use crate::wire::announced::Announced;

const MAX_LINE: usize = 2048;

/// RFC 4954 section 4: of a client that logs in all the same, and is to be told why it cannot.
const MAX_AUTH_LINE: usize = 12_288;

/// Commands that only the server can answer.
const FOR_THE_SERVER: &[&str] = &["MAIL", "RCPT", "DATA", "BDAT", "BURL", "EXPN", "ETRN"];

/// Other commands that are refused, but known.
const REFUSED: &[&str] = &["AUTH", "VRFY", "XCLIENT", "XFORWARD"];

pub(super) struct Smtp {
    policy: Policy,
    hostname: String,
    banner: String,
    /// The whole answer to EHLO.
    capabilities: String,
    /// The last EHLO or HELO line, without line end.
    hello: Option<Vec<u8>>,
}

impl Smtp {
    pub(super) fn new(policy: Policy, name: &str, announced: Option<&Announced>) -> Self {
        let hostname = hostname(name);
        let mut answer = format!("250-{hostname}\r\n");
        for keyword in capabilities(announced).filter(|entry| is_keyword(entry)) {
            answer.push_str(&format!("250-{keyword}\r\n"));
        }
        answer.push_str("250 STARTTLS\r\n");
        Self {
            policy,
            hostname,
            banner: banner(announced, &[], "ESMTP"),
            capabilities: answer,
            hello: None,
        }
    }

    fn hello(&mut self, line: &[u8], extended: bool) -> Outcome {
        self.hello = Some(line.to_vec());
        Outcome::Say(if extended {
            self.capabilities.clone()
        } else {
            format!("250 {}\r\n", self.hostname)
        })
    }

    /// RFC 3207 section 4: everything private waits for TLS.
    fn encryption_first(verb: &str) -> Outcome {
        let answer = "530 5.7.0 Must issue a STARTTLS command first\r\n".to_owned();
        if FOR_THE_SERVER.contains(&verb) || REFUSED.contains(&verb) {
            return Outcome::Say(answer);
        }
        Outcome::Unknown(answer)
    }

    fn in_clear(&self, verb: &str, arguments: &[u8], line: &[u8]) -> Outcome {
        let answer = match verb {
            _ if FOR_THE_SERVER.contains(&verb) => {
                return Outcome::Forward(Forward {
                    hello: self.hello.as_deref().map(with_line_end),
                    command: with_line_end(line),
                });
            }
            "AUTH" => "538 5.7.11 Encryption required for requested authentication mechanism\r\n",
            "VRFY" if arguments.is_empty() => "501 5.5.4 Syntax: VRFY address\r\n",
            // RFC 5321 section 3.5.3
            "VRFY" => "252 2.0.0 Cannot VRFY user, but will take a message for it\r\n",
            "XCLIENT" | "XFORWARD" => "550 5.7.1 Not permitted\r\n",
            _ => return Outcome::Unknown("500 5.5.2 Unknown command\r\n".to_owned()),
        };
        Outcome::Say(answer.to_owned())
    }
}

impl Dialogue for Smtp {
    fn greeting(&self) -> String {
        format!("220 {} {}\r\n", self.hostname, self.banner)
    }

    fn limit(&self, line: &[u8]) -> usize {
        let is_auth = |start: &[u8]| start.eq_ignore_ascii_case(b"AUTH ");
        if line.get(..b"AUTH ".len()).is_some_and(is_auth) {
            return MAX_AUTH_LINE;
        }
        MAX_LINE
    }

    fn line(&mut self, line: &[u8]) -> Outcome {
        let (verb, arguments) = split_command(line);
        let answer = match (verb.as_str(), arguments) {
            ("EHLO" | "HELO", b"") => format!("501 5.5.4 Syntax: {verb} hostname\r\n"),
            ("EHLO" | "HELO", _) => return self.hello(line, verb == "EHLO"),
            ("NOOP" | "RSET", _) => "250 2.0.0 OK\r\n".to_owned(),
            ("HELP", _) => "214 2.0.0 See RFC 5321 and RFC 3207\r\n".to_owned(),
            ("QUIT", _) => return Outcome::Quit("221 2.0.0 Bye\r\n".to_owned()),
            ("STARTTLS", b"") => {
                return Outcome::StartTls("220 2.0.0 Ready to start TLS\r\n".to_owned());
            }
            ("STARTTLS", _) => "501 5.5.4 STARTTLS takes no parameters\r\n".to_owned(),
            (verb, _) if self.policy == Policy::Required => return Self::encryption_first(verb),
            (verb, _) => return self.in_clear(verb, arguments, line),
        };
        Outcome::Say(answer)
    }

    fn last_word(&self, text: &str) -> String {
        format!("421 4.7.0 {} {text}, closing connection\r\n", self.hostname)
    }
}

/// RFC 5321 section 4.1.1.1: a keyword begins with a letter or a digit.
fn is_keyword(entry: &str) -> bool {
    entry.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn with_line_end(line: &[u8]) -> Vec<u8> {
    [line, b"\r\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dialog, check, received};
    use super::super::{Preamble, Reason, Step};
    use super::*;
    use crate::wire::mail::MailProtocol;

    const ENCRYPTION_FIRST: &str = "530 5.7.0 Must issue a STARTTLS command first\r\n";
    const EHLO: &str = "250-mx.example.com\r\n250 STARTTLS\r\n";

    fn preamble(policy: Policy) -> Preamble {
        Preamble::new(MailProtocol::Smtp, policy, "mx.example.com", None)
    }

    #[test]
    fn what_is_said_in_either_policy() {
        let cases: &[Dialog<'_>] = &[
            ("EHLO client\r\n", EHLO, Step::More),
            ("eHlO [192.0.2.1]\r\n", EHLO, Step::More),
            ("HELO client\r\n", "250 mx.example.com\r\n", Step::More),
            (
                "EHLO\r\n",
                "501 5.5.4 Syntax: EHLO hostname\r\n",
                Step::More,
            ),
            (
                "helo \r\n",
                "501 5.5.4 Syntax: HELO hostname\r\n",
                Step::More,
            ),
            ("NOOP\r\n", "250 2.0.0 OK\r\n", Step::More),
            ("NOOP ignored\r\n", "250 2.0.0 OK\r\n", Step::More),
            ("RSET\r\n", "250 2.0.0 OK\r\n", Step::More),
            (
                "HELP\r\n",
                "214 2.0.0 See RFC 5321 and RFC 3207\r\n",
                Step::More,
            ),
            (
                "NOOP\r\nRSET\r\nQUIT\r\nNOOP\r\n",
                "250 2.0.0 OK\r\n250 2.0.0 OK\r\n221 2.0.0 Bye\r\n",
                Step::Close(Reason::Quit),
            ),
            (
                "STARTTLS now\r\nNOOP\r\n",
                "501 5.5.4 STARTTLS takes no parameters\r\n250 2.0.0 OK\r\n",
                Step::More,
            ),
            (
                "STARTTLS\r\n",
                "220 2.0.0 Ready to start TLS\r\n",
                Step::StartTls,
            ),
            (
                "NOOP\r\nstarttls \r\n",
                "250 2.0.0 OK\r\n220 2.0.0 Ready to start TLS\r\n",
                Step::StartTls,
            ),
        ];
        for policy in [Policy::Required, Policy::Optional] {
            check(|| preamble(policy), cases);
        }
    }

    #[test]
    fn nothing_private_where_tls_is_required() {
        for command in [
            "MAIL FROM:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
            "BDAT 5 LAST",
            "VRFY a",
            "EXPN a",
            "ETRN example.com",
            "AUTH PLAIN AGEAYg==",
            "AUTH",
            "XCLIENT ADDR=192.0.2.1",
            "XFORWARD NAME=a",
            "FOO",
            "",
        ] {
            let said = format!("{command}\r\n");
            check(
                || preamble(Policy::Required),
                &[(said.as_str(), ENCRYPTION_FIRST, Step::More)],
            );
        }
    }

    #[test]
    fn what_the_server_is_not_asked_where_tls_is_optional() {
        check(
            || preamble(Policy::Optional),
            &[
                (
                    "VRFY a\r\n",
                    "252 2.0.0 Cannot VRFY user, but will take a message for it\r\n",
                    Step::More,
                ),
                ("VRFY\r\n", "501 5.5.4 Syntax: VRFY address\r\n", Step::More),
                (
                    "AUTH PLAIN AGEAYg==\r\nAUTH LOGIN\r\n",
                    "538 5.7.11 Encryption required for requested authentication mechanism\r\n\
                     538 5.7.11 Encryption required for requested authentication mechanism\r\n",
                    Step::More,
                ),
                (
                    "XCLIENT ADDR=::1\r\n",
                    "550 5.7.1 Not permitted\r\n",
                    Step::More,
                ),
                (
                    "xforward NAME=a\r\n",
                    "550 5.7.1 Not permitted\r\n",
                    Step::More,
                ),
                (
                    "GET / HTTP/1.1\r\n",
                    "500 5.5.2 Unknown command\r\n",
                    Step::More,
                ),
                ("\r\n", "500 5.5.2 Unknown command\r\n", Step::More),
                (" NOOP\r\n", "500 5.5.2 Unknown command\r\n", Step::More),
            ],
        );
    }

    #[test]
    fn what_needs_the_server_is_handed_over_with_the_last_hello() {
        let cases = [
            ("MAIL FROM:<>\r\n", "", None, "MAIL FROM:<>\r\n"),
            (
                "HELO a\r\nEHLO  B\r\nehlo\r\nmail from:<a@b> SIZE=1\r\nRCPT TO:<c>\r\n",
                "RCPT TO:<c>\r\n",
                Some("EHLO  B\r\n"),
                "mail from:<a@b> SIZE=1\r\n",
            ),
            (
                "helo c\r\nBDAT 3\r\n\0\r\n",
                "\0\r\n",
                Some("helo c\r\n"),
                "BDAT 3\r\n",
            ),
            ("EXPN list\r\nM", "M", None, "EXPN list\r\n"),
        ];
        for (said, left, hello, command) in cases {
            let forward = Step::Forward(Forward {
                hello: hello.map(|line| line.as_bytes().to_vec()),
                command: command.as_bytes().to_vec(),
            });
            for size in [1, 2, said.len()] {
                let (consumed, _, step) = received(&mut preamble(Policy::Optional), said, size);
                assert_eq!((said.len() - consumed, &step), (left.len(), &forward));
            }
        }
    }

    #[test]
    fn the_server_is_announced_cut_down() {
        let announced = Announced {
            banner: "ESMTP Postfix (Debian)".to_owned(),
            capabilities: [
                "PIPELINING",
                "SIZE 10240000",
                "STARTTLS",
                "AUTH PLAIN LOGIN",
                "AUTH=PLAIN LOGIN",
                "XCLIENT NAME ADDR",
                "XFORWARD NAME",
                "REQUIRETLS",
                "8BITMIME",
                "-odd",
                "DSN\r\n250 AUTH",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let mut preamble = Preamble::new(
            MailProtocol::Submission,
            Policy::Required,
            "mx.example.com",
            Some(&announced),
        );
        assert_eq!(
            preamble.greeting(),
            b"220 mx.example.com ESMTP Postfix (Debian)\r\n"
        );
        let (_, answer, _) = received(&mut preamble, "EHLO a\r\n", 100);
        assert_eq!(
            answer,
            "250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-8BITMIME\r\n\
             250 STARTTLS\r\n"
        );
    }

    #[test]
    fn without_a_banner_it_is_esmtp() {
        assert_eq!(
            preamble(Policy::Optional).greeting(),
            b"220 mx.example.com ESMTP\r\n"
        );
    }

    #[test]
    fn only_auth_has_long_lines() {
        let long = |start: &str, length: usize| format!("{start:x<0$}\r\n", length - 2);
        let too_long = "421 4.7.0 mx.example.com Line too long, closing connection\r\n";
        let close = || Step::Close(Reason::LineTooLong);
        check(
            || preamble(Policy::Required),
            &[
                (&long("NOOP ", 2048), "250 2.0.0 OK\r\n", Step::More),
                (&long("NOOP ", 2049), too_long, close()),
                (&long("AUTH\t", 2049), too_long, close()),
                (&long("auth ", 12_288), ENCRYPTION_FIRST, Step::More),
                (&long("AUTH ", 12_289), too_long, close()),
                (&"x".repeat(1_000_000), too_long, close()),
            ],
        );
    }
}
