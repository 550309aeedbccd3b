//! Standing and rank: the nine-line table, computed from facts and a time.
//!
//! Owns what a certificate is at one second (trusted … not yet valid), which line of the
//! table that gives it, and in which order the lines are preferred. Knows no names and no
//! other certificate: which of several is served is the matter of [`crate::cert::CertIndex`].

use std::fmt;
use std::time::Duration;

use rustls_pki_types::UnixTime;

/// A period in seconds since the Unix epoch, both ends included (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

/// The facts about a certificate that its rank is computed from; fixed when it is loaded.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The end-entity certificate's own validity period.
    pub validity: Validity,
    /// The periods in which a whole path to a trust anchor is valid, in order, not touching.
    pub trusted: Box<[Validity]>,
    /// Whether the certificate is signed with its own key.
    pub self_signed: bool,
}

/// What a certificate is at one time; the better, the earlier in this list.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum StandingKind {
    /// In date, with a path to a trust anchor.
    Trusted,
    /// In date, signed with its own key.
    SelfSigned,
    /// In date, neither of the two.
    Valid,
    /// Past its end.
    Expired,
    /// Before its beginning.
    NotYetValid,
}

/// How a candidate came to be one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Matched {
    /// A presented identifier (or IP address) equals the one asked for.
    Exact,
    /// By wildcard.
    Wildcard,
    /// By nothing: the default certificate, or what stands in for it.
    Default,
}

/// Line of the selection table, 1 to 9; a certificate that is not yet valid reports 9 as well.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rank(u8);

/// Order in which the lines of the table are preferred.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// 1 to 9 as documented.
    #[default]
    Kerio,
    /// An expired exact match comes after every usable wildcard: 1 2 3 5 6 7 4 8 9.
    Safe,
}

impl Validity {
    /// Whether `now` lies in the period.
    pub fn contains(self, now: UnixTime) -> bool {
        self.contains_second(seconds(now))
    }

    fn contains_second(self, second: i64) -> bool {
        (self.not_before..=self.not_after).contains(&second)
    }

    /// The seconds at which being in the period begins and ends to be true.
    fn boundaries(self) -> [i64; 2] {
        [self.not_before, self.not_after.saturating_add(1)]
    }
}

impl StandingKind {
    /// All, best first.
    pub(super) const ALL: [Self; 5] = [
        Self::Trusted,
        Self::SelfSigned,
        Self::Valid,
        Self::Expired,
        Self::NotYetValid,
    ];

    /// Place in [`Self::ALL`].
    pub(super) fn place(self) -> usize {
        self as usize
    }

    /// The name used in documents, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::SelfSigned => "self-signed",
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
        }
    }
}

impl Matched {
    /// The name used in documents, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Wildcard => "wildcard",
            Self::Default => "default",
        }
    }
}

impl Rank {
    /// The line of the table for a certificate that matched as `matched` and is `kind`.
    pub(super) fn of(matched: Matched, kind: StandingKind) -> Self {
        let first = match matched {
            Matched::Exact => 1,
            Matched::Wildcard => 5,
            Matched::Default => return Self(9),
        };
        Self(match kind {
            StandingKind::Trusted => first,
            StandingKind::SelfSigned => first + 1,
            StandingKind::Valid => first + 2,
            StandingKind::Expired => first + 3,
            StandingKind::NotYetValid => 9,
        })
    }

    /// The number, 1 to 9.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Order {
    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kerio => "kerio",
            Self::Safe => "safe",
        }
    }

    /// Whether an exact match that is `kind` comes before every match by wildcard.
    pub(super) fn beats_wildcards(self, kind: StandingKind) -> bool {
        let best_wildcard = self.preference(Matched::Wildcard, StandingKind::Trusted);
        self.preference(Matched::Exact, kind) < best_wildcard
    }

    /// Place in the order of preference, lowest first. Finer than [`Rank`]: it also orders
    /// what the table counts as 9, first the matches that are not yet valid, then
    /// certificates that match nothing, by standing.
    pub(super) fn preference(self, matched: Matched, kind: StandingKind) -> u8 {
        match (matched, kind) {
            (Matched::Exact, StandingKind::NotYetValid) => 9,
            (Matched::Wildcard, StandingKind::NotYetValid) => 10,
            (Matched::Default, StandingKind::Trusted) => 11,
            (Matched::Default, StandingKind::SelfSigned) => 12,
            (Matched::Default, StandingKind::Valid) => 13,
            (Matched::Default, StandingKind::Expired) => 14,
            (Matched::Default, StandingKind::NotYetValid) => 15,
            _ => match (self, Rank::of(matched, kind).number()) {
                (Self::Safe, 4) => 7,
                (Self::Safe, rank @ 5..=7) => rank - 1,
                (_, rank) => rank,
            },
        }
    }
}

