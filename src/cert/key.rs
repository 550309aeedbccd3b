//! Private keys: read, compare, sign with, never print.
//!
//! Refuses what cannot sign for TLS; does not know which certificate a key belongs to.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::{any_ecdsa_type, any_supported_type};
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::der_parser::der::parse_der_sequence;
use zeroize::Zeroize as _;

use crate::cert::algorithm::{self, significant_bits};
use crate::cert::input::{Fields, pem_text};

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

/// Smallest RSA modulus in bits that clients accept and the TLS library signs with.
pub(super) const MIN_RSA_BITS: u16 = 2048;

/// Largest RSA modulus in bits that the TLS library signs with.
pub(super) const MAX_RSA_BITS: u16 = 8192;

/// A private key that can sign. A copy is the same key, kept once.
#[derive(Clone)]
pub struct PrivateKey(Arc<Kept>);

/// A key as it is kept: a signer takes several times the room, and most keys of a great many
/// never sign.
struct Kept {
    der: Wiped,
    spki: Box<[u8]>,
}

/// Bytes of a key, wiped when they go.
struct Wiped(PrivateKeyDer<'static>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

/// Why a private key cannot be used. Never quotes the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Too weak for current clients.
    #[error("RSA key of {bits} bits, at least {MIN_RSA_BITS} needed")]
    RsaTooSmall {
        /// Size of the modulus.
        bits: usize,
    },
    /// More than the TLS library signs with.
    #[error("RSA key of {bits} bits, at most {MAX_RSA_BITS} can be used")]
    RsaTooLarge {
        /// Size of the modulus.
        bits: usize,
    },
    /// Encrypted, where no pass phrase can be given.
    #[error(
        "the private key is encrypted ({form}): \"gatepost cert import\" takes it with its pass phrase"
    )]
    Encrypted {
        /// How it is encrypted: `ENCRYPTED PRIVATE KEY` or `Proc-Type: 4,ENCRYPTED`.
        form: &'static str,
    },
    /// A key of an algorithm that cannot sign here.
    #[error(
        "private key of an unsupported kind (algorithm {algorithm}), \
         expected RSA, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedAlgorithm {
        /// Object identifiers of algorithm and curve.
        algorithm: String,
    },
    /// Not what its label says.
    #[error("damaged private key: cannot be read as {form}")]
    Damaged {
        /// PKCS#8, PKCS#1 or SEC1.
        form: &'static str,
    },
}

impl PrivateKey {
    /// Takes a key in PKCS#8, PKCS#1 or SEC1; refuses what cannot sign (RSA under 2048 bits).
    pub fn from_der(der: PrivateKeyDer<'static>) -> Result<Self, KeyError> {
        let wiped = Wiped(der);
        let der = &wiped.0;
        check_rsa_size(der)?;
        let signing = signer(der).map_err(|_| why_unusable(der))?;
        let served = matches!(
            signing.algorithm(),
            SignatureAlgorithm::RSA | SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519
        );
        let Some(spki) = signing.public_key().filter(|_| served) else {
            return Err(why_unusable(der));
        };
        let spki = Box::from(spki.as_ref());
        Ok(Self(Arc::new(Kept { der: wiped, spki })))
    }

    /// The DER SubjectPublicKeyInfo of the public half: equal to that of its certificate.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// A signer, made anew at each call.
    pub fn signing_key(&self) -> Arc<dyn SigningKey> {
        signer(&self.0.der.0).expect("the same bytes made a signer before")
    }

