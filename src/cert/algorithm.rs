//! Algorithms of keys and signatures: what their object identifiers mean, which are weak,
//! and whether a certificate's signature verifies under its own key.

use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, UnparsedPublicKey};
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use crate::cert::KeyType;

pub(super) const RSA_ENCRYPTION: Oid<'static> = oid!(1.2.840.113549.1.1.1);
pub(super) const EC_PUBLIC_KEY: Oid<'static> = oid!(1.2.840.10045.2.1);
const ED25519: Oid<'static> = oid!(1.3.101.112);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);
const P521: Oid<'static> = oid!(1.3.132.0.35);
const RSASSA_PSS: Oid<'static> = oid!(1.2.840.113549.1.1.10);
const SHA1: Oid<'static> = oid!(1.3.14.3.2.26);

/// Object identifier, name as OpenSSL prints it, and whether clients refuse it today.
static SIGNATURES: [(Oid<'static>, &str, bool); 18] = [
    (oid!(1.2.840.113549.1.1.2), "md2WithRSAEncryption", true),
    (oid!(1.2.840.113549.1.1.4), "md5WithRSAEncryption", true),
    (oid!(1.2.840.113549.1.1.5), "sha1WithRSAEncryption", true),
    (oid!(1.3.14.3.2.29), "sha1WithRSA", true),
    (
        oid!(1.2.840.113549.1.1.14),
        "sha224WithRSAEncryption",
        false,
    ),
    (
        oid!(1.2.840.113549.1.1.11),
        "sha256WithRSAEncryption",
        false,
    ),
    (
        oid!(1.2.840.113549.1.1.12),
        "sha384WithRSAEncryption",
        false,
    ),
    (
        oid!(1.2.840.113549.1.1.13),
        "sha512WithRSAEncryption",
        false,
    ),
    (RSASSA_PSS, "rsassaPss", false),
    (oid!(1.2.840.10040.4.3), "dsaWithSHA1", true),
    (oid!(2.16.840.1.101.3.4.3.2), "dsa_with_SHA256", false),
    (oid!(1.2.840.10045.4.1), "ecdsa-with-SHA1", true),
    (oid!(1.2.840.10045.4.3.1), "ecdsa-with-SHA224", false),
    (ECDSA_SHA256, "ecdsa-with-SHA256", false),
    (ECDSA_SHA384, "ecdsa-with-SHA384", false),
    (ECDSA_SHA512, "ecdsa-with-SHA512", false),
    (ED25519, "ED25519", false),
    (oid!(1.3.101.113), "ED448", false),
];
const ECDSA_SHA256: Oid<'static> = oid!(1.2.840.10045.4.3.2);
const ECDSA_SHA384: Oid<'static> = oid!(1.2.840.10045.4.3.3);
const ECDSA_SHA512: Oid<'static> = oid!(1.2.840.10045.4.3.4);

/// A signature algorithm as it is shown.
pub(super) struct Signature {
    /// As `openssl x509` names it; the object identifier of one that is not known.
    pub(super) name: String,
    /// SHA-1 or older.
    pub(super) weak: bool,
}

pub(super) fn signature(algorithm: &AlgorithmIdentifier<'_>) -> Signature {
    let oid = &algorithm.algorithm;
    let known = SIGNATURES.iter().find(|(known, _, _)| known == oid);
    let weak = known.is_some_and(|(_, _, weak)| *weak) || is_pss_with_sha1(oid, algorithm);
    let name = known.map_or_else(|| oid.to_id_string(), |(_, name, _)| (*name).to_owned());
    Signature { name, weak }
}

/// The hash of RSASSA-PSS is a parameter, SHA-1 if absent (RFC 4055 section 3.1).
fn is_pss_with_sha1(oid: &Oid<'_>, algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let Some(parameters) = algorithm.parameters().filter(|_| *oid == RSASSA_PSS) else {
        return *oid == RSASSA_PSS;
    };
    RsaSsaPssParams::try_from(parameters).is_ok_and(|pss| *pss.hash_algorithm_oid() == SHA1)
}

/// Whether keys of this algorithm (and curve) can sign here.
pub(super) fn can_sign(oid: &Oid<'_>, curve: Option<&Oid<'_>>) -> bool {
    match oid {
        oid if *oid == EC_PUBLIC_KEY => curve_type(curve) != KeyType::Other,
        oid => [RSA_ENCRYPTION, ED25519].contains(oid),
    }
}

