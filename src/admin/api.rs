//! The documents of the admin API, as the server writes and the client reads them.
//!
//! Field names are a promise; `--json` prints the same documents. Knows nothing of how they
//! come to be.

mod dialogs;
mod show;

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::time::rfc3339;

pub use dialogs::{ImportSigned, New, NewRequest};
pub use show::{
    BasicConstraints, CertificateDetails, ChainCertificate, Details, Extension, Field,
    NameWarnings, RequestDetails, StandingChange, Warning,
};

/// Seconds since the Unix epoch, written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub i64);

/// `GET /v1/certificates`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Certificates {
    /// In the order of NAME.
    pub certificates: Vec<Certificate>,
}

/// What an entry of the certificate folder is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It can be served.
    Certificate,
    /// It waits for its certificate.
    Request,
    /// It cannot be used.
    SetAside,
}

/// One entry of the certificate folder. What is not known of a request, or of files that are
/// set aside, is null.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Certificate {
    /// NAME.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Subject, RFC 4514.
    pub subject: Option<String>,
    /// Issuer, RFC 4514.
    pub issuer: Option<String>,
    /// DNS names.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<String>,
    /// First second of the validity period.
    pub not_before: Option<Timestamp>,
    /// Last second of the validity period.
    pub not_after: Option<Timestamp>,
    /// `ecdsa-p256`, `rsa-2048` …
    pub key_type: Option<String>,
    /// Fingerprint.
    pub sha256: Option<String>,
    /// `trusted`, `self-signed`, `valid`, `expired` or `not-yet-valid`.
    pub standing: Option<String>,
    /// When the standing becomes another, if ever.
    pub next_change: Option<StandingChange>,
    /// Whether it is the default certificate.
    pub default: bool,
    /// What there is to report.
    pub problems: Vec<Problem>,
}

/// Something to report about a certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// Stable name of the problem.
    pub code: String,
    /// What was found, what was expected.
    pub message: String,
}

/// What `GET /v1/explain` asks, as it is typed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Explain {
    /// The name that the client sends; none, or `-`: no name is sent. An IP address: no name is
    /// sent, and it is the address that the client connected to.
    pub host: Option<String>,
    /// The listener it connected to.
    pub listener: Option<String>,
    /// `modern` (default), `tls12`, `rsa-only` or `ecdsa-only`.
    pub client: Option<String>,
    /// RFC 3339; none: now.
    pub at: Option<String>,
}

/// `GET /v1/explain`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Explanation {
    /// The name asked for, as it is looked up; null if none is sent.
    pub name: Option<String>,
    /// The listener asked; null if none is named.
    pub listener: Option<String>,
    /// `modern`, `tls12`, `rsa-only` or `ecdsa-only`.
    pub client: String,
    /// The time of the handshake.
    pub at: Timestamp,
    /// `served`, `rejected` or `no-usable-key`.
    pub outcome: String,
    /// The certificate served.
    pub winner: Option<Winner>,
    /// The others, best first, a thousand at most.
    pub candidates: Vec<Candidate>,
    /// How many there are besides; left out if there is none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unlisted: usize,
    /// When the answer becomes another, if nothing but time passes.
    pub next_change: Option<NextChange>,
}

fn is_none(number: &usize) -> bool {
    *number == 0
}

/// The certificate that is served.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Winner {
    /// NAME.
    pub name: String,
    /// 1 to 9.
    pub rank: u8,
    /// `exact`, `wildcard` or `default`.
    pub matched: String,
    /// Fingerprint.
    pub sha256: String,
}

/// A certificate that could have been served.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Candidate {
    /// NAME.
    pub name: String,
    /// 1 to 9.
    pub rank: u8,
    /// In words.
    pub lost_because: String,
}

/// The next answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NextChange {
    /// Its first second.
    pub at: Timestamp,
    /// NAME of the certificate served from then on.
    pub winner: Option<String>,
}

/// `GET /v1/status`
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The product's version.
    pub version: String,
    /// When the process started.
    pub started: Timestamp,
    /// Whether it has stopped accepting.
    pub draining: bool,
    /// In the order of the configuration.
    pub listeners: Vec<ListenerStatus>,
    /// In the order of the configuration.
    pub upstreams: Vec<UpstreamStatus>,
    /// NAME of the default certificate.
    pub default: Option<String>,
    /// The next certificate to expire.
    pub expires_next: Option<Expiry>,
}

/// One listener.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Addresses that it listens on.
    pub bound: Vec<String>,
    /// Connections open now.
    pub connections: u64,
}

/// One upstream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
}

