//! What the log says about the folder.

use std::collections::HashSet;

use crate::cert::{Credential, LiveIndex, Problem, StandingKind, hex};
use crate::store::state::State;
use crate::time::Clock;

/// Says what a change brought into force and what it took away.
pub(super) fn log_changes(state: &State, before: &State, clock: &Clock) {
    // Other trust anchors make all credentials anew, and most of them the same.
    let known = |credential: &Credential| {
        let kind = credential.standing.kind(clock.now());
        (credential.certificate.sha256, kind)
    };
    for credential in state.credentials() {
        let old = before.credential(&credential.name);
        if old.map(|old| known(old)) != Some(known(credential)) {
            log_effective(credential, clock);
        }
    }
    for gone in before
        .credentials()
        .filter(|old| state.credential(&old.name).is_none())
    {
        tracing::info!(name = %gone.name, "certificate gone");
    }
    let (old, new) = (&before.default, &state.default);
    if old != new {
        tracing::info!(name = new.as_deref(), "default certificate chosen");
    }
}

fn log_effective(credential: &Credential, clock: &Clock) {
    let names: Vec<String> = credential
        .certificate
        .names
        .iter()
        .map(ToString::to_string)
        .collect();
    tracing::info!(
        name = %credential.name,
        names = names.join(" "),
        sha256 = hex(&credential.certificate.sha256),
        standing = credential.standing.kind(clock.now()).as_str(),
        "certificate effective"
    );
}

/// Says it loudly if clients that no other certificate matches get a bad one, or none at all.
pub(super) fn log_default(live: &LiveIndex, clock: &Clock) {
    let now = clock.now();
    match live.load().default_at(now) {
        None => tracing::error!(
            "no certificate can be served: every TLS handshake fails until one is imported or made"
        ),
        Some(default) if default.standing.kind(now) == StandingKind::Expired => {
            tracing::warn!(name = %default.name, "the default certificate has expired");
        }
        Some(_) => {}
    }
}

/// Says what is set aside and was not before.
pub(super) fn log_set_aside(state: &State, before: Option<&State>) {
    let known: HashSet<_> = before
        .into_iter()
        .flat_map(State::set_aside)
        .map(reason)
        .collect();
    for (name, problem) in state.set_aside() {
        if !known.contains(&reason((name, problem))) {
            tracing::warn!(name, reason = problem.message, "certificate set aside");
        }
    }
}

fn reason<'s>((name, problem): (&'s str, &'s Problem)) -> (&'s str, &'s str) {
    (name, &problem.message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls_pki_types::UnixTime;

    use super::*;
    use crate::cert::{CertIndex, KeyAlgorithm, NamePattern, NewCertificate, Order};
    use crate::cert::{Subject, TrustAnchors};
    use crate::store::import::made;
    use crate::store::tests::logged;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Begins at second 0 of the Unix epoch.
    fn one_day() -> Arc<Credential> {
        let new = NewCertificate {
            names: vec![NamePattern::parse("mail.example.com").unwrap()],
            addresses: Vec::new(),
            subject: Subject::default(),
            days: 1,
            key: KeyAlgorithm::default(),
        };
        let pair = made(&new, at(0)).unwrap();
        let credential = Credential::new("server", pair.chain, &[pair.key], &TrustAnchors::new());
        Arc::new(credential.unwrap())
    }

    #[test]
    fn a_default_that_is_expired_or_missing_is_said() {
        let said = |credentials: Vec<_>, now: u64| {
            let live = LiveIndex::new(CertIndex::new(credentials, None, Order::Kerio));
            logged(|| log_default(&live, &Clock::manual(at(now))))
        };
        let none = said(Vec::new(), 1);
        assert!(none.contains("no certificate can be served"), "{none}");
        assert_eq!(said(vec![one_day()], 86_400), "");
        let expired = said(vec![one_day()], 86_401);
        let expected = "the default certificate has expired name=server";
        assert!(expired.contains(expected), "{expired}");
    }
}
