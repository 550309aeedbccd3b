//! What choosing a certificate costs a handshake, and what one more certificate or one less
//! costs the index, by the number of names in it.
//!
//! `cargo bench --bench select`. Under `cargo test` the indexes are small and every
//! measurement runs once.

#![expect(clippy::print_stdout, reason = "what was measured is for the terminal")]

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use gatepost::cert::{
    CertIndex, Changes, ClientCapabilities, ClientKind, Credential, DnsName, LiveIndex, Order,
    PrivateKey, Query, TrustAnchors, UnknownName,
};
use hashbrown::HashMap;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, UnixTime};

/// Exact names of one certificate; each carries a wildcard besides.
const NAMES_EACH: usize = 10;

/// NAME of the default certificate.
const DEFAULT: &str = "certificate-0";

/// How many different names are asked for in turn, at most: far more than caches hold.
const ASKED: usize = 1 << 18;

/// Prime, so that the names asked for one after the other lie far from each other.
const STEP: usize = 611_953;

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if measuring {
        &[1, 100, 10_000, 100_000, 1_000_000]
    } else {
        &[1, 200]
    };
    let mut criterion = Criterion::default().configure_from_args();
    let key = KeyPair::generate().expect("P-256 keys can always be made");
    for &names in sizes {
        let live = LiveIndex::new(index(names, &key));
        choose(&mut criterion, names, &live);
        change(&mut criterion, names, &live, &key);
        if names == sizes[sizes.len() - 1] {
            choose_meanwhile(measuring, names, &live, &key);
        }
    }
    criterion.final_summary();
}

fn choose(criterion: &mut Criterion, names: usize, live: &LiveIndex) {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let spread = |name: fn(usize) -> String| -> Vec<Option<DnsName>> {
        let some = (0..names.min(ASKED)).map(|asked| asked * STEP % names);
        some.map(|number| Some(dns_name(&name(number)))).collect()
    };
    let modern = ClientCapabilities::ALL;
    let rsa_only = ClientCapabilities::from(ClientKind::RsaOnly);
    let mut group = criterion.benchmark_group("select");
    for (what, asked, client) in [
        ("exact", spread(exact), modern),
        ("wildcard", spread(below_wildcard), modern),
        ("unknown", spread(unknown), modern),
        ("no name", vec![None], modern),
        ("no key", spread(exact), rsa_only),
    ] {
        group.bench_with_input(BenchmarkId::new(what, names), &asked, |bencher, asked| {
            let mut names = asked.iter().cycle();
            bencher.iter(|| {
                let query = Query {
                    server_name: names.next().and_then(Option::as_ref),
                    assumed: None,
                    local: None,
                    client,
                    unknown_name: UnknownName::Default,
                };
                black_box(live.load().select(black_box(&query), now));
            });
        });
    }
    group.finish();
}

/// One more certificate, and one less, from a published index to the next.
fn change(criterion: &mut Criterion, names: usize, live: &LiveIndex, key: &KeyPair) {
    let mut group = criterion.benchmark_group("change");
    for (what, carried) in [("one name", 1), ("a hundred names", 100)] {
        let [put, take] = one_more(names, carried, key);
        let mut run = |way: &str, first: &Changes, second: &Changes, timed: usize| {
            let id = BenchmarkId::new(format!("{way}, {what}"), names);
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|times| {
                    let both = |_| [publish(live, first), publish(live, second)][timed];
                    (0..times).map(both).sum()
                });
            });
        };
        run("one more", &put, &take, 0);
        run("one less", &put, &take, 1);
    }
    group.finish();
}

