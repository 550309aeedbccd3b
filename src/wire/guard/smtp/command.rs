//! What a line of the client is, as far as the guard has to know.
//!
//! A verb is recognised wherever any server might recognise it; what changes how the bytes behind
//! a line are read (BDAT) is taken only in the one form that all servers read alike.

/// The longest command line but AUTH, with its end: what RFC 5321 section 4.5.3.1.4 asks for
/// four times, and where Postfix cuts a line.
pub(super) const MAX_LINE: usize = 2048;

/// The longest line of AUTH (RFC 4954 section 4).
pub(super) const MAX_AUTH_LINE: usize = 12_288;

/// The largest chunk for a server that might count in 32 bits.
const MAX_CHUNK_32: u64 = 0x7fff_ffff;

/// What a command line says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Command {
    /// EHLO, or HELO where `extended` is false.
    Hello {
        extended: bool,
    },
    /// RFC 2033.
    Lhlo,
    /// AUTH, or X-EXPS: so Exchange calls what it has of it for other Exchange servers.
    Auth,
    Data,
    /// BDAT; without a chunk if it is malformed.
    Bdat(Option<Chunk>),
    /// RSET, and nothing else in the line.
    Rset,
    /// STARTTLS; `exact` if the line holds nothing else.
    StartTls {
        exact: bool,
    },
    /// X-ANONYMOUSTLS: Exchange's STARTTLS for other Exchange servers.
    AnonymousTls,
    /// XCLIENT or XFORWARD.
    Impersonation,
    /// One line, one reply.
    Ordinary,
}

/// What BDAT announces (RFC 3030 section 2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Chunk {
    pub(super) octets: u64,
    pub(super) last: bool,
}

impl Command {
    pub(super) fn parse(line: &[u8]) -> Self {
        const VERBS: [(&[u8], Command); 11] = [
            (b"EHLO", Command::Hello { extended: true }),
            (b"HELO", Command::Hello { extended: false }),
            (b"LHLO", Command::Lhlo),
            (b"AUTH", Command::Auth),
            (b"X-EXPS", Command::Auth),
            (b"DATA", Command::Data),
            (b"BDAT", Command::Bdat(None)),
            (b"STARTTLS", Command::StartTls { exact: false }),
            (b"X-ANONYMOUSTLS", Command::AnonymousTls),
            (b"XCLIENT", Command::Impersonation),
            (b"XFORWARD", Command::Impersonation),
        ];
        let verb = verb(line);
        let known = VERBS
            .iter()
            .find(|(name, _)| verb.eq_ignore_ascii_case(name));
        match known.map(|&(_, command)| command) {
            Some(Self::Bdat(_)) => Self::Bdat(Chunk::parse(line)),
            Some(Self::StartTls { .. }) => Self::StartTls {
                exact: is_exactly(line, b"STARTTLS"),
            },
            Some(command) => command,
            None if is_exactly(line, b"RSET") => Self::Rset,
            None => Self::Ordinary,
        }
    }
}

impl Chunk {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = without_blank_end(line.strip_suffix(b"\r\n")?);
        let (verb, argument) = line.split_at_checked(5)?;
        if !verb.eq_ignore_ascii_case(b"BDAT ") {
            return None;
        }
        let digits = argument.iter().take_while(|byte| byte.is_ascii_digit());
        let (digits, end) = argument.split_at(digits.count());
        // Some read a leading zero as octal.
        if digits.len() > 1 && digits.starts_with(b"0") {
            return None;
        }
        let octets = str::from_utf8(digits).ok()?.parse().ok()?;
        let last = end.eq_ignore_ascii_case(b" LAST");
        (last || end.is_empty()).then_some(Self { octets, last })
    }

    /// Whether servers agree about it in every state: Exim counts in 32 bits, and takes no more
    /// chunks, but what is in them for commands, after an empty one that is not the last.
    pub(super) fn is_safe(self) -> bool {
        self.octets <= MAX_CHUNK_32 && (self.octets > 0 || self.last)
    }
}

