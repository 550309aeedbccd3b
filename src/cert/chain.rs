//! PEM in, PEM out: the pile of certificates and keys that a file holds.

use rustls_pki_types::CertificateDer;

use crate::cert::PrivateKey;

/// What a PEM text holds.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Certificates in the order of the text: end-entity first, its intermediates below.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Keys in the order of the text.
    pub keys: Vec<PrivateKey>,
}

/// Why a PEM text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// What was found and what was expected.
    #[error("{0}")]
    Malformed(String),
}

/// Reads PEM text: certificates and keys (PKCS#8, PKCS#1, SEC1), in any mixture.
/// An encrypted key is refused by name.
pub fn read_bundle(_pem: &[u8]) -> Result<Bundle, ChainError> {
    todo!()
}
