//! One answer of the server, as far as it has come.

use crate::wire::opening::OpeningError;

/// The longest line, with its literals and its end.
const MAX_LINE: usize = 8 * 1024;

/// The longest answer.
const MAX_ANSWER: usize = 64 * 1024;

/// The most of a server's line that is shown, in characters.
const MAX_QUOTED: usize = 200;

/// The lines of an answer up to the one that is being read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    /// Where the line that is being read begins.
    line: usize,
    /// What is still to come of a literal within that line.
    literal: usize,
}

impl Answer {
    /// Takes bytes up to the end of a line, or of a literal. How many, and whether they end in
    /// a line end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), OpeningError> {
        let (length, ended) = match self.literal {
            0 => match memchr::memchr(b'\n', bytes) {
                Some(end) => (end + 1, true),
                None => (bytes.len(), false),
            },
            literal => (literal.min(bytes.len()), false),
        };
        let filled = self.bytes.len() + length;
        if filled - self.line > MAX_LINE || filled > MAX_ANSWER {
            return Err(OpeningError::TooLong);
        }
        self.literal = self.literal.saturating_sub(length);
        let taken = bytes.get(..length).unwrap_or_default();
        self.bytes.extend_from_slice(taken);
        Ok((length, ended))
    }

    /// The line that is being read, without its end.
    pub(super) fn line(&self) -> &[u8] {
        without_end(self.bytes.get(self.line..).unwrap_or_default())
    }

    /// That line as it is shown.
    pub(super) fn quoted(&self) -> String {
        let line = String::from_utf8_lossy(self.line());
        let is_text = |character: &char| !character.is_control();
        let text = line.chars().filter(is_text).take(MAX_QUOTED);
        text.collect::<String>().trim().to_owned()
    }

    /// Whether that line is the first of the answer.
    pub(super) fn is_first(&self) -> bool {
        self.line == 0
    }

    /// Whether the line goes on with a literal, which is then waited for.
    pub(super) fn expects_literal(&mut self) -> Result<bool, OpeningError> {
        let Some(length) = literal(self.line()) else {
            return Ok(false);
        };
        if length > MAX_LINE {
            return Err(OpeningError::TooLong);
        }
        self.literal = length;
        Ok(true)
    }

    /// The line is read, and another one follows.
    pub(super) fn next_line(&mut self) {
        self.line = self.bytes.len();
    }

    /// The answer is over: all of it, and the next one can come.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.line = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// A line without its end. A bare LF counts: old servers are what this is for, and nothing that
/// comes after it is taken for something else than by a stricter reader.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The length of the literal that a line announces at its end: `{12}` or `{12+}` (RFC 7888,
/// RFC 5804 section 4).
fn literal(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let line = line.strip_suffix(b"+").unwrap_or(line);
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let digits = line.iter().rev().take_while(is_digit).count();
    let (before, digits) = line.split_at_checked(line.len() - digits)?;
    if before.last() != Some(&b'{') {
        return None;
    }
    // No digit, or more of them than memory has bytes: no literal.
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_stand_at_the_end_of_a_line() {
        let cases = [
            ("* ID (\"name\" {5}", Some(5)),
            ("\"SIEVE\" {12+}", Some(12)),
            ("{0}", Some(0)),
            ("{}", None),
            ("5}", None),
            ("}", None),
            ("", None),
            ("{5} ", None),
            ("{x5}", None),
            ("{99999999999999999999999999}", None),
        ];
        for (line, expected) in cases {
            assert_eq!(literal(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let mut answer = Answer::default();
        let line = [vec![b'x'; MAX_LINE - 1], b"\n".to_vec()].concat();
        for _ in 0..MAX_ANSWER / MAX_LINE {
            assert_eq!(answer.take(&line), Ok((MAX_LINE, true)));
            assert_eq!(answer.line().len(), MAX_LINE - 1);
            answer.next_line();
        }
        assert_eq!(answer.take(b"\n"), Err(OpeningError::TooLong));
        assert_eq!(answer.finish().len(), MAX_ANSWER);
        assert_eq!(answer.take(&[b'x'; MAX_LINE]), Ok((MAX_LINE, false)));
        assert_eq!(answer.take(b"\n"), Err(OpeningError::TooLong));
    }
}
