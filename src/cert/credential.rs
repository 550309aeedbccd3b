//! A certificate chain with its key: what a handshake can serve.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::cert::{Certificate, PrivateKey, Standing, TrustAnchors};

/// Something to report about a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Stable name of the problem.
    pub code: ProblemCode,
    /// What was found, what was expected.
    pub message: String,
}

/// Stable names of problems, kebab-case in JSON and metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProblemCode {
    /// No subjectAltName: named by its common name, never trusted.
    NoSubjectAltName,
    /// A pattern that matches nothing (`f*.x`, `*.*.x`, `a.*.x`, `*`).
    UnusableName,
    /// SHA-1 or MD5 signature.
    WeakSignature,
    /// X.509 version 1.
    OldVersion,
    /// A CA certificate used as a server's.
    CaCertificate,
    /// An issuer that is neither stored with it nor a trust anchor.
    MissingIntermediate,
    /// Certificates below the first that are not on its path.
    UnusedCertificate,
    /// Past its end.
    Expired,
    /// Before its beginning.
    NotYetValid,
    /// A key file that others than its owner may read.
    KeyReadable,
    /// A file that another of the same NAME takes the place of.
    Shadowed,
    /// A file that cannot be used at all.
    SetAside,
}

/// A chain and the key that fits it.
#[derive(Debug)]
pub struct Credential {
    /// What people call it.
    pub name: Box<str>,
    /// The end-entity certificate.
    pub certificate: Certificate,
    /// Chain and signer, ready for rustls.
    pub certified_key: Arc<CertifiedKey>,
    /// The facts that its rank is computed from.
    pub standing: Standing,
    /// All that there is to report, certificate's own and chain's.
    pub problems: Vec<Problem>,
}

/// Why chain and key cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// What was found, what was expected.
    #[error("{0}")]
    Unusable(String),
}

impl Credential {
    /// Puts a chain (end-entity first) and those of `keys` that fits it together.
    pub fn new(
        _name: &str,
        _chain: Vec<CertificateDer<'static>>,
        _keys: &[PrivateKey],
        _anchors: &TrustAnchors,
    ) -> Result<Self, CredentialError> {
        todo!()
    }
}
