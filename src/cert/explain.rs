//! Why a certificate is served: the same choice as [`CertIndex::select`], with its reasons.
//!
//! Owns the words. It decides nothing: the winner is what `select` answers, and a reason is
//! the step of the one comparison that parted two candidates.

use std::collections::HashSet;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::candidate::{Candidate, Step, compare, decide};
use crate::cert::credential::date_text;
use crate::cert::{
    CertIndex, ClientCapabilities, KeyType, Matched, Order, Query, Selected, Selection,
    StandingKind,
};

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
    /// The other candidates for the name, best first, a thousand at most.
    pub candidates: Vec<Lost>,
    /// How many candidates there are besides.
    pub unlisted: usize,
    /// The next second at which the winner is another.
    pub next_change: Option<NextChange>,
}

/// Most candidates that are listed: one name may be in any number of certificates.
const LISTED: usize = 1000;

const REFUSED: &str = "no certificate matches the name, and the listener refuses such names";

impl Outcome {
    /// The name used in documents, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Rejected => "rejected",
            Self::NoUsableKey => "no-usable-key",
        }
    }
}

impl CertIndex {
    /// Runs [`CertIndex::select`] and says why.
    pub fn explain(&self, query: &Query<'_>, now: UnixTime) -> Explanation {
        let selected = self.select(query, now);
        let winner = selection(selected);
        let (candidates, unlisted) = self.losers(query, selected, now);
        Explanation {
            outcome: outcome(selected),
            winner: winner.map(|selection| Winner {
                name: selection.credential.name.to_string(),
                rank: selection.rank.number(),
                matched: selection.matched,
                sha256: selection.credential.certificate.sha256,
            }),
            candidates,
            unlisted,
            next_change: self.next_change(query, now),
        }
    }

    /// The candidates but the winner, best first, the default last; and how many there are
    /// besides.
    fn losers(
        &self,
        query: &Query<'_>,
        selected: Selected<'_>,
        now: UnixTime,
    ) -> (Vec<Lost>, usize) {
        let mut candidates: Vec<_> = self.matches(query).candidates(now).collect();
        candidates.sort_by(|a, b| compare(self.order(), a, b));
        candidates.extend(self.default_candidate(now));
        let mut seen = HashSet::new();
        candidates.retain(|candidate| seen.insert(Arc::as_ptr(candidate.credential)));

        let winner = selection(selected).map(|winner| winner.credential);
        candidates.retain(|loser| winner.is_none_or(|winner| !loser.is(winner)));
        let unlisted = candidates.len().saturating_sub(LISTED);
        let listed = candidates
            .iter()
            .take(LISTED)
            .map(|loser| Lost {
                name: loser.credential.name.to_string(),
                rank: loser.rank().number(),
                because: self.lost_because(query.client, selected, loser, now),
            })
            .collect();
        (listed, unlisted)
    }

    fn lost_because(
        &self,
        client: ClientCapabilities,
        selected: Selected<'_>,
        loser: &Candidate<'_>,
        now: UnixTime,
    ) -> String {
        let winner = match selected {
            Selected::Rejected => return REFUSED.to_owned(),
            Selected::NoUsableKey => return cannot_verify(loser),
            Selected::Served(_) if !client.can_verify(loser.key_type()) => {
                return cannot_verify(loser);
            }
            Selected::Served(it) => Candidate::new(it.credential, it.matched, now),
        };
        if loser.matched == Matched::Default {
            return "a name was matched, so the default is not asked".to_owned();
        }
        decide(self.order(), &winner, loser).map_or_else(
            || "the same certificate under the same NAME".to_owned(),
            |(step, _)| step_lost(step, self.order(), &winner, loser),
        )
    }

    /// Walks the seconds at which the answer may become another, in order, until it does.
    fn next_change(&self, query: &Query<'_>, now: UnixTime) -> Option<NextChange> {
        let today = self.select(query, now);
        let mut at = now;
        loop {
            at = self.next_instant(query, at)?;
            let then = self.select(query, at);
            if !same_answer(today, then) {
                return Some(NextChange {
                    at,
                    winner: selection(then).map(|winner| winner.credential.name.to_string()),
                });
            }
        }
    }
}

fn selection(selected: Selected<'_>) -> Option<Selection<'_>> {
    match selected {
        Selected::Served(selection) => Some(selection),
        Selected::Rejected | Selected::NoUsableKey => None,
    }
}

fn outcome(selected: Selected<'_>) -> Outcome {
    match selected {
        Selected::Served(_) => Outcome::Served,
        Selected::Rejected => Outcome::Rejected,
        Selected::NoUsableKey => Outcome::NoUsableKey,
    }
}

fn same_answer(a: Selected<'_>, b: Selected<'_>) -> bool {
    let credential = |selected| selection(selected).map(|it| Arc::as_ptr(it.credential));
    outcome(a) == outcome(b) && credential(a) == credential(b)
}

fn cannot_verify(loser: &Candidate<'_>) -> String {
    let signatures = match loser.key_type() {
        // The size of an RSA key makes no difference to who can verify it.
        KeyType::Rsa(_) => "rsa".to_owned(),
        key => key.to_string(),
    };
    format!("the client cannot verify {signatures} signatures")
}

fn line_lost(order: Order, winner: &Candidate<'_>, loser: &Candidate<'_>) -> String {
    if winner.kind == StandingKind::NotYetValid {
        return "not yet valid either, and a wildcard comes after an exact name".to_owned();
    }
    if loser.kind == StandingKind::NotYetValid {
        let begins = date_text(loser.credential.certificate.validity.not_before);
        return format!("not valid before {begins}");
    }
    let (first, later) = (winner.rank(), loser.rank());
    if later < first {
        format!(
            "rank {later} comes after rank {first} (order = {:?})",
            order.as_str()
        )
    } else {
        format!("rank {later} comes after rank {first}")
    }
}

fn step_lost(step: Step, order: Order, winner: &Candidate<'_>, loser: &Candidate<'_>) -> String {
    let (first, later) = (
        &winner.credential.certificate,
        &loser.credential.certificate,
    );
    let tie = match step {
        Step::Line => return line_lost(order, winner, loser),
        Step::NameSource => "common name comes after subjectAltName".to_owned(),
        Step::Past => format!(
            "{} while it lived comes after {} while it lived",
            loser.past().as_str(),
            winner.past().as_str()
        ),
        Step::Staleness => format!(
            "expired earlier ({})",
            before(later.validity.not_after, first.validity.not_after)
        ),
        Step::Key => format!(
            "{} comes after {}",
            family(later.key_type),
            family(first.key_type)
        ),
        Step::NotBefore => format!(
            "issued earlier ({})",
            before(later.validity.not_before, first.validity.not_before)
        ),
        Step::NotAfter => format!(
            "expires earlier ({})",
            before(later.validity.not_after, first.validity.not_after)
        ),
        Step::Fingerprint => "higher SHA-256 fingerprint".to_owned(),
        Step::Name => format!(
            "the same certificate, and {:?} comes after {:?}",
            loser.credential.name, winner.credential.name
        ),
    };
    format!("same rank: {tie}")
}

fn before(earlier: i64, later: i64) -> String {
    format!("{} before {}", date_text(earlier), date_text(later))
}

fn family(key: KeyType) -> &'static str {
    match key {
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => "ECDSA",
        KeyType::Rsa(_) => "RSA",
        KeyType::Ed25519 => "Ed25519",
        KeyType::Other => "another kind of key",
    }
}

#[cfg(test)]
mod tests;
