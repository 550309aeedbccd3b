//! Commands of a client before login, judged whole: what passes is put together anew, so that it
//! is one command to every server, and the one that was judged.

use std::vec;

use crate::wire::guard::lines;

/// Keys of `ID` that servers believe from addresses they trust, or the beginnings of such keys
/// (Dovecot's, `x-via` is Zimbra's).
const BELIEVED_KEYS: [&str; 8] = [
    "x-originating-",
    "x-connected-",
    "x-session-",
    "x-proxy-ttl",
    "x-forward-",
    "x-client-transport",
    "x-multiplex",
    "x-via",
];

/// Longest tag; servers that hand tags on have little room for them.
const TAG: usize = 64;

const MALFORMED: &str = "Malformed command";

/// A command for the server.
pub(super) struct Command {
    pub(super) tag: Vec<u8>,
    pub(super) kind: Kind,
    /// Its bytes. After each piece but the last, the server has to say that it waits for a
    /// literal.
    pub(super) pieces: vec::IntoIter<Vec<u8>>,
}

/// What a command can lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// An answer.
    Plain,
    /// The end of the guard.
    Login,
    /// An exchange of challenges and responses, and the end of the guard.
    Sasl,
}

/// Judges a command; the error is the answer to it.
pub(super) fn judge(command: &[u8]) -> Result<Command, Vec<u8>> {
    let Some((tag, rest)) = split_tag(command) else {
        return Err(format!("* BAD {MALFORMED}\r\n").into_bytes());
    };
    let (kind, parts) =
        parse(rest).map_err(|why| [tag, b" BAD ", why.as_bytes(), b"\r\n"].concat())?;
    Ok(Command {
        tag: tag.to_vec(),
        kind,
        pieces: parts.pieces(tag),
    })
}

/// Whether a literal may follow: only these commands have any before login. A server that read
/// `{5}` of another one as something else would take the literal for a command.
pub(super) fn takes_literals(command: &[u8]) -> bool {
    split_tag(command).is_some_and(|(_, rest)| {
        let (verb, _) = split_verb(rest);
        verb.eq_ignore_ascii_case(b"LOGIN") || verb.eq_ignore_ascii_case(b"ID")
    })
}

/// Whether it is AUTHENTICATE, which may be longer than other commands.
pub(super) fn is_authenticate(command: &[u8]) -> bool {
    split_tag(command)
        .is_some_and(|(_, rest)| split_verb(rest).0.eq_ignore_ascii_case(b"AUTHENTICATE"))
}

/// The tag and what follows the space behind it, if the tag is legal.
fn split_tag(command: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = command
        .iter()
        .take(TAG + 1)
        .position(|byte| *byte == b' ')?;
    let (tag, rest) = command.split_at(end);
    let legal = |byte: &u8| byte.is_ascii_graphic() && !br#"(){%*"\+"#.contains(byte);
    (!tag.is_empty() && tag.iter().all(legal)).then_some((tag, &rest[1..]))
}

fn split_verb(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic());
    rest.split_at(end.unwrap_or(rest.len()))
}

fn parse(rest: &[u8]) -> Result<(Kind, Parts), &'static str> {
    let (verb, arguments) = split_verb(rest);
    let mut arguments = Arguments(arguments);
    let verb = verb.to_ascii_uppercase();
    let mut parts = Parts::default();
    parts.push(&verb);
    let (kind, parsed) = match verb.as_slice() {
        b"CAPABILITY" | b"LOGOUT" | b"NOOP" => (Kind::Plain, Some(())),
        b"ENABLE" => (Kind::Plain, enable(&mut arguments, &mut parts)),
        b"ID" => (Kind::Plain, id(&mut arguments, &mut parts)),
        b"LOGIN" => (Kind::Login, login(&mut arguments, &mut parts)),
        b"AUTHENTICATE" => (Kind::Sasl, authenticate(&mut arguments, &mut parts)),
        b"STARTTLS" => return Err("STARTTLS is not available here"),
        _ => return Err("Unknown command, or not one before login"),
    };
    parsed.and_then(|()| arguments.end()).ok_or(MALFORMED)?;
    Ok((kind, parts))
}

