//! Responses of a server before login: what they are, and what of them the client may see.

use crate::wire::guard::lines::{Literal, content, is_withheld};

/// What a response line is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Response {
    /// `+ …`: the server waits for the rest of the command.
    GoAhead,
    /// `*`
    Untagged,
    /// The answer to the command that is in flight; whether it is OK.
    Tagged { ok: bool },
}

const STATUSES: [&[u8]; 5] = [b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"];

const CODE: &[u8] = b"[CAPABILITY";

/// What a line is, `tag` being in flight; nothing if it cannot be a response.
pub(super) fn kind(line: &[u8], tag: Option<&[u8]>) -> Option<Response> {
    let mut words = content(line).split(|byte| *byte == b' ');
    match words.next()? {
        b"*" => Some(Response::Untagged),
        first if first.starts_with(b"+") => Some(Response::GoAhead),
        first if Some(first) == tag => {
            let status = words.next()?;
            let ok = status.eq_ignore_ascii_case(b"OK");
            let fails = |name: &[u8]| status.eq_ignore_ascii_case(name);
            (ok || fails(b"NO") || fails(b"BAD")).then_some(Response::Tagged { ok })
        }
        _ => None,
    }
}

/// The literal that the response goes on with, `line` being the last of its lines. The texts of
/// status responses are for people, and announce nothing.
pub(super) fn announced(response: &[u8], announced: Option<Literal>) -> Option<Literal> {
    let (first, second) = first_words(response);
    announced.filter(|_| first == b"*" && !is_status(second))
}

/// The response without the capabilities that clients are not to know of.
pub(super) fn filtered(response: Vec<u8>) -> Vec<u8> {
    let (first, second) = first_words(&response);
    let text = content(&response);
    let end = &response[text.len()..];
    if first == b"*" && second.eq_ignore_ascii_case(b"CAPABILITY") {
        let names = text.trim_ascii_start()[1..].trim_ascii_start();
        return [b"* CAPABILITY", &*allowed(&names[second.len()..]), end].concat();
    }
    if first == b"+" || is_status(second) {
        return [&*without_in_codes(text), end].concat();
    }
    response
}

/// Whether the server says that it takes no password (RFC 9051 section 6.2.3): it does not know
/// that the client is on TLS.
pub(super) fn disables_login(response: &[u8]) -> bool {
    let mut words = response.split(|byte| !byte.is_ascii_alphanumeric());
    words.any(|word| word.eq_ignore_ascii_case(b"LOGINDISABLED"))
}

fn without_in_codes(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest
        .windows(CODE.len())
        .position(|window| window.eq_ignore_ascii_case(CODE))
    {
        let (before, code) = rest.split_at(at + CODE.len());
        let end = code.iter().position(|byte| *byte == b']');
        let (names, after) = code.split_at(end.unwrap_or(code.len()));
        kept.extend_from_slice(before);
        kept.extend(allowed(names));
        rest = after;
    }
    kept.extend_from_slice(rest);
    kept
}

/// Those of the names that the client may see, each with a space before it.
fn allowed(names: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(names.len());
    for name in words(names).filter(|name| !is_withheld(name)) {
        kept.push(b' ');
        kept.extend_from_slice(name);
    }
    kept
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

fn first_words(text: &[u8]) -> (&[u8], &[u8]) {
    let mut words = words(text);
    (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    )
}

fn is_status(word: &[u8]) -> bool {
    STATUSES
        .iter()
        .any(|status| status.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::guard::lines::literal;

    #[test]
    fn capabilities_are_cut_down_wherever_they_stand() {
        let cases: [(&str, &str); 17] = [
            (
                "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=PLAIN\r\n",
                "* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN\r\n",
            ),
            (
                "* capability imap4rev1 starttls\r\n",
                "* CAPABILITY imap4rev1\r\n",
            ),
            (
                "* CAPABILITY STARTTLS IMAP4rev1 XCLIENT XForward\r\n",
                "* CAPABILITY IMAP4rev1\r\n",
            ),
            (
                "*  CAPABILITY  IMAP4rev1  StartTLS  ID \r\n",
                "* CAPABILITY IMAP4rev1 ID\r\n",
            ),
            (
                "* CAPABILITY IMAP4rev1 STARTTLS\n",
                "* CAPABILITY IMAP4rev1\n",
            ),
            (
                "* OK [CAPABILITY IMAP4rev1 STARTTLS] STARTTLS ready\r\n",
                "* OK [CAPABILITY IMAP4rev1] STARTTLS ready\r\n",
            ),
            (
                "* ok [capability STARTTLS IMAP4rev1] ready\r\n",
                "* ok [capability IMAP4rev1] ready\r\n",
            ),
            (
                "a OK [CAPABILITY IMAP4rev1 XCLIENT IDLE] in\r\n",
                "a OK [CAPABILITY IMAP4rev1 IDLE] in\r\n",
            ),
            (
                "a NO [CAPABILITY IMAP4rev1 STARTTLS] no\r\n",
                "a NO [CAPABILITY IMAP4rev1] no\r\n",
            ),
            (
                "* BYE [ALERT] x [CAPABILITY A STARTTLS] y [CAPABILITY STARTTLS B]\r\n",
                "* BYE [ALERT] x [CAPABILITY A] y [CAPABILITY B]\r\n",
            ),
            (
                "* OK [CAPABILITY IMAP4rev1 STARTTLS\r\n",
                "* OK [CAPABILITY IMAP4rev1\r\n",
            ),
            (
                "+ [CAPABILITY IMAP4rev1 STARTTLS] go\r\n",
                "+ [CAPABILITY IMAP4rev1] go\r\n",
            ),
            ("+ c3RhcnR0bHM=\r\n", "+ c3RhcnR0bHM=\r\n"),
            ("* OK STARTTLS is fun\r\n", "* OK STARTTLS is fun\r\n"),
            (
                "* ID (\"name\" \"[CAPABILITY STARTTLS]\")\r\n",
                "* ID (\"name\" \"[CAPABILITY STARTTLS]\")\r\n",
            ),
            ("* OK [\r\n", "* OK [\r\n"),
            ("\r\n", "\r\n"),
        ];
        for (response, expected) in cases {
            let seen = filtered(response.as_bytes().to_vec());
            assert_eq!(String::from_utf8(seen).unwrap(), expected);
        }
    }

    #[test]
    fn only_the_tag_in_flight_answers() {
        let cases: [(&[u8], Option<Response>); 13] = [
            (b"a1 OK done\r\n", Some(Response::Tagged { ok: true })),
            (b"a1 ok\r\n", Some(Response::Tagged { ok: true })),
            (
                b"a1 NO [ALERT] no\r\n",
                Some(Response::Tagged { ok: false }),
            ),
            (b"a1 bad no\r\n", Some(Response::Tagged { ok: false })),
            (b"* OK done\r\n", Some(Response::Untagged)),
            (b"+ go\r\n", Some(Response::GoAhead)),
            (b"+\r\n", Some(Response::GoAhead)),
            (b"+Y2hhbGxlbmdl\r\n", Some(Response::GoAhead)),
            (b"A1 OK done\r\n", None),
            (b"a10 OK done\r\n", None),
            (b"a1 OKAY\r\n", None),
            (b"a1\r\n", None),
            (b"\r\n", None),
        ];
        for (line, expected) in cases {
            assert_eq!(kind(line, Some(b"a1")), expected, "{}", line.escape_ascii());
        }
        assert_eq!(kind(b"a1 OK done\r\n", None), None);
    }

    #[test]
    fn texts_for_people_announce_no_literal() {
        for (line, announces) in [
            (&b"* ID (\"name\" {3}\r\n"[..], true),
            (b"* OK try {3}\r\n", false),
            (b"* BYE {3}\r\n", false),
            (b"a NO {3}\r\n", false),
            (b"+ {3}\r\n", false),
        ] {
            let found = announced(line, literal(line)).is_some();
            assert_eq!(found, announces, "{}", line.escape_ascii());
        }
    }
}
