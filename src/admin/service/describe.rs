//! The certificate folder as documents.

use rustls_pki_types::UnixTime;

use crate::admin::api;
use crate::admin::service::Context;
use crate::admin::service::show::next_change;
use crate::cert::{
    ClientCapabilities, ClientKind, Credential, DnsName, NamePattern, Order, Problem, ProblemCode,
    Query, StandingKind, UnknownName,
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
                not_after: Some(credential.certificate.validity.not_after),
                standing: credential.standing.kind(now).as_str(),
                default: *default,
            }),
            Entry::Request { .. } | Entry::SetAside { .. } => None,
        };
        // What nothing is served of must not be lost sight of.
        let unusable = self.store.unusable().into_iter();
        let unusable = unusable.map(|(name, certificate)| CertificateSample {
            name,
            not_after: certificate.map(|certificate| certificate.validity.not_after),
            standing: ProblemCode::SetAside.as_str(),
            default: false,
        });
        entries.iter().filter_map(sample).chain(unusable).collect()
    }

    pub(super) fn describe(&self, entry: &Entry) -> api::Certificate {
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
            Entry::Request { name } => self.request_line(name),
            Entry::SetAside { name, problem } => {
                bare(name, api::Kind::SetAside, vec![problem.into()])
            }
        }
    }

    fn request_line(&self, name: &str) -> api::Certificate {
        let bare = bare(name, api::Kind::Request, Vec::new());
        // One that cannot be read any more is set aside when the folder is read again.
        let Ok(request) = self.store.waiting(name) else {
            return bare;
        };
        let identity = &request.identity;
        api::Certificate {
            names: identity.names.iter().map(ToString::to_string).collect(),
            addresses: identity.addresses.iter().map(ToString::to_string).collect(),
            key_type: Some(request.key_type.to_string()),
            subject: Some(request.subject),
            ..bare
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
pub(super) fn query(name: &DnsName) -> Query<'_> {
    Query {
        server_name: Some(name),
        assumed: None,
        local: None,
        client: ClientCapabilities::from(ClientKind::Modern),
        unknown_name: UnknownName::Default,
    }
}

fn served(credential: &Credential, now: UnixTime) -> api::Certificate {
    let certificate = &credential.certificate;
    let standing = credential.standing.kind(now).as_str();
    api::Certificate {
        name: credential.name.to_string(),
        kind: api::Kind::Certificate,
        subject: Some(certificate.subject()),
        issuer: Some(certificate.issuer()),
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
        next_change: next_change(credential, now),
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
        next_change: None,
        default: false,
        problems,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
