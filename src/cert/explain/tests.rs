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
    let refused = "default 9: no certificate matches the name, and the listener refuses such names";
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
