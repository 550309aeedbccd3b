use std::net::{IpAddr, Ipv4Addr};

use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::{Read, Write};

use super::*;
use crate::cert::{
    CertIndex, Credential, DnsName, KeyAlgorithm, LiveIndex, NamePattern, NewCertificate, Order,
    Subject, TrustAnchors, UnknownName, read_bundle, self_signed,
};
use crate::config::{Encryption, Legacy, Listener, Protocol, Tls, TlsVersion};
use crate::time::Clock;
use crate::tls::{Provider, ServerTls, Ticketer};
use crate::wire::client_hello::ClientHello;

const NAME: &str = "mail.example.test";

fn credential(key: KeyAlgorithm) -> (Arc<Credential>, CertificateDer<'static>) {
    let new = NewCertificate {
        names: vec![NamePattern::parse(NAME).unwrap()],
        addresses: Vec::new(),
        subject: Subject::default(),
        days: 30,
        key,
    };
    let (chain, key) = self_signed(&new, Clock::System.now()).unwrap();
    let bundle = read_bundle(format!("{chain}{key}").as_bytes()).unwrap();
    let der = bundle.certificates[0].clone();
    let anchors = TrustAnchors::new();
    let credential = Credential::new("a", bundle.certificates, &bundle.keys, &anchors).unwrap();
    (Arc::new(credential), der)
}

fn server(
    protocol: Protocol,
    key: KeyAlgorithm,
    ticketer: &Arc<Ticketer>,
) -> (ServerTls, RootCertStore) {
    let (server, roots, _) = server_and_index(protocol, key, ticketer);
    (server, roots)
}

fn server_and_index(
    protocol: Protocol,
    key: KeyAlgorithm,
    ticketer: &Arc<Ticketer>,
) -> (ServerTls, RootCertStore, LiveIndex) {
    let (credential, der) = credential(key);
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    let listener = Listener {
        name: "test".into(),
        bind: Vec::new(),
        protocol,
        encryption: Encryption::Implicit,
        hostname: None,
        upstream: None,
        accept_proxy_from: Vec::new(),
        unknown_name: UnknownName::Default,
        idle_timeout: std::time::Duration::from_secs(60),
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
    let index = CertIndex::new(vec![credential], Some("a"), Order::Kerio);
    let live = LiveIndex::new(index);
    let server = ServerTls::new(
        &Provider::new(&tls),
        &listener,
        Arc::clone(ticketer),
        live.clone(),
        Clock::System,
    );
    (server.unwrap(), roots, live)
}

fn client_config(
    roots: RootCertStore,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// The two ends, and what is on its way to the server.
struct Pair {
    client: ClientConnection,
    session: Session,
    wire: Vec<u8>,
    plain: Buffer,
    control: Vec<u8>,
    closed: bool,
    heard: Vec<u8>,
}

impl Pair {
    fn new(server: &ServerTls, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(NAME).unwrap();
        let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let hello = client_hello::peek(&wire).unwrap().unwrap();
        let name = hello
            .server_name
            .as_deref()
            .map(|name| DnsName::parse(name).unwrap());
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            client,
            session: server.session(&hello, name.map(Arc::new), local).unwrap(),
            wire,
            plain: Buffer::take(),
            control: Vec::new(),
            closed: false,
            heard: Vec::new(),
        }
    }

    /// Gives the server its bytes in pieces of `piece`, and the client the answers.
    fn turn(&mut self, piece: usize) -> Result<(), TlsError> {
        let mut held = Vec::new();
        let arrived = std::mem::take(&mut self.wire);
        for piece in arrived.chunks(piece) {
            held.extend_from_slice(piece);
            let opened = self
                .session
                .open(&mut held, &mut self.plain, &mut self.control)?;
            held.drain(..opened.consumed);
            self.closed |= opened.closed;
        }
        self.wire = held;
        self.deliver();
        Ok(())
    }

    fn deliver(&mut self) {
        let sent = std::mem::take(&mut self.control);
        self.client_takes(&sent);
        self.client.write_tls(&mut self.wire).unwrap();
    }

    fn client_takes(&mut self, mut sent: &[u8]) {
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut plain).unwrap();
            self.heard.extend_from_slice(&plain);
        }
    }

    fn shake_hands(&mut self, piece: usize) {
        for _ in 0..4 {
            self.turn(piece).unwrap();
        }
        assert!(!self.session.is_handshaking() && !self.client.is_handshaking());
    }
}

