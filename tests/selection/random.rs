//! Random folders and random clients: what is explained is what is served.

use std::fs;

use gatepost::cert::Outcome;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};

use super::bench::{Bench, Explained, LISTENERS, fingerprint};
use super::ca;
use super::table::{HANDSHAKE_FAILURE, Row, UNRECOGNIZED_NAME, finish};
use crate::common::ca::{Key, Pair, TestCa};
use crate::common::handshake::{Got, Kind};
use crate::common::proxy::TestProxy;

/// A certificate of a random folder.
#[derive(Clone, Debug)]
struct Random {
    names: Vec<&'static str>,
    from: i64,
    until: i64,
    origin: &'static str,
    key: usize,
}

/// A random folder, and what is asked of it.
#[derive(Clone, Debug)]
struct Folder {
    certificates: Vec<Random>,
    /// NAME of the default: a number that may be nobody's.
    default: usize,
    safe: bool,
    rows: Vec<Row>,
}

const KEYS: [Key; 4] = [Key::EcdsaP256, Key::EcdsaP384, Key::Rsa2048, Key::Ed25519];

/// Few names and few seconds, so that much is equal.
fn folders() -> impl Strategy<Value = Folder> {
    const NAMES: [&str; 8] = [
        "a.x.example",
        "b.x.example",
        "*.x.example",
        "x.example",
        "*.a.x.example",
        "*.example",
        "self.ranks.example",
        "127.0.0.9",
    ];
    const ASKED: [&str; 7] = [
        "a.x.example",
        "b.x.example",
        "C.X.Example.",
        "x.example",
        "d.a.x.example",
        "y.example",
        "unknown.invalid",
    ];
    const LISTENERS: [&str; 4] = ["plain", "strict", "assumed", "address"];
    let clients = Kind::ALL.map(|(_, kind)| kind);
    let origin = select(vec!["issued", "incomplete", "self-signed", "common name"]);
    let made = (
        subsequence(NAMES.to_vec(), 1..4),
        select(vec![-40_i64, -20, 0, 20]),
        select(vec![-10_i64, 0, 10, 40]),
        origin,
        0..KEYS.len(),
    );
    let made = made.prop_map(|(names, from, until, origin, key)| Random {
        names,
        from,
        until,
        origin,
        key,
    });
    let sent = prop_oneof![1 => Just(None), 5 => select(ASKED.to_vec()).prop_map(Some)];
    let row = (
        sent,
        select(LISTENERS.to_vec()),
        select(clients.to_vec()),
        -45..45_i64,
    );
    let row = row.prop_map(|(sent, listener, kind, at)| {
        let mut row = Row::asking("random", sent);
        (row.listener, row.at) = (listener, at);
        // What is sent letter by letter is sent by one kind of client.
        row.kind = if row.is_whole() { kind } else { Kind::Tls12 };
        row
    });
    (vec(made, 1..8), 0..10_usize, any::<bool>(), vec(row, 12)).prop_map(
        |(certificates, default, safe, rows)| Folder {
            certificates,
            default,
            safe,
            rows,
        },
    )
}

/// Writes it in the place of the folder that was there, and has it read.
fn put(bench: &Bench, ca: &TestCa, keys: &[Pair], folder: &Folder) {
    let site = &bench.proxy.site;
    let sslcert = site.path("sslcert");
    for entry in fs::read_dir(&sslcert).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "crt" || e == "key") {
            fs::remove_file(path).unwrap();
        }
    }
    for (number, made) in folder.certificates.iter().enumerate() {
        let leaf = |names: &[&str]| {
            let leaf = ca.leaf(names).dates(made.from, made.until);
            leaf.key_of(&keys[made.key])
        };
        let pair = match made.origin {
            "common name" => leaf(&[]).common_name(made.names[0]).self_signed(),
            origin => finish(leaf(&made.names), origin),
        };
        pair.write(&sslcert, &number.to_string());
    }
    fs::write(sslcert.join("default"), format!("{}\n", folder.default)).unwrap();
    let order = if folder.safe { "safe" } else { "kerio" };
    site.configure(&format!("order = \"{order}\"\n{LISTENERS}"));
    let handle = bench.proxy.server.handle();
    bench
        .proxy
        .run(async move { handle.reload().await })
        .unwrap();
}

/// What the handshake came to, in the words of an explanation that would be true.
fn told(bench: &Bench, got: &Got, explained: &Explained) -> Explained {
    let (outcome, winner) = match got {
        Got::Certificate(_) => {
            let rank = explained.winner.as_ref().map_or(0, |(_, rank, _)| *rank);
            (
                Outcome::Served,
                Some((bench.proxy.name_of(got), rank, fingerprint(got))),
            )
        }
        Got::Alert(UNRECOGNIZED_NAME) => (Outcome::Rejected, None),
        Got::Alert(HANDSHAKE_FAILURE) => (Outcome::NoUsableKey, None),
        Got::Alert(_) | Got::Nothing(_) => panic!("{got:?}, and {explained:?} was explained"),
    };
    Explained {
        outcome: outcome.as_str().to_owned(),
        winner,
    }
}

#[test]
fn what_is_explained_is_served_whatever_lies_in_the_folder() {
    let ca = ca();
    let keys = KEYS.map(|key| ca.leaf(&["key.example"]).key(key).self_signed());
    let first = ca.leaf(&["first.example"]).self_signed();
    let bench = Bench::new(TestProxy::start(&ca, &[("0", &first)], LISTENERS));
    let cases = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let tried = TestRunner::new(cases).run(&folders(), |folder| {
        put(&bench, &ca, &keys, &folder);
        for row in &folder.rows {
            let got = bench.shake_hands(row);
            let explained = bench.explain(row);
            let told = told(&bench, &got, &explained);
            prop_assert_eq!(&told, &explained, "{:?}", row);
            if let Some(commanded) = bench.explain_over_socket(row) {
                prop_assert_eq!(&told, &commanded, "{:?} by the command", row);
            }
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
