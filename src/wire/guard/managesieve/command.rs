//! Commands of a client before login, judged whole: what passes is put together anew, on one
//! line, so that it is one command to every server, and the one that was judged.

use super::strings::{Text, quote};
use crate::wire::guard::lines::{is_base64, is_mechanism};

/// A command for the server.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// One that is answered.
    Plain(Vec<u8>),
    /// One that begins a SASL exchange, and the client's first response if that is too long for
    /// one line. Servers would take a literal that they have not understood for commands.
    Authenticate(Vec<u8>, Option<Vec<u8>>),
}

const MALFORMED: &str = "Malformed command";

/// Judges a command; the error is why it is refused.
pub(super) fn judge(command: &[u8]) -> Result<Command, &'static str> {
    let mut text = Text(command);
    let verb = text.word().to_ascii_uppercase();
    let judged = match verb.as_slice() {
        b"CAPABILITY" | b"LOGOUT" => Some(Command::Plain([&verb, &b"\r\n"[..]].concat())),
        b"NOOP" => noop(&mut text),
        b"AUTHENTICATE" => authenticate(&mut text),
        b"STARTTLS" => return Err("STARTTLS is not available here"),
        _ => return Err("Unknown command, or not one before login"),
    };
    judged.filter(|_| text.end().is_some()).ok_or(MALFORMED)
}

/// A response of the client in a SASL exchange; nothing if it cannot be one.
pub(super) fn response(line: &[u8]) -> Option<Vec<u8>> {
    let mut text = Text(line);
    let response = text.string()?;
    text.end()?;
    (response == b"*" || is_base64(&response)).then_some(response)
}

fn noop(text: &mut Text<'_>) -> Option<Command> {
    let mut command = b"NOOP".to_vec();
    if text.end().is_none() {
        text.space()?;
        command.push(b' ');
        command.extend(quote(&text.string()?)?);
    }
    command.extend(b"\r\n");
    Some(Command::Plain(command))
}

fn authenticate(text: &mut Text<'_>) -> Option<Command> {
    text.space()?;
    let mechanism = text.string().filter(|name| is_mechanism(name))?;
    let mut command = [b"AUTHENTICATE \"", &*mechanism, b"\""].concat();
    let mut kept_back = None;
    if text.end().is_none() {
        text.space()?;
        let initial = text.string().filter(|initial| is_base64(initial))?;
        match quote(&initial) {
            Some(quoted) => command.extend([b" ", &*quoted].concat()),
            None => kept_back = Some(initial),
        }
    }
    command.extend(b"\r\n");
    Some(Command::Authenticate(command, kept_back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_one_line() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"capability\r\n", b"CAPABILITY\r\n"),
            (b"Logout \r\n", b"LOGOUT\r\n"),
            (b"NOOP\r\n", b"NOOP\r\n"),
            (b"NOOP \"a\\\"b\"\r\n", b"NOOP \"a\\\"b\"\r\n"),
            (b"NOOP {2+}\r\na\\\r\n", b"NOOP \"a\\\\\"\r\n"),
            (b"authenticate \"PLAIN\"\r\n", b"AUTHENTICATE \"PLAIN\"\r\n"),
            (
                b"AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\r\n",
                b"AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\r\n",
            ),
            (
                b"AUTHENTICATE {5+}\r\nLOGIN {4+}\r\ndQ==\r\n",
                b"AUTHENTICATE \"LOGIN\" \"dQ==\"\r\n",
            ),
            (
                b"AUTHENTICATE \"EXTERNAL\" \"\"\r\n",
                b"AUTHENTICATE \"EXTERNAL\" \"\"\r\n",
            ),
        ];
        for (command, expected) in cases {
            let (Ok(Command::Plain(line)) | Ok(Command::Authenticate(line, None))) = judge(command)
            else {
                panic!("{}", command.escape_ascii());
            };
            assert_eq!(line, expected, "{}", command.escape_ascii());
        }
        let initial = "A".repeat(1025);
        assert_eq!(
            judge(format!("AUTHENTICATE \"PLAIN\" {{1025+}}\r\n{initial}\r\n").as_bytes()),
            Ok(Command::Authenticate(
                b"AUTHENTICATE \"PLAIN\"\r\n".to_vec(),
                Some(initial.into_bytes())
            ))
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let malformed = [
            "CAPABILITY x\r\n",
            "CAPABILITY\n",
            "NOOP a\r\n",
            "NOOP\t\r\n",
            "NOOP\"a\"\r\n",
            "NOOP \"a\r\n",
            "NOOP \"a\" \"b\"\r\n",
            "NOOP {3+}\r\na\r\n\r\n",
            "AUTHENTICATE\r\n",
            "AUTHENTICATE PLAIN\r\n",
            "AUTHENTICATE \"\"\r\n",
            "AUTHENTICATE \"PL AIN\"\r\n",
            "AUTHENTICATE \"PLAIN\" AHUAcA==\r\n",
            "AUTHENTICATE \"PLAIN\" \"A\" \"B\"\r\n",
            "AUTHENTICATE \"PLAIN\" {9+}\r\nA\r\nXCLIE\r\n",
            "AUTHENTICATE \"PLAIN\" \"XCLIENT ADDR=::1\"\r\n",
            "AUTHENTICATE  \"PLAIN\"\r\n",
            "LOGOUT\r\r\n",
            "LOGOUT\r\nNOOP\r\n",
        ];
        for command in malformed {
            assert_eq!(judge(command.as_bytes()), Err(MALFORMED), "{command:?}");
        }
        for command in [
            "XCLIENT ADDR=::1",
            "",
            " NOOP",
            "PUTSCRIPT \"a\" \"b\"",
            "UNAUTHENTICATE",
            "\"NOOP\"",
        ] {
            let why = "Unknown command, or not one before login";
            assert_eq!(
                judge(format!("{command}\r\n").as_bytes()),
                Err(why),
                "{command:?}"
            );
        }
        assert_eq!(
            judge(b"startTLS\r\n"),
            Err("STARTTLS is not available here")
        );
    }

    #[test]
    fn a_sasl_response_is_base64_or_the_end() {
        for (line, expected) in [
            (&b"\"AAAA\"\r\n"[..], Some(&b"AAAA"[..])),
            (b"{4+}\r\nAAAA\r\n", Some(b"AAAA")),
            (b"\"*\"\r\n", Some(b"*")),
            (b"\"\"\r\n", Some(b"")),
            (b"AAAA\r\n", None),
            (b"*\r\n", None),
            (b"\"AAAA\"\n", None),
            (b"\"AAAA\" \"AAAA\"\r\n", None),
            (b"\"A A\"\r\n", None),
            (b"{18+}\r\nXCLIENT ADDR=::1\r\n\r\n", None),
        ] {
            assert_eq!(
                response(line).as_deref(),
                expected,
                "{}",
                line.escape_ascii()
            );
        }
    }
}
