//! The choice, case by case, and that a changed index is like one made anew.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, proptest};
use proptest::prop_assert_eq;

use super::*;
use crate::cert::samples::{Ask, Sample, answer, any_ask, any_order, any_sample, at, load, sample};
use crate::cert::{ClientKind, KeyType};

const RSA: KeyType = KeyType::Rsa(2048);

fn index(samples: &[Sample], default: &str) -> CertIndex {
    CertIndex::new(load(samples), Some(default), Order::Kerio)
}

/// One certificate for each line of the table, and the default.
fn nine() -> Vec<Sample> {
    let expired = |name, names| sample(name, names).period(0, 1400);
    vec![
        sample("exact-trusted", &["mail.x"]).trusted(),
        sample("exact-self-signed", &["mail.x"]).self_signed(),
        sample("exact-valid", &["mail.x"]),
        expired("exact-expired", &["mail.x"]),
        sample("wildcard-trusted", &["*.x"]).trusted(),
        sample("wildcard-self-signed", &["*.x"]).self_signed(),
        sample("wildcard-valid", &["*.x"]),
        expired("wildcard-expired", &["*.x"]),
        sample("default", &["else.example"]).trusted(),
    ]
}

#[test]
fn the_nine_lines_in_both_orders() {
    let kerio = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    let safe = [0, 1, 2, 4, 5, 6, 3, 7, 8];
    for (order, lines) in [(Order::Kerio, kerio), (Order::Safe, safe)] {
        for served in 0..lines.len() {
            let left: Vec<_> = lines[served..]
                .iter()
                .map(|&line| nine()[line].load())
                .collect();
            let index = CertIndex::new(left, Some("default"), order);
            let line = lines[served];
            let name = &nine()[line].name;
            let selected = answer(&index, &Ask::name("mail.x"), 1500);
            assert!(
                selected.starts_with(&format!("{name} {}", line + 1)),
                "{selected}"
            );
        }
    }
}

#[test]
fn names_match_as_presented_identifiers_do() {
    let index = index(&nine(), "default");
    for (name, served) in [
        ("mail.x", "exact-trusted 1 exact"),
        ("www.x", "wildcard-trusted 5 wildcard"),
        ("x", "default 9 default"),
        ("a.b.x", "default 9 default"),
        ("else.example", "default 1 exact"),
        ("a.else.example", "default 9 default"),
        ("-", "default 9 default"),
    ] {
        assert_eq!(answer(&index, &Ask::name(name), 1500), served, "{name}");
    }
}

#[test]
fn a_certificate_staged_for_tomorrow_waits_for_its_second() {
    let staged = sample("staged", &["mail.x"]).period(1600, 9999).trusted();
    let wildcard = sample("wildcard", &["*.x"]).period(0, 1549);
    let index = index(
        &[staged, wildcard, sample("default", &[]).trusted()],
        "default",
    );
    for (now, served) in [
        (1549, "wildcard 7 wildcard"),
        (1550, "wildcard 8 wildcard"),
        (1599, "wildcard 8 wildcard"),
        (1600, "staged 1 exact"),
        (10_000, "staged 4 exact"),
        (1599, "wildcard 8 wildcard"),
    ] {
        assert_eq!(
            answer(&index, &Ask::name("mail.x"), now),
            served,
            "at {now}"
        );
    }
    let staged = sample("staged", &["mail.x"]).period(1600, 9999);
    let wildcard = sample("wildcard", &["*.x"]).period(1600, 9999);
    let default = sample("default", &[]).trusted();
    let index = self::index(&[wildcard.clone(), staged, default.clone()], "default");
    assert_eq!(answer(&index, &Ask::name("mail.x"), 1500), "staged 9 exact");
    let index = self::index(&[wildcard, default], "default");
    assert_eq!(
        answer(&index, &Ask::name("mail.x"), 1500),
        "wildcard 9 wildcard"
    );
}

