//! What the four dialogues have in common: commands taken apart, and what a server says of
//! itself made fit to be said by us.

use crate::wire::announced::Announced;

/// What is never said in clear, whoever offers it: logins, what a server believes of a trusted
/// address, and the server's own ways to TLS. No name means different things in two protocols.
const NEVER_IN_CLEAR: &[&str] = &[
    "AUTH",
    "LOGINDISABLED",
    "OWNER",
    "REQUIRETLS",
    "SASL",
    "SASL-IR",
    "STARTTLS",
    "STLS",
    "USER",
    "X-ANONYMOUSTLS",
    "X-EXPS",
    "XCLIENT",
    "XFORWARD",
];

/// The longest name, banner, and capability that is said.
const MAX_TEXT: usize = 255;
const MAX_CAPABILITY: usize = 500;
/// The longest that all capabilities together are.
const MAX_CAPABILITIES: usize = 4096;

/// The size of the literal that `line` announces at its end, if it does (RFC 7888).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Literal {
    pub(super) size: usize,
    /// Whether the client waits for leave before it sends the literal.
    pub(super) synchronising: bool,
}

/// The command in capitals, and its arguments without white space around them.
pub(super) fn split_command(line: &[u8]) -> (String, &[u8]) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(is_space).unwrap_or(line.len());
    let (verb, arguments) = line.split_at(end);
    let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
    (verb, arguments.trim_ascii())
}

