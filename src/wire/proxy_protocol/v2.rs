//! Version 2: binary, with TLVs (`proxy-protocol.txt` section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Announcement, ProxyError, Received, SslInfo, canonical, may_start_with};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;

/// The longest header read; what others send is a tenth of it.
pub(super) const MAX_RECEIVED: usize = 4096;
/// The longest header written. Postfix reads 536 bytes, the smallest segment that every host
/// takes, and refuses what is longer; Dovecot reads 1,500.
pub(super) const MAX_SENT: usize = 536;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const SUBTYPE_SSL_CIPHER: u8 = 0x23;
const CLIENT_SSL: u8 = 0x01;

/// Appends the header of a connection of our own, on nobody's behalf: LOCAL.
pub fn encode_local(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[LOCAL, 0, 0, 0]);
}

/// Reads the header at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Received, usize)>, ProxyError> {
    if !may_start_with(bytes, SIGNATURE) {
        return Err(ProxyError::NotAHeader);
    }
    match bytes.get(SIGNATURE.len()) {
        None | Some(&(LOCAL | PROXY)) => {}
        Some(&command) => return Err(ProxyError::UnknownCommand(command)),
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let address_length = address_length(command, family, length)?;
    let end = FIXED + length;
    if end > MAX_RECEIVED {
        return Err(ProxyError::TooLong(end));
    }
    let Some(header) = bytes.get(..end) else {
        return Ok(None);
    };
    // The body of a LOCAL header is to be discarded whole, whatever it is.
    if command == LOCAL {
        return Ok(Some((Received::Local, end)));
    }
    check_tlvs(header, FIXED + address_length)?;
    let body = header.get(FIXED..).unwrap_or_default();
    let received = match family {
        TCP_OVER_IPV4 => addresses::<4, Ipv4Addr>(body),
        TCP_OVER_IPV6 => addresses::<16, Ipv6Addr>(body),
        _ => Some(Received::Local),
    };
    Ok(received.map(|received| (received, end)))
}

/// How much of the body the addresses take.
fn address_length(command: u8, family: u8, length: usize) -> Result<usize, ProxyError> {
    let expected = match (command, family) {
        (LOCAL, _) => 0,
        (_, 0x11 | 0x12) => 2 * 4 + 4,
        (_, 0x21 | 0x22) => 2 * 16 + 4,
        (_, 0x31 | 0x32) => 2 * 108,
        // No receiver knows where the TLVs of an unspecified family begin.
        (_, 0x00..=0x02 | 0x10 | 0x20 | 0x30) => length,
        (_, family) => return Err(ProxyError::UnknownFamily(family)),
    };
    if expected > length {
        return Err(ProxyError::NoRoomForAddresses {
            found: length,
            expected,
        });
    }
    Ok(expected)
}

fn addresses<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(body: &[u8]) -> Option<Received> {
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    let address = |ip: &[u8; N], port: &[u8; 2]| {
        canonical(SocketAddr::new(
            A::from(*ip).into(),
            u16::from_be_bytes(*port),
        ))
    };
    Some(Received::Proxied {
        source: address(source, source_port),
        destination: address(destination, destination_port),
    })
}

/// TLVs must fill the header from `at` exactly, and a checksum must be right. One checksum at
/// most: each costs a pass over the header.
fn check_tlvs(header: &[u8], mut at: usize) -> Result<(), ProxyError> {
    let mut checksum = None;
    while let Some(rest) = header.get(at..).filter(|rest| !rest.is_empty()) {
        let &[kind, high, low] = rest.first_chunk().ok_or(ProxyError::MalformedTlv)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(3..3 + length).ok_or(ProxyError::MalformedTlv)?;
        if kind == TYPE_CRC32C {
            let value = value.try_into().map_err(|_| ProxyError::MalformedTlv)?;
            if checksum.replace((at + 3, value)).is_some() {
                return Err(ProxyError::MalformedTlv);
            }
        }
        at += 3 + length;
    }
    match checksum {
        Some((at, value)) if crc32c_without(header, at) != u32::from_be_bytes(value) => {
            Err(ProxyError::WrongChecksum)
        }
        _ => Ok(()),
    }
}

/// CRC32c (RFC 4960 appendix B) of `header`, the four bytes from `zeroed` on taken as zero.
fn crc32c_without(header: &[u8], zeroed: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for (n, &byte) in header.iter().enumerate() {
        if !(zeroed..zeroed + 4).contains(&n) {
            crc ^= u32::from(byte);
        }
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
        }
    }
    !crc
}

