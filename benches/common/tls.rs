//! Handshakes in memory: the proxy's side and a client's, with no socket between them.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use gatepost::cert::{
    CertIndex, Credential, DnsName, LiveIndex, Order, TrustAnchors, UnknownName, read_bundle,
};
use gatepost::config::{Encryption, Legacy, Listener, Protocol, Tls, TlsVersion};
use gatepost::time::Clock;
use gatepost::tls::{Provider, ServerTls, Session, Ticketer};
use gatepost::wire::client_hello;
use rustls::ClientConfig;
use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;

use super::common;

/// Whoever measures what the proxy does, and nothing else.
pub(crate) trait Meter {
    /// Does something of the proxy's.
    fn proxy<T>(&mut self, work: impl FnOnce() -> T) -> T;
}

/// A listener's TLS with one certificate.
pub(crate) fn server(pem: &(String, String)) -> ServerTls {
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
        trusted_proxies: Vec::new(),
        max_body: None,
        allow: Vec::new(),
        deny: Vec::new(),
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

/// One handshake; both ends when it is over. The client's messages are made outside of what is
/// measured.
pub(crate) fn handshake(
    server: &ServerTls,
    config: &Arc<ClientConfig>,
    meter: &mut impl Meter,
) -> (ClientConnection, Session) {
    let name = ServerName::try_from(common::NAME).expect("the name is one");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("a vector takes all");

    let mut handshake = meter.proxy(|| {
        let hello = client_hello::peek(&wire)
            .expect("a ClientHello")
            .expect("a whole one");
        let name = hello.server_name.as_deref().map(DnsName::parse);
        let name = name.and_then(Result::ok).map(Arc::new);
        server
            .handshake(&hello, name, IpAddr::V4(Ipv4Addr::LOCALHOST))
            .expect("a handshake")
    });

    let mut control = Vec::new();
    while !wire.is_empty() {
        let advanced = meter.proxy(|| {
            let advanced = handshake.advance(&mut wire, &mut control);
            advanced.expect("the client is a good one")
        });
        wire.drain(..advanced.consumed);
        take(&mut client, &control);
        control.clear();
        client.write_tls(&mut wire).expect("a vector takes all");
    }
    let finished = meter.proxy(|| handshake.finish());
    let session = finished.expect("the handshake is over").session;
    (client, session)
}

/// Gives a client what the proxy has sent; what it gets to read.
pub(crate) fn take(client: &mut ClientConnection, mut sent: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !sent.is_empty() {
        client.read_tls(&mut sent).expect("a slice gives all");
        let state = client.process_new_packets();
        let size = state.expect("the server is a good one");
        let begin = heard.len();
        heard.resize(begin + size.plaintext_bytes_to_read(), 0);
        let read = client.reader().read_exact(&mut heard[begin..]);
        read.expect("so much is there to be read");
    }
    heard
}