fn curve_type(curve: Option<&Oid<'_>>) -> KeyType {
    match curve {
        Some(curve) if *curve == P256 => KeyType::EcdsaP256,
        Some(curve) if *curve == P384 => KeyType::EcdsaP384,
        Some(curve) if *curve == P521 => KeyType::EcdsaP521,
        _ => KeyType::Other,
    }
}

/// Kind of a certificate's public key.
pub(super) fn key_type(spki: &SubjectPublicKeyInfo<'_>) -> KeyType {
    let parameters = spki.algorithm.parameters();
    match &spki.algorithm.algorithm {
        oid if *oid == RSA_ENCRYPTION => rsa_type(spki),
        oid if *oid == ED25519 => KeyType::Ed25519,
        oid if *oid == EC_PUBLIC_KEY => {
            let curve = parameters.and_then(|any| any.as_oid().ok());
            curve_type(curve.as_ref())
        }
        _ => KeyType::Other,
    }
}

fn rsa_type(spki: &SubjectPublicKeyInfo<'_>) -> KeyType {
    let Ok(PublicKey::RSA(key)) = spki.parsed() else {
        return KeyType::Other;
    };
    u16::try_from(significant_bits(key.modulus)).map_or(KeyType::Other, KeyType::Rsa)
}

/// Bits of a big-endian number, leading zeros not counted.
pub(super) fn significant_bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let partial = number.get(zeros).map_or(0, |first| first.leading_zeros());
    8 * (number.len() - zeros) - usize::try_from(partial).unwrap_or(0)
}

/// Whether issuer = subject, and the signature verifies under the certificate's own key.
pub(super) fn is_self_signed(x509: &X509Certificate<'_>, key: KeyType) -> bool {
    x509.subject().as_raw() == x509.issuer().as_raw()
        && (x509.verify_signature(None).is_ok()
            || verifies_with_wider_ecdsa(x509, x509.public_key(), key))
}

/// Whether the signature verifies under this key. One by an algorithm that is not known here
/// does not.
pub(super) fn is_signed_by(x509: &X509Certificate<'_>, key: &SubjectPublicKeyInfo<'_>) -> bool {
    x509.verify_signature(Some(key)).is_ok() || verifies_with_wider_ecdsa(x509, key, key_type(key))
}

/// subjectKeyIdentifier, and the key's identifier in authorityKeyIdentifier.
pub(super) fn key_identifiers<'d>(
    x509: &X509Certificate<'d>,
) -> (Option<&'d [u8]>, Option<&'d [u8]>) {
    let mut identifiers = (None, None);
    for extension in x509.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(own) => identifiers.0 = Some(own.0),
            ParsedExtension::AuthorityKeyIdentifier(issuer) => {
                identifiers.1 = issuer.key_identifier.as_ref().map(|id| id.0);
            }
            _ => {}
        }
    }
    identifiers
}

/// ECDSA on P-521, and with SHA-512, which x509-parser does not know.
fn verifies_with_wider_ecdsa(
    x509: &X509Certificate<'_>,
    issuer: &SubjectPublicKeyInfo<'_>,
    key: KeyType,
) -> bool {
    let Some(algorithm) = wider_ecdsa(&x509.signature_algorithm.algorithm, key) else {
        return false;
    };
    UnparsedPublicKey::new(algorithm, &issuer.subject_public_key.data)
        .verify(x509.tbs_certificate.as_ref(), &x509.signature_value.data)
        .is_ok()
}

fn wider_ecdsa(oid: &Oid<'_>, key: KeyType) -> Option<&'static EcdsaVerificationAlgorithm> {
    let hash = [ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512]
        .iter()
        .position(|known| known == oid)?;
    match (hash, key) {
        (2, KeyType::EcdsaP256) => Some(&signature::ECDSA_P256_SHA512_ASN1),
        (2, KeyType::EcdsaP384) => Some(&signature::ECDSA_P384_SHA512_ASN1),
        (0, KeyType::EcdsaP521) => Some(&signature::ECDSA_P521_SHA256_ASN1),
        (1, KeyType::EcdsaP521) => Some(&signature::ECDSA_P521_SHA384_ASN1),
        (2, KeyType::EcdsaP521) => Some(&signature::ECDSA_P521_SHA512_ASN1),
        _ => None,
    }
}
