//! The certificate folder as documents.

use std::collections::BTreeSet;

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
        let credentials = index.credentials();
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
        let standing = &credential.standing;
        api::Details {
            serial: certificate.serial.clone(),
            signature_algorithm: certificate.signature_algorithm.clone(),
            spki_sha256: hex(&spki),
            spki_pin: certificate.spki_pin(),
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
        addresses: certificate
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect(),
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
        addresses: Vec::new(),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use data_encoding::BASE64;

    use super::*;
    use crate::admin::fixture::{DAY, Fixture, NOW, at};
    use crate::metrics::Metrics;

    fn entry<'l>(list: &'l api::Certificates, name: &str) -> &'l api::Certificate {
        let mut entries = list.certificates.iter();
        entries.find(|entry| entry.name == name).unwrap()
    }

    fn codes(certificate: &api::Certificate) -> Vec<&str> {
        let problems = certificate.problems.iter();
        problems.map(|problem| problem.code.as_str()).collect()
    }

    #[test]
    fn lists_what_is_served_and_what_is_set_aside() {
        let fixture = Fixture::new();
        fixture.make("mail.example.com", 10);
        let certificates = fixture.folder.path().join("sslcert");
        fs::write(certificates.join("broken.crt"), "nothing").unwrap();
        fixture.make("*.example.com", 100);
        let list = fixture.context.list();
        let names: Vec<_> = list.certificates.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            ["_.example.com", "broken", "mail.example.com", "server"]
        );

        let broken = entry(&list, "broken");
        assert_eq!(broken.kind, api::Kind::SetAside);
        assert_eq!(codes(broken), ["set-aside"]);

        let mail = entry(&list, "mail.example.com");
        assert_eq!(mail.kind, api::Kind::Certificate);
        assert_eq!(mail.names, ["mail.example.com"]);
        assert_eq!(mail.standing.as_deref(), Some("self-signed"));
        assert_eq!(mail.key_type.as_deref(), Some("ecdsa-p256"));
        assert_eq!(mail.sha256.as_ref().map(String::len), Some(64));
        assert_eq!(mail.not_before.unwrap().to_string(), "2026-11-21T10:00:00Z");
        assert_eq!(mail.not_after.unwrap().to_string(), "2026-12-01T10:00:00Z");
        assert!(!mail.default && entry(&list, "server").default);
    }

    #[test]
    fn an_expired_name_that_hides_a_wildcard_is_reported_under_kerio() {
        let fixture = Fixture::new();
        fixture.make("mail.example.com", 10);
        fixture.make("*.example.com", 100);
        fixture.make("alone.example.net", 10);
        let clock = &fixture.context.clock;
        assert!(codes(entry(&fixture.context.list(), "mail.example.com")).is_empty());

        clock.set(at(NOW + 20 * DAY));
        let list = fixture.context.list();
        let mail = entry(&list, "mail.example.com");
        assert_eq!(mail.standing.as_deref(), Some("expired"));
        assert_eq!(codes(mail), ["expired", "hides-wildcard"]);
        assert_eq!(codes(entry(&list, "alone.example.net")), ["expired"]);

        let mut config = (**fixture.context.config.load()).clone();
        config.certificates.order = Order::Safe;
        fixture.context.config.store(config.into());
        assert_eq!(
            codes(entry(&fixture.context.list(), "mail.example.com")),
            ["expired"]
        );

        clock.set(at(NOW + 200 * DAY));
        assert_eq!(
            codes(entry(&fixture.context.list(), "_.example.com")),
            ["expired"]
        );
    }

    #[test]
    fn shows_what_a_browser_would() {
        let fixture = Fixture::new();
        fixture.make("mail.example.com", 10);
        let shown = fixture.context.show("mail.example.com").unwrap();
        let details = shown.details.unwrap();
        assert_eq!(details.spki_sha256.len(), 64);
        assert_eq!(details.tlsa, format!("3 1 1 {}", details.spki_sha256));
        assert_eq!(
            hex(&BASE64.decode(details.spki_pin.as_bytes()).unwrap()),
            details.spki_sha256
        );
        assert_eq!(details.chain.len(), 1);
        assert_eq!(
            Some(&details.chain[0].sha256),
            shown.certificate.sha256.as_ref()
        );
        let change = details.next_change.unwrap();
        assert_eq!(change.standing, "expired");
        assert_eq!(change.at.to_string(), "2026-12-01T10:00:01Z");

        let unknown = fixture.context.show("nobody").unwrap_err();
        assert_eq!(unknown.status(), 404);
        assert_eq!(
            unknown.to_string(),
            "no certificate \"nobody\" (known: mail.example.com, server)"
        );
    }

    #[test]
    fn warns_of_each_name_as_a_browser_would_today() {
        use api::Warning::{NotTrusted, OutOfDate, WrongName};

        let fixture = Fixture::new();
        fixture.make("mail.example.com", 10);
        let warnings = |name: &str| {
            let shown = fixture.context.show(name).unwrap();
            let warnings = shown.details.unwrap().warnings;
            let pairs = warnings.into_iter().map(|of| (of.name, of.warnings));
            pairs.collect::<Vec<_>>()
        };
        let mail = "mail.example.com".to_owned();
        assert_eq!(warnings(&mail), [(mail.clone(), vec![NotTrusted])]);
        // The default certificate is served for a route's name that nothing covers.
        let webmail = (
            "webmail.example.net".to_owned(),
            vec![NotTrusted, WrongName],
        );
        let server = warnings("server");
        assert!(server.contains(&webmail), "{server:?}");
        assert!(!server.iter().any(|(name, _)| *name == mail));

        fixture.context.clock.set(at(NOW + 20 * DAY));
        assert_eq!(
            warnings(&mail),
            [(mail.clone(), vec![NotTrusted, OutOfDate])]
        );
    }

    #[test]
    fn knows_what_expires_next() {
        let fixture = Fixture::new();
        fixture.make("a.example.com", 10);
        fixture.make("b.example.com", 20);
        let next = || fixture.context.expires_next().map(|expiry| expiry.name);
        assert_eq!(next().as_deref(), Some("a.example.com"));
        fixture.context.clock.set(at(NOW + 10 * DAY));
        assert_eq!(next().as_deref(), Some("a.example.com"));
        fixture.context.clock.set(at(NOW + 10 * DAY + 1));
        assert_eq!(next().as_deref(), Some("b.example.com"));
        fixture.context.clock.set(at(NOW + 9999 * DAY));
        assert_eq!(next(), None);
    }

    #[test]
    fn metrics_follow_the_folder() {
        let fixture = Fixture::new();
        fixture.make("a.example.com", 10);
        let metrics = Metrics::new("0");
        fixture.context.observe(&metrics);
        let text = metrics.render();
        for line in [
            "gatepost_certificate_info{default=\"true\",name=\"server\",standing=\"self-signed\"} 1",
            "gatepost_certificate_not_after_timestamp_seconds{name=\"a.example.com\"} 1796119200",
            "gatepost_certificates_set_aside 0",
            "gatepost_certificate_index_updates_total 2",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        fixture.context.remove("a.example.com", false).unwrap();
        fixture.context.observe(&metrics);
        assert!(!metrics.render().contains("a.example.com"));
    }
}