#[test]
fn an_intermediate_that_expires_demotes_by_itself() {
    let mut first = sample("first", &["mail.x"]).period(1001, 1999);
    first.trusted = Some((1001, 1499));
    let index = index(&[first, sample("second", &["mail.x"]).trusted()], "first");
    assert_eq!(answer(&index, &Ask::name("mail.x"), 1499), "first 1 exact");
    assert_eq!(answer(&index, &Ask::name("mail.x"), 1500), "second 1 exact");
}

#[test]
fn a_client_gets_the_best_that_it_can_verify() {
    let samples = [
        sample("ecdsa", &["mail.x"]).trusted(),
        sample("rsa", &["mail.x"]).key(RSA),
        sample("rsa-wildcard", &["*.x"]).key(RSA).trusted(),
        sample("ed25519", &["ed.x"]).key(KeyType::Ed25519).trusted(),
        sample("default", &["home.x"]).trusted(),
        sample("home-valid", &["home.x"]).key(RSA),
        sample("home-trusted", &["home.x"])
            .key(RSA)
            .period(0, 1700)
            .trusted(),
    ];
    let all = index(&samples, "default");
    let one_wildcard = index(&samples[..5], "default");
    let nothing_but_ecdsa = index(&samples[..1], "ecdsa");
    let empty = index(&[], "default");
    for (index, name, kind, served) in [
        (&all, "mail.x", ClientKind::Modern, "ecdsa 1 exact"),
        (&all, "mail.x", ClientKind::Tls12, "ecdsa 1 exact"),
        (&all, "mail.x", ClientKind::RsaOnly, "rsa 3 exact"),
        (&all, "mail.x", ClientKind::EcdsaOnly, "ecdsa 1 exact"),
        (&all, "ed.x", ClientKind::Modern, "ed25519 1 exact"),
        (&all, "ed.x", ClientKind::Tls12, "rsa-wildcard 5 wildcard"),
        // Known, but with no key for this client: the default, which it can verify.
        (&all, "ed.x", ClientKind::EcdsaOnly, "default 9 default"),
        // The default is ECDSA: another one for its name, the wildcard being one of them.
        (&all, "y", ClientKind::RsaOnly, "rsa-wildcard 9 default"),
        (
            &one_wildcard,
            "y",
            ClientKind::RsaOnly,
            "rsa-wildcard 9 default",
        ),
        (
            &nothing_but_ecdsa,
            "y",
            ClientKind::RsaOnly,
            "no-usable-key",
        ),
        (
            &nothing_but_ecdsa,
            "mail.x",
            ClientKind::RsaOnly,
            "no-usable-key",
        ),
        (&empty, "mail.x", ClientKind::Modern, "no-usable-key"),
        (&empty, "-", ClientKind::Modern, "no-usable-key"),
    ] {
        let ask = Ask::name(name).client(kind);
        assert_eq!(answer(index, &ask, 1500), served, "{name} {kind}");
    }
}

#[test]
fn a_default_that_the_client_cannot_verify_is_stood_in_for() {
    let ask = Ask::name("unknown.example").client(ClientKind::RsaOnly);
    let default = sample("default", &["home.x"]).trusted();
    let by_address = sample("by-address", &["z"]).key(RSA).address("192.0.2.1");
    let relative = sample("relative", &["home.x"]).key(RSA).period(0, 1400);
    let stranger = sample("stranger", &["z"]).key(RSA).trusted();
    let self_signed = sample("self-signed", &["z"]).key(RSA).self_signed();
    let all = [default, relative, stranger, self_signed, by_address];
    let [default, relative, stranger, self_signed, by_address] = &all;
    let with_address = default.clone().address("::ffff:192.0.2.1");
    for (samples, served) in [
        // One for the default's names wins, though strangers stand better.
        (vec![default, relative, stranger], "relative 9 default"),
        (
            vec![&with_address, by_address, stranger],
            "by-address 9 default",
        ),
        (vec![default, by_address, stranger], "stranger 9 default"),
        (
            vec![default, self_signed, by_address],
            "self-signed 9 default",
        ),
    ] {
        let samples: Vec<_> = samples.into_iter().cloned().collect();
        assert_eq!(answer(&index(&samples, "default"), &ask, 1500), served);
    }
}