/// One server of an upstream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServerStatus {
    /// As the configuration writes it.
    pub address: String,
    /// Whether it answers; null as long as nobody asked it.
    pub up: Option<bool>,
    /// Connections open now.
    pub connections: u64,
}

/// A certificate that expires.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Expiry {
    /// NAME.
    pub name: String,
    /// Its last second.
    pub not_after: Timestamp,
}

/// `POST /v1/import`. At least one of `certificate_pem`, `pkcs12_base64` and `der_base64`.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Certificate and intermediates, and the key if it is in the same text; PKCS#7 too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_pem: Option<String>,
    /// The key; it may be encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_pem: Option<String>,
    /// What it is to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A PKCS#12 file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkcs12_base64: Option<String>,
    /// A certificate, several of them, PKCS#7, or certificates and a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub der_base64: Option<String>,
    /// Opens what is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
}

impl fmt::Debug for Import {
    /// Says what is called how; keys and passphrases are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Answer to `POST /v1/import`, `POST /v1/import-signed` and `POST /v1/requests`
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Imported {
    /// NAME.
    pub name: String,
    /// What there is to report.
    pub problems: Vec<Problem>,
}

/// `PUT /v1/default`, and the answers that are a NAME.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// NAME.
    pub name: String,
}

/// `GET /v1/default`
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DefaultCertificate {
    /// NAME; null if nothing can be served.
    pub name: Option<String>,
}

/// Answer to `POST /v1/reload`
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reloaded {
    /// What is probably not as it was meant, and what takes effect at a restart only.
    pub warnings: Vec<String>,
}

/// Answer to `POST /v1/drain` and `POST /v1/stop`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Drained {
    /// Connections that were still open when `drain_timeout` had passed.
    pub cut_off: u64,
}

/// A problem (RFC 9457).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProblemDetails {
    /// Always `about:blank`: the status says what kind of problem it is.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What was found, what was expected.
    pub detail: String,
}

impl From<UnixTime> for Timestamp {
    fn from(time: UnixTime) -> Self {
        Self(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.0))
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    /// Reads any offset; parts of a second are dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339).map(|time| Self(time.unix_timestamp()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let json = |time| serde_json::to_string(&Timestamp(time)).unwrap();
        assert_eq!(json(1_795_255_200), r#""2026-11-21T10:00:00Z""#);
        for (text, expected) in [
            (r#""2026-11-21T10:00:00Z""#, Some(1_795_255_200)),
            (r#""2026-11-21T11:00:00.9+01:00""#, Some(1_795_255_200)),
            (r#""2026-11-21""#, None),
            ("1795255200", None),
        ] {
            let read = serde_json::from_str::<Timestamp>(text).ok();
            assert_eq!(read, expected.map(Timestamp), "{text}");
        }
    }

    #[test]
    fn details_stand_beside_what_the_list_has() {
        let certificate = Certificate {
            name: "a".to_owned(),
            kind: Kind::SetAside,
            subject: None,
            issuer: None,
            names: Vec::new(),
            addresses: Vec::new(),
            not_before: None,
            not_after: None,
            key_type: None,
            sha256: None,
            standing: None,
            next_change: None,
            default: false,
            problems: vec![Problem {
                code: "set-aside".to_owned(),
                message: "no key".to_owned(),
            }],
        };
        let mut entry = CertificateDetails {
            certificate,
            details: None,
            request: None,
        };
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(json["kind"], "set-aside");
        assert!(json.get("serial").is_none());
        assert_eq!(
            serde_json::from_value::<CertificateDetails>(json).unwrap(),
            entry
        );

        entry.details = Some(Details {
            serial: "0a".to_owned(),
            signature_algorithm: "ecdsa-with-SHA256".to_owned(),
            spki_sha256: "00".to_owned(),
            spki_pin: "AA==".to_owned(),
            tlsa: "3 1 1 00".to_owned(),
            warnings: vec![NameWarnings {
                name: "a".to_owned(),
                warnings: vec![Warning::NotTrusted, Warning::OutOfDate, Warning::WrongName],
            }],
            ..Details::default()
        });
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(json["serial"], "0a");
        assert_eq!(
            json["warnings"][0]["warnings"],
            serde_json::json!(["not-trusted", "out-of-date", "wrong-name"])
        );
        assert_eq!(
            serde_json::from_value::<CertificateDetails>(json).unwrap(),
            entry
        );
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let import = Import {
            key_pem: Some("secret".to_owned()),
            passphrase: Some("secret".to_owned()),
            ..Import::default()
        };
        assert!(!format!("{import:?}").contains("secret"));
    }
}