fn enable(arguments: &mut Arguments<'_>, parts: &mut Parts) -> Option<()> {
    while arguments.end().is_none() {
        arguments.space()?;
        let Text::Atom(name) = arguments.text()? else {
            return None;
        };
        parts.push(b" ");
        parts.push(name);
    }
    Some(())
}

fn login(arguments: &mut Arguments<'_>, parts: &mut Parts) -> Option<()> {
    for _ in ["user name", "password"] {
        arguments.space()?;
        parts.push(b" ");
        parts.text(&arguments.text()?);
    }
    Some(())
}

fn authenticate(arguments: &mut Arguments<'_>, parts: &mut Parts) -> Option<()> {
    arguments.space()?;
    let mechanism = arguments.word();
    if !lines::is_mechanism(mechanism) {
        return None;
    }
    parts.push(b" ");
    parts.push(mechanism);
    if arguments.end().is_none() {
        arguments.space()?;
        let initial = arguments.word();
        if initial.is_empty() || !lines::is_base64(initial) {
            return None;
        }
        parts.push(b" ");
        parts.push(initial);
    }
    Some(())
}

/// RFC 2971 section 3.1, without the keys that are not the client's to send.
fn id(arguments: &mut Arguments<'_>, parts: &mut Parts) -> Option<()> {
    arguments.space()?;
    let mut opening: &[u8] = b" (";
    if arguments.byte(b'(').is_some() {
        while arguments.spaces().byte(b')').is_none() {
            let key = plain_key(&arguments.text()?)?;
            arguments.space()?;
            let value = arguments.spaces().text()?;
            if matches!(value, Text::Atom(atom) if !atom.eq_ignore_ascii_case(b"NIL")) {
                return None;
            }
            if !matches!(arguments.0.first(), Some(b' ' | b')')) {
                return None;
            }
            if !is_believed(&key) {
                parts.push(opening);
                parts.push(&[b"\"", key.as_slice(), b"\" "].concat());
                parts.text(&value);
                opening = b" ";
            }
        }
    } else if !arguments.word().eq_ignore_ascii_case(b"NIL") {
        return None;
    }
    let nothing_left = opening == b" (";
    parts.push(if nothing_left { b" NIL" } else { b")" });
    Some(())
}

/// A key without its quoting. Only what no two servers read differently is a key.
fn plain_key(key: &Text<'_>) -> Option<Vec<u8>> {
    let key = match key {
        Text::Atom(_) => return None,
        Text::Literal(key) => key.to_vec(),
        Text::Quoted(quoted) => unescape(&quoted[1..quoted.len() - 1]),
    };
    let plain =
        |byte: &u8| *byte == b' ' || byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    key.iter().all(plain).then_some(key)
}

fn unescape(quoted: &[u8]) -> Vec<u8> {
    let mut escaped = false;
    let keep = |byte: &&u8| {
        escaped = **byte == b'\\' && !escaped;
        !escaped
    };
    quoted.iter().filter(keep).copied().collect()
}

fn is_believed(key: &[u8]) -> bool {
    BELIEVED_KEYS.iter().any(|believed| {
        key.get(..believed.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(believed.as_bytes()))
    })
}

/// One argument.
enum Text<'a> {
    Atom(&'a [u8]),
    /// With the quotes and escapes.
    Quoted(&'a [u8]),
    /// Its bytes.
    Literal(&'a [u8]),
}

/// What is left of a command's arguments.
struct Arguments<'a>(&'a [u8]);

impl<'a> Arguments<'a> {
    fn byte(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn space(&mut self) -> Option<()> {
        self.byte(b' ')
    }

    fn spaces(&mut self) -> &mut Self {
        while self.space().is_some() {}
        self
    }

    /// The end of the command; spaces before it mean nothing to anybody.
    fn end(&self) -> Option<()> {
        (Arguments(self.0).spaces().0 == b"\r\n").then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// What stands before the next space, parenthesis, control character or byte beyond ASCII.
    fn word(&mut self) -> &'a [u8] {
        let end = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'(' | b')');
        let end = self.0.iter().position(end).unwrap_or(self.0.len());
        self.take(end).unwrap_or_default()
    }

    fn text(&mut self) -> Option<Text<'a>> {
        match self.0.first()? {
            b'"' => self.quoted().map(Text::Quoted),
            b'{' => self.literal().map(Text::Literal),
            _ => {
                let atom = self.word();
                let legal =
                    !atom.is_empty() && !atom.iter().any(|byte| matches!(byte, b'"' | b'{'));
                legal.then_some(Text::Atom(atom))
            }
        }
    }

    fn quoted(&mut self) -> Option<&'a [u8]> {
        let mut escaped = true;
        let end = self.0.iter().position(|byte| {
            let ends = matches!(byte, b'\r' | b'\n' | 0) || *byte == b'"' && !escaped;
            // The opening quote counts as escaped.
            escaped = *byte == b'\\' && !escaped;
            ends
        })?;
        self.take(end + 1).filter(|quoted| quoted.ends_with(b"\""))
    }

    fn literal(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)? + 1;
        let line = self.take(end)?;
        let announced = lines::literal(line)?;
        if lines::clean(&line[1..])?.contains(&b'{') {
            return None;
        }
        self.take(announced.length)
            .filter(|text| !text.contains(&0))
    }
}

