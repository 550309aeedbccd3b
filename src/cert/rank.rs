//! Standing and rank: the nine-line table, computed from facts and a time.

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

/// What a certificate is at one time.
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

impl Rank {
    /// The number, 1 to 9.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// Order in which the lines of the table are preferred.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// 1 to 9 as documented.
    #[default]
    Kerio,
    /// An expired exact match comes after every usable wildcard: 1 2 3 5 6 7 4 8 9.
    Safe,
}

impl Standing {
    /// What this certificate is at `now`.
    pub fn kind(&self, _now: UnixTime) -> StandingKind {
        todo!()
    }

    /// The rank at `now` of a certificate that matched as `matched`.
    pub fn rank(&self, _matched: Matched, _now: UnixTime) -> Rank {
        todo!()
    }

    /// The next second after `now` at which [`Self::kind`] gives another answer.
    pub fn next_change(&self, _now: UnixTime) -> Option<UnixTime> {
        todo!()
    }
}
