//! Certificate files that somebody puts into the folder or sends to the admin socket.

#![no_main]

use gatepost::cert::{Certificate, read_bundle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Once as it is, so that the fuzzer need not find its way through base64.
    let _ = Certificate::from_der(bytes.to_vec().into());
    if let Ok(bundle) = read_bundle(bytes) {
        for der in bundle.certificates {
            let _ = Certificate::from_der(der);
        }
    }
});