/// The literal at the end of `line`. No legal line ends like this without announcing one; in a
/// line that is not legal, bytes that may be data are better not taken for commands.
pub(super) fn literal_at_end(line: &[u8]) -> Option<Literal> {
    let line = line.strip_suffix(b"}")?;
    let (line, synchronising) = match line.split_last()? {
        (b'+' | b'-', line) => (line, false),
        _ => (line, true),
    };
    let brace = line.iter().rposition(|byte| !byte.is_ascii_digit())?;
    let digits = line.get(brace + 1..).filter(|digits| !digits.is_empty())?;
    let size = digits.iter().fold(0_usize, |size, digit| {
        size.saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    (line.get(brace) == Some(&b'{')).then_some(Literal {
        size,
        synchronising,
    })
}

/// `name` as it can stand in an answer.
pub(super) fn hostname(name: &str) -> String {
    let name = name
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX_TEXT)
        .collect::<String>();
    if name.is_empty() {
        return "localhost".to_owned();
    }
    name
}

/// The banner that a server has, or `otherwise`. What stands in one of `brackets` means
/// something to a client and is left out.
pub(super) fn banner(
    announced: Option<&Announced>,
    brackets: &[(char, char)],
    otherwise: &str,
) -> String {
    let text = announced.map_or("", |announced| announced.banner.as_str());
    let mut closing = None;
    let mut said = String::new();
    for char in text.chars().take(MAX_TEXT) {
        let bracket = brackets.iter().find(|(open, _)| char == *open);
        match (closing, bracket) {
            (Some(close), _) if char == close => closing = None,
            (Some(_), _) => {}
            (None, Some((_, close))) => closing = Some(*close),
            (None, None) if brackets.iter().any(|(_, close)| char == *close) => {}
            (None, None) if char == ' ' && (said.is_empty() || said.ends_with(' ')) => {}
            (None, None) if is_printable(char) => said.push(char),
            (None, None) => {}
        }
    }
    match said.trim_end() {
        "" => otherwise.to_owned(),
        said => said.to_owned(),
    }
}

/// The capabilities of a server that may be said in clear, as far as they are printable and not
/// endless.
pub(super) fn capabilities(announced: Option<&Announced>) -> impl Iterator<Item = &str> {
    let all = announced.map_or(&[][..], |announced| &announced.capabilities);
    let mut room = MAX_CAPABILITIES;
    all.iter()
        .map(|entry| entry.trim_ascii())
        .filter(|entry| entry.len() <= MAX_CAPABILITY && entry.chars().all(is_printable))
        .filter(|entry| !is_any(capability_name(entry), NEVER_IN_CLEAR))
        .filter(|entry| !capability_name(entry).is_empty())
        .take_while(move |entry| {
            let left = room.checked_sub(entry.len());
            room = left.unwrap_or(0);
            left.is_some()
        })
}

/// Whether `name` is one of `names`, in any case.
pub(super) fn is_any(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The name that a capability begins with, in any of the four protocols: `SIZE 1000`,
/// `AUTH=PLAIN`, `"SASL" "PLAIN"`.
pub(super) fn capability_name(entry: &str) -> &str {
    let mut words = entry.split([' ', '=', '"']);
    words.find(|word| !word.is_empty()).unwrap_or_default()
}

fn is_printable(char: char) -> bool {
    char == ' ' || char.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_at_the_end_of_a_line() {
        let literal = |size, synchronising| {
            Some(Literal {
                size,
                synchronising,
            })
        };
        let cases = [
            ("a LOGIN {5}", literal(5, true)),
            ("a LOGIN {5+}", literal(5, false)),
            ("a LOGIN {5-}", literal(5, false)),
            ("a LOGIN ~{010+}", literal(10, false)),
            ("{0}", literal(0, true)),
            ("{99999999999999999999999+}", literal(usize::MAX, false)),
            ("a LOGIN {5} ", None),
            ("a LOGIN {5", None),
            ("a LOGIN {}", None),
            ("a LOGIN {+}", None),
            ("a LOGIN {-5}", None),
            ("a LOGIN {5++}", None),
            ("a LOGIN 5}", None),
            ("55}", None),
            ("+}", None),
            ("}", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(literal_at_end(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn banners_are_cleaned() {
        let long = "x".repeat(1000);
        let cases = [
            ("", "Ready"),
            ("Dovecot ready.", "Dovecot ready."),
            ("POP3 <1896.6@host> here", "POP3 here"),
            ("<1896.6@host>", "Ready"),
            ("[XCLIENT] Dovecot", "Dovecot"),
            ("Cyrus <never closed", "Cyrus"),
            ("a > b ] c", "a b c"),
            ("a\r\n+OK b\0\u{e9}\u{1b}", "a+OK b"),
            (long.as_str(), &long[..255]),
        ];
        for (text, expected) in cases {
            let announced = Announced {
                banner: text.to_owned(),
                capabilities: Vec::new(),
            };
            let found = banner(Some(&announced), &[('<', '>'), ('[', ']')], "Ready");
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(banner(None, &[], "Ready"), "Ready");
    }

    #[test]
    fn capabilities_are_cleaned() {
        let long = format!("X {}", "x".repeat(500));
        let cases = [
            ("SIZE 1000", true),
            ("AUTH-RESP-CODE", true),
            ("\"SIEVE\" \"fileinto\"", true),
            ("\"NOTIFY\" \"AUTH\"", true),
            ("AUTH PLAIN LOGIN", false),
            ("AUTH=PLAIN", false),
            ("auth", false),
            ("StartTLS", false),
            ("STLS", false),
            ("LOGINDISABLED", false),
            ("SASL-IR", false),
            ("SASL PLAIN", false),
            ("\"SASL\" \"PLAIN\"", false),
            ("\"STARTTLS\"", false),
            ("USER", false),
            ("REQUIRETLS", false),
            ("XCLIENT NAME ADDR", false),
            ("XFORWARD NAME", false),
            ("X-EXPS GSSAPI", false),
            ("DSN\r\n250 AUTH", false),
            ("DSN\u{e9}", false),
            ("DSN\0", false),
            ("D\tSN", false),
            ("", false),
            (" ", false),
            ("\"\"", false),
            (long.as_str(), false),
        ];
        for (entry, said) in cases {
            let announced = Announced {
                banner: String::new(),
                capabilities: vec![entry.to_owned()],
            };
            let found = capabilities(Some(&announced)).collect::<Vec<_>>();
            assert_eq!(found, if said { vec![entry] } else { vec![] });
        }
        let endless = Announced {
            banner: String::new(),
            capabilities: vec!["x".repeat(100); 1000],
        };
        assert_eq!(capabilities(Some(&endless)).count(), 40);
        assert_eq!(capabilities(None).count(), 0);
    }

    #[test]
    fn commands_are_taken_apart() {
        let cases: &[(&[u8], &str, &[u8])] = &[
            (b"ehlo  Host ", "EHLO", b"Host"),
            (b"NOOP", "NOOP", b""),
            (b"AUTH\tPLAIN", "AUTH", b"PLAIN"),
            (b" NOOP", "", b"NOOP"),
            (b"", "", b""),
        ];
        for (line, verb, arguments) in cases {
            assert_eq!(split_command(line), ((*verb).to_owned(), *arguments));
        }
    }

    #[test]
    fn host_names_are_one_word() {
        assert_eq!(hostname("mail.example.com"), "mail.example.com");
        assert_eq!(hostname("mail\r\n example"), "mailexample");
        assert_eq!(hostname(""), "localhost");
    }
}
