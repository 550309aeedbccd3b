//! The best of all certificates with one kind of key, at any second.
//!
//! When no name matches, the best of *all* certificates may be wanted, and clients must not be
//! able to burn time with that: a scan of 100,000 certificates would cost more than the
//! handshake. Which ties decide depends on the standing alone: the expired have an order of
//! their own, all others share one. So two trees, in which the first certificate of a standing
//! is found at once, answer for every second; no clock has to run forwards.

use std::cmp::Ordering;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::candidate::{Candidate, compare};
use crate::cert::ordered::Ordered;
use crate::cert::rank::seconds;
use crate::cert::{Credential, Matched, Order, StandingKind};

/// All certificates of a set, best first: as they compete in date or before, and when expired.
#[derive(Clone, Debug)]
pub(super) struct Best {
    lively: Ordered,
    expired: Ordered,
}

/// The ties among certificates that match nothing and are `kind`, all of them.
fn ties(kind: StandingKind, a: &Arc<Credential>, b: &Arc<Credential>) -> Ordering {
    let candidate = |credential| Candidate {
        credential,
        matched: Matched::Default,
        kind,
    };
    // What matches nothing is ranked the same by every `Order`.
    compare(Order::Kerio, &candidate(a), &candidate(b))
}

fn lively(a: &Arc<Credential>, b: &Arc<Credential>) -> Ordering {
    ties(StandingKind::Valid, a, b)
}

fn expired(a: &Arc<Credential>, b: &Arc<Credential>) -> Ordering {
    ties(StandingKind::Expired, a, b)
}

impl Best {
    /// The best among `credentials`, no two of which have the same NAME.
    pub(super) fn of(credentials: Vec<Arc<Credential>>) -> Self {
        Self {
            lively: Ordered::new(credentials.clone(), lively),
            expired: Ordered::new(credentials, expired),
        }
    }

    pub(super) fn insert(&mut self, credential: &Arc<Credential>) {
        self.lively.insert(credential);
        self.expired.insert(credential);
    }

    pub(super) fn remove(&mut self, credential: &Arc<Credential>) {
        self.lively.remove(credential);
        self.expired.remove(credential);
    }

    fn tree(&self, kind: StandingKind) -> &Ordered {
        match kind {
            StandingKind::Expired => &self.expired,
            _ => &self.lively,
        }
    }

    /// The best at `now`, by standing and then the ties; `None` for an empty set.
    pub(super) fn at(&self, now: UnixTime) -> Option<Candidate<'_>> {
        let second = seconds(now);
        StandingKind::ALL.into_iter().find_map(|kind| {
            let credential = self.tree(kind).first(kind, second)?;
            Some(Candidate {
                credential,
                matched: Matched::Default,
                kind,
            })
        })
    }

    /// The first second after `now` and before `limit` at which one of the set is better than
    /// `winner`, which is so until `limit`; else `limit`.
    pub(super) fn challenge(&self, winner: &Candidate<'_>, now: i64, limit: i64) -> i64 {
        let mut visit = |credential: &Arc<Credential>, limit: i64| {
            let better = |second: &i64| {
                let then = Candidate {
                    credential,
                    matched: Matched::Default,
                    kind: credential.standing.kind_at(*second),
                };
                *second > now && *second < limit && compare(Order::Kerio, &then, winner).is_lt()
            };
            let seconds = credential.standing.boundaries();
            seconds.filter(better).min().unwrap_or(limit)
        };
        // Nobody becomes better by becoming what is worse than the winner.
        let no_worse = StandingKind::ALL
            .into_iter()
            .filter(|kind| *kind <= winner.kind);
        no_worse.fold(limit, |limit, kind| {
            self.tree(kind).becoming(kind, now, limit, &mut visit)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;
    use proptest::prop_assert_eq;

    use super::*;
    use crate::cert::samples::{any_samples, at, load};

    proptest! {
        #[test]
        fn the_best_at_every_second_is_the_one_a_scan_finds(samples in any_samples(9)) {
            let loaded = load(&samples);
            let best = Best::of(loaded.clone());
            let scanned = |second| {
                let candidate = |credential| Candidate::new(credential, Matched::Default, at(second));
                let all = loaded.iter().map(candidate);
                all.min_by(|a, b| compare(Order::Kerio, a, b))
            };
            let seen = |best: Option<Candidate<'_>>| best.map(|it| (it.credential.name.clone(), it.kind));
            for second in 0..30 {
                prop_assert_eq!(seen(best.at(at(second))), seen(scanned(second)));
                let Some(winner) = scanned(second) else { continue };
                // Until the winner itself becomes another.
                let own = winner.credential.standing.next_change(at(second));
                let limit = own.map_or(40, |at| at.as_secs());
                let other = |then: &u64| !scanned(*then).unwrap().is(winner.credential);
                let by_hand = (second..limit).find(other).unwrap_or(limit);
                let found = best.challenge(&winner, seconds(at(second)), seconds(at(limit)));
                prop_assert_eq!(found, seconds(at(by_hand)));
            }
        }
    }
}