#[test]
fn a_dialogue_is_the_same_in_pieces_of_any_size() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(client_config(roots.clone(), version));
        for piece in [1, 7, 100_000] {
            let mut pair = Pair::new(&server, &config);
            pair.shake_hands(piece);
            let said: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
            pair.client.writer().write_all(&said).unwrap();
            pair.client.send_close_notify();
            pair.client.write_tls(&mut pair.wire).unwrap();
            while !pair.wire.is_empty() {
                pair.turn(piece).unwrap();
            }
            assert_eq!(pair.plain.filled(), said);
            assert!(pair.closed);

            let mut wire = Buffer::take();
            pair.session.seal(&mut [], &said, &mut wire).unwrap();
            pair.client_takes(wire.filled());
            assert_eq!(pair.heard, said);
        }
    }
}

#[test]
fn what_was_chosen_and_negotiated_is_known_after_the_handshake() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    let mut config = client_config(roots, &rustls::version::TLS13);
    config.alpn_protocols = vec![b"imap".to_vec()];
    let mut pair = Pair::new(&server, &Arc::new(config));
    pair.shake_hands(100_000);
    let negotiated = pair.session.negotiated().unwrap();
    assert_eq!(negotiated.version, "1.3");
    assert_eq!(negotiated.suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(negotiated.alpn, Some(&b"imap"[..]));
    assert!(!negotiated.resumed);
    assert!(pair.session.ends_with_ticket());
    let chosen = pair.session.take_chosen().unwrap();
    assert_eq!((&*chosen.credential.name, chosen.rank.number()), ("a", 2));
}

#[test]
fn tickets_survive_a_new_configuration_and_not_another_protocol() {
    let imap = Ticketer::new(Clock::System).unwrap();
    let pop3 = Ticketer::new(Clock::System).unwrap();
    let (first, mut roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &imap);
    let (reloaded, more) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &imap);
    let (other, most) = server(Protocol::Pop3, KeyAlgorithm::EcdsaP256, &pop3);
    roots.extend(more.roots);
    roots.extend(most.roots);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(client_config(roots.clone(), version));
        for (server, resumed) in [(&first, false), (&reloaded, true), (&other, false)] {
            let mut pair = Pair::new(server, &config);
            pair.shake_hands(100_000);
            let negotiated = pair.session.negotiated().unwrap();
            assert_eq!(negotiated.resumed, resumed, "{version:?}");
        }
    }
}

#[test]
fn a_failed_handshake_leaves_an_alert_for_the_peer() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    let mut config = client_config(roots, &rustls::version::TLS12);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut pair = Pair::new(&server, &Arc::new(config));
    let error = pair.turn(100_000).unwrap_err();
    assert!(matches!(
        error,
        TlsError::Rustls(rustls::Error::NoApplicationProtocol)
    ));
    assert_eq!(pair.control, [21, 3, 3, 0, 2, 2, 120]);

    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut session = server
        .session(&ClientHello::default(), None, local)
        .unwrap();
    let mut control = Vec::new();
    let mut garbage = b"GET / HTTP/1.0\r\n\r\n".to_vec();
    session
        .open(&mut garbage, &mut Buffer::take(), &mut control)
        .unwrap_err();
    assert_eq!(control[..5], [21, 3, 3, 0, 2]);
}

#[test]
fn a_retried_hello_gets_the_certificate_of_the_first() {
    use aws_lc_rs::kx_group::{MLKEM768, X25519};

    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots, live) =
        server_and_index(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    let mut provider = aws_lc_rs::default_provider();
    // A key share for the first only, which the server does not know.
    provider.kx_groups = vec![MLKEM768, X25519];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut pair = Pair::new(&server, &Arc::new(config));
    pair.turn(100_000).unwrap();
    live.publish(CertIndex::new(Vec::new(), None, Order::Kerio));
    pair.shake_hands(100_000);
    let kind = pair.client.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::FullWithHelloRetryRequest));
}

#[test]
fn a_client_that_can_verify_no_key_is_told_apart() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::Ed25519, &ticketer);
    let mut provider = aws_lc_rs::default_provider();
    let all = provider.signature_verification_algorithms.mapping;
    let ecdsa = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
    let n = all.iter().position(|(scheme, _)| *scheme == ecdsa).unwrap();
    provider.signature_verification_algorithms.mapping = &all[n..=n];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut pair = Pair::new(&server, &Arc::new(config));
    let error = pair.turn(100_000).unwrap_err();
    assert!(matches!(error, TlsError::NoUsableKey), "{error:?}");
}