/// | standing at `now`                                       | exact | wildcard | default |
/// |---------------------------------------------------------|-------|----------|---------|
/// | trusted: in date, and in one of the periods of trust    | 1     | 5        | 9       |
/// | self-signed: in date, signed with its own key           | 2     | 6        | 9       |
/// | valid: in date, neither of the two                      | 3     | 7        | 9       |
/// | expired: past notAfter, whatever its origin             | 4     | 8        | 9       |
/// | not yet valid: after 8, before 9, exact before wildcard | 9     | 9        | 9       |
impl Standing {
    /// What this certificate is at `now`.
    pub fn kind(&self, now: UnixTime) -> StandingKind {
        self.kind_at(seconds(now))
    }

    pub(super) fn kind_at(&self, second: i64) -> StandingKind {
        // A period that ends before it begins has ended: "past notAfter, whatever its origin".
        if second > self.validity.not_after {
            StandingKind::Expired
        } else if second < self.validity.not_before {
            StandingKind::NotYetValid
        } else if self
            .trusted
            .iter()
            .any(|period| period.contains_second(second))
        {
            StandingKind::Trusted
        } else if self.self_signed {
            StandingKind::SelfSigned
        } else {
            StandingKind::Valid
        }
    }

    /// The rank at `now` of a certificate that matched as `matched`.
    pub fn rank(&self, matched: Matched, now: UnixTime) -> Rank {
        Rank::of(matched, self.kind(now))
    }

    /// The next second after `now` at which [`Self::kind`] gives another answer.
    pub fn next_change(&self, now: UnixTime) -> Option<UnixTime> {
        let now = seconds(now);
        let kind = self.kind_at(now);
        self.boundaries()
            .filter(|&second| second > now && self.kind_at(second) != kind)
            .min()
            .and_then(unix_time)
    }

    /// Every second at which the standing may become another, in no order.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = i64> {
        std::iter::once(&self.validity)
            .chain(&self.trusted)
            .flat_map(|period| period.boundaries())
    }
}

