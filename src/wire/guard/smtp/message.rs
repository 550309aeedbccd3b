//! Where a message ends (RFC 5321 section 4.1.1.4).

use super::super::GuardError;

/// A message that is passing by: the last bytes of it, and nothing else.
#[derive(Debug)]
pub(super) struct Message {
    /// The two bytes before the next one; a message begins like a line.
    before: [u8; 2],
    dot: Dot,
}

/// How much of a line with a lone dot has passed. `exact` if CRLF came before the dot.
#[derive(Clone, Copy, Debug)]
enum Dot {
    None,
    Passed { exact: bool },
    PassedWithCr { exact: bool },
}

impl Message {
    pub(super) fn new() -> Self {
        Self {
            before: *b"\r\n",
            dot: Dot::None,
        }
    }

    /// How many of these bytes belong to the message, the last dot and its CRLF among them, if
    /// it ends in them.
    ///
    /// # Errors
    /// If `wary`: a line with a lone dot that ends, or begins, with something else than CRLF, or
    /// with a NUL: some servers take it for the end of the message, and what follows it for
    /// commands.
    pub(super) fn end(&mut self, bytes: &[u8], wary: bool) -> Result<Option<usize>, GuardError> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(&byte) = rest.first()
        {
            match self.dot {
                Dot::None => at += self.skip_to_lone_dot(rest),
                Dot::Passed { exact } if byte == b'\r' => {
                    self.dot = Dot::PassedWithCr { exact };
                    self.pass(b"\r");
                    at += 1;
                }
                Dot::PassedWithCr { exact: true } if byte == b'\n' => return Ok(Some(at + 1)),
                Dot::Passed { .. } if wary && matches!(byte, b'\n' | 0) => {
                    return Err(GuardError::Ambiguous);
                }
                Dot::PassedWithCr { .. } if wary => return Err(GuardError::Ambiguous),
                Dot::Passed { .. } | Dot::PassedWithCr { .. } => self.dot = Dot::None,
            }
        }
        Ok(None)
    }

    /// Passes the bytes up to a dot at the beginning of a line, that dot included.
    fn skip_to_lone_dot(&mut self, bytes: &[u8]) -> usize {
        let dot = match bytes.first() {
            Some(first) if starts_line(self.before[1], *first) => Some(0),
            _ => find_lone_dot(bytes),
        };
        let Some(dot) = dot else {
            self.pass(bytes);
            return bytes.len();
        };
        self.pass(bytes.get(..dot).unwrap_or(bytes));
        let exact = self.before == *b"\r\n";
        self.dot = Dot::Passed { exact };
        self.pass(b".");
        dot + 1
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.before = match *bytes {
            [] => self.before,
            [last] => [self.before[1], last],
            [.., one, last] => [one, last],
        };
    }
}

/// Where the first dot stands that begins a line, but for the first byte of all. Goes through
/// blocks without a branch for each byte, so that the compiler can compare many at a time:
/// neither dots nor short lines make it slow.
fn find_lone_dot(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 64;

    let mut start = 0;
    let befores = bytes.chunks(BLOCK);
    let afters = bytes.get(1..)?.chunks(BLOCK);
    for (before, after) in befores.zip(afters) {
        let pairs = || before.iter().zip(after);
        if pairs().fold(false, |any, (a, b)| any | starts_line(*a, *b)) {
            let place = pairs().position(|(a, b)| starts_line(*a, *b))?;
            return Some(start + place + 1);
        }
        start += BLOCK;
    }
    None
}

/// Whether two bytes are the end of a line, in some server's eyes, and a dot behind it.
fn starts_line(before: u8, dot: u8) -> bool {
    (dot == b'.') & ((before == b'\r') | (before == b'\n') | (before == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the message ends, fed in pieces of `size`.
    fn end(message: &[u8], wary: bool, size: usize) -> Result<Option<usize>, GuardError> {
        let mut state = Message::new();
        for (number, piece) in message.chunks(size).enumerate() {
            if let Some(end) = state.end(piece, wary)? {
                return Ok(Some(number * size + end));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_message_ends_at_a_lone_dot_between_crlf() {
        let cases: &[&[u8]] = &[
            b".\r\n",
            b"text\r\n.\r\n",
            b"\r\n.\r\n",
            b"a.b\r\n..\r\n.x\r\n. \r\n...\r\n.\r\n",
            b"\r\r\n.\r\n",
            b"x\n\r\n.\r\n",
            b"text.\r\n.\r\n",
            b"bare\nends\rof lines\n.. \n.x\r\n.\r\n",
        ];
        for message in cases {
            let bytes = [message, &b"QUIT\r\n.\r\n"[..]].concat();
            for size in 1..=bytes.len() {
                for wary in [false, true] {
                    let name = message.escape_ascii();
                    let end = end(&bytes, wary, size);
                    assert_eq!(end, Ok(Some(message.len())), "{name}, by {size}");
                }
            }
        }
    }

    #[test]
    fn the_end_is_found_wherever_it_stands() {
        for length in 0..200 {
            for text in [b'x', b'.', b'\n'] {
                let message = [b"x", &vec![text; length][..], b"\r\n.\r\n"].concat();
                let bytes = [&message[..], b"QUIT\r\n.\r\n"].concat();
                for size in [bytes.len(), 63, 64, 65, message.len() - 3] {
                    assert_eq!(end(&bytes, true, size), Ok(Some(message.len())));
                }
            }
        }
    }

    #[test]
    fn an_end_that_only_some_servers_see_is_ambiguous() {
        let cases: &[&[u8]] = &[
            b"x\n.\n",
            b"x\n.\r\n",
            b"x\r\n.\n",
            b"x\r.\r",
            b"x\r.\r\n",
            b"x\r\n.\r\r\n",
            b"x\r\n.\rMAIL",
            b".\n",
            b"x\r\n.\0\r\n",
            b"x\r\n\0.\r\n",
            b"x\r\n.\r.\r\n",
        ];
        for message in cases {
            let bytes = [message, &b"text\r\n.\r\n"[..]].concat();
            for size in 1..=bytes.len() {
                let name = message.escape_ascii();
                assert_eq!(
                    end(&bytes, true, size),
                    Err(GuardError::Ambiguous),
                    "{name}, by {size}"
                );
                let end = end(&bytes, false, size);
                assert_eq!(end, Ok(Some(bytes.len())), "{name}, by {size}");
            }
        }
    }
}
