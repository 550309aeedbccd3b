//! Where the replies of a server end, and what their codes are (RFC 5321 section 4.2).

use memchr::memchr;

/// The server's side of a session, byte by byte; keeps four bytes.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The first bytes of the line that is passing by.
    head: [u8; 4],
    /// How many bytes of that line have passed.
    length: usize,
    /// Whether lines of the reply have passed already.
    begun: bool,
}

/// What a piece of the server's bytes is.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Piece<'a> {
    /// Bytes of one line, to its end if that is there.
    pub(super) bytes: &'a [u8],
    /// Whether they are the first of a reply.
    pub(super) first: bool,
    /// The length of the line so far.
    pub(super) length: usize,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The reply goes on.
    None,
    /// It is whole; the code of its last line.
    Reply([u8; 3]),
    /// A line without a code.
    Malformed,
}

impl Replies {
    /// Takes one piece off the bytes, of which there is at least one.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Piece<'a> {
        let line_end = memchr(b'\n', bytes);
        let taken = line_end.map_or(bytes, |end| &bytes[..=end]);
        let first = !self.begun && self.length == 0;
        for (kept, byte) in self.head.iter_mut().skip(self.length).zip(taken) {
            *kept = *byte;
        }
        self.length = self.length.saturating_add(taken.len());
        let length = self.length;
        let end = match line_end {
            Some(_) => self.end_of_line(),
            None => End::None,
        };
        Piece {
            bytes: taken,
            first,
            length,
            end,
        }
    }

    fn end_of_line(&mut self) -> End {
        let [a, b, c, mark] = std::mem::take(&mut self.head);
        self.length = 0;
        let code = [a, b, c];
        let whole = matches!(code, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']);
        self.begun = whole && mark == b'-';
        match (whole, mark) {
            (false, _) => End::Malformed,
            (true, b'-') => End::None,
            (true, _) => End::Reply(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_however_they_come() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"250 ok\r\n354\r\n221\n", &["250", "354", "221"]),
            (b"250-a\r\n250-b\r\n250 c\r\n550 d\r\n", &["250", "550"]),
            (b"220-a\n220-\n421 c\n", &["421"]),
            (b"250x\r\n", &["250"]),
            (b"25\r\n250 a\r\n", &["malformed", "250"]),
            (b"\r\n", &["malformed"]),
            (b"050 verbose\r\n250 a\r\n", &["malformed", "250"]),
            (b"250-a\r\nb\r\n250 c\r\n", &["malformed", "250"]),
            (b"250-a\r\n25", &[]),
        ];
        for (bytes, expected) in cases {
            for size in 1..=bytes.len() {
                let mut replies = Replies::default();
                let mut ends = Vec::new();
                for mut rest in bytes.chunks(size) {
                    while !rest.is_empty() {
                        let piece = replies.take(rest);
                        rest = &rest[piece.bytes.len()..];
                        match piece.end {
                            End::None => {}
                            End::Reply(code) => ends.push(String::from_utf8(code.into()).unwrap()),
                            End::Malformed => ends.push("malformed".to_owned()),
                        }
                    }
                }
                assert_eq!(ends, *expected, "{}, by {size}", bytes.escape_ascii());
            }
        }
    }
}
