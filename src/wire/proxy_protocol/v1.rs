//! Version 1: one line of text (`proxy-protocol.txt` section 2.1).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Announcement, ProxyError, Received, canonical, may_start_with};

/// The longest line, CRLF included, that the specification allows.
const MAX_LINE: usize = 107;

const STARTS: [(&[u8], Protocol); 3] = [
    (b"PROXY TCP4 ", Protocol::Tcp4),
    (b"PROXY TCP6 ", Protocol::Tcp6),
    (b"PROXY UNKNOWN", Protocol::Unknown),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp4,
    Tcp6,
    Unknown,
}

/// Reads the line at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Received, usize)>, ProxyError> {
    let (start, protocol) = STARTS
        .into_iter()
        .find(|(start, _)| may_start_with(bytes, start))
        .ok_or(ProxyError::NotAHeader)?;
    let Some(rest) = bytes.get(start.len()..) else {
        return Ok(None);
    };
    let Some(length) = fields_length(rest, protocol, MAX_LINE - start.len())? else {
        return Ok(None);
    };
    let fields = rest.get(..length).unwrap_or_default();
    let received = match protocol {
        Protocol::Tcp4 => addresses::<Ipv4Addr>(fields)?,
        Protocol::Tcp6 => addresses::<Ipv6Addr>(fields)?,
        Protocol::Unknown => Received::Local,
    };
    Ok(Some((received, start.len() + length + b"\r\n".len())))
}

/// Where the CRLF begins, `None` if it is not there yet; an error at the first byte that the
/// fields of `protocol` cannot contain, or when `limit` leaves no room for it.
fn fields_length(
    rest: &[u8],
    protocol: Protocol,
    limit: usize,
) -> Result<Option<usize>, ProxyError> {
    // A receiver ignores what follows UNKNOWN, but UNKNOWN is a word of its own.
    let is_field = |(n, byte): (usize, u8)| match protocol {
        Protocol::Unknown if n == 0 => byte == b' ',
        Protocol::Unknown => byte != b'\n',
        Protocol::Tcp4 => byte.is_ascii_digit() || b". ".contains(&byte),
        Protocol::Tcp6 => byte.is_ascii_hexdigit() || b":. ".contains(&byte),
    };
    for (n, &byte) in rest.iter().enumerate() {
        if n + b"\r\n".len() > limit {
            return Err(ProxyError::LineTooLong);
        }
        match (byte, rest.get(n + 1)) {
            (b'\r', None) => return Ok(None),
            (b'\r', Some(b'\n')) => return Ok(Some(n)),
            (b'\r', Some(_)) => return Err(ProxyError::MalformedLine),
            _ if !is_field((n, byte)) => return Err(ProxyError::MalformedLine),
            _ => {}
        }
    }
    // The next byte could at best be the CR.
    if rest.len() + b"\r\n".len() > limit {
        return Err(ProxyError::LineTooLong);
    }
    Ok(None)
}

/// `SOURCE DESTINATION SOURCE-PORT DESTINATION-PORT`, each separated by exactly one space.
fn addresses<A: FromStr + Into<IpAddr>>(fields: &[u8]) -> Result<Received, ProxyError> {
    let fields = std::str::from_utf8(fields).map_err(|_| ProxyError::MalformedLine)?;
    let fields = fields.split(' ').collect::<Vec<_>>();
    let [source, destination, source_port, destination_port] = fields[..] else {
        return Err(ProxyError::MalformedLine);
    };
    let address = |text: &str| match text.parse::<A>() {
        Ok(address) => Ok(address.into()),
        Err(_) => Err(ProxyError::InvalidAddress),
    };
    Ok(Received::Proxied {
        source: canonical(SocketAddr::new(address(source)?, port(source_port)?)),
        destination: canonical(SocketAddr::new(
            address(destination)?,
            port(destination_port)?,
        )),
    })
}

/// Leading zeroes and signs, which `parse` would take, are not permitted.
fn port(text: &str) -> Result<u16, ProxyError> {
    let plain = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    text.parse()
        .ok()
        .filter(|_| plain)
        .ok_or(ProxyError::InvalidPort)
}

/// Appends the header of a connection of our own, on nobody's behalf: UNKNOWN.
pub fn encode_local(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PROXY UNKNOWN\r\n");
}

