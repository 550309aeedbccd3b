//! The first bytes of a TLS connection, from anybody.

#![no_main]

use gatepost::wire::client_hello::peek;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(hello)) = peek(bytes) {
        assert!(hello.alpn.iter().map(Vec::len).sum::<usize>() < bytes.len());
        assert!(peek(&bytes[..bytes.len() / 2]).is_ok());
        assert_eq!(peek(&[bytes, b"\x16"].concat()), Ok(Some(hello)));
    }
});
