//! What a TLS handshake costs the proxy's side, in memory: no socket, no client's work.
//!
//! `cargo bench --bench handshake`. The client's messages are made outside the measured time.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use gatepost::cert::{
    CertIndex, Credential, DnsName, KeyAlgorithm, LiveIndex, Order, TrustAnchors, UnknownName,
    read_bundle,
};
use gatepost::config::{Encryption, Legacy, Listener, Protocol, Tls, TlsVersion};
use gatepost::time::Clock;
use gatepost::tls::{Buffer, Provider, ServerTls, Ticketer};
use gatepost::wire::client_hello;
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let keys = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048];
    for key in if common::measuring() {
        &keys[..]
    } else {
        &keys[..1]
    } {
        let pem = common::certificate(*key);
        let server = server(&pem);
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
        handshake(server, &config);
        group.bench_function(kind, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| handshake(server, &config)).sum());
        });
    }
    group.finish();
}

fn server(pem: &(String, String)) -> ServerTls {
    let listener = Listener {
        name: "bench".to_owned(),
        bind: Vec::new(),
        protocol: Protocol::Tcp,
        encryption: Encryption::Implicit,
        hostname: None,
        upstream: None,
        accept_proxy_from: Vec::new(),
        unknown_name: UnknownName::Default,
        idle_timeout: Duration::from_secs(60),
        legacy: Legacy::Refuse,
        mx: false,
    };
    let tls = Tls {
        min_version: TlsVersion::V1_2,
        post_quantum: true,
    };
    let index = CertIndex::new(vec![credential(pem)], Some("bench"), Order::Kerio);
    let ticketer = Ticketer::new(Clock::System).expect("the system has randomness");
    let index = LiveIndex::new(index);
    ServerTls::new(
        &Provider::new(&tls),
        &listener,
        ticketer,
        index,
        Clock::System,
    )
    .expect("versions and suites agree")
}

/// A certificate ready to be served.
fn credential((chain, key): &(String, String)) -> Arc<Credential> {
    let bundle = read_bundle(format!("{chain}{key}").as_bytes()).expect("PEM just made");
    let anchors = TrustAnchors::new();
    let credential = Credential::new("bench", bundle.certificates, &bundle.keys, &anchors);
    Arc::new(credential.expect("certificate and key were made together"))
}

/// One handshake; the time that the proxy's side took.
fn handshake(server: &ServerTls, config: &Arc<ClientConfig>) -> Duration {
    let name = ServerName::try_from(common::NAME).expect("the name is one");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("a vector takes all");

    let begun = Instant::now();
    let hello = client_hello::peek(&wire)
        .expect("a ClientHello")
        .expect("a whole one");
    let name = hello.server_name.as_deref().map(DnsName::parse);
    let name = name.and_then(Result::ok).map(Arc::new);
    let mut session = server
        .session(&hello, name, IpAddr::V4(Ipv4Addr::LOCALHOST))
        .expect("a session");
    let mut took = begun.elapsed();

    let (mut plain, mut control) = (Buffer::take(), Vec::new());
    while !wire.is_empty() {
        let begun = Instant::now();
        let opened = session
            .open(&mut wire, &mut plain, &mut control)
            .expect("the client is a good one");
        took += begun.elapsed();
        wire.drain(..opened.consumed);
        let mut answer = &control[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("a slice gives all");
            client
                .process_new_packets()
                .expect("the server is a good one");
        }
        control.clear();
        client.write_tls(&mut wire).expect("a vector takes all");
    }
    assert!(!session.is_handshaking(), "the handshake is over");
    took
}
