//! One end-entity certificate, read once, with all that is shown and decided about it.
//!
//! Knows what the certificate says by itself; whether anybody trusts it is for `trust`.

use std::net::IpAddr;
use std::ops::Range;

use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::cert::fingerprint::sha256;
use crate::cert::path::Step;
use crate::cert::presented::Presented;
use crate::cert::{KeyType, NamePattern, Problem, ProblemCode, Validity, hex};
use crate::cert::{algorithm, distinguished_name};

/// Largest certificate in bytes; what TLS clients read ends there too.
const MAX_DER: usize = 64 * 1024;

/// Where the names of a certificate come from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NameSource {
    /// subjectAltName.
    SubjectAltName,
    /// The common name, for want of any dNSName or iPAddress.
    CommonName,
}

/// What an end-entity certificate says. First comes what a choice looks at, see
/// [`crate::cert::Credential`].
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Certificate {
    /// Kind of the public key.
    pub key_type: KeyType,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// DNS names covered; patterns that match nothing are left out and reported.
    pub names: Vec<NamePattern>,
    /// IP addresses covered.
    pub addresses: Vec<IpAddr>,
    /// Where `names` come from.
    pub name_source: NameSource,
    /// notBefore to notAfter.
    pub validity: Validity,
    /// Where in `der` the SubjectPublicKeyInfo stands.
    pub(super) spki: Range<usize>,
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
    /// Larger than clients read.
    #[error("certificate of {found} bytes, at most {MAX_DER} are read")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not X.509.
    #[error("not an X.509 certificate")]
    Malformed(#[source] X509Error),
    /// More bytes than the certificate has.
    #[error("{found} bytes follow the end of the certificate")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
    /// An extension that cannot be read, or is there twice.
    #[error("the certificate's {extension} extension cannot be read")]
    BadExtension {
        /// Name of the extension.
        extension: &'static str,
        /// What is wrong with it.
        source: X509Error,
    },
}

impl Certificate {
    /// Reads one DER certificate.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        Self::read(der).map(|(certificate, _)| certificate)
    }

    /// The same, and the certificate as the first step of its path.
    pub(super) fn read(der: CertificateDer<'static>) -> Result<(Self, Step), CertificateError> {
        let x509 = parse(&der)?;
        let mut found = Presented::read(&x509)?;
        found.names.shrink_to_fit();
        found.addresses.shrink_to_fit();
        let key_type = algorithm::key_type(x509.public_key());
        let signature = algorithm::signature(&x509.signature_algorithm);
        let mut problems = found.problems;
        problems.extend(oddities(&x509, &signature));
        let step = Step::new(&x509);
        let certificate = Self {
            names: found.names,
            addresses: found.addresses,
            name_source: found.source,
            validity: validity(&x509),
            key_type,
            spki: place_in(&der, x509.public_key().raw),
            self_signed: algorithm::is_self_signed(&x509, key_type),
            sha256: sha256(&der),
            problems,
            der,
        };
        Ok((certificate, step))
    }

    /// Subject, RFC 4514 text.
    pub fn subject(&self) -> String {
        self.text(|x509| distinguished_name::text(x509.subject()))
    }

    /// Issuer, RFC 4514 text.
    pub fn issuer(&self) -> String {
        self.text(|x509| distinguished_name::text(x509.issuer()))
    }

    /// Serial number, lower-case hexadecimal.
    pub fn serial(&self) -> String {
        self.text(|x509| serial_text(x509.raw_serial()))
    }

    /// Signature algorithm, as `openssl x509` names it.
    pub fn signature_algorithm(&self) -> String {
        self.text(|x509| algorithm::signature(&x509.signature_algorithm).name)
    }

    /// What is only shown is not kept, but read again; it could be read before.
    fn text(&self, text: impl FnOnce(&X509Certificate<'_>) -> String) -> String {
        parse(&self.der).map_or_else(|_| String::new(), |x509| text(&x509))
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        self.der.get(self.spki.clone()).unwrap_or_default()
    }

    /// SHA-256 over the SubjectPublicKeyInfo: the pin, and the data of TLSA 3 1 1.
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(self.spki())
    }

    /// The pin as it is written (RFC 7469 section 2.4).
    pub fn spki_pin(&self) -> String {
        BASE64.encode(&self.spki_sha256())
    }

    /// The SHA-256 fingerprint as it is shown.
    pub fn fingerprint(&self) -> String {
        hex(&self.sha256)
    }
}

/// The SubjectPublicKeyInfo of a certificate of which nothing else counts.
pub fn spki_of(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    Ok(parse(der)?.public_key().raw.to_vec())
}

/// Where in `whole` its `part` stands.
fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    start..start.wrapping_add(part.len())
}

/// Reads the structure of a certificate, and nothing but it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > MAX_DER {
        return Err(CertificateError::TooLarge { found: der.len() });
    }
    let (rest, x509) = X509Certificate::from_der(der)
        .map_err(|error| CertificateError::Malformed(error.into()))?;
    match rest.len() {
        0 => Ok(x509),
        found => Err(CertificateError::TrailingBytes { found }),
    }
}

pub(super) fn validity(x509: &X509Certificate<'_>) -> Validity {
    Validity {
        not_before: x509.validity().not_before.timestamp(),
        not_after: x509.validity().not_after.timestamp(),
    }
}

fn serial_text(raw: &[u8]) -> String {
    match raw {
        // DER puts a zero before a number that would else be negative.
        [0, number @ ..] if !number.is_empty() => hex(number),
        _ => hex(raw),
    }
}

/// The extensions that all clients know: keyUsage, subjectAltName, basicConstraints,
/// nameConstraints, cRLDistributionPoints and extKeyUsage.
const KNOWN_EXTENSIONS: [&str; 6] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.37",
];

/// What clients of today would not accept.
fn oddities(x509: &X509Certificate<'_>, signature: &algorithm::Signature) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |code, message| problems.push(Problem { code, message });
    if signature.weak {
        let name = &signature.name;
        let message = format!("signed with {name}, clients expect SHA-256 or better");
        report(ProblemCode::WeakSignature, message);
    }
    if x509.version() != X509Version::V3 {
        let version = u64::from(x509.version().0) + 1;
        let message = format!("X.509 version {version}, clients expect version 3");
        report(ProblemCode::OldVersion, message);
    }
    if x509.is_ca() {
        let message = "a CA certificate (CA:TRUE) used as a server's, \
                       which clients may refuse"
            .to_owned();
        report(ProblemCode::CaCertificate, message);
    }
    for extension in x509.extensions().iter().filter(|it| it.critical) {
        let oid = extension.oid.to_id_string();
        if !KNOWN_EXTENSIONS.contains(&oid.as_str()) {
            let message = format!(
                "critical extension {oid}: clients that do not know it refuse the certificate"
            );
            report(ProblemCode::UnknownCriticalExtension, message);
        }
    }
    problems
}

#[cfg(test)]
mod tests;
