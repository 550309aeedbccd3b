//! A look at a TLS ClientHello before anybody answers it (RFC 8446 section 4.1.2, RFC 6066).
//!
//! Owns what can be known from the bytes alone: the name asked for, the versions and protocols
//! offered. It judges nothing that the TLS library judges afterwards, so a client too old for the
//! library is still read here. Nothing but the values handed out is copied, unless the client
//! has spread its ClientHello over several records.

use std::borrow::Cow;

/// The most that may be received, record headers included, before a ClientHello is whole;
/// [`peek`] never asks for more bytes than this.
pub const MAX_RECEIVED: usize = 64 * 1024;

/// Nobody spreads a ClientHello over so many records, and each costs a step at every look.
const MAX_RECORDS: usize = 1024;
/// The largest plaintext record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 1 << 14;
/// The longest list of ALPN protocols that is kept; the rest of a longer one is of no interest.
const MAX_ALPN: usize = 16;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const TLS13: [u8; 2] = [3, 4];

/// What a ClientHello says, as far as a proxy needs it before TLS begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientHello {
    /// `host_name` of the server_name extension, if it is printable ASCII; as sent.
    pub server_name: Option<String>,
    /// Whether TLS 1.3 is offered (supported_versions).
    pub offers_tls13: bool,
    /// The highest version that a client without supported_versions offers: 0x0301 is TLS 1.0,
    /// 0x0303 TLS 1.2.
    pub legacy_version: u16,
    /// The application protocols offered (RFC 7301), the first sixteen of them.
    pub alpn: Vec<Vec<u8>>,
}

/// Why bytes are not the beginning of TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HelloError {
    /// The first record is not a handshake record.
    #[error("not a TLS record")]
    NotTls,
    /// The record or the message contradicts itself.
    #[error("malformed ClientHello")]
    Malformed,
    /// Larger, or in more pieces, than anyone needs.
    #[error("ClientHello larger than 64 KiB or in more than 1024 records")]
    TooLarge,
}

/// Looks at the bytes received so far: `None` if more are needed, which is never so once there
/// are [`MAX_RECEIVED`] of them. A ClientHello may be spread over several records.
pub fn peek(bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    match message(bytes)? {
        Some(body) => read(&body).map(Some).ok_or(HelloError::Malformed),
        None if bytes.len() >= MAX_RECEIVED => Err(HelloError::TooLarge),
        None => Ok(None),
    }
}

/// The body of the handshake message that `bytes` begin with, once it is whole.
fn message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloError> {
    let mut header = [0; 4];
    let mut received = 0;
    for (n, fragment) in Fragments(bytes).enumerate() {
        let fragment = fragment?;
        for (to, from) in header.iter_mut().skip(received).zip(fragment) {
            *to = *from;
        }
        received += fragment.len();
        if n >= MAX_RECORDS {
            return Err(HelloError::TooLarge);
        }
        let Some(end) = message_end(header, received)? else {
            continue;
        };
        if received < end {
            continue;
        }
        return match fragment.get(header.len()..end) {
            Some(body) if n == 0 => Ok(Some(Cow::Borrowed(body))),
            _ => joined(Fragments(bytes).take(n + 1), end).map(Some),
        };
    }
    Ok(None)
}

/// The length of the message with its header, once that is whole; an error if the header, as
/// far as it has been received, is not that of a ClientHello.
fn message_end(header: [u8; 4], received: usize) -> Result<Option<usize>, HelloError> {
    let [kind, high, middle, low] = header;
    if received > 0 && kind != CLIENT_HELLO {
        return Err(HelloError::Malformed);
    }
    if received < header.len() {
        return Ok(None);
    }
    let end = header.len() + usize_from([high, middle, low]);
    if end > MAX_RECEIVED {
        return Err(HelloError::TooLarge);
    }
    Ok(Some(end))
}

/// The body of a message of `end` bytes that is spread over `fragments`.
fn joined<'a>(
    fragments: impl Iterator<Item = Result<&'a [u8], HelloError>>,
    end: usize,
) -> Result<Cow<'a, [u8]>, HelloError> {
    let mut body = Vec::with_capacity(end);
    for fragment in fragments {
        let missing = end - body.len();
        body.extend(fragment?.iter().take(missing));
    }
    body.drain(..4);
    Ok(Cow::Owned(body))
}

