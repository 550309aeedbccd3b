//! What choosing a certificate costs a handshake, by the number of names in the index.
//!
//! `cargo bench --bench select`. Under `cargo test` the indexes are small and every
//! measurement runs once.

#[path = "common/names.rs"]
mod names;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use gatepost::cert::{CertIndex, ClientCapabilities, ClientKind, Query, UnknownName};
use names::{below_wildcard, exact, spread, unknown};
use rcgen::KeyPair;
use rustls_pki_types::UnixTime;

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if measuring {
        &[1, 100, 10_000, 100_000]
    } else {
        &[1, 200]
    };
    let mut criterion = Criterion::default().configure_from_args();
    let key = KeyPair::generate().expect("P-256 keys can always be made");
    for &size in sizes {
        measure(&mut criterion, size, &names::index(size, &key));
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, size: usize, index: &CertIndex) {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let modern = ClientCapabilities::ALL;
    let rsa_only = ClientCapabilities::from(ClientKind::RsaOnly);
    let mut group = criterion.benchmark_group("select");
    for (what, asked, client) in [
        ("exact", spread(size, exact), modern),
        ("wildcard", spread(size, below_wildcard), modern),
        ("unknown", spread(size, unknown), modern),
        ("no name", vec![None], modern),
        ("no key", spread(size, exact), rsa_only),
    ] {
        group.bench_with_input(BenchmarkId::new(what, size), &asked, |bencher, asked| {
            let mut names = asked.iter().cycle();
            bencher.iter(|| {
                let query = Query {
                    server_name: names.next().and_then(Option::as_ref),
                    assumed: None,
                    local: None,
                    client,
                    unknown_name: UnknownName::Default,
                };
                black_box(index.select(black_box(&query), now));
            });
        });
    }
    group.finish();
}
