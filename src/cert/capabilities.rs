//! Which keys a client can verify.
//!
//! Owns the translation from what a ClientHello offers to kinds of key. Knows nothing of
//! cipher suites: whoever reads the ClientHello has reduced its signature schemes by them.

use std::fmt;
use std::str::FromStr;

use rustls::{NamedGroup, SignatureScheme};

use crate::cert::KeyType;

const P256: u8 = 1;
const P384: u8 = 1 << 1;
const P521: u8 = 1 << 2;
const RSA: u8 = 1 << 3;
const ED25519: u8 = 1 << 4;
const ECDSA: u8 = P256 | P384 | P521;

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

/// A text that names no kind of client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown client {0:?} (known: modern, tls12, rsa-only, ecdsa-only)")]
pub struct UnknownClientKind(String);

impl ClientCapabilities {
    /// Every kind of key that can be served at all.
    pub const ALL: Self = Self(ECDSA | RSA | ED25519);

    /// Each kind of key by itself.
    pub(super) const EACH: [Self; 5] =
        [Self(P256), Self(P384), Self(P521), Self(RSA), Self(ED25519)];

    /// From the signature schemes of a ClientHello (already reduced to those that its cipher
    /// suites can use).
    pub fn from_schemes(schemes: &[SignatureScheme]) -> Self {
        Self(
            schemes
                .iter()
                .fold(0, |set, scheme| set | kind_of_scheme(*scheme)),
        )
    }

    /// For TLS 1.2, where the curve of an ECDSA key must be among the client's
    /// supported_groups (RFC 8422 section 5.1). A client that sent no such extension leaves
    /// the choice of curves to the server (section 4).
    #[must_use]
    pub fn without_curves_missing_from(self, named_groups: Option<&[NamedGroup]>) -> Self {
        let Some(groups) = named_groups else {
            return self;
        };
        let curves = groups
            .iter()
            .fold(0, |set, group| set | curve_of_group(*group));
        Self(self.0 & (curves | !ECDSA))
    }

    /// Whether there is no key whose signatures it can verify.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether some kind of key is in both sets.
    pub(super) fn shares(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether such a client can verify a signature of such a key.
    pub fn can_verify(self, key: KeyType) -> bool {
        let kind = match key {
            KeyType::EcdsaP256 => P256,
            KeyType::EcdsaP384 => P384,
            KeyType::EcdsaP521 => P521,
            KeyType::Rsa(_) => RSA,
            KeyType::Ed25519 => ED25519,
            KeyType::Other => 0,
        };
        self.0 & kind != 0
    }
}

/// The kind of key that signs so. Each ECDSA scheme stands for its curve in TLS 1.2 too,
/// for the signers sign with the hash that TLS 1.3 pairs with their curve.
fn kind_of_scheme(scheme: SignatureScheme) -> u8 {
    match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => P256,
        SignatureScheme::ECDSA_NISTP384_SHA384 => P384,
        SignatureScheme::ECDSA_NISTP521_SHA512 => P521,
        SignatureScheme::RSA_PSS_SHA256
        | SignatureScheme::RSA_PSS_SHA384
        | SignatureScheme::RSA_PSS_SHA512
        | SignatureScheme::RSA_PKCS1_SHA256
        | SignatureScheme::RSA_PKCS1_SHA384
        | SignatureScheme::RSA_PKCS1_SHA512 => RSA,
        SignatureScheme::ED25519 => ED25519,
        _ => 0,
    }
}

fn curve_of_group(group: NamedGroup) -> u8 {
    match group {
        NamedGroup::secp256r1 => P256,
        NamedGroup::secp384r1 => P384,
        NamedGroup::secp521r1 => P521,
        _ => 0,
    }
}

impl From<ClientKind> for ClientCapabilities {
    fn from(kind: ClientKind) -> Self {
        match kind {
            ClientKind::Modern => Self::ALL,
            ClientKind::Tls12 => Self(ECDSA | RSA),
            ClientKind::RsaOnly => Self(RSA),
            ClientKind::EcdsaOnly => Self(ECDSA),
        }
    }
}

