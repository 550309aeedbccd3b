//! Certificates for very many names, and the names to ask for.

use std::sync::Arc;

use gatepost::cert::{CertIndex, Credential, DnsName, Order, PrivateKey, TrustAnchors};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;

/// Exact names of one certificate; each carries a wildcard besides.
const NAMES_EACH: usize = 100;

/// How many different names are asked for in turn, so that not one bucket alone is warm.
pub(crate) const ASKED: usize = 1024;

/// A name that a certificate carries as it is.
pub(crate) fn exact(number: usize) -> String {
    format!("host-{number}.domain-{}.example", number / NAMES_EACH)
}

/// A name that a wildcard covers.
pub(crate) fn below_wildcard(number: usize) -> String {
    format!("host-{number}.wild-{}.example", number / NAMES_EACH)
}

/// A name that no certificate covers.
pub(crate) fn unknown(number: usize) -> String {
    format!("host-{number}.unknown-{}.example", number / NAMES_EACH)
}

/// [`ASKED`] names at the most, from all over an index of `names`.
pub(crate) fn spread(names: usize, name: fn(usize) -> String) -> Vec<Option<DnsName>> {
    let step = (names / ASKED).max(1);
    let some = (0..names).step_by(step).take(ASKED);
    let parsed = some.map(|number| DnsName::parse(&name(number)));
    parsed
        .map(|name| Some(name.expect("letters, digits, hyphens and dots make a name")))
        .collect()
}

/// Certificates for `names` names, all of one key.
pub(crate) fn index(names: usize, key: &KeyPair) -> CertIndex {
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS#8");
    let keys = [PrivateKey::from_der(private).expect("P-256 keys can sign")];
    let credentials = (0..names).step_by(NAMES_EACH).map(|first| {
        let number = first / NAMES_EACH;
        let carried = first..names.min(first + NAMES_EACH);
        let mut carried: Vec<_> = carried.map(exact).collect();
        carried.push(format!("*.wild-{number}.example"));
        let certificate = CertificateParams::new(carried)
            .and_then(|params| params.self_signed(key))
            .expect("the names are well-formed");
        let chain = vec![certificate.der().clone()];
        let name = format!("certificate-{number}");
        let credential = Credential::new(&name, chain, &keys, &TrustAnchors::new());
        Arc::new(credential.expect("certificate and key fit each other"))
    });
    CertIndex::new(credentials.collect(), Some("certificate-0"), Order::Kerio)
}
