//! Bytes of the client to lines and literals: strict about line ends, bounded, in one pass.

use super::Reason;

/// The longest line of any protocol; nothing longer is ever kept.
const LONGEST_LINE: usize = 12_288;

/// The longest literal, as RFC 7888 section 5 has it.
const MAX_LITERAL: usize = 4096;

/// The longest that all literals of one command together can be.
const MAX_LITERALS: usize = 2 * MAX_LITERAL;

/// What came whole.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// A line, without its line end.
    Line(Vec<u8>),
    /// A literal; empty unless it was to be kept.
    Literal(Vec<u8>),
}

/// The part of a command that has come so far.
#[derive(Default)]
pub(super) struct Input {
    /// Of the present line or literal, with the CR if that was the last byte.
    partial: Vec<u8>,
    literal: Option<Literal>,
    /// Bytes in the earlier lines of the same command.
    earlier: usize,
    /// Bytes in all literals of the same command.
    literals: usize,
}

struct Literal {
    left: usize,
    keep: bool,
}

impl Input {
    /// Takes the next line or literal from the beginning of `rest`, or all of it if there is
    /// none whole. `limit` says how long the lines of a command may be that begins like this.
    pub(super) fn next(
        &mut self,
        rest: &mut &[u8],
        limit: impl Fn(&[u8]) -> usize,
    ) -> Result<Option<Piece>, Reason> {
        match self.literal {
            Some(_) => Ok(self.next_literal(rest)?.map(Piece::Literal)),
            None => Ok(self.next_line(rest, limit)?.map(Piece::Line)),
        }
    }

    /// The last line announced a literal, which belongs to the same command.
    pub(super) fn expect_literal(&mut self, size: usize, keep: bool) -> Result<(), Reason> {
        self.literals = self.literals.saturating_add(size);
        if size > MAX_LITERAL || self.literals > MAX_LITERALS {
            return Err(Reason::LiteralTooLong);
        }
        self.literal = Some(Literal { left: size, keep });
        Ok(())
    }

    /// The last line was the end of its command.
    pub(super) fn end_command(&mut self) {
        *self = Self::default();
    }

    /// Whether a command has begun in an earlier line.
    pub(super) fn within_command(&self) -> bool {
        self.earlier > 0
    }

    /// How many bytes are kept here.
    pub(super) fn kept(&self) -> usize {
        self.partial.len()
    }

    fn next_line(
        &mut self,
        rest: &mut &[u8],
        limit: impl Fn(&[u8]) -> usize,
    ) -> Result<Option<Vec<u8>>, Reason> {
        if self.partial.last() != Some(&b'\r') {
            let special = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\0');
            let end = rest.iter().position(special).unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            let text = &text[..text.len().min(LONGEST_LINE)];
            self.partial.extend_from_slice(text);
            let length = self.earlier + self.partial.len() + b"\r\n".len();
            if length > limit(&self.partial) {
                return Err(Reason::LineTooLong);
            }
            *rest = match after.split_first() {
                None => after,
                Some((b'\r', after)) => {
                    self.partial.push(b'\r');
                    after
                }
                Some(_) => return Err(Reason::Malformed),
            };
        }
        match rest.split_first() {
            None => Ok(None),
            Some((b'\n', after)) => {
                *rest = after;
                self.earlier += self.partial.len() + b"\n".len();
                self.partial.pop();
                Ok(Some(std::mem::take(&mut self.partial)))
            }
            Some(_) => Err(Reason::Malformed),
        }
    }

