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
mod tests {
    use proptest::option;
    use proptest::prelude::proptest;
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;
    use crate::cert::samples::{Ask, Sample, any_ask, any_order, any_samples, at, load, sample};
    use crate::cert::{ClientKind, UnknownName};

    const RSA: KeyType = KeyType::Rsa(2048);

    fn explain(samples: &[Sample], ask: &Ask, now: u64) -> Explanation {
        CertIndex::new(load(samples), Some("default"), Order::Kerio).explain(&ask.query(), at(now))
    }

    fn lines(explanation: &Explanation) -> Vec<String> {
        let line = |lost: &Lost| format!("{} {}: {}", lost.name, lost.rank, lost.because);
        explanation.candidates.iter().map(line).collect()
    }

    #[test]
    fn every_loser_is_told_why() {
        let samples = [
            sample("default", &["else.x"]).trusted(),
            sample("best", &["mail.x"]).trusted(),
            sample("older", &["mail.x"]).period(900, 1999).trusted(),
            sample("shorter", &["mail.x", "*.x"])
                .period(1000, 1998)
                .trusted(),
            sample("higher", &["mail.x"]).trusted().fingerprint(8),
            sample("copied", &["mail.x"]).trusted(),
            sample("rsa", &["mail.x"]).trusted().key(RSA),
            sample("ed25519", &["mail.x"])
                .trusted()
                .key(KeyType::Ed25519),
            sample("self-signed", &["mail.x"]).self_signed(),
            sample("cn", &["mail.x"]).common_name(),
            sample("ended", &["mail.x"]).period(0, 1400),
            sample("staged", &["mail.x"]).period(1600, 1700),
            sample("wildcard", &["*.x"]).trusted(),
        ];
        let explanation = explain(
            &samples,
            &Ask::name("mail.x").client(ClientKind::Tls12),
            1500,
        );
        assert_eq!(explanation.outcome, Outcome::Served);
        let winner = Winner {
            name: "best".to_owned(),
            rank: 1,
            matched: Matched::Exact,
            sha256: [7; 32],
        };
        assert_eq!(explanation.winner, Some(winner));
        assert_eq!(
            lines(&explanation),
            [
                r#"copied 1: same rank: the same certificate, and "copied" comes after "best""#,
                "higher 1: same rank: higher SHA-256 fingerprint",
                "shorter 1: same rank: expires earlier (1970-01-01T00:33:18Z before 1970-01-01T00:33:19Z)",
                "older 1: same rank: issued earlier (1970-01-01T00:15:00Z before 1970-01-01T00:16:40Z)",
                "rsa 1: same rank: RSA comes after ECDSA",
                "ed25519 1: the client cannot verify ed25519 signatures",
                "self-signed 2: rank 2 comes after rank 1",
                "cn 3: rank 3 comes after rank 1",
                "ended 4: rank 4 comes after rank 1",
                "wildcard 5: rank 5 comes after rank 1",
                "staged 9: not valid before 1970-01-01T00:26:40Z",
                "default 9: a name was matched, so the default is not asked",
            ]
        );
    }

    #[test]
    fn the_ended_and_the_staged_are_told_why() {
        let samples = [
            sample("trusted", &["mail.x"]).trusted(),
            sample("staler", &["mail.x"]).period(1000, 1998).trusted(),
            sample("self-signed", &["mail.x"]).self_signed(),
            sample("valid", &["mail.x"]),
            sample("cn", &["mail.x"]).common_name().self_signed(),
        ];
        let explanation = explain(&samples, &Ask::name("mail.x"), 5000);
        assert_eq!(
            lines(&explanation),
            [
                "staler 4: same rank: expired earlier (1970-01-01T00:33:18Z before 1970-01-01T00:33:19Z)",
                "self-signed 4: same rank: self-signed while it lived comes after trusted while it lived",
                "valid 4: same rank: valid while it lived comes after trusted while it lived",
                "cn 4: same rank: common name comes after subjectAltName",
            ]
        );
        let samples = [sample("exact", &["mail.x"]), sample("wildcard", &["*.x"])];
        let explanation = explain(&samples, &Ask::name("mail.x"), 1);
        assert_eq!(
            lines(&explanation),
            ["wildcard 9: not yet valid either, and a wildcard comes after an exact name"]
        );
    }

