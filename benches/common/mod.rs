//! What the benchmarks of connections share: a proxy in this process, a certificate, and
//! clients that trust it.

use std::sync::Arc;

use gatepost::cert::{
    KeyAlgorithm, NamePattern, NewCertificate, Subject, read_bundle, self_signed,
};
use gatepost::time::Clock;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// The name that every certificate of the benchmarks carries.
pub(crate) const NAME: &str = "mail.example.test";

/// Whether an argument was given. `cargo bench` gives `--bench`, for a measurement; `cargo test
/// --benches`, for a smoke test, does not.
pub(crate) fn told(argument: &str) -> bool {
    std::env::args().any(|given| given == argument)
}

/// PEM of a self-signed certificate for [`NAME`], and of its key.
pub(crate) fn certificate(key: KeyAlgorithm) -> (String, String) {
    let new = NewCertificate {
        names: vec![NamePattern::parse(NAME).expect("the name is one")],
        addresses: Vec::new(),
        subject: Subject::default(),
        days: 30,
        key,
    };
    self_signed(&new, Clock::System.now()).expect("a certificate can be made")
}

/// A client that trusts the certificate and speaks one version.
pub(crate) fn client(
    pem: &(String, String),
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    client_with(aws_lc_rs::default_provider(), pem, version)
}

/// The same, with cryptography of its own choice.
pub(crate) fn client_with(
    provider: CryptoProvider,
    (chain, _): &(String, String),
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let bundle = read_bundle(chain.as_bytes()).expect("PEM just made");
    let mut roots = RootCertStore::empty();
    for certificate in bundle.certificates {
        roots.add(certificate).expect("a certificate just made");
    }
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("the provider has suites for every version")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
