//! A certificate chain with its key: what a handshake can serve.
//!
//! Decides whether chain and key belong together and can be used, and what is to be reported
//! about them; knows nothing of files.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cert::fingerprint::short_id;
use crate::cert::intermediates::Intermediates;
use crate::cert::key::{MAX_RSA_BITS, MIN_RSA_BITS};
use crate::cert::path::{Step, Walk};
use crate::cert::{Certificate, CertificateError, KeyType, PrivateKey};
use crate::cert::{Standing, StandingKind, TrustAnchors};

/// Most certificates that are sent in one handshake.
const MAX_CHAIN: usize = 32;

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
    /// A critical extension that clients need not know.
    UnknownCriticalExtension,
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
    /// A CA's answer with other names than the request.
    OtherNames,
    /// A file that another of the same NAME takes the place of.
    Shadowed,
    /// A file that cannot be used at all.
    SetAside,
}

impl ProblemCode {
    /// The name in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSubjectAltName => "no-subject-alt-name",
            Self::UnusableName => "unusable-name",
            Self::WeakSignature => "weak-signature",
            Self::OldVersion => "old-version",
            Self::CaCertificate => "ca-certificate",
            Self::UnknownCriticalExtension => "unknown-critical-extension",
            Self::MissingIntermediate => "missing-intermediate",
            Self::UnusedCertificate => "unused-certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::KeyReadable => "key-readable",
            Self::OtherNames => "other-names",
            Self::Shadowed => "shadowed",
            Self::SetAside => "set-aside",
        }
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A chain and the key that fits it.
///
/// In the order in which it is written here: what a choice looks at comes first, so that it is
/// one access to memory and not three.
#[derive(Debug)]
#[repr(C)]
pub struct Credential {
    /// The facts that its rank is computed from.
    pub standing: Standing,
    /// The end-entity certificate.
    pub certificate: Certificate,
    /// What people call it.
    pub name: Box<str>,
    /// All that there is to report whatever the time, certificate's own and chain's.
    pub problems: Vec<Problem>,
    /// What is sent below the certificate; shared with all that have the same.
    pub(super) intermediates: Arc<Intermediates>,
    pub(super) key: PrivateKey,
    /// Made when it is served for the first time: most certificates of a great many never are.
    pub(super) certified: OnceLock<Arc<CertifiedKey>>,
}

/// Why chain and key cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// No certificate.
    #[error("no certificate, expected the end-entity certificate and its intermediates")]
    NoCertificate,
    /// More than a chain.
    #[error("{found} certificates, at most {MAX_CHAIN} can be one chain")]
    TooManyCertificates {
        /// How many.
        found: usize,
    },
    /// One that cannot be read.
    #[error("certificate {position} of the chain cannot be used")]
    Certificate {
        /// From 1, in the order of the file.
        position: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The certificate is for a key that cannot sign.
    #[error(
        "the certificate is for a key that cannot be served ({found}), expected RSA of \
         {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
    )]
    UnusableKey {
        /// Kind of the key.
        found: KeyType,
    },
    /// No key at all.
    #[error("no private key")]
    NoKey,
    /// Another's key.
    #[error(
        "the certificate's key is not the key in the file (certificate's key id {certificate}, \
         key's key id {})",
        .keys.join(", ")
    )]
    KeyMismatch {
        /// Beginning of the SHA-256 over the certificate's SubjectPublicKeyInfo.
        certificate: String,
        /// The same of each key.
        keys: Vec<String>,
    },
}

impl Credential {
    /// Puts a chain (end-entity first) and that of `keys` that fits it together.
    pub fn new(
        name: &str,
        chain: Vec<CertificateDer<'static>>,
        keys: &[PrivateKey],
        anchors: &TrustAnchors,
    ) -> Result<Self, CredentialError> {
        if chain.len() > MAX_CHAIN {
            return Err(CredentialError::TooManyCertificates { found: chain.len() });
        }
        let unreadable = |position, source| CredentialError::Certificate { position, source };
        let mut chain = chain.into_iter();
        let end_entity = chain.next().ok_or(CredentialError::NoCertificate)?;
        let (certificate, first) =
            Certificate::read(end_entity).map_err(|source| unreadable(1, source))?;
        let intermediates = anchors
            .share(chain.collect())
            .map_err(|(at, source)| unreadable(at + 2, source))?;
        let key = fitting_key(&certificate, keys)?;
        let standing = Standing {
            validity: certificate.validity,
            trusted: anchors.trusted_through(&certificate, &intermediates),
            self_signed: certificate.self_signed,
        };
        let mut problems = certificate.problems.clone();
        problems.extend(chain_problems(
            &first,
            &intermediates.steps,
            anchors,
            &standing,
        ));
        problems.shrink_to_fit();
        Ok(Self {
            name: name.into(),
            certificate,
            standing,
            problems,
            intermediates,
            key: key.clone(),
            certified: OnceLock::new(),
        })
    }