/// A command that is put together.
#[derive(Default)]
struct Parts {
    whole: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Parts {
    fn push(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
    }

    /// As the client gave it, but for literals: these the server has to ask for. It would take
    /// one that it has not understood for commands.
    fn text(&mut self, text: &Text<'_>) {
        match text {
            Text::Atom(text) | Text::Quoted(text) => self.push(text),
            Text::Literal(text) => {
                self.push(format!("{{{}}}\r\n", text.len()).as_bytes());
                self.whole.push(std::mem::take(&mut self.last));
                self.push(text);
            }
        }
    }

    fn pieces(mut self, tag: &[u8]) -> vec::IntoIter<Vec<u8>> {
        self.push(b"\r\n");
        self.whole.push(self.last);
        if let Some(first) = self.whole.first_mut() {
            first.splice(..0, [tag, b" "].concat());
        }
        self.whole.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a command: its pieces with a bar between them, or the answer.
    fn judged(command: &[u8]) -> String {
        let bytes = match judge(command) {
            Ok(command) => command.pieces.as_slice().join(&b'|'),
            Err(answer) => answer,
        };
        bytes.escape_ascii().to_string()
    }

    #[test]
    fn what_passes_is_one_command_to_every_server() {
        let same = [
            "a CAPABILITY",
            "A.1-[x] NOOP",
            "a LOGOUT",
            "a ENABLE UTF8=ACCEPT CONDSTORE",
            "a LOGIN user@example.com p%s*]}\\",
            "a LOGIN \"DOMAIN\\\\user\" \"(a {5}\\\" b\"",
            "a LOGIN \"u\" \"tab\there \u{e9}\"",
            "a AUTHENTICATE PLAIN",
            "a AUTHENTICATE SCRAM-SHA-256 biwsbj11c2Vy",
            "a AUTHENTICATE EXTERNAL =",
            "a ID NIL",
            "a ID (\"name\" \"x-originating-ip\" \"version\" NIL)",
        ];
        for command in same {
            let line = format!("{command}\r\n");
            assert_eq!(
                judged(line.as_bytes()),
                line.as_bytes().escape_ascii().to_string()
            );
        }
        let others = [
            ("a noop  \r\n", r"a NOOP\r\n"),
            (
                "a login {3+}\r\nu\r\n {1}\r\np\r\n",
                r"a LOGIN {3}\r\n|u\r\n {1}\r\n|p\r\n",
            ),
            (
                "a LOGIN {0+}\r\n {002}\r\n\"(\r\n",
                r#"a LOGIN {0}\r\n| {2}\r\n|\"(\r\n"#,
            ),
            ("a id nil\r\n", r"a ID NIL\r\n"),
            ("a ID ()\r\n", r"a ID NIL\r\n"),
            ("a ID ( \"a\"  \"b\" )\r\n", r#"a ID (\"a\" \"b\")\r\n"#),
            (
                "a ID ({1+}\r\na {2}\r\nb\n)\r\n",
                r#"a ID (\"a\" {2}\r\n|b\n)\r\n"#,
            ),
        ];
        for (command, expected) in others {
            assert_eq!(judged(command.as_bytes()), expected);
        }
    }

    #[test]
    fn an_id_loses_what_servers_believe() {
        let believed = [
            "\"x-originating-ip\" \"192.0.2.1\"",
            "\"X-Originating-Port\" NIL",
            "\"x\\-connected-ip\" {1+}\r\nx",
            "{14+}\r\nx-session-id-x \"s\"",
            "{16}\r\nx-ORIGINATING-ip \"s\"",
            "\"x-proxy-ttl\" \"5\"",
            "\"x-forward-user\" \"boss\"",
            "\"x-client-transport\" \"TLS\"",
            "\"x-multiplex\" \"0\"",
            "\"X-VIA\" \"192.0.2.1\"",
        ];
        for pair in believed {
            let cases = [
                (format!("a ID ({pair})\r\n"), r"a ID NIL\r\n"),
                (
                    format!("a ID ({pair} \"a\" \"b\")\r\n"),
                    r#"a ID (\"a\" \"b\")\r\n"#,
                ),
                (
                    format!("a ID (\"a\" \"b\" {pair})\r\n"),
                    r#"a ID (\"a\" \"b\")\r\n"#,
                ),
            ];
            for (command, expected) in cases {
                assert_eq!(judged(command.as_bytes()), expected, "{command}");
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let malformed = [
            "a NOOP x\r\n",
            "a NOOP\n",
            "a NOOP\r\r\n",
            "a NOOP\t\r\n",
            "a NOOP\0\r\n",
            "a NOOP\r\nb NOOP\r\n",
            "a ENABLE \"x\"\r\n",
            "a LOGIN u\r\n",
            "a LOGIN u  p\r\n",
            "a LOGIN  u p\r\n",
            "a LOGIN u p q\r\n",
            "a LOGIN\tu p\r\n",
            "a LOGIN \"u\"p\r\n",
            "a LOGIN u{1}\r\nx\r\n",
            "a LOGIN \"u {1+}\r\nx\" p\r\n",
            "a LOGIN u {1+}\nx\r\n",
            "a LOGIN u {{1+}\r\nx\r\n",
            "a LOGIN u {2+}\r\nx\0\r\n",
            "a LOGIN u \u{e9}\r\n",
            "a LOGIN u (p)\r\n",
            "a AUTHENTICATE\r\n",
            "a AUTHENTICATE \"PLAIN\"\r\n",
            "a AUTHENTICATE PLAIN {4+}\r\nAAAA\r\n",
            "a AUTHENTICATE PLAIN A B\r\n",
            "a ID\r\n",
            "a ID(\"a\" \"b\")\r\n",
            "a ID \"a\" \"b\"\r\n",
            "a ID (\"a\")\r\n",
            "a ID (\"a\"\"b\")\r\n",
            "a ID (\"a\" b)\r\n",
            "a ID (a \"b\")\r\n",
            "a ID (\"a\" \"b\" \"c\")\r\n",
            "a ID (\"a\" \"b\") x\r\n",
            "a ID (\"a\" \"b\"\r\n",
            "a ID (\"a\\\"\" \"b\")\r\n",
            "a ID (\"\u{e9}\" \"b\")\r\n",
            "a ID (\"a\" \"b\r\")\r\n",
            "a ID (\"a\" \"b\\\r\n",
        ];
        for command in malformed {
            let answer = r"a BAD Malformed command\r\n";
            assert_eq!(judged(command.as_bytes()), answer, "{command:?}");
        }
        for tag in [
            "",
            "*",
            "+",
            "a+",
            "a(",
            "{1}",
            "\"a\"",
            "\u{e9}",
            "a\t",
            &"a".repeat(65),
        ] {
            let command = format!("{tag} NOOP\r\n");
            let answer = r"* BAD Malformed command\r\n";
            assert_eq!(judged(command.as_bytes()), answer, "{command:?}");
        }
        for verb in [
            "XCLIENT",
            "X",
            "COMPRESS DEFLATE",
            "SELECT INBOX",
            " NOOP",
            "UNAUTHENTICATE",
            "",
        ] {
            let command = format!("a {verb}\r\n");
            let answer = r"a BAD Unknown command, or not one before login\r\n";
            assert_eq!(judged(command.as_bytes()), answer, "{command:?}");
        }
        let answer = r"a BAD STARTTLS is not available here\r\n";
        assert_eq!(judged(b"a StartTLS\r\n"), answer);
    }
}
