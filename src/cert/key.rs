//! Private keys: read, compare, sign with, never print.

use std::fmt;
use std::sync::Arc;

use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;

/// Kind of a certificate's public key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyType {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// Ed25519.
    Ed25519,
    /// Anything else: can be shown, not served.
    Other,
}

/// A private key that can sign.
#[derive(Clone)]
pub struct PrivateKey {
    der: Arc<PrivateKeyDer<'static>>,
    signing: Arc<dyn SigningKey>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is no key, or of a kind or size that cannot sign.
    #[error("{0}")]
    Unusable(String),
}

impl PrivateKey {
    /// Takes a key in PKCS#8, PKCS#1 or SEC1; refuses what cannot sign (RSA under 2048 bits).
    pub fn from_der(_der: PrivateKeyDer<'static>) -> Result<Self, KeyError> {
        todo!()
    }

    /// The DER SubjectPublicKeyInfo of the public half.
    pub fn spki(&self) -> Vec<u8> {
        todo!()
    }

    /// The signer.
    pub fn signing_key(&self) -> &Arc<dyn SigningKey> {
        &self.signing
    }

    /// PEM text of the key, as it is to be written to a file of mode 0600.
    pub fn to_pem(&self) -> String {
        let _ = &self.der;
        todo!()
    }
}

impl fmt::Display for KeyType {
    /// `ecdsa-p256`, `rsa-2048`, `ed25519`, `other`.
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
