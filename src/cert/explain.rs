//! Why a certificate is served: the same choice as [`CertIndex::select`], with its reasons.

use rustls_pki_types::UnixTime;

use crate::cert::{CertIndex, Matched, Query};

/// What a handshake would get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The winner is served.
    Served,
    /// unrecognized_name.
    Rejected,
    /// No certificate that this client can verify.
    NoUsableKey,
}

/// The certificate that is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Winner {
    /// NAME.
    pub name: String,
    /// 1 to 9.
    pub rank: u8,
    /// How it matched.
    pub matched: Matched,
    /// SHA-256 fingerprint.
    pub sha256: [u8; 32],
}

/// A candidate that is not served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// NAME.
    pub name: String,
    /// 1 to 9.
    pub rank: u8,
    /// In words.
    pub because: String,
}

/// When somebody else wins, if nothing but time passes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NextChange {
    /// First second of the new answer.
    pub at: UnixTime,
    /// NAME of the winner from then on.
    pub winner: Option<String>,
}

/// The choice and its reasons.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// What a handshake would get.
    pub outcome: Outcome,
    /// The certificate served.
    pub winner: Option<Winner>,
    /// Every other candidate for the name, best first.
    pub candidates: Vec<Lost>,
    /// The next second at which the winner is another.
    pub next_change: Option<NextChange>,
}

impl CertIndex {
    /// Runs [`CertIndex::select`] and says why.
    pub fn explain(&self, _query: &Query<'_>, _now: UnixTime) -> Explanation {
        todo!()
    }
}