/// Appends a version 1 line. If the families differ, the IPv4 address is written in IPv6 form.
pub fn encode(announcement: &Announcement<'_>, out: &mut Vec<u8>) {
    let source = canonical(announcement.source);
    let destination = canonical(announcement.destination);
    let both_ipv4 = source.is_ipv4() && destination.is_ipv4();
    let word = if both_ipv4 { "TCP4" } else { "TCP6" };
    let text = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) if !both_ipv4 => mapped(ip),
        ip => ip.to_string(),
    };
    write!(
        out,
        "PROXY {word} {} {} {} {}\r\n",
        text(source),
        text(destination),
        source.port(),
        destination.port()
    )
    .expect("writing to a Vec does not fail");
}

/// The specification knows IPv6 addresses in hexadecimal only, not as `::ffff:192.0.2.1`.
fn mapped(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!(
        "::ffff:{:x}:{:x}",
        u16::from_be_bytes([a, b]),
        u16::from_be_bytes([c, d])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(source: &str, destination: &str) -> Received {
        Received::Proxied {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn lines_that_are_right() {
        let longest = format!("PROXY UNKNOWN {}", "f".repeat(107 - 14 - 2));
        let cases = [
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443",
                proxied("192.168.0.1:56324", "192.168.0.11:443"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
                proxied("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            (
                "PROXY TCP6 FFFF::1 2001:db8:0:0:0:0:0:1 1 0",
                proxied("[ffff::1]:1", "[2001:db8::1]:0"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2",
                proxied("192.0.2.1:1", "192.0.2.2:2"),
            ),
            ("PROXY UNKNOWN", Received::Local),
            ("PROXY UNKNOWN ", Received::Local),
            ("PROXY UNKNOWN ::1 whatever \0", Received::Local),
            (longest.as_str(), Received::Local),
        ];
        for (line, expected) in cases {
            let line = format!("{line}\r\n");
            assert_eq!(
                parse(line.as_bytes()),
                Ok(Some((expected, line.len()))),
                "{line}"
            );
        }
    }

    #[test]
    fn lines_that_are_wrong() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107 - 14 - 1));
        let endless = "PROXY TCP4 ".to_owned() + &"1".repeat(95);
        let cases = [
            ("PROXY\r\n", ProxyError::NotAHeader),
            ("PROXY  TCP4", ProxyError::NotAHeader),
            ("PROXY TCP5 ", ProxyError::NotAHeader),
            ("proxy TCP4 ", ProxyError::NotAHeader),
            ("PROXY UNKNOWNS\r\n", ProxyError::MalformedLine),
            ("PROXY UNKNOWN \n", ProxyError::MalformedLine),
            ("PROXY UNKNOWN \r\r\n", ProxyError::MalformedLine),
            (
                "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
                ProxyError::MalformedLine,
            ),
            (
                "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
                ProxyError::MalformedLine,
            ),
            (
                "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
                ProxyError::MalformedLine,
            ),
            (
                "PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
                ProxyError::MalformedLine,
            ),
            (
                "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
                ProxyError::InvalidAddress,
            ),
            (
                "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
                ProxyError::InvalidAddress,
            ),
            ("PROXY TCP4 ::1", ProxyError::MalformedLine),
            (
                "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
                ProxyError::InvalidAddress,
            ),
            ("PROXY TCP6 :::1 ::1 1 2\r\n", ProxyError::InvalidAddress),
            ("PROXY TCP6 ::1 ::1 65536 2\r\n", ProxyError::InvalidPort),
            ("PROXY TCP6 ::1 ::1 1 02\r\n", ProxyError::InvalidPort),
            ("PROXY TCP6 ::1 ::1 a 2\r\n", ProxyError::InvalidPort),
            ("PROXY TCP4 1.1.1.1 2.2.2.2 +1", ProxyError::MalformedLine),
            (too_long.as_str(), ProxyError::LineTooLong),
            (endless.as_str(), ProxyError::LineTooLong),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn the_line_that_is_written() {
        let cases = [
            (
                "192.0.2.1:1",
                "198.51.100.7:993",
                "PROXY TCP4 192.0.2.1 198.51.100.7 1 993\r\n",
            ),
            (
                "192.0.2.1:1",
                "[2001:db8::2]:993",
                "PROXY TCP6 ::ffff:c000:201 2001:db8::2 1 993\r\n",
            ),
            (
                "[::ffff:192.0.2.1]:1",
                "[::ffff:198.51.100.7]:993",
                "PROXY TCP4 192.0.2.1 198.51.100.7 1 993\r\n",
            ),
        ];
        for (source, destination, expected) in cases {
            let mut line = Vec::new();
            let announcement = Announcement {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                ssl: None,
                authority: None,
                alpn: None,
            };
            encode(&announcement, &mut line);
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        }
    }
}
