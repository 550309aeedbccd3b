//! What a server announces in its answer to EHLO (RFC 5321 section 4.1.1.1), and what of it a
//! client may see.

use super::super::Mode;

/// What the guard has to know of an announcement.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Announcement {
    pub(super) chunking: bool,
    /// XCLIENT or XFORWARD: the server believes us what we say of others.
    pub(super) impersonation: bool,
}

impl Announcement {
    /// From lines as in [`crate::wire::announced::Announced`].
    pub(super) fn of<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut announcement = Self::default();
        for line in lines {
            announcement.chunking |= is_one_of(line, &["CHUNKING"]);
            announcement.impersonation |= is_one_of(line, &["XCLIENT", "XFORWARD"]);
        }
        announcement
    }

    /// From a whole answer.
    pub(super) fn of_answer(answer: &[u8]) -> Self {
        Self::of(lines(answer).skip(1).map(|line| line.text))
    }
}

/// One line of an answer: code, the byte behind it, the rest with the line end.
struct Line<'a> {
    code: &'a [u8],
    text: &'a [u8],
}

fn lines(answer: &[u8]) -> impl Iterator<Item = Line<'_>> {
    answer.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let (code, rest) = line.split_at(line.len().min(3));
        let text = match rest {
            [b'\r' | b'\n', ..] => rest,
            _ => rest.get(1..).unwrap_or(&[]),
        };
        Line { code, text }
    })
}

/// The answer as the client may see it: without what is not for it, and, if `offer`, with our
/// STARTTLS as its last line.
pub(super) fn filter(answer: &[u8], mode: Mode, offer: bool) -> Vec<u8> {
    let mut kept: Vec<Line<'_>> = Vec::new();
    for line in lines(answer) {
        if kept.is_empty() || !is_hidden(line.text, mode) {
            kept.push(line);
        }
    }
    let code = kept.first().map_or(&b"250"[..], |line| line.code);
    if offer {
        let text = b"STARTTLS\r\n";
        kept.push(Line { code, text });
    }
    let mut filtered = Vec::with_capacity(answer.len() + 16);
    let last = kept.len().saturating_sub(1);
    for (number, line) in kept.iter().enumerate() {
        filtered.extend_from_slice(line.code);
        filtered.push(if number < last { b'-' } else { b' ' });
        filtered.extend_from_slice(line.text);
    }
    filtered
}

fn is_hidden(line: &[u8], mode: Mode) -> bool {
    is_one_of(line, &["STARTTLS", "X-ANONYMOUSTLS", "XCLIENT", "XFORWARD"])
        || mode == Mode::Open && is_one_of(line, &["AUTH", "REQUIRETLS", "X-EXPS"])
}

fn is_one_of(line: &[u8], keywords: &[&str]) -> bool {
    let line = line.trim_ascii();
    let mut words = line.split(|byte| *byte == b'=' || byte.is_ascii_whitespace());
    let keyword = words.next().unwrap_or(&[]);
    keywords
        .iter()
        .any(|known| keyword.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_sees_what_is_for_it() {
        let cases: &[(&str, &str, &str)] = &[
            // answer, under TLS, in clear
            ("250 me\r\n", "250 me\r\n", "250-me\r\n250 STARTTLS\r\n"),
            (
                "250-me\r\n250-SIZE 10\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
                "250-me\r\n250-SIZE 10\r\n250 AUTH PLAIN\r\n",
                "250-me\r\n250-SIZE 10\r\n250 STARTTLS\r\n",
            ),
            (
                "250-me\r\n250-xclient NAME ADDR\r\n250-StartTLS\r\n250 XFORWARD NAME\r\n",
                "250 me\r\n",
                "250-me\r\n250 STARTTLS\r\n",
            ),
            (
                "250-STARTTLS greets you\r\n250-AUTH=LOGIN\r\n250-requiretls\r\n250 8BITMIME\r\n",
                "250-STARTTLS greets you\r\n250-AUTH=LOGIN\r\n250-requiretls\r\n250 8BITMIME\r\n",
                "250-STARTTLS greets you\r\n250-8BITMIME\r\n250 STARTTLS\r\n",
            ),
            // Exchange
            (
                "250-me\r\n250-X-ANONYMOUSTLS\r\n250-AUTH NTLM\r\n250-X-EXPS GSSAPI NTLM\r\n250 XRDST\r\n",
                "250-me\r\n250-AUTH NTLM\r\n250-X-EXPS GSSAPI NTLM\r\n250 XRDST\r\n",
                "250-me\r\n250-XRDST\r\n250 STARTTLS\r\n",
            ),
            (
                "250-me\n250-  starttls\n250-XCLIENTS\n250 XFORWARD=x\n",
                "250-me\n250 XCLIENTS\n",
                "250-me\n250-XCLIENTS\n250 STARTTLS\r\n",
            ),
            (
                "250-me\r\n250-STARTTLS\t\r\n250\r\n",
                "250-me\r\n250 \r\n",
                "250-me\r\n250-\r\n250 STARTTLS\r\n",
            ),
        ];
        for (answer, under_tls, in_clear) in cases {
            for (mode, expected) in [(Mode::Closed, under_tls), (Mode::Open, in_clear)] {
                let filtered = filter(answer.as_bytes(), mode, mode == Mode::Open);
                assert_eq!(String::from_utf8(filtered).unwrap(), *expected, "{answer}");
            }
        }
    }

    #[test]
    fn an_announcement_is_read_before_anything_is_hidden() {
        let cases = [
            ("250 CHUNKING\r\n", false, false),
            ("250-me\r\n250-chunking\r\n250 SIZE\r\n", true, false),
            ("250-me\r\n250 xForward NAME\r\n", false, true),
            ("250-me\r\n250-XCLIENT\r\n250 CHUNKING\r\n", true, true),
            ("250-me\r\n250 SIZE XCLIENT\r\n", false, false),
        ];
        for (answer, chunking, impersonation) in cases {
            let expected = Announcement {
                chunking,
                impersonation,
            };
            let announcement = Announcement::of_answer(answer.as_bytes());
            assert_eq!(announcement, expected, "{answer}");
        }
    }
}
