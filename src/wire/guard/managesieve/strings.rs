//! Words and strings of ManageSieve (RFC 5804 section 4), as both sides write them.

use memchr::memchr;

use crate::wire::guard::lines;

/// The most that a quoted string may hold.
const QUOTED: usize = 1024;

/// What is left of a command or a response.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    /// Letters.
    pub(super) fn word(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !byte.is_ascii_alphabetic());
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        word
    }

    /// A space before the next argument.
    pub(super) fn space(&mut self) -> Option<()> {
        self.0 = self.0.strip_prefix(b" ")?;
        Some(())
    }

    /// The end; spaces before it mean nothing to anybody.
    pub(super) fn end(&self) -> Option<()> {
        let spaces = self.0.iter().take_while(|byte| **byte == b' ').count();
        (&self.0[spaces..] == b"\r\n").then_some(())
    }

    /// A string without its quoting.
    pub(super) fn string(&mut self) -> Option<Vec<u8>> {
        match self.0.first()? {
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => None,
        }
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut string = Vec::new();
        let mut bytes = self.0.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(string);
                }
                b'\\' => match bytes.next()?.1 {
                    escaped @ (b'"' | b'\\') => string.push(*escaped),
                    _ => return None,
                },
                b'\r' | b'\n' | 0 => return None,
                _ => string.push(*byte),
            }
        }
        None
    }

    fn literal(&mut self) -> Option<Vec<u8>> {
        let (line, rest) = self.0.split_at(memchr(b'\n', self.0)? + 1);
        let announced = lines::literal(line)?;
        if lines::clean(&line[1..])?.contains(&b'{') {
            return None;
        }
        let (string, rest) = rest.split_at_checked(announced.length)?;
        self.0 = rest;
        Some(string.to_vec())
    }
}

/// The string in quotes, if it can be put so.
pub(super) fn quote(string: &[u8]) -> Option<Vec<u8>> {
    if string.len() > QUOTED || string.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return None;
    }
    let mut quoted = vec![b'"'];
    for byte in string {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    Some(quoted)
}

/// The string as a client writes it where a server awaits it.
pub(super) fn write(string: &[u8]) -> Vec<u8> {
    quote(string).unwrap_or_else(|| {
        let length = format!("{{{}+}}\r\n", string.len());
        [length.as_bytes(), string].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_read_as_it_was_meant() {
        let cases: [(&[u8], Option<&[u8]>); 13] = [
            (b"\"\"\r\n", Some(b"")),
            (b"\"a b\"\r\n", Some(b"a b")),
            (b"\"a\\\"\\\\b\"\r\n", Some(b"a\"\\b")),
            (b"{3}\r\na\r\n\r\n", Some(b"a\r\n")),
            (b"{0+}\r\n\r\n", Some(b"")),
            (b"\"a\\b\"\r\n", None),
            (b"\"a\r\n\"\r\n", None),
            (b"\"a\\\"\r\n", None),
            (b"\"a", None),
            (b"{3+}\na\r\n\r\n", None),
            (b"{{1+}\r\na\r\n", None),
            (b"{9+}\r\na\r\n", None),
            (b"a\r\n", None),
        ];
        for (text, expected) in cases {
            let mut rest = Text(text);
            assert_eq!(
                rest.string().as_deref(),
                expected,
                "{}",
                text.escape_ascii()
            );
            assert_eq!(rest.end().is_some(), expected.is_some());
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = vec![b'A'; 1025];
        for string in [&b""[..], b"a\"\\b", b"a\r\nb", &long[1..], &long] {
            let mut text = write(string);
            assert_eq!(
                text[0] == b'"',
                string.len() <= 1024 && !string.contains(&b'\n')
            );
            text.extend(b"\r\n");
            assert_eq!(Text(&text).string().as_deref(), Some(string));
        }
    }
}
