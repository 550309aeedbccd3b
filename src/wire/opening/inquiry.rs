//! One question to a mail server at whose service it is the client's turn, and its answer.

use crate::wire::mail::MailProtocol;
use crate::wire::opening::OpeningError;
use crate::wire::opening::answer::Answer;
use crate::wire::opening::dialect::{self, Asked, Dialect, Meaning, Verdict};

/// A question that is asked, as far as it is answered.
#[derive(Debug)]
pub struct Inquiry {
    dialect: &'static dyn Dialect,
    asked: Asked,
    answer: Answer,
    capabilities: Vec<String>,
}

/// What was answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Whether it is a yes.
    pub yes: bool,
    /// Its last line, as it can be shown.
    pub words: String,
    /// What it lists, if it was asked for capabilities; entries as in
    /// [`crate::wire::announced::Announced`].
    pub capabilities: Vec<String>,
}

impl Inquiry {
    /// Asks for the capabilities; `own_name` is the name that we say EHLO with.
    pub fn capabilities(protocol: MailProtocol, own_name: &str, say: &mut Vec<u8>) -> Self {
        let inquiry = Self::new(protocol, Asked::Capabilities);
        say.extend_from_slice(inquiry.dialect.ask(own_name).as_bytes());
        inquiry
    }

    /// Says a command of SMTP, without its line end, to which 250 is a yes.
    pub fn smtp(command: &str, say: &mut Vec<u8>) -> Self {
        say.extend([command, "\r\n"].into_iter().flat_map(str::bytes));
        Self::new(MailProtocol::Smtp, Asked::Hello)
    }

    fn new(protocol: MailProtocol, asked: Asked) -> Self {
        Self {
            dialect: dialect::of(protocol),
            asked,
            answer: Answer::default(),
            capabilities: Vec::new(),
        }
    }

    /// Takes what the server has said, in pieces of any size: how many bytes of it are done
    /// with, and the answer if it is over.
    ///
    /// # Errors
    /// That is no answer to the question, or the server's farewell.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Option<Reply>), OpeningError> {
        let mut consumed = 0;
        while let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
            let (length, ended) = self.answer.take(rest)?;
            consumed += length;
            if ended && let Some(reply) = self.line()? {
                return Ok((consumed, Some(reply)));
            }
        }
        Ok((consumed, None))
    }

    /// A line has come: the answer, if it is over.
    fn line(&mut self) -> Result<Option<Reply>, OpeningError> {
        let goes_on = self.dialect.has_literals(self.answer.line());
        if goes_on && self.answer.expects_literal()? {
            return Ok(None);
        }
        let verdict = match self.dialect.meaning(self.asked, &self.answer) {
            Meaning::Part => None,
            Meaning::End(Verdict::Gone) => return Err(OpeningError::Refused(self.answer.quoted())),
            Meaning::End(verdict) => Some(verdict),
            Meaning::Preauth | Meaning::Strange => {
                let name = self.dialect.name();
                return Err(OpeningError::Malformed(self.answer.quoted(), name));
            }
        };
        self.dialect
            .learn(self.asked, &self.answer, &mut self.capabilities);
        let Some(verdict) = verdict else {
            self.answer.next_line();
            return Ok(None);
        };
        Ok(Some(Reply {
            yes: verdict == Verdict::Yes,
            words: self.answer.quoted(),
            capabilities: std::mem::take(&mut self.capabilities),
        }))
    }
}

