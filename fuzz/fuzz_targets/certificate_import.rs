//! Certificate files that somebody puts into the folder, imports, or sends to the admin socket, in
//! every form and with every encryption.

#![no_main]

use gatepost::cert::{Bundle, Certificate, Passphrase, read_bundle, read_input};
use libfuzzer_sys::fuzz_target;

fn look_at(bundle: Bundle) {
    assert!(!bundle.certificates.is_empty() || !bundle.keys.is_empty());
    for der in bundle.certificates {
        let _ = Certificate::from_der(der);
    }
}

fuzz_target!(|bytes: &[u8]| {
    // Once as it is, so that the fuzzer need not find its way through base64.
    let _ = Certificate::from_der(bytes.to_vec().into());
    if let Ok(bundle) = read_bundle(bytes) {
        look_at(bundle);
    }
    // The seeds are encrypted with this.
    let passphrase = Passphrase::new(b"x".to_vec());
    for passphrase in [None, Some(&passphrase)] {
        if let Ok(bundle) = read_input(bytes, passphrase) {
            look_at(bundle);
        }
    }
});
