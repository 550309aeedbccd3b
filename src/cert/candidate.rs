//! One certificate considered for one query at one second, and the order among several.
//!
//! The order is written down once, as a list of steps. The handshake, the choice of the
//! default certificate and `explain` all walk this list.

use std::cmp::Ordering;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::{Credential, KeyType, Matched, Order, Rank, StandingKind};

/// A certificate that might be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'i> {
    pub(super) credential: &'i Arc<Credential>,
    pub(super) matched: Matched,
    pub(super) kind: StandingKind,
}

/// What can decide between two candidates, in the order in which it is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The line of the table.
    Line,
    /// subjectAltName before common name.
    NameSource,
    /// Expired only: trusted while it lived, then self-signed, then others.
    Past,
    /// Expired only: the least stale.
    Staleness,
    /// ECDSA, RSA, Ed25519.
    Key,
    /// The latest notBefore.
    NotBefore,
    /// The latest notAfter.
    NotAfter,
    /// The lowest SHA-256 fingerprint.
    Fingerprint,
    /// The lowest NAME: the same certificate may lie in the folder twice.
    Name,
}

impl<'i> Candidate<'i> {
    pub(super) fn new(credential: &'i Arc<Credential>, matched: Matched, now: UnixTime) -> Self {
        Self {
            credential,
            matched,
            kind: credential.standing.kind(now),
        }
    }

    pub(super) fn key_type(&self) -> KeyType {
        self.credential.certificate.key_type
    }

    pub(super) fn rank(&self) -> Rank {
        Rank::of(self.matched, self.kind)
    }

    pub(super) fn is(&self, credential: &Arc<Credential>) -> bool {
        Arc::ptr_eq(self.credential, credential)
    }

    /// What an expired certificate was while it lived.
    pub(super) fn past(&self) -> StandingKind {
        let standing = &self.credential.standing;
        if !standing.trusted.is_empty() {
            StandingKind::Trusted
        } else if standing.self_signed {
            StandingKind::SelfSigned
        } else {
            StandingKind::Valid
        }
    }
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Line,
        Self::NameSource,
        Self::Past,
        Self::Staleness,
        Self::Key,
        Self::NotBefore,
        Self::NotAfter,
        Self::Fingerprint,
        Self::Name,
    ];

    /// [`Ordering::Less`] if this step prefers `a`.
    fn compare(self, order: Order, a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
        let (first, second) = (&a.credential.certificate, &b.credential.certificate);
        // Asked after `Line` only, so that both are expired or neither is.
        let expired = a.kind == StandingKind::Expired;
        match self {
            Self::Line => {
                let line = |c: &Candidate<'_>| order.preference(c.matched, c.kind);
                line(a).cmp(&line(b))
            }
            Self::NameSource => first.name_source.cmp(&second.name_source),
            Self::Past if expired => a.past().cmp(&b.past()),
            Self::Past => Ordering::Equal,
            Self::Staleness if expired => Self::NotAfter.compare(order, a, b),
            Self::Staleness => Ordering::Equal,
            Self::Key => key_place(first.key_type).cmp(&key_place(second.key_type)),
            Self::NotBefore => second.validity.not_before.cmp(&first.validity.not_before),
            Self::NotAfter => second.validity.not_after.cmp(&first.validity.not_after),
            Self::Fingerprint => first.sha256.cmp(&second.sha256),
            Self::Name => a.credential.name.cmp(&b.credential.name),
        }
    }
}

/// Place of a kind of key among those that the client permits.
fn key_place(key: KeyType) -> u8 {
    match key {
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => 0,
        KeyType::Rsa(_) => 1,
        KeyType::Ed25519 => 2,
        KeyType::Other => 3,
    }
}

/// The step that decides between two candidates, and how; `None` for a candidate and itself.
pub(super) fn decide(
    order: Order,
    a: &Candidate<'_>,
    b: &Candidate<'_>,
) -> Option<(Step, Ordering)> {
    Step::ALL
        .into_iter()
        .map(|step| (step, step.compare(order, a, b)))
        .find(|(_, ordering)| ordering.is_ne())
}