/// The command that takes leave, with its line end.
pub fn farewell(protocol: MailProtocol) -> &'static str {
    dialect::of(protocol).leave()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn reply(yes: bool, words: &str, capabilities: &[&str]) -> Reply {
        Reply {
            yes,
            words: words.to_owned(),
            capabilities: capabilities.iter().map(|&entry| entry.to_owned()).collect(),
        }
    }

    #[test]
    fn capabilities_are_read_in_every_protocol() {
        use MailProtocol::{Imap, ManageSieve, Pop3, Submission};

        let cases = [
            (
                Imap,
                "gp1 CAPABILITY\r\n",
                "* CAPABILITY IMAP4rev1 ID\r\ngp1 OK done\r\n",
                reply(true, "gp1 OK done", &["IMAP4rev1", "ID"]),
            ),
            (
                Submission,
                "EHLO us.example\r\n",
                "250-mail.example\r\n250-SIZE 10\r\n250 DSN\r\n",
                reply(true, "250 DSN", &["SIZE 10", "DSN"]),
            ),
            (
                Submission,
                "EHLO us.example\r\n",
                "502 5.5.1 unknown\r\n",
                reply(false, "502 5.5.1 unknown", &[]),
            ),
            (
                Pop3,
                "CAPA\r\n",
                "-ERR what\r\n",
                reply(false, "-ERR what", &[]),
            ),
            (
                Pop3,
                "CAPA\r\n",
                "+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n",
                reply(true, ".", &["USER", "SASL PLAIN"]),
            ),
            (
                ManageSieve,
                "CAPABILITY\r\n",
                "\"SASL\" \"\"\r\nOK\r\n",
                reply(true, "OK", &["\"SASL\" \"\""]),
            ),
        ];
        for (protocol, question, answer, expected) in cases {
            let mut say = Vec::new();
            let mut inquiry = Inquiry::capabilities(protocol, "us.example", &mut say);
            assert_eq!(say, question.as_bytes());
            let longer = format!("{answer}* more\r\n");
            let received = inquiry.receive(longer.as_bytes());
            assert_eq!(received, Ok((answer.len(), Some(expected))), "{answer}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        use MailProtocol::{Imap, ManageSieve, Pop3, Smtp};

        let malformed = |line: &str, name| OpeningError::Malformed(line.to_owned(), name);
        let cases = [
            (Imap, "PROXY BAD x\r\n", malformed("PROXY BAD x", "IMAP")),
            (Imap, "* BAD x\r\n", malformed("* BAD x", "IMAP")),
            (
                Imap,
                "* BYE x\r\n",
                OpeningError::Refused("* BYE x".to_owned()),
            ),
            (Pop3, "* OK\r\n", malformed("* OK", "POP3")),
            (Smtp, "* OK\r\n", malformed("* OK", "SMTP")),
            (
                Smtp,
                "421 bye\r\n",
                OpeningError::Refused("421 bye".to_owned()),
            ),
            (ManageSieve, "+OK\r\n", malformed("+OK", "ManageSieve")),
        ];
        for (protocol, answer, expected) in cases {
            let mut inquiry = Inquiry::capabilities(protocol, "us.example", &mut Vec::new());
            assert_eq!(
                inquiry.receive(answer.as_bytes()),
                Err(expected),
                "{answer}"
            );
        }
        let mut inquiry = Inquiry::smtp("RSET", &mut Vec::new());
        let endless = b"250-mail.example\r\n".repeat(10_000);
        assert_eq!(inquiry.receive(&endless), Err(OpeningError::TooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "((\\* |gp1 OK|\\+OK|-ERR|250[- ]|\"A\" |OK|[\\r\\n. {}3])[a-z]{0,3}(\\r\\n)?){0,12}",
            protocol in proptest::sample::select(vec![
                MailProtocol::Imap, MailProtocol::Pop3, MailProtocol::Smtp, MailProtocol::ManageSieve,
            ]),
            at in any::<proptest::sample::Index>(),
        ) {
            let ask = || Inquiry::capabilities(protocol, "us.example", &mut Vec::new());
            let whole = ask().receive(text.as_bytes());
            let (head, tail) = text.as_bytes().split_at(at.index(text.len() + 1));
            let mut inquiry = ask();
            let pieces = match inquiry.receive(head) {
                Ok((n, None)) => inquiry.receive(tail).map(|(m, reply)| (n + m, reply)),
                over => over,
            };
            prop_assert_eq!(pieces, whole);
        }
    }
}
