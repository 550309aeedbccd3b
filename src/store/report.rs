//! What the log says about the folder.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::{self, CertIndex, Credential, LiveIndex, StandingKind, hex};
use crate::store::scan::SharedSlot;
use crate::store::state::State;
use crate::time::Clock;

/// What is served under a NAME.
type Served<'s> = Option<&'s Arc<Credential>>;

/// What one reading of the folders has that the one before had not.
pub(super) struct Changes<'s> {
    before: &'s State,
    next: &'s State,
    /// What is served under a NAME, if it is another thing than before.
    served: Vec<(Served<'s>, Served<'s>)>,
}

impl<'s> Changes<'s> {
    pub(super) fn between(before: &'s State, next: &'s State) -> Self {
        let credential = |slot: Option<&'s SharedSlot>| slot.and_then(|slot| slot.credential());
        let changes = next.changes(before);
        let served = changes.map(|(_, old, new)| (credential(old), credential(new)));
        let differ = |(old, new): &(Served<'_>, Served<'_>)| match (old, new) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
            (None, None) => false,
            _ => true,
        };
        Self {
            before,
            next,
            served: served.filter(differ).collect(),
        }
    }

    /// Whether another index has to be published.
    pub(super) fn to_index(&self) -> bool {
        let (before, next) = (self.before, self.next);
        !self.served.is_empty()
            || before.default != next.default
            || before.options.order != next.options.order
    }

    /// The index after `index`, which is the one before them.
    pub(super) fn applied_to(&self, index: &CertIndex) -> CertIndex {
        if self.before.options.order != self.next.options.order {
            return self.next.index();
        }
        let gone = self.served.iter().filter(|(_, new)| new.is_none());
        let gone = gone.filter_map(|(old, _)| old.map(|old| old.name.to_string()));
        index.with(&cert::Changes {
            removed: gone.collect(),
            added: self.credentials().cloned().collect(),
            default: self.next.default.clone(),
        })
    }

    /// What is served now and was not before.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &'s Arc<Credential>> {
        self.served.iter().filter_map(|(_, new)| *new)
    }

    /// Says what it brought into force and what it took away.
    pub(super) fn log(&self, clock: &Clock) {
        // Other trust anchors make all credentials anew, and most of them the same.
        let known = |credential: &Credential| {
            let kind = credential.standing.kind(clock.now());
            (credential.certificate.sha256, kind)
        };
        for change in &self.served {
            match *change {
                (old, Some(new)) if old.map(|old| known(old)) != Some(known(new)) => {
                    log_effective(new, clock);
                }
                (Some(old), None) => tracing::info!(name = %old.name, "certificate gone"),
                _ => {}
            }
        }
        let (old, new) = (&self.before.default, &self.next.default);
        if old != new {
            tracing::info!(name = new.as_deref(), "default certificate chosen");
        }
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
        Some(default) => log_default_kind(default, now),
    }
}

/// Says it if this default certificate is a bad one.
pub(super) fn log_default_kind(default: &Credential, now: UnixTime) {
    if default.standing.kind(now) == StandingKind::Expired {
        tracing::warn!(name = %default.name, "the default certificate has expired");
    }
}

/// Says what is set aside and was not before.
pub(super) fn log_set_aside(state: &State, before: Option<&State>) {
    let log = |name: &str, reason: &str| tracing::warn!(name, reason, "certificate set aside");
    let changes: Vec<_> = match before {
        Some(before) => state.changes(before).collect(),
        None => {
            let slots = state.slots.iter();
            slots
                .map(|(name, slot)| (name.as_str(), None, Some(slot)))
                .collect()
        }
    };
    for (name, old, new) in changes {
        for problem in new.into_iter().flat_map(|slot| slot.set_aside()) {
            if old.is_none_or(|old| old.set_aside().all(|known| known != problem)) {
                log(name, &problem.message);
            }
        }
    }
    let known = before.map(State::others).unwrap_or_default();
    for (file, problem) in state.others() {
        if known.get(&file) != Some(&problem) {
            log(&file, &problem.message);
        }
    }
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