/// The order of candidates, best first.
pub(super) fn compare(order: Order, a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    decide(order, a, b).map_or(Ordering::Equal, |(_, ordering)| ordering)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;
    use crate::cert::samples::{Sample, any_order, any_samples, at, load, sample};

    const RSA: KeyType = KeyType::Rsa(2048);

    fn x(name: &str) -> Sample {
        sample(name, &["x"])
    }

    /// `better` differs from `worse` in `step` and in later ones, where `worse` is better.
    fn decides(step: Step, now: u64, better: &Sample, worse: &Sample) {
        for matched in [Matched::Exact, Matched::Wildcard, Matched::Default] {
            let (better, worse) = (better.load(), worse.load());
            let better = Candidate::new(&better, matched, at(now));
            let worse = Candidate::new(&worse, matched, at(now));
            for order in [Order::Kerio, Order::Safe] {
                let decided = decide(order, &better, &worse);
                assert_eq!(
                    decided,
                    Some((step, Ordering::Less)),
                    "{better:?} {worse:?}"
                );
                let decided = decide(order, &worse, &better);
                assert_eq!(decided, Some((step, Ordering::Greater)));
                assert_eq!(decide(order, &better, &better), None);
            }
        }
    }

    #[test]
    fn ties_among_those_in_date_and_those_to_come() {
        let (key, not_before) = (Step::Key, Step::NotBefore);
        let ed25519 = || x("a").period(1001, 2000).key(KeyType::Ed25519);
        decides(
            Step::NameSource,
            1500,
            &x("b").key(RSA),
            &x("a").common_name(),
        );
        decides(key, 1500, &x("b"), &x("a").period(1001, 2000).key(RSA));
        decides(key, 1500, &x("b").key(RSA), &ed25519());
        decides(
            not_before,
            1500,
            &x("b").period(1001, 1999),
            &x("a").period(1000, 2000),
        );
        // The curve makes no difference.
        let p521 = x("b").period(1001, 1999).key(KeyType::EcdsaP521);
        decides(not_before, 1500, &p521, &x("a"));
        decides(
            Step::NotAfter,
            1500,
            &x("b").period(1000, 2000),
            &x("a").fingerprint(1),
        );
        decides(Step::Fingerprint, 1500, &x("b").fingerprint(6), &x("a"));
        decides(Step::Name, 1500, &x("a"), &x("b"));
        // Past and staleness are asked of the expired alone.
        decides(not_before, 1, &x("b").period(1001, 1999), &x("a").trusted());
        let newer = x("b").trusted().period(1001, 1998);
        decides(not_before, 1500, &newer, &x("a").self_signed().trusted());
    }

    #[test]
    fn ties_among_the_expired() {
        let (now, past) = (9999, Step::Past);
        let common_name = x("a").common_name().self_signed();
        decides(Step::NameSource, now, &x("b").period(0, 9), &common_name);
        let later = x("a").period(1500, 3000);
        decides(
            past,
            now,
            &x("b").trusted().key(RSA),
            &later.clone().self_signed(),
        );
        decides(past, now, &x("b").self_signed().key(RSA), &later);
        decides(
            Step::Staleness,
            now,
            &x("b").key(RSA),
            &x("a").period(1500, 1998),
        );
        decides(Step::Key, now, &x("b"), &x("a").period(1500, 1999).key(RSA));
        let newer = x("b").period(1001, 1999);
        decides(Step::NotBefore, now, &newer, &x("a").fingerprint(1));
    }

    #[test]
    fn the_line_comes_before_every_tie() {
        let tomorrow = sample("a", &["x"]).trusted().period(2000, 9999).load();
        let today = sample("b", &["x"])
            .common_name()
            .key(KeyType::Ed25519)
            .load();
        let staged = Candidate::new(&tomorrow, Matched::Exact, at(1500));
        let works = Candidate::new(&today, Matched::Wildcard, at(1500));
        let decided = decide(Order::Kerio, &works, &staged);
        assert_eq!(decided, Some((Step::Line, Ordering::Less)));
    }

    fn candidates(loaded: &[Arc<Credential>], now: UnixTime) -> Vec<Candidate<'_>> {
        let ways = [Matched::Exact, Matched::Wildcard, Matched::Default];
        let candidate = |(credential, matched)| Candidate::new(credential, matched, now);
        loaded
            .iter()
            .zip(ways.into_iter().cycle())
            .map(candidate)
            .collect()
    }

    proptest! {
        #[test]
        fn the_order_is_total(samples in any_samples(6), now in 0..26_u64, order in any_order()) {
            let loaded = load(&samples);
            let all = candidates(&loaded, at(now));
            for a in &all {
                for b in &all {
                    let ordering = compare(order, a, b);
                    prop_assert_eq!(ordering, compare(order, b, a).reverse());
                    prop_assert_eq!(ordering.is_eq(), a.is(b.credential));
                    for c in &all {
                        let chained = ordering.is_lt() && compare(order, b, c).is_lt();
                        prop_assert!(!chained || compare(order, a, c).is_lt());
                    }
                }
            }
        }
    }
}