    /// CR and LF are data here, as the length is known. NUL is not allowed (RFC 9051 section 9).
    fn next_literal(&mut self, rest: &mut &[u8]) -> Result<Option<Vec<u8>>, Reason> {
        let Some(Literal { left, keep }) = &mut self.literal else {
            return Ok(None);
        };
        let (bytes, after) = rest.split_at(rest.len().min(*left));
        if bytes.contains(&b'\0') {
            return Err(Reason::Malformed);
        }
        *rest = after;
        *left -= bytes.len();
        if *keep {
            self.partial.extend_from_slice(bytes);
        }
        if *left > 0 {
            return Ok(None);
        }
        self.literal = None;
        Ok(Some(std::mem::take(&mut self.partial)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 10;

    /// What `bytes` come to, and how many of them were taken.
    fn read(input: &mut Input, mut bytes: &[u8]) -> (Result<Option<Piece>, Reason>, usize) {
        let all = bytes.len();
        let found = input.next(&mut bytes, |_| LIMIT);
        (found, all - bytes.len())
    }

    #[test]
    fn lines_end_in_crlf_and_in_nothing_else() {
        let cases = [
            ("", Ok(None)),
            ("NOOP", Ok(None)),
            ("NOOP\r", Ok(None)),
            ("NOOP\r\n", Ok(Some("NOOP"))),
            ("\r\n", Ok(Some(""))),
            ("12345678\r\n", Ok(Some("12345678"))),
            ("12345678", Ok(None)),
            ("123456789", Err(Reason::LineTooLong)),
            ("123456789\n", Err(Reason::LineTooLong)),
            ("NO\n", Err(Reason::Malformed)),
            ("NO\r\r\n", Err(Reason::Malformed)),
            ("NO\rOP\r\n", Err(Reason::Malformed)),
            ("NO\0OP\r\n", Err(Reason::Malformed)),
            ("\n", Err(Reason::Malformed)),
        ];
        for (bytes, expected) in cases {
            let expected = expected.map(|line| line.map(|line| Piece::Line(line.into())));
            let bytes = bytes.as_bytes();
            let name = bytes.escape_ascii();
            assert_eq!(read(&mut Input::default(), bytes).0, expected, "{name}");

            let mut input = Input::default();
            let found = bytes
                .chunks(1)
                .map(|byte| read(&mut input, byte).0)
                .find(|found| *found != Ok(None));
            assert_eq!(found.unwrap_or(Ok(None)), expected, "{name}, byte by byte");
        }
    }

    #[test]
    fn what_follows_a_line_stays() {
        let mut input = Input::default();
        let (found, taken) = read(&mut input, b"A\r\nB\r\n");
        assert_eq!(found, Ok(Some(Piece::Line(b"A".to_vec()))));
        assert_eq!((taken, input.kept()), (3, 0));
    }

    #[test]
    fn the_lines_of_one_command_share_one_limit() {
        let mut input = Input::default();
        assert!(read(&mut input, b"1234\r\n").0.is_ok());
        input.expect_literal(0, false).unwrap();
        assert!(input.within_command());
        assert_eq!(
            read(&mut input, b"123\r\n"),
            (Ok(Some(Piece::Literal(Vec::new()))), 0)
        );
        assert_eq!(read(&mut input, b"123\r\n").0, Err(Reason::LineTooLong));

        input.end_command();
        assert!(!input.within_command());
        assert!(read(&mut input, b"123\r\n").0.is_ok());
    }

    #[test]
    fn literals_are_counted_not_read() {
        for (keep, expected) in [(false, &b""[..]), (true, b"a\r\n\nb")] {
            let mut input = Input::default();
            input.expect_literal(5, keep).unwrap();
            assert_eq!(read(&mut input, b"a\r"), (Ok(None), 2));
            assert_eq!(
                read(&mut input, b"\n\nb\r\n"),
                (Ok(Some(Piece::Literal(expected.to_vec()))), 3)
            );
            assert_eq!(read(&mut input, b"\r\n").0, Ok(Some(Piece::Line(vec![]))));
        }
    }

    #[test]
    fn literals_are_bounded() {
        let mut input = Input::default();
        assert_eq!(
            input.expect_literal(4097, false),
            Err(Reason::LiteralTooLong)
        );
        let mut input = Input::default();
        assert_eq!(input.expect_literal(4096, false), Ok(()));
        assert_eq!(input.expect_literal(4096, false), Ok(()));
        assert_eq!(input.expect_literal(1, false), Err(Reason::LiteralTooLong));
        assert_eq!(
            Input::default().expect_literal(usize::MAX, false),
            Err(Reason::LiteralTooLong)
        );
        let mut input = Input::default();
        input.expect_literal(5, false).unwrap();
        assert_eq!(read(&mut input, b"ab\0").0, Err(Reason::Malformed));
    }
}
