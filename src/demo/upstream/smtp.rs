//! An SMTP sink (RFC 5321): takes every message, counts it, forgets it.

use std::io;

use tokio::io::AsyncWriteExt;

use super::lines::read_line;
use super::{Client, Stream};

/// RFC 5321 section 4.5.3.1 asks for 512 and 1,000 bytes at least.
const MAX_LINE: u64 = 2048;
/// Announced in the EHLO answer.
const MAX_MESSAGE: usize = 10 << 20;
const MAX_RECIPIENTS: usize = 100;

pub(super) async fn serve(stream: Stream, client: Client) -> io::Result<()> {
    let mut session = Session {
        stream,
        client,
        envelope: Envelope::default(),
        messages: 0,
    };
    session
        .reply("220 sink.demo.test ESMTP Gatepost demo")
        .await?;
    while let Some(line) = read_line(&mut session.stream, MAX_LINE).await? {
        if session.command(&String::from_utf8_lossy(&line)).await? == Next::Close {
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

/// A message on its way.
#[derive(Default)]
struct Envelope {
    sender: bool,
    recipients: usize,
}

struct Session {
    stream: Stream,
    client: Client,
    envelope: Envelope,
    messages: usize,
}

impl Session {
    async fn reply(&mut self, text: &str) -> io::Result<()> {
        self.stream
            .write_all(format!("{text}\r\n").as_bytes())
            .await
    }

    async fn command(&mut self, line: &str) -> io::Result<Next> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.ehlo().await?,
            "HELO" => self.reset("250 sink.demo.test").await?,
            "MAIL" => self.mail(argument).await?,
            "RCPT" => self.rcpt(argument).await?,
            "DATA" => self.data().await?,
            "RSET" => self.reset("250 2.0.0 Forgotten").await?,
            "NOOP" => self.reply("250 2.0.0 Nothing done").await?,
            "VRFY" => self.reply("252 2.1.5 Anybody may be here").await?,
            "QUIT" => {
                let count = self.messages;
                self.reply(&format!("221 2.0.0 Bye, {count} taken")).await?;
                return Ok(Next::Close);
            }
            _ => self.reply("500 5.5.1 No such command").await?,
        }
        Ok(Next::Go)
    }

    async fn ehlo(&mut self) -> io::Result<()> {
        let who = self.client.describe();
        self.reset(&format!(
            "250-sink.demo.test sees {who}\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
             250-ENHANCEDSTATUSCODES\r\n250 SIZE {MAX_MESSAGE}"
        ))
        .await
    }

    async fn reset(&mut self, reply: &str) -> io::Result<()> {
        self.envelope = Envelope::default();
        self.reply(reply).await
    }

    async fn mail(&mut self, argument: &str) -> io::Result<()> {
        if self.envelope.sender {
            return self.reply("503 5.5.1 One sender a message").await;
        }
        if path(argument, "FROM:").is_none() {
            return self.reply("501 5.5.4 Expected MAIL FROM:<address>").await;
        }
        self.envelope.sender = true;
        self.reply("250 2.1.0 Sender taken").await
    }

    async fn rcpt(&mut self, argument: &str) -> io::Result<()> {
        if !self.envelope.sender {
            return self.reply("503 5.5.1 MAIL comes first").await;
        }
        if path(argument, "TO:").is_none_or(str::is_empty) {
            return self.reply("501 5.5.4 Expected RCPT TO:<address>").await;
        }
        if self.envelope.recipients == MAX_RECIPIENTS {
            return self.reply("452 4.5.3 Too many recipients").await;
        }
        self.envelope.recipients += 1;
        self.reply("250 2.1.5 Recipient taken").await
    }

    async fn data(&mut self) -> io::Result<()> {
        if self.envelope.recipients == 0 {
            return self.reply("503 5.5.1 RCPT comes first").await;
        }
        self.reply("354 End with a line that holds one dot").await?;
        let Some(size) = self.message().await? else {
            return Ok(());
        };
        if size > MAX_MESSAGE {
            return self.reset("552 5.3.4 Message too large").await;
        }
        self.messages += 1;
        let count = self.messages;
        self.reset(&format!("250 2.0.0 Message {count} taken, {size} bytes"))
            .await
    }

    /// Reads a message to its final dot and says how long it was, without keeping it.
    async fn message(&mut self) -> io::Result<Option<usize>> {
        let mut size = 0_usize;
        while let Some(line) = read_line(&mut self.stream, MAX_LINE).await? {
            if line == b"." {
                return Ok(Some(size));
            }
            // A dot at the beginning is there twice (RFC 5321 section 4.5.2).
            let stuffed = usize::from(line.first() == Some(&b'.'));
            size = size.saturating_add(line.len() - stuffed + 2);
        }
        Ok(None)
    }
}

/// What stands between the brackets of `KEYWORD<…>`; parameters may follow.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (start, rest) = argument.split_at_checked(keyword.len())?;
    if !start.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (path, _parameters) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::super::tests::converse;

    #[tokio::test]
    async fn messages_are_taken_and_counted() {
        let answer = converse(
            Service::Smtp,
            "EHLO me\r\nMAIL FROM:<a@demo.test> SIZE=9\r\nRCPT TO:<b@demo.test>\r\nDATA\r\n\
             Subject: x\r\n\r\n..dot\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nNOOP\r\nQUIT\r\n",
        )
        .await;
        assert_eq!(
            answer,
            "220 sink.demo.test ESMTP Gatepost demo\r\n\
             250-sink.demo.test sees 192.0.2.7:4711 over TLSv1.3, asking for mail.demo.test\r\n\
             250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 10485760\r\n\
             250 2.1.0 Sender taken\r\n250 2.1.5 Recipient taken\r\n\
             354 End with a line that holds one dot\r\n250 2.0.0 Message 1 taken, 20 bytes\r\n\
             250 2.1.0 Sender taken\r\n250 2.0.0 Forgotten\r\n250 2.0.0 Nothing done\r\n\
             221 2.0.0 Bye, 1 taken\r\n"
        );
    }

    #[tokio::test]
    async fn commands_out_of_order_are_refused() {
        let table = [
            ("RCPT TO:<b@demo.test>", "503 "),
            ("DATA", "503 "),
            ("MAIL TO:<a@demo.test>", "501 "),
            ("MAIL", "501 "),
            ("MAIL FROM:<a@demo.test>\r\nMAIL FROM:<a@demo.test>", "503 "),
            ("MAIL FROM:<a@demo.test>\r\nRCPT TO:<>", "501 "),
            ("MAIL FROM:<a@demo.test>\r\nDATA", "503 "),
            ("STARTTLS", "500 "),
        ];
        for (input, expected) in table {
            let answer = converse(Service::Smtp, &format!("{input}\r\nQUIT\r\n")).await;
            let refusal = answer.lines().rev().nth(1).unwrap();
            assert!(refusal.starts_with(expected), "{input}: {answer}");
        }
    }
}
