//! The first bytes of a TLS connection, from anybody.

#![no_main]

use std::sync::LazyLock;

use gatepost::config::{Tls, TlsVersion};
use gatepost::tls::Provider;
use gatepost::wire::client_hello::{HelloError, peek};
use libfuzzer_sys::fuzz_target;

static PROVIDER: LazyLock<Provider> = LazyLock::new(|| {
    Provider::new(&Tls {
        min_version: TlsVersion::V1_2,
        post_quantum: true,
    })
});

/// The same message in records of `size` bytes.
fn split(bytes: &[u8], size: usize) -> Vec<u8> {
    let (mut message, mut rest) = (Vec::new(), bytes);
    while let [_, _, _, high, low, payload @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (payload, next) = payload.split_at(length.min(payload.len()));
        message.extend_from_slice(payload);
        rest = next;
    }
    let length = usize::from_be_bytes([0, 0, 0, 0, 0, message[1], message[2], message[3]]);
    message.truncate(4 + length);
    let mut records = Vec::new();
    for fragment in message.chunks(size) {
        let [high, low] = u16::try_from(fragment.len()).unwrap().to_be_bytes();
        records.extend_from_slice(&[22, 3, 1, high, low]);
        records.extend_from_slice(fragment);
    }
    records
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(hello)) = peek(bytes) {
        assert!(hello.alpn.iter().map(Vec::len).sum::<usize>() < bytes.len());
        let lists = [
            hello.cipher_suites(),
            hello.supported_versions(),
            hello.named_groups(),
            hello.signature_schemes(),
        ];
        assert!(2 * lists.concat().len() < bytes.len());
        let offered = hello.offered();
        assert!(offered.len() < 1000 && offered.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        PROVIDER.unsuited(&hello);

        assert!(peek(&bytes[..bytes.len() / 2]).is_ok());
        assert_eq!(peek(&[bytes, b"\x16"].concat()), Ok(Some(hello.clone())));
        let size = 1 + 64 * usize::from(bytes[bytes.len() - 1]);
        let again = peek(&split(bytes, size));
        assert!(again == Ok(Some(hello)) || again == Err(HelloError::TooLarge));
    }
});
