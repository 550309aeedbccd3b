//! Requests through the whole proxy, over loopback sockets: from the client's TLS to a web server
//! in clear and back, one after the other on connections that are kept.
//!
//! `cargo bench --bench http`. Client, proxy and server share the machine's cores, so the figures
//! compare one version of this code with another, not one proxy with another.

mod common;
#[path = "common/http.rs"]
mod http;
#[path = "common/whole.rs"]
mod whole;

use std::time::Instant;

use criterion::{Criterion, Throughput};
use gatepost::cert::KeyAlgorithm;
use http::Client;
use rustls::version::TLS13;
use tokio::runtime::Runtime;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pem = common::certificate(KeyAlgorithm::EcdsaP256);
    whole::write(&folder.path().join("sslcert"), &pem);
    let server = runtime.block_on(whole::start(folder.path(), http::serve(), "http"));
    let address = server.addresses("bench")[0];

    let mut criterion = Criterion::default().configure_from_args();
    let sizes: &[usize] = match common::told("--bench") {
        true => &[14, 1024 * 1024],
        false => &[14, 64 * 1024],
    };
    for (version, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
        let tls = common::client(&pem, &TLS13);
        let mut client = runtime.block_on(Client::connect(address, tls, http2));
        let mut group = criterion.benchmark_group(version);
        for &size in sizes {
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{size} bytes"), |bencher| {
                bencher.iter_custom(|times| {
                    let begun = Instant::now();
                    runtime.block_on(async {
                        for _ in 0..times {
                            client.get(size).await;
                        }
                    });
                    begun.elapsed()
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    runtime.block_on(server.handle().stop());
}
