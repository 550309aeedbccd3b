//! New keys and self-signed certificates.

use std::net::IpAddr;

use rustls_pki_types::UnixTime;

use crate::cert::NamePattern;

/// Key algorithms that can be asked for (`--key-type`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyAlgorithm {
    /// `ecdsa-p256`
    #[default]
    EcdsaP256,
    /// `ecdsa-p384`
    EcdsaP384,
    /// `rsa-2048`
    Rsa2048,
    /// `rsa-3072`
    Rsa3072,
    /// `rsa-4096`
    Rsa4096,
    /// `ed25519`
    Ed25519,
}

/// Fields of the distinguished name, as the dialogs ask for them.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Two letters.
    pub country: Option<String>,
    /// Organisation.
    pub organization: Option<String>,
    /// Organisational unit.
    pub unit: Option<String>,
    /// Locality.
    pub city: Option<String>,
    /// State or province.
    pub state: Option<String>,
}

/// What a new certificate is to say.
#[derive(Clone, Debug)]
pub struct NewCertificate {
    /// DNS names; the first is the common name (an address if there is no name).
    pub names: Vec<NamePattern>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The rest of the distinguished name.
    pub subject: Subject,
    /// Days from now; default 730.
    pub days: u32,
    /// Which key to make.
    pub key: KeyAlgorithm,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// What is wrong with what was asked for.
    #[error("{0}")]
    Refused(String),
}

/// Makes a key and a self-signed certificate; returns certificate PEM and key PEM (PKCS#8).
/// RSA keys take seconds: call it off the runtime's threads.
pub fn self_signed(_new: &NewCertificate, _now: UnixTime) -> Result<(String, String), IssueError> {
    todo!()
}
