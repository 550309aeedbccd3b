//! One entry of the folder with all that is known of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::admin::api::{Certificate, Timestamp};

/// `GET /v1/certificates/NAME`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CertificateDetails {
    /// What the list has of it.
    #[serde(flatten)]
    pub certificate: Certificate,
    /// What only a certificate that can be served has.
    #[serde(flatten)]
    pub details: Option<Details>,
    /// The request that waits under this NAME.
    #[serde(default)]
    pub request: Option<RequestDetails>,
}

/// Everything else that is known of a certificate.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Details {
    /// X.509 version, 1 to 3.
    pub version: u32,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// As `openssl x509` names it.
    pub signature_algorithm: String,
    /// The subject, field by field.
    pub subject_fields: Vec<Field>,
    /// The issuer, field by field.
    pub issuer_fields: Vec<Field>,
    /// Whole days until it expires; negative if it has.
    pub days_left: i64,
    /// What the key may do: `digitalSignature` …
    pub key_usage: Vec<String>,
    /// What the certificate may be used for: `serverAuth` …
    pub extended_key_usage: Vec<String>,
    /// Whether it is a CA's.
    pub basic_constraints: Option<BasicConstraints>,
    /// subjectKeyIdentifier, hexadecimal.
    pub subject_key_id: Option<String>,
    /// authorityKeyIdentifier, hexadecimal.
    pub authority_key_id: Option<String>,
    /// Addresses that say whether it is revoked.
    pub ocsp: Vec<String>,
    /// Addresses of its issuer's certificate.
    pub ca_issuers: Vec<String>,
    /// Addresses of lists of revoked certificates.
    pub crl: Vec<String>,
    /// Object identifiers of policies, with what they mean if that is known.
    pub policies: Vec<String>,
    /// Signed certificate timestamps in it.
    pub scts: usize,
    /// Whether clients are to insist on a stapled OCSP response.
    pub must_staple: bool,
    /// Extensions that are not among the above.
    pub other_extensions: Vec<Extension>,
    /// SHA-1 fingerprint.
    pub sha1: String,
    /// Enough of `spki_sha256` to tell keys apart, as errors name them.
    pub key_id: String,
    /// SHA-256 over the SubjectPublicKeyInfo.
    pub spki_sha256: String,
    /// The same in base64, as pins are written.
    pub spki_pin: String,
    /// Data of a TLSA record: `3 1 1 HEX`.
    pub tlsa: String,
    /// What clients are sent, end-entity certificate first.
    pub chain: Vec<ChainCertificate>,
    /// What a browser would warn of today, by name.
    pub warnings: Vec<NameWarnings>,
    /// File of the certificate and its intermediates.
    pub certificate_file: Option<PathBuf>,
    /// File of the key.
    pub key_file: Option<PathBuf>,
}

/// A field of a distinguished name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Field {
    /// `CN`, `O` … (RFC 4514), else the object identifier.
    pub name: String,
    /// Its text.
    pub value: String,
}

/// Whether a certificate is a CA's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BasicConstraints {
    /// Whether it is.
    pub ca: bool,
    /// How many CAs may stand between it and a server's certificate.
    pub path_length: Option<u32>,
}

/// An extension that is only named.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Extension {
    /// Object identifier.
    pub oid: String,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
}

/// A request that waits for its certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RequestDetails {
    /// Subject, RFC 4514.
    pub subject: String,
    /// The subject, field by field.
    pub subject_fields: Vec<Field>,
    /// DNS names.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<String>,
    /// `ecdsa-p256`, `rsa-2048` …
    pub key_type: String,
    /// As `openssl req` names it.
    pub signature_algorithm: String,
    /// Enough of `spki_sha256` to tell keys apart, as errors name them.
    pub key_id: String,
    /// SHA-256 over the SubjectPublicKeyInfo.
    pub spki_sha256: String,
    /// File of the request, PEM: what a CA is sent.
    pub request_file: Option<PathBuf>,
    /// File of its key.
    pub key_file: Option<PathBuf>,
}

/// One certificate of a chain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChainCertificate {
    /// Subject, RFC 4514.
    pub subject: String,
    /// Issuer, RFC 4514.
    pub issuer: String,
    /// First second of the validity period.
    pub not_before: Timestamp,
    /// Last second of the validity period.
    pub not_after: Timestamp,
    /// Fingerprint.
    pub sha256: String,
}

/// What a certificate becomes when nothing but time passes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StandingChange {
    /// First second of the new standing.
    pub at: Timestamp,
    /// The standing from then on.
    pub standing: String,
    /// What happens then.
    pub why: String,
}

/// A name, and what a browser that asks for it would warn of.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NameWarnings {
    /// A name of the certificate, or one of the configuration that it is served for.
    pub name: String,
    /// Empty if all is well.
    pub warnings: Vec<Warning>,
}

/// What browsers warn of.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// No path to a trust anchor.
    NotTrusted,
    /// Expired, or not yet valid.
    OutOfDate,
    /// The certificate does not cover the name.
    WrongName,
}
