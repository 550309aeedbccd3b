//! Servers that no package has, as far as a probe listens to them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::common::echo;

/// What a server says.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    greeting: &'static str,
    /// The answer to a line with this word; `%` stands for the tag.
    answers: &'static [(&'static str, &'static str)],
    /// The answer to RCPT.
    recipient: &'static str,
    /// What is said to everything else.
    otherwise: &'static str,
}

/// An SMTP server that relays for nobody and offers no login.
pub(crate) const SMTP: Script = Script {
    greeting: "",
    answers: &[
        ("EHLO", "250-mail.example.org\r\n250 SIZE"),
        ("MAIL", "250 ok"),
        ("RSET", "250 ok"),
        ("QUIT", "221 bye"),
    ],
    recipient: "550 relay not permitted",
    otherwise: "500 unknown",
};

/// An IMAP server that takes no password in clear.
pub(crate) const IMAP: Script = Script {
    greeting: "",
    answers: &[
        (
            "CAPABILITY",
            "* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n% OK done",
        ),
        ("LOGOUT", "* BYE\r\n% OK bye"),
    ],
    recipient: "",
    otherwise: "* BAD what",
};

impl Script {
    pub(crate) fn greeting(self, greeting: &'static str) -> Self {
        Self { greeting, ..self }
    }

    /// It takes mail for everybody.
    pub(crate) fn relays(self) -> Self {
        Self {
            recipient: "250 accepted",
            ..self
        }
    }

    /// Speaks to everybody who comes, as long as the test runs.
    pub(crate) fn serve(self) -> SocketAddr {
        // How a client goes is its own affair.
        echo::serve(move |stream| drop(self.speak(stream)))
    }

    fn speak(self, stream: &TcpStream) -> std::io::Result<()> {
        let say = |words: &str| (&mut &*stream).write_all(format!("{words}\r\n").as_bytes());
        say(self.greeting)?;
        for line in BufReader::new(stream).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).trim().to_owned();
            let mut words = line.split(' ');
            let tag = words.next().unwrap_or_default();
            let verb = words.next().unwrap_or_default();
            let known = self
                .answers
                .iter()
                .find(|(word, _)| [tag, verb].contains(word));
            match known {
                _ if tag == "RCPT" => say(self.recipient)?,
                Some((word, answer)) => {
                    say(&answer.replace('%', tag))?;
                    if ["QUIT", "LOGOUT"].contains(word) {
                        return Ok(());
                    }
                }
                None => say(self.otherwise)?,
            }
        }
        Ok(())
    }
}
