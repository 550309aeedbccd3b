//! The best of a set of certificates at every second, known beforehand.
//!
//! When no name matches, the best of *all* certificates may be wanted, and clients must not
//! be able to burn time with that: a scan of 100,000 certificates would cost more than the
//! handshake. Standings move at seconds that are known when certificates are loaded, so the
//! winner of a set is a list of seconds and winners, found by binary search. Nothing is
//! cached and no clock has to run forwards. One more certificate is a merge of its own
//! (very short) timeline, in proportion to the winners there are, not to the certificates.

use std::cmp::Ordering;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::candidate::{Candidate, compare};
use crate::cert::rank::{seconds, unix_time};
use crate::cert::{Credential, Matched, Order, StandingKind};

/// The winner of a set, second by second, by standing and then the ties.
#[derive(Debug, Default)]
pub(super) struct Timeline(Vec<Reign>);

/// From `from` until the next one begins, `credential` is the best, and is `kind`.
#[derive(Clone, Debug)]
struct Reign {
    from: i64,
    credential: Arc<Credential>,
    kind: StandingKind,
}

impl Reign {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            credential: &self.credential,
            matched: Matched::Default,
            kind: self.kind,
        }
    }

    fn same(&self, other: &Self) -> bool {
        self.kind == other.kind && Arc::ptr_eq(&self.credential, &other.credential)
    }
}

impl Timeline {
    /// Merges by halves, so that losers leave early.
    pub(super) fn of(credentials: &[&Arc<Credential>]) -> Self {
        match credentials {
            [] => Self::default(),
            [one] => Self::of_one(one),
            more => {
                let (left, right) = more.split_at(more.len() / 2);
                Self::of(left).merge(&Self::of(right))
            }
        }
    }

    fn of_one(credential: &Arc<Credential>) -> Self {
        let standing = &credential.standing;
        let mut instants: Vec<i64> = standing.boundaries().collect();
        instants.push(i64::MIN);
        instants.sort_unstable();
        let mut timeline = Self::default();
        for from in instants {
            timeline.push(Reign {
                from,
                credential: Arc::clone(credential),
                kind: standing.kind_at(from),
            });
        }
        timeline
    }

    fn merge(&self, other: &Self) -> Self {
        let mut merged = Self::default();
        let (mut left, mut right) = (self.0.as_slice(), other.0.as_slice());
        let mut now = i64::MIN;
        // Both begin at `i64::MIN`; the heads are those that reign at `now`.
        while let ([a, ..], [b, ..]) = (left, right) {
            // The total order does not need `Order`: both candidates match nothing.
            let best = match compare(Order::Kerio, &a.candidate(), &b.candidate()) {
                Ordering::Greater => b,
                Ordering::Less | Ordering::Equal => a,
            };
            merged.push(Reign {
                from: now,
                ..best.clone()
            });
            let ends = |reigns: &[Reign]| reigns.get(1).map(|next| next.from);
            let Some(next) = ends(left).into_iter().chain(ends(right)).min() else {
                break;
            };
            now = next;
            left = if ends(left) == Some(now) {
                &left[1..]
            } else {
                left
            };
            right = if ends(right) == Some(now) {
                &right[1..]
            } else {
                right
            };
        }
        merged
    }

    fn push(&mut self, reign: Reign) {
        if self.0.last().is_none_or(|last| !last.same(&reign)) {
            self.0.push(reign);
        }
    }

    /// The best at `now`; `None` for an empty set.
    pub(super) fn at(&self, now: UnixTime) -> Option<Candidate<'_>> {
        let begun = self.begun(now);
        self.0.get(begun.checked_sub(1)?).map(Reign::candidate)
    }

    /// The next second after `now` at which the best, or its standing, is another.
    pub(super) fn next_change(&self, now: UnixTime) -> Option<UnixTime> {
        unix_time(self.0.get(self.begun(now))?.from)
    }

    fn begun(&self, now: UnixTime) -> usize {
        let now = seconds(now);
        self.0.partition_point(|reign| reign.from <= now)
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
            let timeline = Timeline::of(&loaded.iter().collect::<Vec<_>>());
            let best = |now| {
                let candidate = |credential| Candidate::new(credential, Matched::Default, now);
                let all = loaded.iter().map(candidate);
                all.min_by(|a, b| compare(Order::Kerio, a, b))
            };
            let seen = |best: Option<Candidate<'_>>| best.map(|it| (it.credential.name.clone(), it.kind));
            let mut change = timeline.next_change(at(0));
            for second in 0..30 {
                let now = at(second);
                prop_assert_eq!(seen(timeline.at(now)), seen(best(now)));
                if change == Some(now) {
                    prop_assert_eq!(seen(best(at(second - 1))) == seen(best(now)), false);
                    change = timeline.next_change(now);
                } else if second > 0 {
                    prop_assert_eq!(seen(best(at(second - 1))), seen(best(now)));
                }
            }
            prop_assert_eq!(change, None);
        }
    }
}
