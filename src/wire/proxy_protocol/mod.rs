//! PROXY protocol, versions 1 and 2, both directions (HAProxy's `proxy-protocol.txt`).
//!
//! Owns the bytes of a header and what they say. Whether a sender is believed, and how long it
//! may take, is the caller's affair.

mod v1;
mod v2;

pub use v1::{encode as encode_v1, encode_local as encode_v1_local};
pub use v2::{encode as encode_v2, encode_local as encode_v2_local};

use std::net::SocketAddr;

/// The longest header that [`parse`] takes; it never asks for more bytes than this.
pub const MAX_RECEIVED: usize = v2::MAX_RECEIVED;

/// What a received header says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// LOCAL, UNKNOWN or an address family that is not ours: the real endpoints count.
    Local,
    /// On behalf of a client.
    Proxied {
        /// The client (never in IPv4-mapped form).
        source: SocketAddr,
        /// Where the client connected to (never in IPv4-mapped form).
        destination: SocketAddr,
    },
}

/// Why bytes are not a PROXY header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version begins like this.
    #[error("the first bytes are not a PROXY header, expected version 1 or 2")]
    NotAHeader,
    /// Version 1: no CRLF where the line must have ended.
    #[error("PROXY version 1 line without CRLF in its first 107 bytes")]
    LineTooLong,
    /// Version 1: a byte that the fields cannot contain, a bare CR or LF, or too few or too many fields.
    #[error("malformed PROXY version 1 line, expected two addresses and two ports")]
    MalformedLine,
    /// Version 1: not an address of the family named before it.
    #[error("invalid address in a PROXY version 1 line")]
    InvalidAddress,
    /// Version 1: not a decimal number up to 65535 without leading zeroes.
    #[error("invalid port in a PROXY version 1 line")]
    InvalidPort,
    /// Version 2: the byte after the signature.
    #[error("PROXY version and command {0:#04x}, expected 0x20 (LOCAL) or 0x21 (PROXY)")]
    UnknownCommand(u8),
    /// Version 2: address family or transport without a meaning.
    #[error("PROXY address family and transport {0:#04x} without a meaning")]
    UnknownFamily(u8),
    /// Version 2: more than anybody needs.
    #[error("PROXY header of {0} bytes, expected at most 4096")]
    TooLong(usize),
    /// Version 2: the announced length does not hold the addresses.
    #[error("PROXY header announces {found} bytes, its addresses need {expected}")]
    NoRoomForAddresses {
        /// Announced length.
        found: usize,
        /// What the address family takes.
        expected: usize,
    },
    /// Version 2: a TLV that does not fit into the header, or a malformed or repeated checksum.
    #[error("malformed TLV in a PROXY header")]
    MalformedTlv,
    /// Version 2: PP2_TYPE_CRC32C is there and wrong.
    #[error("wrong CRC32c of a PROXY header")]
    WrongChecksum,
}

/// Reads a header at the beginning of `bytes`: the header and its length, or `None` if more
/// bytes are needed. Version 1 is at most 107 bytes, version 2 at most 4,096 here.
///
/// Bytes that cannot become a header are refused as soon as the first wrong one is there.
pub fn parse(bytes: &[u8]) -> Result<Option<(Received, usize)>, ProxyError> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(b'\r') => v2::parse(bytes),
        Some(_) => Err(ProxyError::NotAHeader),
    }
}

/// What TLS negotiated with the client, for PP2_TYPE_SSL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SslInfo<'a> {
    /// `TLSv1.2`, `TLSv1.3`
    pub version: &'a str,
    /// Cipher, by its IANA or OpenSSL name.
    pub cipher: &'a str,
}

/// What an upstream is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announcement<'a> {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
    /// PP2_TYPE_SSL, if the client is on TLS.
    pub ssl: Option<SslInfo<'a>>,
    /// PP2_TYPE_AUTHORITY: the name asked for; left out if it is not a DNS name.
    pub authority: Option<&'a str>,
    /// PP2_TYPE_ALPN.
    pub alpn: Option<&'a [u8]>,
}

/// Whether the first `prefix.len()` bytes, as far as they are there, are `prefix`.
fn may_start_with(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(a, b)| a == b)
}

