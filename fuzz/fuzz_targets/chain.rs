//! Chains put together from whatever certificates come: in any order, often, or not at all.
//!
//! The certificates are those of a mesh of cross-signatures; each byte of the input takes one of them
//! and says where it lies.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use gatepost::cert::{AnchorSource, Certificate, Chain, TrustAnchors, read_bundle};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::{CertificateDer, UnixTime};

static POOL: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let pool = read_bundle(include_bytes!("chain-pool.pem"));
    pool.expect("made by openssl").certificates
});

fuzz_target!(|bytes: &[u8]| {
    let [first, day, rest @ ..] = bytes else {
        return;
    };
    let pool = |byte: u8| POOL[usize::from(byte & 0x1f) % POOL.len()].clone();
    let end_entity = Certificate::from_der(pool(*first)).expect("made by openssl");
    let (mut given, mut known, mut anchors) = (Vec::new(), Vec::new(), TrustAnchors::new());
    for byte in rest {
        match byte >> 6 {
            0 | 1 => given.push(pool(*byte)),
            2 => known.push(pool(*byte)),
            _ => drop(anchors.add(pool(*byte), AnchorSource::Roots)),
        }
    }
    // From the day before the first of them on, to the year in which the last one ends.
    let now = end_entity.validity.not_before + (i64::from(*day) - 1) * 40 * 86_400;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.try_into().unwrap_or(0)));
    let chain = Chain::find(&end_entity, &given, &known, &anchors, now);
    assert_eq!(chain.certificates[0], end_entity.der);
    let read = |der: &CertificateDer<'static>| Certificate::from_der(der.clone()).expect("read before");
    let steps: Vec<_> = chain.certificates.iter().map(read).collect();
    for (below, above) in steps.iter().zip(steps.iter().skip(1)) {
        assert_eq!(below.issuer(), above.subject());
        assert!(!above.self_signed);
    }
    for (at, der) in chain.certificates.iter().enumerate() {
        assert!(!chain.certificates[..at].contains(der));
    }
});