/// The payloads of the records at hand, of the last one as much as there is.
struct Fragments<'a>(&'a [u8]);

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<&'a [u8], HelloError>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = match record_length(self.0) {
            Ok(Some(length)) => length,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let payload = self.0.get(5..)?;
        let (fragment, rest) = payload.split_at(length.min(payload.len()));
        self.0 = rest;
        Some(Ok(fragment))
    }
}

/// The length in a record header, once it is whole; an error at the first byte that cannot
/// belong to a handshake record.
fn record_length(bytes: &[u8]) -> Result<Option<usize>, HelloError> {
    if bytes.first().is_some_and(|&kind| kind != HANDSHAKE)
        || bytes.get(1).is_some_and(|&major| major != 3)
    {
        return Err(HelloError::NotTls);
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    match usize_from([high, low]) {
        // An empty handshake record is forbidden (RFC 8446 section 5.1).
        length @ 1..=MAX_RECORD => Ok(Some(length)),
        _ => Err(HelloError::Malformed),
    }
}

/// Reads the body of a ClientHello; `None` if a length in it contradicts another.
fn read(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    let mut hello = ClientHello {
        legacy_version: u16::from_be_bytes(body.array()?),
        ..ClientHello::default()
    };
    body.take(32)?; // random
    body.vector::<1>()?; // session id
    body.vector::<2>()?; // cipher suites
    body.vector::<1>()?; // compression methods
    // Clients before TLS 1.2 may end here (RFC 5246 section 7.4.1.2).
    if body.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(body.vector::<2>()?);
    let mut seen = [false; 3];
    while !extensions.is_empty() {
        let kind = u16::from_be_bytes(extensions.array()?);
        let value = extensions.vector::<2>()?;
        let seen = match kind {
            SERVER_NAME => {
                hello.server_name = server_name(value);
                &mut seen[0]
            }
            ALPN => {
                hello.alpn = protocols(value)?;
                &mut seen[1]
            }
            SUPPORTED_VERSIONS => {
                hello.offers_tls13 = offers_tls13(value)?;
                &mut seen[2]
            }
            _ => continue,
        };
        // Twice the same extension: two readers could take two different answers from it.
        if std::mem::replace(seen, true) {
            return None;
        }
    }
    body.is_empty().then_some(hello)
}

/// The first entry of a server_name extension, if it is a `host_name`. One that is malformed
/// counts as none: the connection may still be served without a name.
fn server_name(extension: &[u8]) -> Option<String> {
    let mut extension = Reader(extension);
    let mut list = Reader(extension.vector::<2>()?);
    let [kind] = list.array()?;
    let name = list.vector::<2>()?;
    let is_host_name = kind == 0 && matches!(name.len(), 1..=255);
    if !is_host_name || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    std::str::from_utf8(name).ok().map(str::to_owned)
}

fn protocols(extension: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut extension = Reader(extension);
    let mut list = Reader(extension.vector::<2>()?);
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.vector::<1>()?;
        if protocols.len() < MAX_ALPN {
            protocols.push(protocol.to_owned());
        }
    }
    extension.is_empty().then_some(protocols)
}

fn offers_tls13(extension: &[u8]) -> Option<bool> {
    let mut extension = Reader(extension);
    let versions = extension.vector::<1>()?;
    let (versions, odd) = versions.as_chunks::<2>();
    (odd.is_empty() && extension.is_empty()).then(|| versions.contains(&TLS13))
}

/// Bytes not yet read; every step is `None` if there are too few.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// A vector with a length of `N` bytes before it (RFC 8446 section 3.4).
    fn vector<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let length = usize_from(self.array::<N>()?);
        self.take(length)
    }
}