    /// Chain and signer, ready for rustls. Made at the first call, and kept.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        self.certified.get_or_init(|| {
            let chain = self.chain().cloned().collect();
            Arc::new(CertifiedKey::new(chain, self.key.signing_key()))
        })
    }

    /// The certificates that are sent, end-entity first.
    pub fn chain(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.certificate.der).chain(&self.intermediates.certificates)
    }

    /// The certificates below the end-entity one. All that have the same list have it at the same
    /// place.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates.certificates
    }

    /// The key that fits.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// All that there is to report at `now`: [`Self::problems`], and that it is out of date.
    pub fn problems_at(&self, now: UnixTime) -> Vec<Problem> {
        let validity = self.certificate.validity;
        let dated = match self.standing.kind(now) {
            StandingKind::Expired => Some(Problem {
                code: ProblemCode::Expired,
                message: format!("expired on {}", date_text(validity.not_after)),
            }),
            StandingKind::NotYetValid => Some(Problem {
                code: ProblemCode::NotYetValid,
                message: format!("not valid before {}", date_text(validity.not_before)),
            }),
            _ => None,
        };
        self.problems.iter().cloned().chain(dated).collect()
    }
}

/// The key whose public half is the certificate's (compared as SubjectPublicKeyInfo).
fn fitting_key<'k>(
    certificate: &Certificate,
    keys: &'k [PrivateKey],
) -> Result<&'k PrivateKey, CredentialError> {
    let usable = match certificate.key_type {
        KeyType::Rsa(bits) => (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits),
        KeyType::Other => false,
        _ => true,
    };
    if !usable {
        let found = certificate.key_type;
        return Err(CredentialError::UnusableKey { found });
    }
    if keys.is_empty() {
        return Err(CredentialError::NoKey);
    }
    keys.iter()
        .find(|key| key.spki() == certificate.spki())
        .ok_or_else(|| CredentialError::KeyMismatch {
            certificate: short_id(certificate.spki()),
            keys: keys.iter().map(|key| short_id(key.spki())).collect(),
        })
}

fn chain_problems(
    end_entity: &Step,
    below: &[Step],
    anchors: &TrustAnchors,
    standing: &Standing,
) -> Vec<Problem> {
    let walk = Walk::new(end_entity, below, anchors);
    let mut problems = Vec::new();
    let mut report = |code, message| problems.push(Problem { code, message });
    let untrusted = standing.trusted.is_empty() && !standing.self_signed;
    if let Some(step) = walk.dead_end.filter(|_| untrusted) {
        let issuer = step.issuer_text();
        let offer = step.issuer_at.as_ref();
        let offer = offer.map_or_else(String::new, |at| format!(" (its CA offers it at {at})"));
        let message = format!(
            "the issuer {issuer:?} is missing: it is neither in the chain nor a trust anchor{offer}"
        );
        report(ProblemCode::MissingIntermediate, message);
    }
    for (step, used) in below.iter().zip(&walk.used) {
        let subject = step.subject_text();
        if !used {
            let message = format!("certificate {subject:?} in the chain leads nowhere");
            report(ProblemCode::UnusedCertificate, message);
        } else if let Some(algorithm) = &step.weak_signature {
            let message = format!("intermediate {subject:?} is signed with {algorithm}");
            report(ProblemCode::WeakSignature, message);
        }
    }
    problems
}