#[test]
fn a_default_that_is_not_there_is_the_best_of_all() {
    let samples = [
        sample("expired", &["a.x"]).trusted().period(0, 1400),
        sample("self-signed", &["b.x"]).self_signed(),
        sample("trusted", &["c.x"]).trusted().key(KeyType::Ed25519),
        sample("staged", &["d.x"]).period(2500, 9999),
    ];
    let index = index(&samples, "gone");
    for (now, served) in [
        (500, "expired"),
        (1500, "trusted"),
        (2000, "trusted"),
        (2500, "staged"),
    ] {
        let default = index.default_at(at(now)).map(|default| &*default.name);
        assert_eq!(default, Some(served), "at {now}");
        let ask = Ask::name("unknown.example");
        assert_eq!(answer(&index, &ask, now), format!("{served} 9 default"));
    }
    let named = self::index(&samples, "staged");
    assert_eq!(answer(&named, &Ask::name("-"), 1500), "staged 9 default");
}

#[test]
fn a_name_that_nothing_matches_may_be_refused() {
    let samples = [
        sample("ecdsa", &["mail.x"]).address("192.0.2.1"),
        sample("rsa", &["other.x"]).key(RSA),
    ];
    let index = index(&samples, "ecdsa");
    let refusing = |name: &str| Ask {
        unknown_name: UnknownName::Reject,
        ..Ask::name(name)
    };
    let rsa_only = |name| refusing(name).client(ClientKind::RsaOnly);
    let assuming = |ask| Ask {
        assumed: Ask::name("unknown.x").server_name,
        ..ask
    };
    for (ask, served) in [
        (refusing("unknown.x"), "rejected"),
        (rsa_only("unknown.x"), "rejected"),
        (refusing("mail.x"), "ecdsa 3 exact"),
        // Known, though this client cannot verify its key.
        (rsa_only("mail.x"), "rsa 9 default"),
        // No name was sent.
        (refusing("-"), "ecdsa 9 default"),
        (assuming(refusing("-")), "ecdsa 9 default"),
        (rsa_only("-"), "rsa 9 default"),
    ] {
        assert_eq!(answer(&index, &ask, 1500), served, "{ask:?}");
    }
    let empty = CertIndex::new(Vec::new(), None, Order::Kerio);
    assert_eq!(answer(&empty, &refusing("unknown.x"), 1500), "rejected");
    assert_eq!(answer(&empty, &refusing("-"), 1500), "no-usable-key");
}

#[test]
fn without_a_name_the_hostname_is_assumed_or_the_address_looked_up() {
    let samples = [
        sample("four", &[]).address("192.0.2.1"),
        sample("six", &[]).address("2001:db8::1").trusted(),
        sample("home", &["home.x"]),
        sample("default", &["else.example"]),
    ];
    let index = index(&samples, "default");
    let ask = |sent: &str, assumed: &str, local: &str| Ask {
        assumed: Ask::name(assumed).server_name,
        local: local.parse().ok(),
        ..Ask::name(sent)
    };
    for (ask, served) in [
        (ask("-", "-", "192.0.2.1"), "four 3 exact"),
        (ask("-", "-", "::ffff:192.0.2.1"), "four 3 exact"),
        (ask("-", "-", "2001:db8::1"), "six 1 exact"),
        (ask("-", "-", "192.0.2.9"), "default 9 default"),
        (ask("-", "-", "-"), "default 9 default"),
        (ask("-", "home.x", "192.0.2.1"), "home 3 exact"),
        (ask("-", "unknown.x", "192.0.2.1"), "default 9 default"),
        (
            ask("else.example", "home.x", "192.0.2.1"),
            "default 3 exact",
        ),
        (ask("unknown.x", "home.x", "192.0.2.1"), "default 9 default"),
    ] {
        assert_eq!(answer(&index, &ask, 1500), served, "{ask:?}");
    }
}