/// `now` in the signed seconds that certificates are kept in; they may lie before 1970.
pub(super) fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// The reverse of [`seconds`], for what lies in or after 1970.
pub(super) fn unix_time(second: i64) -> Option<UnixTime> {
    let since_epoch = Duration::from_secs(u64::try_from(second).ok()?);
    Some(UnixTime::since_unix_epoch(since_epoch))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, proptest};
    use proptest::prop_assert_eq;

    use super::*;
    use crate::cert::samples::at;

    fn period(not_before: i64, not_after: i64) -> Validity {
        Validity {
            not_before,
            not_after,
        }
    }

    fn standing(trusted: &[Validity], self_signed: bool) -> Standing {
        Standing {
            validity: period(100, 199),
            trusted: trusted.into(),
            self_signed,
        }
    }

    #[test]
    fn the_truth_table() {
        use StandingKind::{Expired, NotYetValid, SelfSigned, Trusted, Valid};
        let in_time = period(100, 199);
        let first_half = period(100, 149);
        // standing, now, kind, rank when exact, when wildcard; the default is always 9
        let table = [
            (standing(&[in_time], false), 150, Trusted, 1, 5),
            (standing(&[in_time], true), 150, Trusted, 1, 5),
            (standing(&[first_half], false), 149, Trusted, 1, 5),
            (standing(&[first_half], true), 150, SelfSigned, 2, 6),
            (standing(&[], true), 150, SelfSigned, 2, 6),
            (standing(&[first_half], false), 150, Valid, 3, 7),
            (standing(&[], false), 100, Valid, 3, 7),
            (standing(&[], false), 199, Valid, 3, 7),
            (standing(&[], false), 200, Expired, 4, 8),
            (standing(&[], true), 200, Expired, 4, 8),
            (standing(&[in_time], false), 200, Expired, 4, 8),
            (standing(&[period(0, 999)], false), 200, Expired, 4, 8),
            (standing(&[], false), 99, NotYetValid, 9, 9),
            (standing(&[], true), 99, NotYetValid, 9, 9),
            (standing(&[in_time], false), 99, NotYetValid, 9, 9),
        ];
        for (standing, now, kind, exact, wildcard) in table {
            let now = at(now);
            assert_eq!(standing.kind(now), kind, "{standing:?} at {now:?}");
            assert_eq!(standing.rank(Matched::Exact, now).number(), exact);
            assert_eq!(standing.rank(Matched::Wildcard, now).number(), wildcard);
            assert_eq!(standing.rank(Matched::Default, now).number(), 9);
        }
    }

    #[test]
    fn a_period_that_ends_before_it_begins_has_ended() {
        let standing = Standing {
            validity: period(200, 100),
            trusted: [].into(),
            self_signed: true,
        };
        assert_eq!(standing.kind(at(99)), StandingKind::NotYetValid);
        assert_eq!(standing.kind(at(150)), StandingKind::Expired);
        assert_eq!(standing.next_change(at(0)), Some(at(101)));
        assert_eq!(standing.next_change(at(150)), None);
    }

    #[test]
    fn both_orders_prefer_the_lines_as_documented() {
        use StandingKind::{Expired, NotYetValid, SelfSigned, Trusted, Valid};
        let mut lines: Vec<_> = [Matched::Default, Matched::Wildcard, Matched::Exact]
            .into_iter()
            .flat_map(|matched| {
                [NotYetValid, Expired, Valid, SelfSigned, Trusted].map(|kind| (matched, kind))
            })
            .collect();
        for (order, ranks) in [
            (Order::Kerio, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9]),
            (Order::Safe, [1, 2, 3, 5, 6, 7, 4, 8, 9, 9, 9, 9, 9, 9, 9]),
        ] {
            lines.sort_by_key(|&(matched, kind)| order.preference(matched, kind));
            let sorted = lines
                .iter()
                .map(|&(matched, kind)| Rank::of(matched, kind).number());
            assert!(sorted.eq(ranks), "{order:?}: {lines:?}");
            assert_eq!(lines[8], (Matched::Exact, NotYetValid));
            assert_eq!(lines[9], (Matched::Wildcard, NotYetValid));
            assert_eq!(lines[10], (Matched::Default, Trusted));
            assert_eq!(lines[14], (Matched::Default, NotYetValid));
        }
    }

    #[test]
    fn the_next_change_is_the_next_second_with_another_standing() {
        let halves = [period(120, 129), period(140, 199)];
        for (standing, now, next) in [
            (standing(&[], false), 0, Some(100)),
            (standing(&[], false), 99, Some(100)),
            (standing(&[], false), 100, Some(200)),
            (standing(&[], false), 200, None),
            (standing(&halves, false), 100, Some(120)),
            (standing(&halves, false), 120, Some(130)),
            (standing(&halves, false), 130, Some(140)),
            (standing(&halves, false), 140, Some(200)),
            (standing(&[period(0, 999)], false), 100, Some(200)),
        ] {
            assert_eq!(standing.next_change(at(now)), next.map(at), "after {now}");
        }
        let for_ever = Standing {
            validity: period(i64::MIN, i64::MAX),
            trusted: [].into(),
            self_signed: false,
        };
        assert_eq!(for_ever.next_change(at(u64::MAX)), None);
        assert_eq!(for_ever.kind(at(u64::MAX)), StandingKind::Valid);
    }

    proptest! {
        #[test]
        fn next_change_misses_no_second(
            validity in (-5..40_i64, -5..40_i64),
            trusted in vec((0..40_i64, 0..40_i64).prop_map(|(a, b)| period(a, b)), 0..3),
            self_signed in any::<bool>(),
            now in 0..50_u64,
        ) {
            let standing = Standing {
                validity: period(validity.0, validity.1),
                trusted: trusted.into(),
                self_signed,
            };
            let kind = standing.kind(at(now));
            let by_hand = (now..60).map(at).find(|&later| standing.kind(later) != kind);
            prop_assert_eq!(standing.next_change(at(now)), by_hand);
        }
    }
}