/// RFC 3339 in UTC; the number of seconds for a date that has no such text.
pub(super) fn date_text(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("second {seconds} of the Unix epoch"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::testing::{
        DAY, Leaf, NOW, at, days, intermediate, issued, new_key, openssl_self_signed, params,
        private_key, root, self_signed,
    };
    use crate::cert::{AnchorSource, Validity, read_bundle};

    fn named(period: Validity) -> rcgen::CertificateParams {
        params("leaf", &["mail.example.com"], period)
    }

    fn make(
        chain: &[&CertificateDer<'static>],
        keys: &[PrivateKey],
        anchors: &TrustAnchors,
    ) -> Result<Credential, CredentialError> {
        let chain = chain.iter().map(|der| (*der).clone()).collect();
        Credential::new("mail", chain, keys, anchors)
    }

    fn own(leaf: &Leaf) -> Credential {
        make(&[&leaf.der], &[leaf.private_key()], &TrustAnchors::new()).unwrap()
    }

    fn codes(problems: &[Problem]) -> Vec<ProblemCode> {
        problems.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn the_key_that_fits_is_found_among_others() {
        let leaf = self_signed(&named(days(0, 10)));
        let keys = [
            private_key(&new_key()),
            leaf.private_key(),
            private_key(&new_key()),
        ];
        let credential = make(&[&leaf.der], &keys, &TrustAnchors::new()).unwrap();
        credential.certified_key().keys_match().unwrap();
        assert_eq!(&*credential.name, "mail");
        assert_eq!(
            credential.certified_key().cert.as_slice(),
            std::slice::from_ref(&leaf.der)
        );
        assert_eq!(credential.standing.validity, days(0, 10));
        assert!(credential.standing.self_signed);
        assert_eq!(credential.problems, []);
    }

    #[test]
    fn what_cannot_be_served_is_refused_in_words() {
        let anchors = TrustAnchors::new();
        let leaf = self_signed(&named(days(0, 10)));
        let other = private_key(&new_key());
        let id = |key: &PrivateKey| short_id(key.spki());
        let garbage = CertificateDer::from(b"garbage".to_vec());
        let small = openssl_self_signed(&[
            "-newkey",
            "rsa:1024",
            "-subj",
            "/CN=a",
            "-keyout",
            "/dev/null",
        ]);
        let small = read_bundle(&small).unwrap().certificates.remove(0);
        let keys = [other.clone()];
        for (chain, keys, error) in [
            (
                vec![],
                &keys[..],
                "no certificate, expected the end-entity certificate and its intermediates"
                    .to_owned(),
            ),
            (
                vec![&leaf.der; 33],
                &keys,
                "33 certificates, at most 32 can be one chain".to_owned(),
            ),
            (vec![&leaf.der], &[], "no private key".to_owned()),
            (
                vec![&leaf.der],
                &keys,
                format!(
                    "the certificate's key is not the key in the file (certificate's key id {}, \
                     key's key id {})",
                    id(&leaf.private_key()),
                    id(&other)
                ),
            ),
            (
                vec![&leaf.der, &garbage],
                &keys,
                "certificate 2 of the chain cannot be used".to_owned(),
            ),
            (
                vec![&small],
                &keys,
                "the certificate is for a key that cannot be served (rsa-1024), expected RSA of \
                 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519"
                    .to_owned(),
            ),
        ] {
            let found = make(&chain, keys, &anchors).unwrap_err();
            assert_eq!(found.to_string(), error);
        }
        assert_eq!(id(&other).len(), 16);
    }

    #[test]
    fn the_missing_issuer_is_named() {
        let top = root("Root", days(-10, 100));
        let middle = intermediate("Middle", days(-10, 100), new_key(), &top);
        let low = intermediate("Low", days(-10, 100), new_key(), &middle);
        let leaf = issued(&named(days(0, 10)), &low);
        let mut trusting = TrustAnchors::new();
        assert!(trusting.add(top.der().clone(), AnchorSource::Roots));
        let nothing = TrustAnchors::new();
        let missing = |chain: &[&CertificateDer<'static>], anchors| {
            let made = make(chain, &[leaf.private_key()], anchors).unwrap();
            let mut problems = made.problems.into_iter();
            let problem = problems.find(|p| p.code == ProblemCode::MissingIntermediate)?;
            Some(problem.message.split('"').nth(1).unwrap().to_owned())
        };
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(missing(&[&leaf.der], &trusting), name("CN=Low"));
        assert_eq!(
            missing(&[&leaf.der, low.der()], &trusting),
            name("CN=Middle")
        );
        assert_eq!(
            missing(&[&leaf.der, middle.der()], &trusting),
            name("CN=Low")
        );
        assert_eq!(
            missing(&[&leaf.der, low.der(), middle.der()], &trusting),
            None
        );
        assert_eq!(
            missing(&[&leaf.der, low.der(), middle.der()], &nothing),
            name("CN=Root")
        );
        let whole = [&leaf.der, low.der(), middle.der(), top.der()];
        assert_eq!(missing(&whole, &nothing), None);
    }

    #[test]
    fn certificates_that_lead_nowhere_are_named() {
        let top = root("Root", days(-10, 100));
        let middle = intermediate("Middle", days(-10, 100), new_key(), &top);
        let stray = root("Stray", days(-10, 100));
        let leaf = issued(&named(days(0, 10)), &middle);
        let chain = [&leaf.der, &leaf.der, stray.der(), top.der(), middle.der()];
        let made = make(&chain, &[leaf.private_key()], &TrustAnchors::new()).unwrap();
        let unused = ["CN=leaf", "CN=Stray"].map(|subject| Problem {
            code: ProblemCode::UnusedCertificate,
            message: format!("certificate {subject:?} in the chain leads nowhere"),
        });
        assert_eq!(made.problems, unused);
    }

    #[test]
    fn being_out_of_date_depends_on_the_day() {
        let credential = own(&self_signed(&named(days(0, 9))));
        let problems = |now| credential.problems_at(at(now));
        assert_eq!(codes(&problems(NOW - 1)), [ProblemCode::NotYetValid]);
        assert_eq!(
            problems(NOW - 1)[0].message,
            "not valid before 2027-01-15T08:00:00Z"
        );
        assert_eq!(problems(NOW), []);
        assert_eq!(problems(NOW + 10 * DAY - 1), []);
        assert_eq!(codes(&problems(NOW + 10 * DAY)), [ProblemCode::Expired]);
        assert_eq!(
            problems(NOW + 10 * DAY)[0].message,
            "expired on 2027-01-25T07:59:59Z"
        );
    }

    #[test]
    fn a_credential_is_never_printed_with_its_key() {
        let leaf = self_signed(&named(days(0, 9)));
        let printed = format!("{:?}", own(&leaf));
        let secret = leaf.key.serialize_der();
        // The private scalar of a P-256 key in PKCS#8.
        let scalar = &secret[36..68];
        let debug = format!("{scalar:?}");
        assert!(!printed.contains(debug.trim_matches(['[', ']'])));
        assert!(!printed.contains(&crate::cert::hex(scalar)));
    }
}
