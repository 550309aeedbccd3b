//! What is in the mailbox, and how it is asked for.

use std::ops::RangeInclusive;

/// The mailbox; line ends are CRLF, as they go over the wire.
pub(super) const MESSAGES: [&str; 2] = [
    "From: Gatepost <gatepost@demo.test>\r\nTo: You <you@demo.test>\r\n\
     Subject: It works\r\nDate: Mon, 02 Nov 2026 09:00:00 +0000\r\n\
     Message-ID: <1@demo.test>\r\n\r\n\
     This message lies on a server that knows nothing of TLS.\r\n\
     You read it over TLS all the same.\r\n",
    "From: Gatepost <gatepost@demo.test>\r\nTo: You <you@demo.test>\r\n\
     Subject: Who are you?\r\nDate: Mon, 02 Nov 2026 09:01:00 +0000\r\n\
     Message-ID: <2@demo.test>\r\n\r\n\
     The greeting said who you are: the proxy tells the server\r\n\
     your address with a PROXY header.\r\n",
];

/// What FETCH can ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Item {
    Flags,
    Uid,
    InternalDate,
    Size,
    Whole,
    Header,
    Text,
}

impl Item {
    /// Reads one item or a list in parentheses, each with the label that answers it.
    pub(super) fn parse_all(text: &[u8]) -> Option<Vec<(Self, String)>> {
        let text = std::str::from_utf8(text).ok()?.trim().to_ascii_uppercase();
        let list = match text.strip_prefix('(') {
            Some(list) => list.strip_suffix(')')?,
            None if text == "FAST" => "FLAGS INTERNALDATE RFC822.SIZE",
            None if text.contains(' ') => return None,
            None => text.as_str(),
        };
        let items: Option<Vec<_>> = list.split_whitespace().map(Self::parse).collect();
        items.filter(|items| !items.is_empty())
    }

    fn parse(text: &str) -> Option<(Self, String)> {
        let label = text.replace("BODY.PEEK[", "BODY[");
        let item = match label.as_str() {
            "FLAGS" => Self::Flags,
            "UID" => Self::Uid,
            "INTERNALDATE" => Self::InternalDate,
            "RFC822.SIZE" => Self::Size,
            "BODY[]" | "RFC822" => Self::Whole,
            "BODY[HEADER]" | "RFC822.HEADER" => Self::Header,
            "BODY[TEXT]" | "RFC822.TEXT" => Self::Text,
            _ => return None,
        };
        Some((item, label))
    }

    pub(super) fn value(self, number: u32, message: &str) -> String {
        let (header, _) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
        let body_at = (header.len() + 4).min(message.len());
        let literal = |text: &str| format!("{{{}}}\r\n{text}", text.len());
        match self {
            Self::Flags => "(\\Seen)".to_owned(),
            Self::Uid => number.to_string(),
            Self::InternalDate => "\"02-Nov-2026 09:00:00 +0000\"".to_owned(),
            Self::Size => message.len().to_string(),
            Self::Whole => literal(message),
            Self::Header => literal(message.get(..body_at).unwrap_or_default()),
            Self::Text => literal(message.get(body_at..).unwrap_or_default()),
        }
    }
}

/// `2`, `1:*`, `1,2:3`; `*` is the last message.
pub(super) fn parse_set(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let last = u32::try_from(MESSAGES.len()).ok()?;
    let number = |text: &str| match text {
        "*" => Some(last),
        _ => text.parse().ok().filter(|number| *number > 0),
    };
    text.split(',')
        .map(|part| {
            let (from, to) = part.split_once(':').unwrap_or((part, part));
            let (from, to) = (number(from)?, number(to)?);
            Some(from.min(to)..=from.max(to))
        })
        .collect()
}

/// Whether a LIST pattern matches INBOX: the name itself, or stars in place of its letters.
pub(super) fn matches_inbox(pattern: &[u8]) -> bool {
    let inbox = b"INBOX".as_slice();
    match pattern.iter().position(|byte| matches!(byte, b'*' | b'%')) {
        None => pattern.eq_ignore_ascii_case(inbox),
        Some(star) => {
            let (start, end) = pattern.split_at(star);
            let end = end.get(1..).unwrap_or_default();
            inbox.len() >= start.len() + end.len()
                && inbox.split_at(start.len()).0.eq_ignore_ascii_case(start)
                && inbox
                    .split_at(inbox.len() - end.len())
                    .1
                    .eq_ignore_ascii_case(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_patterns() {
        for (set, expected) in [
            ("1", Some(vec![1..=1])),
            ("2:1", Some(vec![1..=2])),
            ("1,*", Some(vec![1..=1, 2..=2])),
            ("0", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(parse_set(set), expected, "{set}");
        }
        for (pattern, expected) in [
            ("*", true),
            ("%", true),
            ("inbox", true),
            ("IN*", true),
            ("*ox", true),
            ("Sent", false),
            ("INBOX/*", false),
            ("Archive*", false),
        ] {
            assert_eq!(matches_inbox(pattern.as_bytes()), expected, "{pattern}");
        }
    }
}
