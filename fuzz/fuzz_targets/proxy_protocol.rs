//! PROXY headers as a believed sender would send them.

#![no_main]

use gatepost::wire::proxy_protocol::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((received, length))) = parse(bytes) {
        let header = &bytes[..length];
        assert_eq!(parse(header), Ok(Some((received, length))));
        assert_eq!(parse(&header[..length - 1]), Ok(None));
        assert_eq!(parse(&header[..length / 2]), Ok(None));
    }
});
