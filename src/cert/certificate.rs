//! One end-entity certificate, read once, with all that is shown and decided about it.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;

use crate::cert::{KeyType, NamePattern, Problem, Validity};

/// Where the names of a certificate come from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NameSource {
    /// subjectAltName.
    SubjectAltName,
    /// The common name, for want of any dNSName or iPAddress.
    CommonName,
}

/// What an end-entity certificate says.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// Subject, RFC 4514 text.
    pub subject: String,
    /// Issuer, RFC 4514 text.
    pub issuer: String,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
    /// DNS names covered; patterns that match nothing are left out and reported.
    pub names: Vec<NamePattern>,
    /// IP addresses covered.
    pub addresses: Vec<IpAddr>,
    /// Where `names` come from.
    pub name_source: NameSource,
    /// notBefore to notAfter.
    pub validity: Validity,
    /// Kind of the public key.
    pub key_type: KeyType,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Signature algorithm, as `openssl x509` names it.
    pub signature_algorithm: String,
    /// issuer = subject, and the signature verifies under its own key.
    pub self_signed: bool,
    /// SHA-256 over the DER.
    pub sha256: [u8; 32],
    /// What is odd about it; it is served all the same.
    pub problems: Vec<Problem>,
}

/// Why bytes are not a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not X.509.
    #[error("{0}")]
    Malformed(String),
}

impl Certificate {
    /// Reads one DER certificate.
    pub fn from_der(_der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        todo!()
    }
}