/// Prints how long choices take, one by one, while nobody publishes and while somebody does all
/// the time; in turns, so that what else the machine does is in both.
fn choose_meanwhile(measuring: bool, names: usize, live: &LiveIndex, key: &KeyPair) {
    let (rounds, choices) = if measuring { (9, 1_000_000) } else { (1, 1000) };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let asked: Vec<_> = (0..names.min(ASKED))
        .map(|asked| dns_name(&exact(asked * STEP % names)))
        .collect();
    let flat: HashMap<Box<str>, Arc<Credential>> = (live.load().credentials())
        .flat_map(|credential| {
            let names = credential.certificate.names.iter();
            names.map(move |name| (name.to_string().into(), Arc::clone(credential)))
        })
        .collect();
    let look_up = || {
        percentiles(asked.iter().cycle().take(choices).map(|name| {
            let begun = Instant::now();
            let found = flat.get(name.as_str());
            black_box(found.map(|credential| credential.standing.kind(now)));
            begun.elapsed()
        }))
    };
    let choose = || {
        percentiles(asked.iter().cycle().take(choices).map(|name| {
            let query = Query {
                server_name: Some(name),
                assumed: None,
                local: None,
                client: ClientCapabilities::ALL,
                unknown_name: UnknownName::Default,
            };
            let begun = Instant::now();
            black_box(live.load().select(black_box(&query), now));
            begun.elapsed()
        }))
    };
    println!("reading the clock: {:?}", clock());
    let [put, take] = one_more(names, 1, key);
    let mut seen = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        seen[2].push(look_up());
        seen[0].push(choose());
        let done = AtomicBool::new(false);
        seen[1].push(thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    publish(live, &put);
                    publish(live, &take);
                }
            });
            let times = choose();
            done.store(true, Ordering::Relaxed);
            times
        }));
    }
    let what = [
        "a choice, nobody publishes",
        "a choice, one publishes",
        "a hash map, for comparison",
    ];
    for (what, rounds) in what.iter().zip(&seen) {
        let median = [0, 1, 2].map(|at| {
            let mut all: Vec<_> = rounds.iter().map(|times| times[at]).collect();
            all.sort_unstable();
            all[all.len() / 2]
        });
        println!("{names} names, {what}: median, p99, p99.9 {median:?}");
    }
}

fn percentiles(times: impl Iterator<Item = Duration>) -> [Duration; 3] {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    [500, 990, 999].map(|per_mille| times[times.len() * per_mille / 1000])
}

/// What of each time is the clock's own.
fn clock() -> Duration {
    let [median, ..] = percentiles((0..10_000).map(|_| Instant::now().elapsed()));
    median
}

/// One more certificate, and that it goes.
fn one_more(names: usize, carried: usize, key: &KeyPair) -> [Changes; 2] {
    let added = credential(names, names..names + carried, key);
    let default = Some(DEFAULT.to_owned());
    let removed = vec![added.name.to_string()];
    let put = Changes {
        removed: Vec::new(),
        added: vec![added],
        default: default.clone(),
    };
    let take = Changes {
        removed,
        added: Vec::new(),
        default,
    };
    [put, take]
}

fn publish(live: &LiveIndex, changes: &Changes) -> Duration {
    let begun = Instant::now();
    let next = live.load().with(changes);
    live.publish(next);
    begun.elapsed()
}

fn exact(number: usize) -> String {
    format!("host-{number}.domain-{}.example", number / NAMES_EACH)
}

fn below_wildcard(number: usize) -> String {
    format!("host-{number}.wild-{}.example", number / NAMES_EACH)
}

fn unknown(number: usize) -> String {
    format!("host-{number}.unknown-{}.example", number / NAMES_EACH)
}

fn dns_name(name: &str) -> DnsName {
    DnsName::parse(name).expect("letters, digits, hyphens and dots make a name")
}

/// Certificates for `names` names, all of one key.
fn index(names: usize, key: &KeyPair) -> CertIndex {
    let credentials = (0..names).step_by(NAMES_EACH).map(|first| {
        let carried = first..names.min(first + NAMES_EACH);
        credential(first / NAMES_EACH, carried, key)
    });
    CertIndex::new(credentials.collect(), Some(DEFAULT), Order::Kerio)
}

fn credential(number: usize, carried: Range<usize>, key: &KeyPair) -> Arc<Credential> {
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS#8");
    let keys = [PrivateKey::from_der(private).expect("P-256 keys can sign")];
    let mut carried: Vec<_> = carried.map(exact).collect();
    carried.push(format!("*.wild-{number}.example"));
    let certificate = CertificateParams::new(carried)
        .and_then(|params| params.self_signed(key))
        .expect("the names are well-formed");
    let chain = vec![certificate.der().clone()];
    let name = format!("certificate-{number}");
    let credential = Credential::new(&name, chain, &keys, &TrustAnchors::new());
    Arc::new(credential.expect("certificate and key fit each other"))
}
