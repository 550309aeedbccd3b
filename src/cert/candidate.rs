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
    use crate::cert::samples::{any_order, any_samples, at, load, sample};

    const RSA: KeyType = KeyType::Rsa(2048);

    /// In every line the first differs from the second in the step named and in all later
    /// ones, and is better in the first of these only.
    #[test]
    fn every_tie_is_decided_by_the_first_step_that_differs() {
        let s = |name| sample(name, &["x"]);
        let line = [
            (
                Step::NameSource,
                1500,
                s("b").key(RSA),
                s("a").common_name(),
            ),
            (
                Step::Key,
                1500,
                s("b").period(1000, 1999),
                s("a").period(1001, 2000).key(RSA),
            ),
            (
                Step::Key,
                1500,
                s("b").key(RSA),
                s("a").period(1001, 2000).key(KeyType::Ed25519),
            ),
            (
                Step::NotBefore,
                1500,
                s("b").period(1001, 1999),
                s("a").period(1000, 2000),
            ),
            // The curve makes no difference.
            (
                Step::NotBefore,
                1500,
                s("b").period(1001, 1999).key(KeyType::EcdsaP521),
                s("a"),
            ),
            (
                Step::NotAfter,
                1500,
                s("b").period(1000, 2000),
                s("a").fingerprint(1),
            ),
            (Step::Fingerprint, 1500, s("b").fingerprint(6), s("a")),
            (Step::Name, 1500, s("a"), s("b")),
            // Expired: the past and the staleness come first, but not before the source.
            (
                Step::NameSource,
                9999,
                s("b").period(0, 9),
                s("a").common_name().self_signed(),
            ),
            (
                Step::Past,
                9999,
                s("b").trusted().key(RSA),
                s("a").period(1500, 3000).self_signed(),
            ),
            (
                Step::Past,
                9999,
                s("b").self_signed().key(RSA),
                s("a").period(1500, 3000),
            ),
            (
                Step::Staleness,
                9999,
                s("b").key(RSA),
                s("a").period(1500, 1998),
            ),
            (Step::Key, 9999, s("b"), s("a").period(1500, 1999).key(RSA)),
            (
                Step::NotBefore,
                9999,
                s("b").period(1001, 1999),
                s("a").fingerprint(1),
            ),
            // Not expired: neither of the two is asked.
            (
                Step::NotBefore,
                1,
                s("b").period(1001, 1999),
                s("a").trusted(),
            ),
            (
                Step::NotBefore,
                1500,
                s("b").trusted().period(1001, 1998),
                s("a").self_signed().trusted(),
            ),
        ];
        for (step, now, better, worse) in line {
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
