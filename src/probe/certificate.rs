//! What there is to say about a server's certificate.

use crate::causes;
use crate::cert::Certificate;
use crate::config::{Upstream, Verification};
use crate::probe::advice::Advisor;
use crate::probe::report::Finding;
use crate::time::rfc3339;
use crate::tls::{Peer, Refusal, UpstreamTlsError};

/// What it is about.
const SUBJECT: &str = "certificate";

/// A certificate is renewed before that.
const SOON: i64 = 14 * 24 * 3600;

/// What a server in TLS shows. `now` in seconds since the epoch.
pub(super) fn shown(
    peer: &Peer,
    upstream: &Upstream,
    advisor: &Advisor<'_>,
    now: i64,
) -> Vec<Finding> {
    let tls = format!("version {}, {}", peer.version, peer.suite);
    let mut findings = vec![Finding::note("TLS", tls)];
    let Some(certificate) = &peer.certificate else {
        let text = "cannot be read, and is accepted all the same";
        findings.push(Finding::warning(SUBJECT, text));
        return findings;
    };
    let facts = facts(certificate);
    let verification = &upstream.verification;
    findings.push(match verification {
        Verification { pin: Some(_), .. } => {
            Finding::note(SUBJECT, format!("{facts}; it has the key that is pinned"))
        }
        Verification { verify: false, .. } => {
            let text = format!(
                "{facts}; not verified (verify = false): whoever is on the way can be the server"
            );
            Finding::warning(SUBJECT, text).with(advisor.pin(&certificate.spki_pin()))
        }
        Verification { server_name, .. } => {
            let name = server_name.as_ref().map(ToString::to_string);
            let name = name.unwrap_or_else(|| advisor.host());
            Finding::note(SUBJECT, format!("{facts}; verified for {name:?}"))
        }
    });
    let until = certificate.validity.not_after;
    let counts = verification.verify && verification.pin.is_none();
    if counts && until - now < SOON {
        let text = format!(
            "it expires on {}, and the server is refused then",
            rfc3339(until)
        );
        findings.push(Finding::warning(SUBJECT, text));
    }
    findings
}

/// A certificate that is refused.
pub(super) fn refused(error: &UpstreamTlsError, advisor: &Advisor<'_>) -> Finding {
    let finding = |text| Finding::error(SUBJECT, text);
    let UpstreamTlsError::Refused {
        why,
        certificate: Some(certificate),
    } = error
    else {
        return finding(causes::in_one_line(error));
    };
    let mut remedies = Vec::new();
    if let (Refusal::Name { .. }, Some(name)) = (why, certificate.names.first()) {
        // Any name will do under a star.
        remedies.extend(advisor.server_name(&name.to_string().replace("*.", "mail.")));
    }
    remedies.extend(advisor.pin(&certificate.spki_pin()));
    let text = format!(
        "{}; refused: {}",
        facts(certificate),
        causes::in_one_line(why)
    );
    finding(text).with(remedies)
}

/// Whose it is, in the subject or, where that is empty, by its first name.
fn facts(certificate: &Certificate) -> String {
    let (subject, issuer) = (certificate.subject(), certificate.issuer());
    let subject = match (subject.as_str(), certificate.names.first()) {
        ("", Some(name)) => name.to_string(),
        (subject, _) => subject.to_owned(),
    };
    let issuer = match certificate.self_signed {
        true => "itself",
        false => issuer.as_str(),
    };
    let until = rfc3339(certificate.validity.not_after);
    format!("{subject}, issued by {issuer}, until {until}")
}