    #[test]
    fn the_safe_order_names_itself() {
        let ended = sample("ended", &["mail.x"]).period(0, 1400);
        let samples = [ended, sample("wildcard", &["*.x"]).trusted()];
        let index = CertIndex::new(load(&samples), None, Order::Safe);
        let explanation = index.explain(&Ask::name("mail.x").query(), at(1500));
        assert_eq!(
            lines(&explanation),
            [r#"ended 4: rank 4 comes after rank 5 (order = "safe")"#]
        );
    }

    #[test]
    fn of_very_many_candidates_the_best_are_listed() {
        let mut samples = vec![sample("default", &["else.x"])];
        let many = (0..1234_i64).map(|number| {
            sample(&format!("certificate-{number}"), &["mail.x"]).period(number - 300, 1999)
        });
        samples.extend(many);
        let explanation = explain(&samples, &Ask::name("mail.x"), 1500);
        assert_eq!(
            explanation.winner.as_ref().unwrap().name,
            "certificate-1233"
        );
        assert_eq!(explanation.candidates.len(), 1000);
        assert_eq!(explanation.candidates[0].name, "certificate-1232");
        assert_eq!(explanation.unlisted, 234);
    }

    #[test]
    fn no_winner_is_explained_too() {
        let samples = [sample("default", &["mail.x"]).trusted()];
        let rejecting = Ask {
            unknown_name: UnknownName::Reject,
            ..Ask::name("unknown.x")
        };
        let cannot = "default 9: the client cannot verify ecdsa-p256 signatures";
        let refused =
            "default 9: no certificate matches the name, and the listener refuses such names";
        for (ask, outcome, line) in [
            (rejecting.clone(), "rejected", refused),
            (rejecting.client(ClientKind::RsaOnly), "rejected", refused),
            (
                Ask::name("-").client(ClientKind::RsaOnly),
                "no-usable-key",
                cannot,
            ),
        ] {
            let explanation = explain(&samples, &ask, 1500);
            assert_eq!(explanation.outcome.as_str(), outcome);
            assert_eq!(explanation.winner, None);
            assert_eq!(lines(&explanation), [line]);
            assert_eq!(explanation.next_change, None);
        }
        let stands_in = [samples[0].clone(), sample("rsa", &["z"]).key(RSA)];
        let ask = Ask::name("mail.x").client(ClientKind::RsaOnly);
        let explanation = explain(&stands_in, &ask, 1500);
        assert_eq!(explanation.winner.as_ref().unwrap().name, "rsa");
        assert_eq!(
            lines(&explanation),
            ["default 1: the client cannot verify ecdsa-p256 signatures"]
        );
    }

    #[test]
    fn the_next_change_is_told_with_its_winner() {
        let samples = [
            sample("default", &["else.x"]).trusted(),
            sample("old", &["mail.x"]).trusted(),
            sample("staged", &["mail.x"]).period(1600, 2500),
        ];
        let change = |now| {
            let change = explain(&samples, &Ask::name("mail.x"), now).next_change?;
            Some((change.at.as_secs(), change.winner.unwrap()))
        };
        assert_eq!(change(0), Some((1000, "old".to_owned())));
        assert_eq!(change(1000), Some((2000, "staged".to_owned())));
        assert_eq!(change(2000), Some((2501, "old".to_owned())));
        assert_eq!(change(2501), None);
        let default = explain(&samples, &Ask::name("unknown.x"), 0);
        assert_eq!(default.next_change, None);
    }

    proptest! {
        #[test]
        fn explain_says_what_select_does(
            samples in any_samples(6),
            default in option::of(0..4_u8),
            order in any_order(),
            ask in any_ask(),
            now in 0..26_u64,
        ) {
            let default = default.map(|it| format!("certificate-{it}"));
            let index = CertIndex::new(load(&samples), default.as_deref(), order);
            let query = ask.query();
            let selected = index.select(&query, at(now));
            let explanation = index.explain(&query, at(now));

            prop_assert_eq!(explanation.outcome, outcome(selected));
            let served = selection(selected).map(|it| {
                (it.credential.name.to_string(), it.rank.number(), it.matched)
            });
            let winner = explanation.winner.clone();
            prop_assert_eq!(winner.map(|it| (it.name, it.rank, it.matched)), served);

            let mut names: Vec<_> = explanation.candidates.iter().map(|it| &it.name).collect();
            names.extend(explanation.winner.as_ref().map(|it| &it.name));
            let every = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), every, "nobody is named twice");

            let changed = |second: &u64| !same_answer(selected, index.select(&query, at(*second)));
            let by_hand = (now..40).find(changed);
            let told = explanation.next_change.as_ref().map(|change| change.at.as_secs());
            prop_assert_eq!(told, by_hand);
            if let Some(change) = explanation.next_change {
                let then = selection(index.select(&query, change.at));
                prop_assert_eq!(change.winner, then.map(|it| it.credential.name.to_string()));
            }
            prop_assert!(explanation.candidates.iter().all(|it| !it.because.is_empty()));
        }
    }
}