impl ClientKind {
    /// The name used on the command line and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Tls12 => "tls12",
            Self::RsaOnly => "rsa-only",
            Self::EcdsaOnly => "ecdsa-only",
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClientKind {
    type Err = UnknownClientKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Modern, Self::Tls12, Self::RsaOnly, Self::EcdsaOnly]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownClientKind(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [KeyType; 6] = [
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Rsa(2048),
        KeyType::Ed25519,
        KeyType::Other,
    ];

    fn verifiable(client: ClientCapabilities) -> Vec<KeyType> {
        let mut keys = KEYS.to_vec();
        keys.retain(|key| client.can_verify(*key));
        keys
    }

    #[test]
    fn schemes_stand_for_keys() {
        use SignatureScheme as S;
        for (schemes, keys) in [
            (&[][..], &[][..]),
            (&[S::ECDSA_NISTP256_SHA256], &[KeyType::EcdsaP256]),
            (&[S::ECDSA_NISTP384_SHA384], &[KeyType::EcdsaP384]),
            (&[S::ECDSA_NISTP521_SHA512], &[KeyType::EcdsaP521]),
            (&[S::RSA_PSS_SHA256], &[KeyType::Rsa(2048)]),
            (&[S::RSA_PKCS1_SHA512], &[KeyType::Rsa(2048)]),
            (&[S::ED25519], &[KeyType::Ed25519]),
            (&[S::RSA_PKCS1_SHA1, S::ECDSA_SHA1_Legacy, S::ED448], &[]),
            (
                &[
                    S::Unknown(0x0901),
                    S::RSA_PSS_SHA384,
                    S::ECDSA_NISTP256_SHA256,
                ],
                &[KeyType::EcdsaP256, KeyType::Rsa(2048)],
            ),
        ] {
            let client = ClientCapabilities::from_schemes(schemes);
            assert_eq!(verifiable(client), keys, "{schemes:?}");
            assert_eq!(client.is_empty(), keys.is_empty());
        }
    }

    #[test]
    fn curves_must_be_among_the_groups_if_there_are_any() {
        let all = ClientCapabilities::ALL;
        assert_eq!(all.without_curves_missing_from(None), all);
        let one =
            all.without_curves_missing_from(Some(&[NamedGroup::X25519, NamedGroup::secp384r1]));
        assert_eq!(
            verifiable(one),
            [KeyType::EcdsaP384, KeyType::Rsa(2048), KeyType::Ed25519]
        );
        let none = all.without_curves_missing_from(Some(&[NamedGroup::X25519]));
        assert_eq!(verifiable(none), [KeyType::Rsa(2048), KeyType::Ed25519]);
        let rsa = ClientCapabilities::from(ClientKind::RsaOnly);
        let groups = [NamedGroup::secp256r1];
        assert_eq!(rsa.without_curves_missing_from(Some(&groups)), rsa);
    }

    #[test]
    fn kinds_of_client_are_named_and_can_do_what_they_say() {
        for (text, kind, keys) in [
            ("modern", ClientKind::Modern, &KEYS[..5]),
            ("tls12", ClientKind::Tls12, &KEYS[..4]),
            ("rsa-only", ClientKind::RsaOnly, &KEYS[3..4]),
            ("ecdsa-only", ClientKind::EcdsaOnly, &KEYS[..3]),
        ] {
            assert_eq!(text.parse(), Ok(kind));
            assert_eq!(kind.to_string(), text);
            assert_eq!(verifiable(kind.into()), keys, "{text}");
        }
        let unknown = "tls11".parse::<ClientKind>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            r#"unknown client "tls11" (known: modern, tls12, rsa-only, ecdsa-only)"#
        );
    }

    #[test]
    fn each_kind_of_key_stands_alone_and_all_are_each() {
        for (alone, key) in ClientCapabilities::EACH.into_iter().zip(KEYS) {
            assert_eq!(verifiable(alone), [key]);
        }
        assert_eq!(verifiable(ClientCapabilities::ALL), KEYS[..5]);
    }
}
