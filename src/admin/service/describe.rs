//! The certificate folder as documents.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use rustls_pki_types::UnixTime;

use crate::admin::api;
use crate::admin::service::{Context, ServiceError};
use crate::cert::{
    CertIndex, Certificate, ClientCapabilities, ClientKind, Credential, DnsName, Matched,
    NamePattern, NameSource, Order, Problem, Query, Selected, StandingKind, UnknownName, hex,
};
use crate::metrics::CertificateSample;
use crate::store::Entry;

/// Ranks of a wildcard that is in date.
const USABLE_WILDCARD: std::ops::RangeInclusive<u8> = 5..=7;

impl Context {
    /// Everything in the folder.
    pub fn list(&self) -> api::Certificates {
        let entries = self.store.entries();
        api::Certificates {
            certificates: entries.iter().map(|entry| self.describe(entry)).collect(),
        }
    }

    /// All that is known of one entry.
    pub fn show(&self, name: &str) -> Result<api::CertificateDetails, ServiceError> {
        let entry = self.store.entry(name)?;
        let details = match &entry {
            Entry::Certificate { credential, .. } => Some(self.details(credential)),
            Entry::Request { .. } | Entry::SetAside { .. } => None,
        };
        Ok(api::CertificateDetails {
            certificate: self.describe(&entry),
            details,
        })
    }

    /// The certificate in date whose end is nearest.
    pub fn expires_next(&self) -> Option<api::Expiry> {
        let now = api::Timestamp::from(self.clock.now());
        let index = self.live.load();
        let credentials = index.credentials().iter();
        credentials
            .map(|credential| api::Expiry {
                name: credential.name.to_string(),
                not_after: api::Timestamp(credential.certificate.validity.not_after),
            })
            .filter(|expiry| expiry.not_after >= now)
            .min_by_key(|expiry| expiry.not_after)
    }

    pub(super) fn samples(&self) -> Vec<CertificateSample> {
        let now = self.clock.now();
        let entries = self.store.entries();
        let sample = |entry: &Entry| match entry {
            Entry::Certificate {
                credential,
                default,
                ..
            } => Some(CertificateSample {
                name: credential.name.to_string(),
                not_after: credential.certificate.validity.not_after,
                standing: credential.standing.kind(now).as_str(),
                default: *default,
            }),
            Entry::Request { .. } | Entry::SetAside { .. } => None,
        };
        entries.iter().filter_map(sample).collect()
    }

    fn describe(&self, entry: &Entry) -> api::Certificate {
        match entry {
            Entry::Certificate {
                credential,
                default,
                replaced_by,
            } => api::Certificate {
                default: *default,
                problems: self.problems(credential, replaced_by.as_ref()),
                ..served(credential, self.clock.now())
            },
            Entry::Request { name } => bare(name, api::Kind::Request, Vec::new()),
            Entry::SetAside { name, problem } => {
                bare(name, api::Kind::SetAside, vec![problem.into()])
            }
        }
    }

    /// What was found when it was read, and what is true today only.
    fn problems(&self, credential: &Credential, newer: Option<&Problem>) -> Vec<api::Problem> {
        let now = self.clock.now();
        let found = credential.problems_at(now);
        found
            .iter()
            .chain(newer)
            .map(Into::into)
            .chain(self.hides_wildcard(credential, now))
            .collect()
    }

    /// Under `order = "kerio"` an expired exact match is served although a wildcard is in date.
    fn hides_wildcard(&self, credential: &Credential, now: UnixTime) -> Option<api::Problem> {
        let order = self.config.load().certificates.order;
        let expired = credential.standing.kind(now) == StandingKind::Expired;
        if !expired || order != Order::Kerio {
            return None;
        }
        let index = self.live.load();
        credential.certificate.names.iter().find_map(|pattern| {
            let NamePattern::Exact(name) = pattern else {
                return None;
            };
            let explanation = index.explain(&query(name), now);
            if explanation.winner?.name != *credential.name {
                return None;
            }
            let mut others = explanation.candidates.iter();
            let hidden = others.find(|lost| USABLE_WILDCARD.contains(&lost.rank))?;
            Some(api::Problem {
                code: "hides-wildcard".to_owned(),
                message: format!(
                    "expired, and served for {name} before the wildcard of {:?}, which is in date \
                     (order = \"safe\" would serve that one)",
                    hidden.name
                ),
            })
        })
    }

    fn details(&self, credential: &Credential) -> api::Details {
        let now = self.clock.now();
        let certificate = &credential.certificate;
        let spki = certificate.spki_sha256();
        let addresses = certificate.addresses.iter();
        let standing = &credential.standing;
        api::Details {
            serial: certificate.serial.clone(),
            signature_algorithm: certificate.signature_algorithm.clone(),
            addresses: addresses.map(ToString::to_string).collect(),
            spki_sha256: hex(&spki),
            spki_pin: BASE64.encode(&spki),
            tlsa: format!("3 1 1 {}", hex(&spki)),
            chain: chain(credential),
            next_change: standing.next_change(now).map(|at| api::StandingChange {
                at: at.into(),
                standing: standing.kind(at).as_str().to_owned(),
            }),
            warnings: self.warnings(credential, now),
        }
    }