/// The first word of a line, behind what servers skip before it. It ends where the first of them
/// might see its end: at a hyphen too, unless it is Exchange's `X-`.
fn verb(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(*byte));
    let line = start.and_then(|start| line.get(start..)).unwrap_or(&[]);
    let is_exchange = matches!(line, [b'X' | b'x', b'-', ..]);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || is_exchange && *byte == b'-';
    let end = line.iter().position(|byte| !is_part(byte));
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_control()
}

fn is_exactly(line: &[u8], command: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r\n").map(without_blank_end);
    line.is_some_and(|line| line.eq_ignore_ascii_case(command))
}

/// Whether a server may be sent the line between two chunks of a message: Exim takes no more
/// chunks, but what is in them for commands, after any other.
pub(super) fn may_follow_chunk(line: &[u8]) -> bool {
    matches!(Command::parse(line), Command::Bdat(_) | Command::Rset)
        || is_exactly(line, b"NOOP")
        || is_exactly(line, b"QUIT")
}

/// Whether all servers see one command in the line, and the same one: no control character but
/// tab before its end, a verb in ASCII alone (others may have an ASCII upper case), and nothing
/// that could be a command with arguments behind the point where a server may cut it.
pub(super) fn is_unmistakable(line: &[u8]) -> bool {
    let line = without_end(line);
    let verb = line.split(|byte| is_blank(*byte)).find(|w| !w.is_empty());
    line.iter()
        .all(|byte| *byte == b'\t' || !byte.is_ascii_control())
        && verb.is_none_or(<[u8]>::is_ascii)
        && line.get(MAX_LINE..).is_none_or(is_base64)
}

/// Whether the line is what SASL sends: base64, or the `*` that cancels (RFC 4954 section 4).
pub(super) fn is_response(line: &[u8]) -> bool {
    let line = without_end(line);
    line == b"*" || is_base64(line)
}

fn is_base64(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n")
        .or_else(|| line.strip_suffix(b"\n"))
        .unwrap_or(line)
}

