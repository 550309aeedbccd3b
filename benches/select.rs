//! What choosing a certificate costs a handshake, by the number of names in the index.
//!
//! `cargo bench --bench select`. Under `cargo test` the indexes are small and every
//! measurement runs once.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use gatepost::cert::{
    CertIndex, ClientCapabilities, ClientKind, Credential, DnsName, Order, PrivateKey, Query,
    TrustAnchors, UnknownName,
};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, UnixTime};

/// Exact names of one certificate; each carries a wildcard besides.
const NAMES_EACH: usize = 100;

/// How many different names are asked for in turn, so that not one bucket alone is warm.
const ASKED: usize = 1024;

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[usize] = if measuring {
        &[1, 100, 10_000, 100_000]
    } else {
        &[1, 200]
    };
    let mut criterion = Criterion::default().configure_from_args();
    let key = KeyPair::generate().expect("P-256 keys can always be made");
    for &names in sizes {
        measure(&mut criterion, names, &index(names, &key));
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, names: usize, index: &CertIndex) {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let spread = |name: fn(usize) -> String| -> Vec<Option<DnsName>> {
        let step = (names / ASKED).max(1);
        let some = (0..names).step_by(step).take(ASKED);
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
                black_box(index.select(black_box(&query), now));
            });
        });
    }
    group.finish();
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
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS#8");
    let keys = [PrivateKey::from_der(private).expect("P-256 keys can sign")];
    let credentials = (0..names).step_by(NAMES_EACH).map(|first| {
        let number = first / NAMES_EACH;
        let carried = first..names.min(first + NAMES_EACH);
        let mut carried: Vec<_> = carried.map(exact).collect();
        carried.push(format!("*.wild-{number}.example"));
        let certificate = CertificateParams::new(carried)
            .and_then(|params| params.self_signed(key))
            .expect("the names are well-formed");
        let chain = vec![certificate.der().clone()];
        let name = format!("certificate-{number}");
        let credential = Credential::new(&name, chain, &keys, &TrustAnchors::new());
        Arc::new(credential.expect("certificate and key fit each other"))
    });
    CertIndex::new(credentials.collect(), Some("certificate-0"), Order::Kerio)
}
