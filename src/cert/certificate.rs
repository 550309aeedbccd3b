//! One end-entity certificate, read once, with all that is shown and decided about it.
//!
//! Knows what the certificate says by itself; whether anybody trusts it is for `trust`.

use std::collections::HashSet;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::cert::fingerprint::sha256;
use crate::cert::{KeyType, NamePattern, Problem, ProblemCode, Validity, hex};
use crate::cert::{algorithm, distinguished_name};

/// Largest certificate in bytes; what TLS clients read ends there too.
const MAX_DER: usize = 64 * 1024;

/// Tag of a dNSName in GeneralName (RFC 5280 section 4.2.1.6).
const DNS_NAME_TAG: u32 = 2;

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
        let x509 = parse(&der)?;
        let found = Names::read(&x509)?;
        let key_type = algorithm::key_type(x509.public_key());
        let signature = algorithm::signature(&x509.signature_algorithm);
        let mut problems = found.problems;
        problems.extend(oddities(&x509, &signature));
        Ok(Self {
            subject: distinguished_name::text(x509.subject()),
            issuer: distinguished_name::text(x509.issuer()),
            serial: serial_text(x509.raw_serial()),
            names: found.names,
            addresses: found.addresses,
            name_source: found.source,
            validity: validity(&x509),
            key_type,
            spki: x509.public_key().raw.to_vec(),
            signature_algorithm: signature.name,
            self_signed: algorithm::is_self_signed(&x509, key_type),
            sha256: sha256(&der),
            problems,
            der,
        })
    }

    /// SHA-256 over the SubjectPublicKeyInfo: the pin, and the data of TLSA 3 1 1.
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki)
    }

    /// The SHA-256 fingerprint as it is shown.
    pub fn fingerprint(&self) -> String {
        hex(&self.sha256)
    }
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
    problems
}

/// The presented identifiers of a certificate.
struct Names {
    names: Vec<NamePattern>,
    addresses: Vec<IpAddr>,
    source: NameSource,
    problems: Vec<Problem>,
}

impl Names {
    fn read(x509: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let mut names = Self {
            names: Vec::new(),
            addresses: Vec::new(),
            source: NameSource::CommonName,
            problems: Vec::new(),
        };
        let extension =
            x509.subject_alternative_name()
                .map_err(|source| CertificateError::BadExtension {
                    extension: "subjectAltName",
                    source,
                })?;
        for name in extension.iter().flat_map(|san| &san.value.general_names) {
            names.add_general_name(name);
        }
        if names.source == NameSource::CommonName {
            names.add_common_names(x509);
        }
        // A certificate may have thousands of names, and some twice.
        let mut seen = HashSet::new();
        names.names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    fn add_general_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(text) => {
                self.source = NameSource::SubjectAltName;
                self.add_name(text);
            }
            GeneralName::IPAddress(octets) => {
                self.source = NameSource::SubjectAltName;
                self.add_address(octets);
            }
            GeneralName::Invalid(tag, octets) if tag.0 == DNS_NAME_TAG => {
                self.source = NameSource::SubjectAltName;
                self.add_name(&String::from_utf8_lossy(octets));
            }
            _ => {}
        }
    }

    fn add_common_names(&mut self, x509: &X509Certificate<'_>) {
        let message = "no subjectAltName: named by its common name alone, \
                       which no current client accepts"
            .to_owned();
        let code = ProblemCode::NoSubjectAltName;
        self.problems.push(Problem { code, message });
        for name in distinguished_name::common_names(x509.subject()) {
            self.add_name(&name);
        }
    }

    fn add_name(&mut self, text: &str) {
        match NamePattern::parse(text) {
            Ok(name) => self.names.push(name),
            Err(error) => self.report_unusable(error.to_string()),
        }
    }

    fn add_address(&mut self, octets: &[u8]) {
        if let Ok(v4) = <[u8; 4]>::try_from(octets) {
            self.addresses.push(v4.into());
        } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
            self.addresses.push(v6.into());
        } else {
            let found = octets.len();
            self.report_unusable(format!("iPAddress of {found} bytes, expected 4 or 16"));
        }
    }

    fn report_unusable(&mut self, message: String) {
        let code = ProblemCode::UnusableName;
        self.problems.push(Problem { code, message });
    }
}