    /// For its own names, and for those of the configuration that it is served for although it
    /// does not cover them.
    fn warnings(&self, credential: &Credential, now: UnixTime) -> Vec<api::NameWarnings> {
        let certificate = &credential.certificate;
        let common = warnings_of(credential, now);
        let named = |name: String, covered: bool| {
            let wrong = (!covered).then_some(api::Warning::WrongName);
            let warnings = common.iter().copied().chain(wrong).collect();
            api::NameWarnings { name, warnings }
        };
        // Browsers look into subjectAltName only (RFC 9525 section 2).
        let covered = certificate.name_source == NameSource::SubjectAltName;
        let names = certificate.names.iter().map(ToString::to_string);
        let addresses = certificate.addresses.iter().map(ToString::to_string);
        let mut warnings: Vec<_> = names.map(|name| named(name, covered)).collect();
        warnings.extend(addresses.map(|address| named(address, true)));
        let index = self.live.load();
        for name in self.configured_names() {
            if served_by_default(&index, &name, credential, now) {
                warnings.push(named(name.to_string(), false));
            }
        }
        warnings
    }

    /// Names that listeners announce and routes take.
    fn configured_names(&self) -> BTreeSet<DnsName> {
        let config = self.config.load();
        let listeners = config.listeners.iter();
        let hostnames = listeners.filter_map(|listener| listener.hostname.clone());
        let patterns = config.routes.iter().flat_map(|route| &route.names);
        let routed = patterns.filter_map(|pattern| match pattern {
            NamePattern::Exact(name) => Some(name.clone()),
            NamePattern::Wildcard(_) => None,
        });
        hostnames.chain(routed).collect()
    }
}

impl From<&Problem> for api::Problem {
    fn from(problem: &Problem) -> Self {
        Self {
            code: problem.code.as_str().to_owned(),
            message: problem.message.clone(),
        }
    }
}

/// A client of today that asks for `name`.
fn query(name: &DnsName) -> Query<'_> {
    Query {
        server_name: Some(name),
        assumed: None,
        local: None,
        client: ClientCapabilities::from(ClientKind::Modern),
        unknown_name: UnknownName::Default,
    }
}

fn served_by_default(
    index: &CertIndex,
    name: &DnsName,
    credential: &Credential,
    now: UnixTime,
) -> bool {
    match index.select(&query(name), now) {
        Selected::Served(selection) => {
            selection.matched == Matched::Default && selection.credential.name == credential.name
        }
        Selected::Rejected | Selected::NoUsableKey => false,
    }
}

/// What a browser warns of whatever name it asked for.
fn warnings_of(credential: &Credential, now: UnixTime) -> Vec<api::Warning> {
    let standing = &credential.standing;
    let kind = standing.kind(now);
    let out_of_date = matches!(kind, StandingKind::Expired | StandingKind::NotYetValid);
    let trusted = kind == StandingKind::Trusted || (out_of_date && !standing.trusted.is_empty());
    let warnings = [
        (!trusted).then_some(api::Warning::NotTrusted),
        out_of_date.then_some(api::Warning::OutOfDate),
    ];
    warnings.into_iter().flatten().collect()
}

fn served(credential: &Credential, now: UnixTime) -> api::Certificate {
    let certificate = &credential.certificate;
    let standing = credential.standing.kind(now).as_str();
    api::Certificate {
        name: credential.name.to_string(),
        kind: api::Kind::Certificate,
        subject: Some(certificate.subject.clone()),
        issuer: Some(certificate.issuer.clone()),
        names: certificate.names.iter().map(ToString::to_string).collect(),
        not_before: Some(api::Timestamp(certificate.validity.not_before)),
        not_after: Some(api::Timestamp(certificate.validity.not_after)),
        key_type: Some(certificate.key_type.to_string()),
        sha256: Some(certificate.fingerprint()),
        standing: Some(standing.to_owned()),
        default: false,
        problems: Vec::new(),
    }
}

fn bare(name: &str, kind: api::Kind, problems: Vec<api::Problem>) -> api::Certificate {
    api::Certificate {
        name: name.to_owned(),
        kind,
        subject: None,
        issuer: None,
        names: Vec::new(),
        not_before: None,
        not_after: None,
        key_type: None,
        sha256: None,
        standing: None,
        default: false,
        problems,
    }
}

fn chain(credential: &Credential) -> Vec<api::ChainCertificate> {
    let sent = credential.certified_key.cert.iter();
    // What cannot be read was refused when the chain was put together.
    let readable = sent.filter_map(|der| Certificate::from_der(der.clone()).ok());
    readable
        .map(|certificate| api::ChainCertificate {
            sha256: certificate.fingerprint(),
            not_before: api::Timestamp(certificate.validity.not_before),
            not_after: api::Timestamp(certificate.validity.not_after),
            subject: certificate.subject,
            issuer: certificate.issuer,
        })
        .collect()
}
