//! Certificate requests that somebody puts into the folder, and what is shown of certificates.

#![no_main]

use gatepost::cert::{Extensions, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Request::from_der(bytes.to_vec().into());
    if let Ok(request) = Request::from_pem(bytes) {
        assert_eq!(
            Request::from_pem(request.to_pem().as_bytes())
                .map(|again| again.spki)
                .ok(),
            Some(request.spki)
        );
    }
    let _ = Extensions::of(bytes);
});
