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