/// Appends a version 2 header of at most 536 bytes; a TLV that does not fit is left out.
/// If the families differ, both addresses are written as IPv6.
pub fn encode(announcement: &Announcement<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(SIGNATURE);
    let source = canonical(announcement.source);
    let destination = canonical(announcement.destination);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend_from_slice(&[PROXY, TCP_OVER_IPV4, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            out.extend_from_slice(&[PROXY, TCP_OVER_IPV6, 0, 0]);
            out.extend_from_slice(&in_ipv6(source));
            out.extend_from_slice(&in_ipv6(destination));
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());

    // The most important first: what no longer fits is left out.
    if let Some(ssl) = announcement.ssl {
        push_tlv(out, start, TYPE_SSL, &ssl_value(ssl));
    }
    if let Some(name) = announcement.authority.and_then(dns_name) {
        push_tlv(out, start, TYPE_AUTHORITY, name.as_bytes());
    }
    if let Some(alpn) = announcement.alpn {
        push_tlv(out, start, TYPE_ALPN, alpn);
    }

    let length = u16::try_from(out.len() - start - FIXED).expect("no more than MAX_SENT");
    if let Some(field) = out.get_mut(start + 14..start + FIXED) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn in_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Appends a TLV, unless it is empty or the header that begins at `start` would become too long.
fn push_tlv(out: &mut Vec<u8>, start: usize, kind: u8, value: &[u8]) {
    if value.is_empty() || out.len() - start + 3 + value.len() > MAX_SENT {
        return;
    }
    let length = u16::try_from(value.len()).expect("no more than MAX_SENT");
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

/// The value of PP2_TYPE_SSL. `verify` is zero for a client with a certificate that was verified,
/// and for no other (section 2.2.6): some receivers look at nothing else. Dovecot takes the
/// session as secured by PP2_CLIENT_SSL alone.
fn ssl_value(ssl: SslInfo<'_>) -> Vec<u8> {
    let mut value = vec![CLIENT_SSL, 0, 0, 0, 1];
    push_tlv(&mut value, 0, SUBTYPE_SSL_VERSION, ssl.version.as_bytes());
    push_tlv(&mut value, 0, SUBTYPE_SSL_CIPHER, ssl.cipher.as_bytes());
    value
}

/// `name` as PP2_TYPE_AUTHORITY may carry it, if it is a DNS name: Dovecot ends a connection
/// whose authority has other characters, and an address is no name (RFC 6066 section 3).
fn dns_name(name: &str) -> Option<&str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        matches!(label.len(), 1..=63) && label.bytes().all(allowed)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    (name.len() <= 253 && name.split('.').all(is_label) && !is_number).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0, 1, 3, 225];

    fn proxied() -> Received {
        Received::Proxied {
            source: "192.0.2.1:1".parse().unwrap(),
            destination: "198.51.100.7:993".parse().unwrap(),
        }
    }

    #[test]
    fn headers_that_are_right() {
        let mapped = [
            &Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets()[..],
            &Ipv4Addr::new(198, 51, 100, 7).to_ipv6_mapped().octets(),
            &IPV4[8..],
        ]
        .concat();
        let with_tlvs = [&IPV4[..], &[4, 0, 0], &[0xee, 0, 2, 1, 2]].concat();
        let cases = [
            (PROXY, 0x11, IPV4.to_vec(), proxied()),
            (PROXY, 0x11, with_tlvs, proxied()),
            (PROXY, 0x21, mapped, proxied()),
            (PROXY, 0x12, IPV4.to_vec(), Received::Local),
            (PROXY, 0x22, vec![0; 36], Received::Local),
            (PROXY, 0x31, vec![b'x'; 216], Received::Local),
            (PROXY, 0x32, vec![b'x'; 216], Received::Local),
            (PROXY, 0x00, Vec::new(), Received::Local),
            (PROXY, 0x00, vec![1, 2, 3], Received::Local),
            (LOCAL, 0x00, Vec::new(), Received::Local),
            (LOCAL, 0x11, IPV4.to_vec(), Received::Local),
            (LOCAL, 0xff, vec![1, 2, 3], Received::Local),
            (LOCAL, 0x00, vec![0; MAX_RECEIVED - FIXED], Received::Local),
        ];
        for (command, family, body, expected) in cases {
            let bytes = header(command, family, &body);
            for n in 0..bytes.len() {
                assert_eq!(parse(&bytes[..n]), Ok(None), "{n} of {bytes:?}");
            }
            assert_eq!(parse(&bytes), Ok(Some((expected, bytes.len()))));
        }
    }

    #[test]
    fn headers_that_are_wrong() {
        let tlv = |tlv: &[u8]| header(PROXY, 0x11, &[&IPV4[..], tlv].concat());
        let mut endless = header(PROXY, 0x11, &[]);
        endless[14] = 0xff;
        let cases = [
            (header(0x22, 0x11, &IPV4), ProxyError::UnknownCommand(0x22)),
            (header(0x11, 0x11, &IPV4), ProxyError::UnknownCommand(0x11)),
            (header(PROXY, 0x41, &IPV4), ProxyError::UnknownFamily(0x41)),
            (header(PROXY, 0x13, &IPV4), ProxyError::UnknownFamily(0x13)),
            (
                header(PROXY, 0x21, &IPV4),
                ProxyError::NoRoomForAddresses {
                    found: 12,
                    expected: 36,
                },
            ),
            (endless, ProxyError::TooLong(0xff00 + 16)),
            (tlv(&[4]), ProxyError::MalformedTlv),
            (tlv(&[4, 0, 1]), ProxyError::MalformedTlv),
            (tlv(&[3, 0, 1, 0]), ProxyError::MalformedTlv),
            (tlv(&[3, 0, 4, 0, 0, 0, 0]), ProxyError::WrongChecksum),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(&bytes), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_checksum_is_verified() {
        // The check value of CRC32c: nothing is zeroed, for the four bytes lie past the end.
        assert_eq!(crc32c_without(b"123456789", 9), 0xe306_9283);

        let mut bytes = header(
            PROXY,
            0x11,
            &[&IPV4[..], &[4, 0, 1, 9, 3, 0, 4, 0, 0, 0, 0]].concat(),
        );
        let at = bytes.len() - 4;
        let checksum = crc32c_without(&bytes, at);
        bytes[at..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(parse(&bytes), Ok(Some((proxied(), bytes.len()))));

        bytes[at - 4] ^= 1;
        assert_eq!(parse(&bytes), Err(ProxyError::WrongChecksum));
    }

    fn encoded(authority: Option<&str>, alpn: Option<&[u8]>) -> Vec<u8> {
        let announcement = Announcement {
            source: "192.0.2.1:1".parse().unwrap(),
            destination: "198.51.100.7:993".parse().unwrap(),
            ssl: Some(SslInfo {
                version: "TLSv1.3",
                cipher: "C",
            }),
            authority,
            alpn,
        };
        let mut out = b"before".to_vec();
        encode(&announcement, &mut out);
        out.split_off(b"before".len())
    }

    #[test]
    fn the_bytes_that_are_written() {
        let ssl = b"\x20\0\x13\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0\x01C";
        let expected = [
            &IPV4[..],
            ssl,
            b"\x02\0\x10mail.example.com",
            b"\x01\0\x04imap",
        ]
        .concat();
        assert_eq!(
            encoded(Some("mail.example.com."), Some(b"imap")),
            header(PROXY, 0x11, &expected)
        );
        let none = header(PROXY, 0x11, &[&IPV4[..], ssl].concat());
        assert_eq!(encoded(None, None), none);
        assert_eq!(encoded(None, Some(&[b'x'; 600])), none);
        let no_names = ["", ".", "a..b", "192.0.2.1", "[::1]", "::1", "a b", "é.x"];
        for authority in no_names {
            assert_eq!(encoded(Some(authority), None), none, "{authority:?}");
        }
    }

    #[test]
    fn the_longest_name_fits_beside_ipv6_addresses() {
        let name = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        let mut out = Vec::new();
        let announcement = Announcement {
            source: "[2001:db8::1]:1".parse().unwrap(),
            destination: "198.51.100.7:993".parse().unwrap(),
            ssl: Some(SslInfo {
                version: "TLSv1.2",
                cipher: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            }),
            authority: Some(&name),
            alpn: Some(b"managesieve"),
        };
        encode(&announcement, &mut out);
        assert!(out.len() <= MAX_SENT);
        for part in [&b"CHACHA20"[..], name.as_bytes(), b"managesieve"] {
            assert!(out.windows(part.len()).any(|window| window == part));
        }
    }
}
