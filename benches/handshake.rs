//! What a TLS handshake costs the proxy's side, in memory: no socket, no client's work.
//!
//! `cargo bench --bench handshake`. The client's messages are made outside the measured time.

mod common;
#[path = "common/tls.rs"]
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use gatepost::cert::KeyAlgorithm;
use gatepost::tls::ServerTls;
use rustls::SupportedProtocolVersion;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use tls::Meter;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let keys = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048];
    for key in if common::told("--bench") {
        &keys[..]
    } else {
        &keys[..1]
    } {
        let pem = common::certificate(*key);
        let server = tls::server(&pem);
        for version in [&TLS13, &TLS12] {
            measure(&mut criterion, *key, &server, &pem, version);
        }
    }
    criterion.final_summary();
}

fn measure(
    criterion: &mut Criterion,
    key: KeyAlgorithm,
    server: &ServerTls,
    pem: &(String, String),
    version: &'static SupportedProtocolVersion,
) {
    let mut group = criterion.benchmark_group(format!("handshake {key} {version:?}"));
    for (kind, resumption) in [
        ("full", Resumption::disabled()),
        ("resumed", Resumption::in_memory_sessions(4)),
    ] {
        let mut config = common::client(pem, version);
        config.resumption = resumption;
        let config = Arc::new(config);
        // The session that the others resume.
        tls::handshake(server, &config, &mut Stopwatch::default());
        group.bench_function(kind, |bencher| {
            bencher.iter_custom(|times| {
                let mut watch = Stopwatch::default();
                for _ in 0..times {
                    tls::handshake(server, &config, &mut watch);
                }
                watch.0
            });
        });
    }
    group.finish();
}

/// The time that the proxy's side took.
#[derive(Default)]
struct Stopwatch(Duration);

impl Meter for Stopwatch {
    fn proxy<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.0 += begun.elapsed();
        result
    }
}
