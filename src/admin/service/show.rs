//! One entry of the folder with all that is known of it.

use std::collections::BTreeSet;

use rustls_pki_types::UnixTime;

use crate::admin::api;
use crate::admin::service::describe::query;
use crate::admin::service::{Context, ServiceError};
use crate::cert::{
    CertIndex, Certificate, Credential, DnsName, Extensions, Matched, NamePattern, NameSource,
    Request, Selected, StandingKind, Validity, hex, sha256,
};
use crate::store::Entry;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

impl Context {
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
            request: self.request_details(name),
        })
    }

    fn details(&self, credential: &Credential) -> api::Details {
        let now = self.clock.now();
        let certificate = &credential.certificate;
        let spki = certificate.spki_sha256();
        // What cannot be read was refused when the chain was put together.
        let extensions = Extensions::of(&certificate.der).unwrap_or_default();
        let paths = self.store.paths(&credential.name);
        let constraints = extensions.basic_constraints;
        let others = extensions.others.into_iter();
        api::Details {
            version: extensions.version,
            serial: certificate.serial(),
            signature_algorithm: certificate.signature_algorithm(),
            subject_fields: fields(extensions.subject),
            issuer_fields: fields(extensions.issuer),
            days_left: days_left(certificate, now),
            key_usage: extensions.key_usage,
            extended_key_usage: extensions.extended_key_usage,
            basic_constraints: constraints
                .map(|(ca, path_length)| api::BasicConstraints { ca, path_length }),
            subject_key_id: extensions.subject_key_id,
            authority_key_id: extensions.authority_key_id,
            ocsp: extensions.ocsp,
            ca_issuers: extensions.ca_issuers,
            crl: extensions.crl,
            policies: extensions.policies,
            scts: extensions.scts,
            must_staple: extensions.must_staple,
            other_extensions: others
                .map(|(oid, critical)| api::Extension { oid, critical })
                .collect(),
            sha1: extensions.sha1,
            key_id: crate::cert::short_id(certificate.spki()),
            spki_sha256: hex(&spki),
            spki_pin: certificate.spki_pin(),
            tlsa: format!("3 1 1 {}", hex(&spki)),
            chain: chain(credential),
            warnings: self.warnings(credential, now),
            certificate_file: paths.certificate,
            key_file: paths.key,
        }
    }

    /// The request that waits under a NAME; one that cannot be read is a problem of the entry.
    fn request_details(&self, name: &str) -> Option<api::RequestDetails> {
        let request = self.store.waiting(name).ok()?;
        let paths = self.store.paths(name);
        let Request {
            identity,
            subject,
            subject_fields,
            ..
        } = &request;
        Some(api::RequestDetails {
            subject: subject.clone(),
            subject_fields: fields(subject_fields.clone()),
            names: identity.names.iter().map(ToString::to_string).collect(),
            addresses: identity.addresses.iter().map(ToString::to_string).collect(),
            key_type: request.key_type.to_string(),
            signature_algorithm: request.signature_algorithm.clone(),
            key_id: request.key_id(),
            spki_sha256: hex(&sha256(&request.spki)),
            key_file: paths
                .request
                .as_ref()
                .map(|path| path.with_file_name(format!("{name}.key"))),
            request_file: paths.request,
        })
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

fn fields(fields: Vec<(String, String)>) -> Vec<api::Field> {
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| api::Field { name, value })
        .collect()
}

fn days_left(certificate: &Certificate, now: UnixTime) -> i64 {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let left = certificate.validity.not_after.saturating_sub(now);
    left.div_euclid(SECONDS_PER_DAY)
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

/// The certificates of a chain; what cannot be read was refused when it was put together.
fn links(credential: &Credential) -> impl Iterator<Item = Certificate> {
    let sent = credential.chain();
    sent.filter_map(|der| Certificate::from_der(der.clone()).ok())
}

fn chain(credential: &Credential) -> Vec<api::ChainCertificate> {
    links(credential)
        .map(|certificate| api::ChainCertificate {
            sha256: certificate.fingerprint(),
            not_before: api::Timestamp(certificate.validity.not_before),
            not_after: api::Timestamp(certificate.validity.not_after),
            subject: certificate.subject(),
            issuer: certificate.issuer(),
        })
        .collect()
}

/// What a certificate becomes when nothing but time passes.
pub(super) fn next_change(credential: &Credential, now: UnixTime) -> Option<api::StandingChange> {
    let standing = &credential.standing;
    let at = standing.next_change(now)?;
    Some(api::StandingChange {
        at: at.into(),
        standing: standing.kind(at).as_str().to_owned(),
        why: why(credential, at, standing.kind(at)),
    })
}

/// What ends or begins at the second of a change.
fn why(credential: &Credential, at: UnixTime, then: StandingKind) -> String {
    let at = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let happens = |validity: Validity| {
        if validity.not_after.checked_add(1) == Some(at) {
            return Some("expires");
        }
        (validity.not_before == at).then_some("becomes valid")
    };
    if let Some(happens) = happens(credential.certificate.validity) {
        return format!("the certificate {happens}");
    }
    for certificate in links(credential).skip(1) {
        if let Some(happens) = happens(certificate.validity) {
            return format!("the intermediate {:?} {happens}", certificate.subject());
        }
    }
    match then {
        StandingKind::Trusted => "its trust anchor becomes valid".to_owned(),
        _ => "its trust anchor expires".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;
    use crate::admin::fixture::{DAY, Fixture, NOW, at};

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
        let change = shown.certificate.next_change.unwrap();
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
}