/// A big-endian number of few enough bytes.
fn usize_from<const N: usize>(bytes: [u8; N]) -> usize {
    const { assert!(N <= 3, "fits into every usize") };
    bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn u16_length(bytes: &[u8]) -> [u8; 2] {
        u16::try_from(bytes.len()).unwrap().to_be_bytes()
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &u16_length(value), value].concat()
    }

    fn host_name(name: &[u8]) -> Vec<u8> {
        let entry = [&[0][..], &u16_length(name), name].concat();
        extension(SERVER_NAME, &[&u16_length(&entry)[..], &entry].concat())
    }

    /// A ClientHello as old OpenSSL writes it, `tail` being the extensions with their length.
    fn message_with(version: [u8; 2], tail: &[u8]) -> Vec<u8> {
        let suites = [0x00, 0x2f, 0x00, 0x0a];
        let body = [
            &version[..],
            &[7; 32],
            &[0],
            &[0, 4],
            &suites,
            &[1, 0],
            tail,
        ]
        .concat();
        let [high, low] = u16_length(&body);
        [&[CLIENT_HELLO, 0, high, low][..], &body].concat()
    }

    fn with_extensions(extensions: &[u8]) -> Vec<u8> {
        message_with([3, 3], &[&u16_length(extensions)[..], extensions].concat())
    }

    /// `message` in records of at most `size` bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut records = Vec::new();
        for fragment in message.chunks(size) {
            records.extend_from_slice(&[HANDSHAKE, 3, 1]);
            records.extend_from_slice(&u16_length(fragment));
            records.extend_from_slice(fragment);
        }
        records
    }

    fn hello_of_rustls(name: &'static str, alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Every truncation asks for more, and what follows changes nothing.
    fn assert_incremental(bytes: &[u8], expected: &ClientHello) {
        for n in 0..bytes.len() {
            assert_eq!(peek(&bytes[..n]), Ok(None), "{n} of {}", bytes.len());
        }
        assert_eq!(peek(bytes), Ok(Some(expected.clone())));
        let followed = [bytes, b"anything"].concat();
        assert_eq!(peek(&followed), Ok(Some(expected.clone())));
    }

    #[test]
    fn reads_what_rustls_writes() {
        let bytes = hello_of_rustls("mail.example.com", &[b"h2", b"http/1.1"]);
        let expected = ClientHello {
            server_name: Some("mail.example.com".to_owned()),
            offers_tls13: true,
            legacy_version: 0x0303,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        assert_incremental(&bytes, &expected);
        for size in [1, 2, 3, 4, 5, 64, 255, 1000] {
            assert_incremental(&records(&bytes[5..], size), &expected);
        }
        assert_eq!(
            peek(&hello_of_rustls("192.0.2.1", &[])),
            Ok(Some(ClientHello {
                server_name: None,
                alpn: Vec::new(),
                ..expected
            }))
        );
    }

    #[test]
    fn the_usual_hello_is_not_copied() {
        let bytes = hello_of_rustls("mail.example.com", &[]);
        assert!(matches!(message(&bytes), Ok(Some(Cow::Borrowed(_)))));
        let bytes = records(&bytes[5..], 100);
        assert!(matches!(message(&bytes), Ok(Some(Cow::Owned(_)))));
    }

    #[test]
    fn reads_clients_without_extensions() {
        let expected = ClientHello {
            legacy_version: 0x0301,
            ..ClientHello::default()
        };
        for tail in [&[][..], &[0, 0]] {
            let message = message_with([3, 1], tail);
            assert_incremental(&records(&message, 16384), &expected);
            assert_incremental(&records(&message, 7), &expected);
        }
    }

    #[test]
    fn a_server_name_that_is_none() {
        let wrong_length = extension(SERVER_NAME, &[0, 9, 0, 0, 1, b'a']);
        let other_kind = extension(SERVER_NAME, &[0, 4, 1, 0, 1, b'a']);
        let cases = [
            (host_name(b"Mail.Example.COM."), Some("Mail.Example.COM.")),
            (host_name(b"192.0.2.1"), Some("192.0.2.1")),
            (host_name(b""), None),
            (host_name(&[b'a'; 256]), None),
            (host_name("b\u{fc}ro.example".as_bytes()), None),
            (host_name(b"a\nb"), None),
            (host_name(b"a\0"), None),
            (extension(SERVER_NAME, &[]), None),
            (wrong_length, None),
            (other_kind, None),
        ];
        for (extension, expected) in cases {
            let hello = peek(&records(&with_extensions(&extension), 16384));
            let hello = hello.unwrap().unwrap();
            assert_eq!(hello.server_name.as_deref(), expected, "{extension:?}");
        }
    }

    #[test]
    fn more_protocols_than_are_kept() {
        let list = [1, b'x'].repeat(1000);
        let value = [&u16_length(&list)[..], &list].concat();
        let hello = peek(&records(&with_extensions(&extension(ALPN, &value)), 16384));
        assert_eq!(hello.unwrap().unwrap().alpn, vec![b"x".to_vec(); MAX_ALPN]);
    }

    #[test]
    fn what_is_not_tls_is_refused_at_once() {
        let cases: [&[u8]; 6] = [
            b"E",
            b"\x80\x2e\x01\x03\x01", // SSLv2 form
            b"\x15\x03\x01",
            b"\x16\x02",
            b"\x16\x03\x01\x00\x02\x01\x00\x17",
            b"\r\n\r\n",
        ];
        for bytes in cases {
            assert_eq!(peek(bytes), Err(HelloError::NotTls), "{bytes:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let name = host_name(b"a.example");
        let versions = |value: &[u8]| with_extensions(&extension(SUPPORTED_VERSIONS, value));
        let protocols = |value: &[u8]| with_extensions(&extension(ALPN, value));
        let messages = [
            message_with([3, 1], &[0]),
            message_with([3, 1], &[0, 1]),
            message_with([3, 1], &[0, 0, 0]),
            with_extensions(&[0]),
            with_extensions(&[0, 0, 0, 1]),
            with_extensions(&[&name[..], &name].concat()),
            versions(&[]),
            versions(&[2, 3, 4, 0]),
            versions(&[3, 3, 4, 3]),
            protocols(&[0, 3, 5, b'h', b'2']),
            protocols(&[0, 2, 1, b'h', 0]),
            vec![2, 0, 0, 1, 0],
            vec![CLIENT_HELLO, 0, 0, 3, 3, 3, 0],
        ];
        for message in messages {
            assert_eq!(
                peek(&records(&message, 16384)),
                Err(HelloError::Malformed),
                "{message:?}"
            );
        }
        for record in [[0x16, 3, 1, 0, 0], [0x16, 3, 1, 0x40, 0x01]] {
            assert_eq!(peek(&record), Err(HelloError::Malformed));
        }
        // Known before the rest has come.
        assert_eq!(
            peek(b"\x16\x03\x01\x02\x00\x02"),
            Err(HelloError::Malformed)
        );
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let announced = [0x16, 3, 1, 0x40, 0, 1, 1, 0, 0];
        assert_eq!(peek(&announced), Err(HelloError::TooLarge));

        let padding = with_extensions(&extension(21, &vec![0; 60_000]));
        assert!(peek(&records(&padding, 16384)).unwrap().is_some());
        // In records of one byte its headers alone are 300 kB.
        let tiny = records(&padding, 1);
        assert_eq!(peek(&tiny), Err(HelloError::TooLarge));
        assert_eq!(peek(&tiny[..MAX_RECORDS * 6]), Ok(None));
        let late = records(&with_extensions(&extension(21, &vec![0; 65_000])), 100);
        assert_eq!(peek(&late[..MAX_RECEIVED - 1]), Ok(None));
        assert_eq!(peek(&late[..MAX_RECEIVED]), Err(HelloError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(
            start in proptest::sample::select(vec![
                &b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            ]),
            rest in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let bytes = [start, &rest].concat();
            if let Ok(Some(hello)) = peek(&bytes) {
                prop_assert!(hello.alpn.len() <= MAX_ALPN);
            }
        }

        #[test]
        fn one_changed_byte_never_panics(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let alpn = extension(ALPN, b"\x00\x03\x02h2");
            let versions = extension(SUPPORTED_VERSIONS, &[4, 3, 4, 3, 3]);
            let message = with_extensions(&[host_name(b"a.example"), alpn, versions].concat());
            let mut bytes = records(&message, 16384);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let whole = peek(&bytes);
            if whole == Ok(None) {
                prop_assert!(at < 9);
            }
        }

        #[test]
        fn the_size_of_records_does_not_matter(size in 1_usize..200, name in "[a-z.]{1,60}") {
            let message = with_extensions(&host_name(name.as_bytes()));
            let hello = peek(&records(&message, size)).unwrap().unwrap();
            prop_assert_eq!(hello.server_name, Some(name));
        }
    }
}