#[test]
fn what_the_index_says_of_itself() {
    let samples = [
        sample("b", &["mail.x", "*.x", "mail.x"]).address("192.0.2.1"),
        sample("a", &["mail.x", "*.y"]).address("::ffff:192.0.2.1"),
    ];
    let index = index(&samples, "b");
    assert_eq!(index.names(), 4);
    let names: Vec<_> = index.credentials().map(|it| &*it.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(index.get("b").map(|it| &*it.name), Some("b"));
    assert!(index.get("c").is_none());
    assert_eq!(index.default_at(at(1500)).map(|it| &*it.name), Some("b"));
}

/// One change as the store makes it: NAMEs that go, certificates that come.
fn any_change() -> impl Strategy<Value = (Vec<u8>, Vec<(u8, Sample)>, Option<u8>)> {
    let number = || 0..12_u8;
    (
        vec(number(), 0..3),
        vec((number(), any_sample()), 0..4),
        option::of(number()),
    )
}

fn name(number: u8) -> String {
    format!("certificate-{number}")
}

/// All that an index says of itself and of some clients at some time, in words.
fn said(index: &CertIndex, asks: &[Ask], seconds: &[u64]) -> Vec<String> {
    let mut said = vec![format!("{} names", index.names())];
    said.extend(index.credentials().map(|it| format!("{:p}", *it)));
    said.push(format!("{} credentials", index.len()));
    said.extend((0..12).map(|number| format!("{:?}", index.get(&name(number)).map(Arc::as_ptr))));
    for second in seconds {
        said.push(format!(
            "{:?}",
            index.default_at(at(*second)).map(Arc::as_ptr)
        ));
        for ask in asks {
            said.push(answer(index, ask, *second));
            said.push(format!(
                "{:?}",
                index.next_instant(&ask.query(), at(*second))
            ));
            said.push(format!("{:?}", index.explain(&ask.query(), at(*second))));
        }
    }
    said
}

proptest! {
    #[test]
    fn a_changed_index_is_like_one_made_anew(
        changes in vec(any_change(), 1..8),
        order in any_order(),
        asks in vec(any_ask(), 1..5),
        seconds in vec(0..26_u64, 1..4),
    ) {
        let mut index = CertIndex::new(Vec::new(), None, order);
        let mut model = BTreeMap::new();
        for (removed, added, default) in changes {
            let before = said(&index, &asks, &seconds);
            let load = |(number, sample): (u8, Sample)| Sample { name: name(number), ..sample }.load();
            let changes = Changes {
                removed: removed.into_iter().map(name).collect(),
                added: added.into_iter().map(load).collect(),
                default: default.map(name),
            };
            let next = index.with(&changes);
            prop_assert_eq!(said(&index, &asks, &seconds), before, "the old index is what it was");
            for name in &changes.removed {
                model.remove(name);
            }
            for credential in &changes.added {
                model.insert(credential.name.to_string(), Arc::clone(credential));
            }
            let anew = model.values().cloned().collect();
            let anew = CertIndex::new(anew, changes.default.as_deref(), order);
            prop_assert_eq!(said(&next, &asks, &seconds), said(&anew, &asks, &seconds));
            index = next;
        }
    }
}

#[test]
fn a_certificate_that_goes_leaves_nothing_behind() {
    let sample = |number: usize| {
        let mut sample = sample(&format!("certificate-{number}"), &[]);
        let first = IpAddr::from([192, 0, (number / 256) as u8, (number % 256) as u8]);
        sample.addresses = vec![first, first];
        sample
    };
    let all: Vec<_> = (0..600).map(|number| sample(number).load()).collect();
    let empty = CertIndex::new(Vec::new(), None, Order::Kerio);
    let added = Changes {
        added: all.clone(),
        ..Changes::default()
    };
    let full = empty.with(&added);
    assert_eq!((full.len(), full.names()), (600, 600));
    let removed = Changes {
        removed: all.iter().map(|it| it.name.to_string()).collect(),
        ..Changes::default()
    };
    let none = full.with(&removed);
    assert_eq!((none.len(), none.names()), (0, 0));
    assert!(none.is_empty() && none.default_at(at(1500)).is_none());
    drop(full);
    drop(added);
    // Held by `all` alone.
    assert!(all.iter().all(|it| Arc::strong_count(it) == 1));
}
