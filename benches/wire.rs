//! What is said for a connection besides TLS: the way to STARTTLS, and the PROXY header.
//!
//! `cargo bench --bench wire`. Bytes in, bytes out, no socket.

#[path = "common/wire.rs"]
mod said;

use std::hint::black_box;

use criterion::Criterion;
use gatepost::wire::proxy_protocol::{encode_v1, encode_v2};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("starttls");
    for (name, dialogue) in [("imap", said::imap()), ("smtp", said::smtp())] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(dialogue.hold()));
        });
    }
    group.finish();

    let announcement = said::announcement();
    let mut group = criterion.benchmark_group("PROXY header");
    let mut header = Vec::with_capacity(1024);
    for (name, encode) in [
        ("version 1", encode_v1 as fn(&_, &mut Vec<u8>)),
        ("version 2", encode_v2),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                header.clear();
                encode(black_box(&announcement), &mut header);
                black_box(&header);
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