/// RFC 5321 section 4.1.1: blanks before the line end are to be tolerated.
fn without_blank_end(mut line: &[u8]) -> &[u8] {
    while let [start @ .., b' ' | b'\t'] = line {
        line = start;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_seen_wherever_a_server_might_see_it() {
        let cases: &[(&[u8], Command)] = &[
            (b"EHLO me\r\n", Command::Hello { extended: true }),
            (b"helo me\n", Command::Hello { extended: false }),
            (b"LhLo me\r\n", Command::Lhlo),
            (b"AUTH PLAIN AAAA\r\n", Command::Auth),
            (b"DATA\r\n", Command::Data),
            (b" \t\x01data \r\n", Command::Data),
            (b"DATABASE\r\n", Command::Ordinary),
            (b"rset \r\n", Command::Rset),
            (b"RSET now\r\n", Command::Ordinary),
            (b"STARTTLS\r\n", Command::StartTls { exact: true }),
            (b"starttls \t\r\n", Command::StartTls { exact: true }),
            (b"STARTTLS\n", Command::StartTls { exact: false }),
            (b"STARTTLS\r\r\n", Command::StartTls { exact: false }),
            (b" STARTTLS\r\n", Command::StartTls { exact: false }),
            (b"STARTTLS now\r\n", Command::StartTls { exact: false }),
            (b"XCLIENT ADDR=10.0.0.1\r\n", Command::Impersonation),
            (b"\0\x7f\r xclient\tADDR=1\n", Command::Impersonation),
            (b"XForward\x0bADDR=1\r\n", Command::Impersonation),
            (b"XCLIENT:\r\n", Command::Impersonation),
            (b"XCLIENT-A A=1\r\n", Command::Impersonation),
            (b"XCLIENTS\r\n", Command::Ordinary),
            (b"x-exps GSSAPI AAAA\r\n", Command::Auth),
            (b" X-EXPS\tNTLM\r\n", Command::Auth),
            (b"X-AnonymousTLS\r\n", Command::AnonymousTls),
            (b"X-EXPS-A\r\n", Command::Ordinary),
            (b"X\r\n", Command::Ordinary),
            (b"NOOP XCLIENT\r\n", Command::Ordinary),
            (b"\r\n", Command::Ordinary),
            (b"\n", Command::Ordinary),
            (b"", Command::Ordinary),
        ];
        for (line, command) in cases {
            assert_eq!(Command::parse(line), *command, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn bdat_is_taken_only_in_the_form_that_all_servers_read_alike() {
        let chunk = |octets, last| Some(Chunk { octets, last });
        let cases: &[(&[u8], Option<Chunk>)] = &[
            (b"BDAT 0\r\n", chunk(0, false)),
            (b"bdat 12 last\r\n", chunk(12, true)),
            (b"BDAT 12 LAST \t\r\n", chunk(12, true)),
            (b"BDAT 18446744073709551615\r\n", chunk(u64::MAX, false)),
            (b"BDAT 18446744073709551616\r\n", None),
            (b"BDAT 12\n", None),
            (b"BDAT 12\r\r\n", None),
            (b" BDAT 12\r\n", None),
            (b"BDAT  12\r\n", None),
            (b"BDAT\t12\r\n", None),
            (b"BDAT 012\r\n", None),
            (b"BDAT +12\r\n", None),
            (b"BDAT -12\r\n", None),
            (b"BDAT 0x12\r\n", None),
            (b"BDAT 12 FIRST\r\n", None),
            (b"BDAT 12  LAST\r\n", None),
            (b"BDAT 12 LAST 3\r\n", None),
            (b"BDAT 12LAST\r\n", None),
            (b"BDAT LAST\r\n", None),
            (b"BDAT \r\n", None),
            (b"BDAT\r\n", None),
        ];
        for (line, chunk) in cases {
            let command = Command::Bdat(*chunk);
            assert_eq!(Command::parse(line), command, "{}", line.escape_ascii());
        }
        let safe = |octets, last| Chunk { octets, last }.is_safe();
        assert!(safe(1, false) && safe(0, true) && safe(MAX_CHUNK_32, false));
        assert!(!safe(0, false) && !safe(MAX_CHUNK_32 + 1, true));
    }

    #[test]
    fn what_two_servers_could_read_in_two_ways_is_known() {
        let long = |tail: &str| format!("AUTH PLAIN {:A<2037}{tail}\r\n", "").into_bytes();
        let cases = [
            (b"NOOP\r\n".to_vec(), true),
            (b"NOOP\n".to_vec(), true),
            (b"MAIL\tFROM:<>\r\n".to_vec(), true),
            ("MAIL FROM:<\u{e9}@example.org>\r\n".into(), true),
            (b"\r\n".to_vec(), true),
            (b"NOOP\rXCLIENT\r\n".to_vec(), false),
            (b"NOOP\r\r\n".to_vec(), false),
            (b"NOOP\0\r\n".to_vec(), false),
            (b"NOOP\x7f\r\n".to_vec(), false),
            ("\u{17f}TARTTLS\r\n".into(), false),
            (" XCL\u{131}ENT ADDR=10.0.0.1\r\n".into(), false),
            (long(""), true),
            (long("Zm9v="), true),
            (long("XCLIENT ADDR=10.0.0.1"), false),
        ];
        for (line, expected) in cases {
            assert_eq!(is_unmistakable(&line), expected, "{}", line.escape_ascii());
        }
        for line in [&b"*\r\n"[..], b"\r\n", b"Zm9v\n", b"A+/=\r\n"] {
            assert!(is_response(line), "{}", line.escape_ascii());
        }
        for line in [&b"**\r\n"[..], b"Zm9v\rA\r\n", b"XCLIENT A=1\r\n", b"\0\n"] {
            assert!(!is_response(line), "{}", line.escape_ascii());
        }
    }
}