    /// PEM text of the key, as it is to be written to a file of mode 0600.
    pub fn to_pem(&self) -> String {
        let label = match self.0.der.0 {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem_text(label, self.0.der.0.secret_der())
    }
}

impl fmt::Display for KeyType {
    /// `ecdsa-p256`, `rsa-2048`, `ed25519`, `other`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ecdsa-p256"),
            Self::EcdsaP384 => f.write_str("ecdsa-p384"),
            Self::EcdsaP521 => f.write_str("ecdsa-p521"),
            Self::Rsa(bits) => write!(f, "rsa-{bits}"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// The signer of any key. The library would first try to read an ECDSA key as another one, which
/// takes as long as to read it.
fn signer(der: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    let ecdsa = match der {
        PrivateKeyDer::Pkcs8(key) => Pkcs8::read(key.secret_pkcs8_der())
            .is_some_and(|info| info.algorithm == algorithm::EC_PUBLIC_KEY),
        other => matches!(other, PrivateKeyDer::Sec1(_)),
    };
    match ecdsa {
        true => any_ecdsa_type(der),
        false => any_supported_type(der),
    }
}

/// Says the size of an RSA key that the TLS library would refuse without a word.
fn check_rsa_size(der: &PrivateKeyDer<'_>) -> Result<(), KeyError> {
    let Some(bits) = rsa_modulus_bits(der) else {
        return Ok(());
    };
    if bits < usize::from(MIN_RSA_BITS) {
        Err(KeyError::RsaTooSmall { bits })
    } else if bits > usize::from(MAX_RSA_BITS) {
        Err(KeyError::RsaTooLarge { bits })
    } else {
        Ok(())
    }
}

fn rsa_modulus_bits(der: &PrivateKeyDer<'_>) -> Option<usize> {
    match der {
        PrivateKeyDer::Pkcs1(key) => pkcs1_modulus_bits(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => {
            let info = Pkcs8::read(key.secret_pkcs8_der())?;
            (info.algorithm == algorithm::RSA_ENCRYPTION)
                .then(|| pkcs1_modulus_bits(&info.key))
                .flatten()
        }
        _ => None,
    }
}

/// RSAPrivateKey (RFC 8017 appendix A.1.2): version, modulus, …
fn pkcs1_modulus_bits(der: &[u8]) -> Option<usize> {
    let (_, key) = parse_der_sequence(der).ok()?;
    let modulus = key.as_sequence().ok()?.get(1)?.as_slice().ok()?;
    Some(significant_bits(modulus))
}

/// The outer structure of PrivateKeyInfo (RFC 5208): version, algorithm, key, …
struct Pkcs8<'d> {
    algorithm: Oid<'d>,
    curve: Option<Oid<'d>>,
    key: Cow<'d, [u8]>,
}

impl<'d> Pkcs8<'d> {
    fn read(der: &'d [u8]) -> Option<Self> {
        let mut info = Fields::new(der).sequence()?;
        info.next()?;
        let mut identifier = info.sequence()?;
        Some(Self {
            algorithm: identifier.identifier()?,
            curve: identifier.identifier(),
            key: info.octets()?,
        })
    }
}

/// Tells a key of another kind from one that is broken.
fn why_unusable(der: &PrivateKeyDer<'_>) -> KeyError {
    let form = match der {
        PrivateKeyDer::Pkcs1(_) => "PKCS#1",
        PrivateKeyDer::Sec1(_) => "SEC1 on P-256, P-384 or P-521",
        _ => "PKCS#8",
    };
    let PrivateKeyDer::Pkcs8(key) = der else {
        return KeyError::Damaged { form };
    };
    match Pkcs8::read(key.secret_pkcs8_der()) {
        Some(info) if !algorithm::can_sign(&info.algorithm, info.curve.as_ref()) => {
            let curve = info.curve.map(|curve| format!(" on curve {curve}"));
            KeyError::UnsupportedAlgorithm {
                algorithm: info.algorithm.to_id_string() + &curve.unwrap_or_default(),
            }
        }
        _ => KeyError::Damaged { form },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::testing::openssl;
    use crate::cert::{BundleError, Certificate, chain_pem, read_bundle};

    /// Every form in which programs write keys, with the arguments that make it.
    fn forms() -> Vec<(&'static str, Vec<u8>)> {
        let pkcs8 = |arguments: &[&str]| openssl(&[&["genpkey", "-algorithm"], arguments].concat());
        let curve = |name: &str| openssl(&["ecparam", "-genkey", "-name", name]);
        vec![
            (
                "rsa-2048",
                pkcs8(&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
            ),
            ("rsa-2048", openssl(&["genrsa", "-traditional", "2048"])),
            ("rsa-2064", openssl(&["genrsa", "2064"])),
            (
                "ecdsa-p256",
                pkcs8(&["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ),
            // SEC1 with EC PARAMETERS before it.
            ("ecdsa-p256", curve("prime256v1")),
            ("ecdsa-p384", curve("secp384r1")),
            ("ecdsa-p521", curve("secp521r1")),
            ("ed25519", pkcs8(&["ED25519"])),
        ]
    }

    fn one_key(pem: &[u8]) -> PrivateKey {
        read_bundle(pem).unwrap().keys.remove(0)
    }

    #[test]
    fn every_form_is_read_and_has_the_public_key_of_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let file = path.to_str().unwrap();
        for (kind, pem) in forms() {
            std::fs::write(&path, &pem).unwrap();
            let made = openssl(&["req", "-x509", "-subj", "/CN=a.example", "-key", file]);
            let der = read_bundle(&made).unwrap().certificates.remove(0);
            let certificate = Certificate::from_der(der).unwrap();
            let key = one_key(&pem);
            assert_eq!(key.spki(), certificate.spki(), "{kind}");
            assert_eq!(certificate.key_type.to_string(), kind);
            assert!(certificate.self_signed, "{kind}");
        }
    }

    #[test]
    fn pem_out_is_pem_in() {
        for (kind, pem) in forms() {
            let key = one_key(&pem);
            let text = key.to_pem();
            assert_eq!(one_key(text.as_bytes()).spki(), key.spki(), "{kind}");
            assert!(String::from_utf8(pem).unwrap().contains(&text), "{kind}");
        }
    }

    #[test]
    fn what_cannot_sign_is_refused_by_name() {
        let small = openssl(&["genrsa", "1024"]);
        let traditional = openssl(&["genrsa", "-traditional", "1024"]);
        let unsupported = "private key of an unsupported kind (algorithm {}), expected RSA, \
                           ECDSA on P-256, P-384 or P-521, or Ed25519";
        let pass = ["-aes128", "-passout", "pass:secret"];
        for (pem, error) in [
            (
                small,
                "RSA key of 1024 bits, at least 2048 needed".to_owned(),
            ),
            (
                traditional,
                "RSA key of 1024 bits, at least 2048 needed".to_owned(),
            ),
            (
                openssl(&["genpkey", "-algorithm", "ED448"]),
                unsupported.replace("{}", "1.3.101.113"),
            ),
            (
                openssl(&[
                    "genpkey",
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:secp256k1",
                ]),
                unsupported.replace("{}", "1.2.840.10045.2.1 on curve 1.3.132.0.10"),
            ),
            (
                openssl(&[&["genrsa"][..], &pass].concat()),
                "the private key is encrypted (ENCRYPTED PRIVATE KEY): \
                 \"gatepost cert import\" takes it with its pass phrase"
                    .to_owned(),
            ),
            (
                openssl(&[&["genrsa", "-traditional"][..], &pass].concat()),
                "the private key is encrypted (Proc-Type: 4,ENCRYPTED): \
                 \"gatepost cert import\" takes it with its pass phrase"
                    .to_owned(),
            ),
        ] {
            let found = read_bundle(&pem).unwrap_err();
            assert!(matches!(found, BundleError::Key(_)), "{found}");
            assert_eq!(found.to_string(), error);
        }
        for (label, form) in [
            ("PRIVATE KEY", "PKCS#8"),
            ("RSA PRIVATE KEY", "PKCS#1"),
            ("EC PRIVATE KEY", "SEC1 on P-256, P-384 or P-521"),
        ] {
            let found = read_bundle(pem_text(label, b"\x30\x03\x02\x01").as_bytes()).unwrap_err();
            let expected = format!("damaged private key: cannot be read as {form}");
            assert_eq!(found.to_string(), expected);
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = one_key(&openssl(&["genrsa", "2048"]));
        assert_eq!(format!("{key:?}"), "PrivateKey(secret)");
        assert!(!format!("{:?}", key.signing_key()).contains(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn certificates_are_written_one_after_the_other() {
        let made = crate::cert::testing::openssl_self_signed(&["-subj", "/CN=a"]);
        let certificates = read_bundle(&made).unwrap().certificates;
        let twice = [certificates.clone(), certificates].concat();
        let text = chain_pem(&twice);
        assert_eq!(read_bundle(text.as_bytes()).unwrap().certificates, twice);
    }
}
