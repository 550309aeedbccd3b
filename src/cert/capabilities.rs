//! Which keys a client can verify.

use rustls::SignatureScheme;

use crate::cert::KeyType;

/// The key types whose signatures a client can verify, as a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientCapabilities(u8);

/// Kinds of client that `explain` knows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientKind {
    /// TLS 1.3 with ECDSA, RSA-PSS and Ed25519.
    #[default]
    Modern,
    /// TLS 1.2 with ECDHE suites of both kinds.
    Tls12,
    /// TLS 1.2 and 1.3 with RSA signatures only.
    RsaOnly,
    /// TLS 1.2 and 1.3 with ECDSA signatures only.
    EcdsaOnly,
}

impl ClientCapabilities {
    /// From the signature schemes of a ClientHello (already reduced to those that its cipher
    /// suites can use).
    pub fn from_schemes(_schemes: &[SignatureScheme]) -> Self {
        todo!()
    }

    /// Whether such a client can verify a signature of such a key.
    pub fn can_verify(self, _key: KeyType) -> bool {
        let _ = self.0;
        todo!()
    }
}

impl From<ClientKind> for ClientCapabilities {
    fn from(_kind: ClientKind) -> Self {
        todo!()
    }
}
