//! `HOST` and `HOST:PORT`, as Host and `:authority` say them.

use std::net::Ipv6Addr;

/// The longest one in bytes: a name of 253, a final dot, and a port.
const LONGEST: usize = 253 + 1 + 6;

/// A host and a port (RFC 3986 section 3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Authority<'a> {
    /// A name or an address, as it was written; an IPv6 address with its brackets.
    pub host: &'a str,
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads one. Nobody's credentials, no escapes, and no characters that names do not have:
    /// no two readers can differ about where it ends.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.is_empty() || text.len() > LONGEST {
            return None;
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, _) = rest.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                text.split_at(address.len() + 2)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let fits = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_name));
        let port = match port.strip_prefix(':') {
            // RFC 3986 section 3.2.3: a colon may stand without a port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port > 0)?)
            }
            Some(_) => return None,
            None if port.is_empty() => None,
            None => return None,
        };
        fits.then_some(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_addresses_and_ports() {
        for (text, expected) in [
            ("mail.example.com", Some(("mail.example.com", None))),
            (
                "Mail.Example.com.:8443",
                Some(("Mail.Example.com.", Some(8443))),
            ),
            ("old_mail", Some(("old_mail", None))),
            ("192.0.2.1:80", Some(("192.0.2.1", Some(80)))),
            ("[2001:db8::1]", Some(("[2001:db8::1]", None))),
            ("[2001:db8::1]:443", Some(("[2001:db8::1]", Some(443)))),
            ("mail.example.com:", Some(("mail.example.com", None))),
            ("", None),
            (":80", None),
            ("a b", None),
            ("a,b", None),
            ("user@mail.example.com", None),
            ("mail.example.com/x", None),
            ("mail.example.com:0", None),
            ("mail.example.com:+80", None),
            ("mail.example.com:65536", None),
            ("mail.example.com:80:80", None),
            ("2001:db8::1", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]x", None),
            ("[mail.example.com]", None),
            ("m%61il.example.com", None),
            ("bücher.example", None),
        ] {
            let found = Authority::parse(text).map(|found| (found.host, found.port));
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(Authority::parse(&"a".repeat(LONGEST + 1)), None);
    }
}
