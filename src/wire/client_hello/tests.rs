//! One ClientHello after another, good and bad, in records of any size.

use std::sync::Arc;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::hello::{
    ALPN, EC_POINT_FORMATS, MAX_ALPN, SERVER_NAME, SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS,
    SUPPORTED_VERSIONS,
};
use super::sample::{Sample, extension, records, u16_length};
use super::*;

fn host_name(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &sample::host_name(name))
}

/// A ClientHello as old OpenSSL writes it, `tail` being the extensions with their length.
fn message_with(version: [u8; 2], tail: &[u8]) -> Vec<u8> {
    let suites = [0, 4, 0x00, 0x2f, 0x00, 0x0a];
    let body = [&version[..], &[7; 32], &[0], &suites, &[1, 0], tail];
    sample::message(&body.concat())
}

fn with_extensions(extensions: &[u8]) -> Vec<u8> {
    message_with([3, 3], &[&u16_length(extensions)[..], extensions].concat())
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
    let expected = peek(&bytes).unwrap().unwrap();
    assert_eq!(expected.server_name.as_deref(), Some("mail.example.com"));
    assert_eq!(expected.alpn, [&b"h2"[..], b"http/1.1"]);
    assert_eq!((expected.offers_tls13, expected.key_share), (true, true));
    assert!(!expected.compressed_only && !expected.compressed_points_only);
    assert_eq!(expected.legacy_version, 0x0303);
    assert_eq!(expected.highest_version(), 0x0304);
    assert_eq!(expected.supported_versions(), [0x0304, 0x0303]);
    let (suites, groups) = (expected.cipher_suites(), expected.named_groups());
    assert!(suites.contains(&0x1301) && suites.contains(&0xc02f));
    assert!(groups.contains(&0x1d) && groups.contains(&0x17));
    let schemes = expected.signature_schemes();
    assert!(schemes.contains(&0x0403) && schemes.contains(&0x0804));
    assert_incremental(&bytes, &expected);
    for size in [1, 2, 3, 4, 5, 64, 255, 1000] {
        assert_incremental(&records(&bytes[5..], size), &expected);
    }
    let of_address = peek(&hello_of_rustls("192.0.2.1", &[])).unwrap().unwrap();
    assert_eq!((of_address.server_name, of_address.alpn), (None, vec![]));
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
    let expected = Sample::new(0x0301, &[0x2f, 0x0a]).hello();
    assert_eq!(expected.legacy_version, 0x0301);
    assert_eq!(expected.cipher_suites(), [0x2f, 0x0a]);
    let without = ClientHello {
        legacy_version: 0x0301,
        lists: expected.lists.clone(),
        ..ClientHello::default()
    };
    assert_eq!(expected, without);
    for tail in [&[][..], &[0, 0]] {
        let message = message_with([3, 1], tail);
        assert_incremental(&records(&message, 16384), &expected);
        assert_incremental(&records(&message, 7), &expected);
    }
}

#[test]
fn lists_are_read_in_any_order_of_extensions() {
    let mut sample = Sample::new(0x0303, &[0xc02f, 0x35])
        .groups(&[0x18, 0x17])
        .versions(&[0x0303, 0x0302])
        .schemes(&[0x0401, 0x0501, 0x0601])
        .point_formats(&[0, 1])
        .key_share(false)
        .extension(23, &[]);
    for _ in 0..sample.extensions.len() {
        sample.extensions.rotate_left(1);
        let hello = sample.hello();
        assert_eq!(hello.cipher_suites(), [0xc02f, 0x35]);
        assert_eq!(hello.named_groups(), [0x18, 0x17]);
        assert_eq!(hello.supported_versions(), [0x0303, 0x0302]);
        assert_eq!(hello.signature_schemes(), [0x0401, 0x0501, 0x0601]);
        assert!(hello.key_share && !hello.offers_tls13);
        assert!(!hello.compressed_only && !hello.compressed_points_only);
    }
}

#[test]
fn what_a_client_insists_on() {
    let sample = Sample::new(0x0303, &[0xc02f]);
    for (formats, only) in [(&[0][..], false), (&[2, 1, 0], false), (&[1, 2], true)] {
        let hello = sample.clone().point_formats(formats).hello();
        assert_eq!(hello.compressed_points_only, only, "{formats:?}");
    }
    for (compressions, only) in [
        (&[0][..], false),
        (&[1, 0], false),
        (&[1], true),
        (&[], true),
    ] {
        let compressions = compressions.to_vec();
        let hello = Sample {
            compressions,
            ..sample.clone()
        }
        .hello();
        assert_eq!(hello.compressed_only, only);
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
    let odd_suites = sample::message(&[&[3, 1][..], &[7; 32], &[0, 0, 3, 0, 1, 0, 1, 0]].concat());
    let versions = |value: &[u8]| with_extensions(&extension(SUPPORTED_VERSIONS, value));
    let protocols = |value: &[u8]| with_extensions(&extension(ALPN, value));
    let messages = [
        message_with([3, 1], &[0]),
        message_with([3, 1], &[0, 1]),
        message_with([3, 1], &[0, 0, 0]),
        with_extensions(&[0]),
        with_extensions(&[0, 0, 0, 1]),
        with_extensions(&[extension(SUPPORTED_GROUPS, &[0, 0]), name.clone(), name].concat()),
        with_extensions(&extension(SUPPORTED_GROUPS, &[])),
        with_extensions(&extension(SUPPORTED_GROUPS, &[0, 4, 0, 0x17])),
        with_extensions(&extension(SUPPORTED_GROUPS, &[0, 3, 0, 0x17, 0])),
        with_extensions(&extension(SIGNATURE_ALGORITHMS, &[0, 2, 4, 1, 0])),
        with_extensions(&extension(EC_POINT_FORMATS, &[2, 0])),
        odd_suites,
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
            prop_assert!(hello.offered().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
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
    fn the_size_of_records_does_not_matter(
        size in 1_usize..200,
        name in "[a-z.]{1,60}",
        suites in proptest::collection::vec(any::<u16>(), 0..50),
    ) {
        let sample = Sample::new(0x0303, &suites).groups(&suites).server_name(name.as_bytes());
        let hello = peek(&records(&sample.message(), size)).unwrap().unwrap();
        prop_assert_eq!(hello.cipher_suites(), &suites);
        prop_assert_eq!(hello.server_name.as_ref(), Some(&name));
        prop_assert_eq!(hello, sample.hello());
    }
}