/// An address without the IPv4-mapped form, flow label and scope.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// Every proper prefix asks for more, and what follows a header does not change it.
    fn assert_incremental(header: &[u8], expected: &Received) {
        for n in 0..header.len() {
            assert_eq!(parse(&header[..n]), Ok(None), "{n} of {header:?}");
        }
        let mut longer = header.to_vec();
        longer.extend_from_slice(b"* OK\r\nPROXY ");
        for bytes in [header, &longer] {
            assert_eq!(parse(bytes), Ok(Some((expected.clone(), header.len()))));
        }
    }

    fn announcement(source: SocketAddr, destination: SocketAddr) -> Announcement<'static> {
        Announcement {
            source,
            destination,
            ssl: Some(SslInfo {
                version: "TLSv1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
            }),
            authority: Some("mail.example.com"),
            alpn: Some(b"imap"),
        }
    }

    fn encodings(announcement: &Announcement<'_>) -> [Vec<u8>; 2] {
        let (mut line, mut binary) = (Vec::new(), Vec::new());
        encode_v1(announcement, &mut line);
        encode_v2(announcement, &mut binary);
        [line, binary]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let cases = [
            ("192.0.2.1:56324", "198.51.100.7:993"),
            ("[2001:db8::1]:1", "[2001:db8::2]:65535"),
            ("192.0.2.1:56324", "[2001:db8::2]:993"),
            ("[::ffff:192.0.2.1]:0", "198.51.100.7:993"),
        ];
        for (source, destination) in cases {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let expected = Received::Proxied {
                source: canonical(source),
                destination,
            };
            for header in encodings(&announcement(source, destination)) {
                assert_incremental(&header, &expected);
                let (other, length) =
                    proxy_header::ProxyHeader::parse(&header, proxy_header::ParseConfig::default())
                        .unwrap();
                let other = other.proxied_address().unwrap();
                assert_eq!(length, header.len());
                assert_eq!(canonical(other.source), canonical(source));
                assert_eq!(canonical(other.destination), destination);
            }
        }
    }

    #[test]
    fn refuses_at_the_first_wrong_byte() {
        for start in [
            &b"P"[..],
            b"PROXY",
            b"PROXY TCP",
            b"PROXY TCP4 ",
            b"PROXY TCP6 2001:db8::1 ",
            b"\r\n",
            b"\r\n\r\n\0\r\nQUIT\n",
        ] {
            assert_eq!(parse(start), Ok(None), "{start:?}");
            let mut wrong = start.to_vec();
            wrong.push(b'?');
            assert!(
                matches!(parse(&wrong), Err(error) if error != ProxyError::LineTooLong),
                "{wrong:?}"
            );
        }
        assert_eq!(parse(b"\x16\x03\x01"), Err(ProxyError::NotAHeader));
        assert_eq!(parse(b"EHLO x\r\n"), Err(ProxyError::NotAHeader));
    }

    proptest! {
        #[test]
        fn round_trip(
            source in any::<SocketAddr>(),
            destination in any::<SocketAddr>(),
            authority in "[a-z0-9.:_-]{0,300}",
            alpn in any::<Vec<u8>>(),
        ) {
            let announcement = Announcement {
                authority: Some(&authority),
                alpn: Some(&alpn),
                ..announcement(source, destination)
            };
            let expected = Received::Proxied {
                source: canonical(source),
                destination: canonical(destination),
            };
            for header in encodings(&announcement) {
                prop_assert!(header.len() <= v2::MAX_SENT);
                prop_assert_eq!(parse(&header), Ok(Some((expected.clone(), header.len()))));
            }
        }

        #[test]
        fn any_bytes_end_in_an_answer(
            start in proptest::sample::select(vec![
                &b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", b"PROXY TCP6 ::1 ::1 ",
                b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x20",
            ]),
            rest in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let bytes = [start, &rest].concat();
            match parse(&bytes) {
                Ok(Some((_, length))) => prop_assert!(length <= bytes.len()),
                Ok(None) => prop_assert!(bytes.len() < MAX_RECEIVED),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
