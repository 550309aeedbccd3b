//! Lines that come in pieces, together with the literals they announce: what is to be judged is
//! judged whole. Knows nothing of what the lines mean.

use memchr::memchr;

/// The longest line of a SASL exchange (RFC 4954 section 4).
pub(super) const SASL_LINE: usize = 12_288;

/// Commands of a client that are refused here before the session ends. The server, which counts
/// as well, does not see them.
pub(super) const REFUSALS: usize = 10;

/// One line on its way; once it is known to announce a literal, the literal and the line that
/// goes on behind it as well. Holds no memory between lines.
#[derive(Default)]
pub(super) struct Lines {
    kept: Vec<u8>,
    /// Where in `kept` the last line begins; beyond its end while a literal is awaited.
    line: usize,
}

/// More bytes than the limit.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TooLong;

/// A literal that follows a line (RFC 9051 section 4.3, RFC 5804 section 4).
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Literal {
    pub(super) length: usize,
    /// Whether its sender waits for a go-ahead: `{5}`, not `{5+}`.
    pub(super) synchronising: bool,
}

impl Lines {
    /// Takes bytes up to the end of the line, and says how many and whether the end is there.
    pub(super) fn take(&mut self, bytes: &[u8], limit: usize) -> Result<(usize, bool), TooLong> {
        let literal = self.line.saturating_sub(self.kept.len()).min(bytes.len());
        let (literal, line) = bytes.split_at(literal);
        let end = memchr(b'\n', line);
        let used = literal.len() + end.map_or(line.len(), |at| at + 1);
        if self.kept.len() + used > limit {
            return Err(TooLong);
        }
        self.kept.extend_from_slice(&bytes[..used]);
        if end.is_some() {
            self.end_in_crlf();
        }
        Ok((used, end.is_some()))
    }

    /// People who type into a TLS tool end their lines in LF. Some servers take that and some
    /// do not: what goes on from here ends as all of them read it.
    fn end_in_crlf(&mut self) {
        if let Some(text) = self.kept.strip_suffix(b"\n")
            && !(text.ends_with(b"\r") && self.line < text.len())
        {
            self.kept.pop();
            self.kept.extend_from_slice(b"\r\n");
        }
    }

    /// Says that the line just taken goes on with a literal.
    pub(super) fn expect(&mut self, literal: &Literal, limit: usize) -> Result<(), TooLong> {
        let line = self.kept.len().saturating_add(literal.length);
        if line > limit {
            return Err(TooLong);
        }
        self.line = line;
        Ok(())
    }

    /// All that is kept.
    pub(super) fn whole(&self) -> &[u8] {
        &self.kept
    }

    /// The literal that the line just taken announces at its end.
    pub(super) fn literal(&self) -> Option<Literal> {
        self.kept.get(self.line..).and_then(literal)
    }

    /// Hands out what is kept, and begins anew.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.line = 0;
        std::mem::take(&mut self.kept)
    }
}

/// The literal that a line announces at its end.
pub(super) fn literal(line: &[u8]) -> Option<Literal> {
    let text = content(line).strip_suffix(b"}")?;
    let (text, synchronising) = match text.strip_suffix(b"+") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let digits = &text[text.iter().rposition(|byte| *byte == b'{')? + 1..];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = digits.iter().fold(0_usize, |length, digit| {
        length
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    Some(Literal {
        length,
        synchronising,
    })
}

/// A line without its end.
pub(super) fn content(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The text of a line that every server reads as this one line: it ends in CR LF, and holds no
/// other CR or LF and no NUL.
pub(super) fn clean(line: &[u8]) -> Option<&[u8]> {
    let text = line.strip_suffix(b"\r\n")?;
    (!text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))).then_some(text)
}

/// Whether all of it is base64. SASL answers that are can never be read as a command with
/// arguments, should the server have ended the exchange in the meantime.
pub(super) fn is_base64(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

/// Whether it can be the name of a SASL mechanism (RFC 4422 section 3.1), in any case.
pub(super) fn is_mechanism(name: &[u8]) -> bool {
    (1..=20).contains(&name.len())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a capability is to be kept from clients: what asks for TLS again, and what servers
/// believe from addresses they trust.
pub(super) fn is_withheld(capability: &[u8]) -> bool {
    [&b"STARTTLS"[..], b"STLS", b"XCLIENT", b"XFORWARD"]
        .iter()
        .any(|withheld| {
            capability
                .get(..withheld.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(withheld))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_announced_at_the_end_of_a_line_only() {
        let announced = |length, synchronising| {
            Some(Literal {
                length,
                synchronising,
            })
        };
        let cases: [(&[u8], Option<Literal>); 14] = [
            (b"a LOGIN {5}\r\n", announced(5, true)),
            (b"a LOGIN {5+}\r\n", announced(5, false)),
            (b"{0}\r\n", announced(0, true)),
            (b"{007}\n", announced(7, true)),
            (b"~{3}\r\n", announced(3, true)),
            (
                b"{99999999999999999999999999}\r\n",
                announced(usize::MAX, true),
            ),
            (b"{}\r\n", None),
            (b"{+}\r\n", None),
            (b"{5-}\r\n", None),
            (b"{5} \r\n", None),
            (b"{5 }\r\n", None),
            (b"5}\r\n", None),
            (b"\"{5}\"\r\n", None),
            (b"\r\n", None),
        ];
        for (line, expected) in cases {
            assert_eq!(literal(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_line_is_whole_with_the_literal_it_announces() {
        let dialogue = b"a {4}\r\nb\r\nc d\r\ne\r\n";
        for split in 0..dialogue.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for mut piece in [&dialogue[..split], &dialogue[split..]] {
                while !piece.is_empty() {
                    let (used, whole) = lines.take(piece, 100).unwrap();
                    piece = &piece[used..];
                    match (whole, lines.literal()) {
                        (false, _) => {}
                        (true, Some(literal)) => lines.expect(&literal, 100).unwrap(),
                        (true, None) => found.push(lines.finish()),
                    }
                }
            }
            assert_eq!(found, [&b"a {4}\r\nb\r\nc d\r\n"[..], b"e\r\n"]);
        }
    }

    #[test]
    fn a_line_goes_on_with_cr_and_lf() {
        for (line, expected) in [
            (&b"NOOP\n"[..], &b"NOOP\r\n"[..]),
            (b"NOOP\r\n", b"NOOP\r\n"),
            (b"NOOP\r\r\n", b"NOOP\r\r\n"),
            (b"\n", b"\r\n"),
        ] {
            let mut lines = Lines::default();
            for byte in line {
                lines.take(&[*byte], 100).unwrap();
            }
            assert_eq!(lines.finish(), expected);
        }
        // The CR before it belongs to the literal, not to the line.
        let mut lines = Lines::default();
        lines.take(b"a {1}\n", 100).unwrap();
        let literal = lines.literal().unwrap();
        lines.expect(&literal, 100).unwrap();
        lines.take(b"\r\n", 100).unwrap();
        assert_eq!(lines.finish(), b"a {1}\r\n\r\r\n");
    }

    #[test]
    fn nothing_is_kept_beyond_the_limit() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"12345", 5), Ok((5, false)));
        assert_eq!(lines.take(b"6", 5), Err(TooLong));
        assert_eq!(lines.finish(), b"12345");
        assert_eq!(lines.take(b"123{4}\r\n", 8), Ok((8, true)));
        let literal = lines.literal().unwrap();
        assert_eq!(lines.expect(&literal, 11), Err(TooLong));
        assert_eq!(lines.expect(&literal, 12), Ok(()));
    }
}
