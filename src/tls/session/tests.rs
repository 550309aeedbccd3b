use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::io::{Read, Write};

use super::*;
use crate::cert::{
    CertIndex, Credential, DnsName, KeyAlgorithm, LiveIndex, NamePattern, NewCertificate, Order,
    Subject, TrustAnchors, UnknownName, read_bundle, self_signed,
};
use crate::config::{Encryption, Legacy, Listener, Protocol, Tls, TlsVersion};
use crate::time::Clock;
use crate::tls::{Finished, Handshake, Provider, ServerTls, Ticketer};
use crate::wire::client_hello::{self, ClientHello};

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

/// Our end: first the one, then the other.
enum Ours {
    Handshake(Box<Handshake>),
    Session(Box<Finished>),
}

/// The two ends, and what is on its way to the server.
struct Pair {
    client: ClientConnection,
    ours: Option<Ours>,
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
            ours: Some(Ours::Handshake(
                server.handshake(&hello, name.map(Arc::new), local).unwrap(),
            )),
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
            self.receive(&mut held)?;
        }
        self.wire = held;
        self.deliver();
        Ok(())
    }

    fn receive(&mut self, held: &mut Vec<u8>) -> Result<(), TlsError> {
        if let Some(Ours::Handshake(handshake)) = &mut self.ours {
            let advanced = handshake.advance(held, &mut self.control)?;
            held.drain(..advanced.consumed);
            if !handshake.is_done() {
                return Ok(());
            }
        }
        self.ours = match self.ours.take() {
            Some(Ours::Handshake(handshake)) => {
                Some(Ours::Session(Box::new(handshake.finish().unwrap())))
            }
            ours => ours,
        };
        let (plain, mut control) = (&mut self.plain, Vec::new());
        let Some(Ours::Session(finished)) = &mut self.ours else {
            unreachable!("just made")
        };
        let opened = finished.session.open(held, plain, &mut control);
        self.control.extend(control);
        let opened = opened?;
        held.drain(..opened.consumed);
        self.closed |= opened.closed;
        Ok(())
    }

    fn finished(&mut self) -> &mut Finished {
        match &mut self.ours {
            Some(Ours::Session(finished)) => finished,
            _ => panic!("the handshake is not over"),
        }
    }

    fn session(&mut self) -> &mut Session {
        &mut self.finished().session
    }

    /// Says something to the client.
    fn say(&mut self, said: &[u8]) {
        let mut wire = Buffer::take();
        self.session().seal(said, &mut wire).unwrap();
        self.client_takes(wire.filled());
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
        self.finished();
        assert!(!self.client.is_handshaking());
    }
}

#[test]
fn a_dialogue_is_the_same_in_pieces_of_any_size_with_every_suite() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let said: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    for key in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let (server, roots) = server(Protocol::Imap, key, &ticketer);
        for suite in aws_lc_rs::DEFAULT_CIPHER_SUITES {
            let name = format!("{:?}", suite.suite());
            if name.contains("ECDHE_RSA") != (key == KeyAlgorithm::Rsa2048)
                && suite.tls13().is_none()
            {
                continue;
            }
            let mut provider = aws_lc_rs::default_provider();
            provider.cipher_suites = vec![*suite];
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[suite.version()])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let config = Arc::new(config);
            for piece in [1, 7, 100_000] {
                let mut pair = Pair::new(&server, &config);
                pair.shake_hands(piece);
                pair.client.writer().write_all(&said).unwrap();
                pair.client.send_close_notify();
                pair.client.write_tls(&mut pair.wire).unwrap();
                while !pair.wire.is_empty() {
                    pair.turn(piece).unwrap();
                }
                assert_eq!(pair.plain.filled(), said, "{name}");
                assert!(pair.closed, "{name}");

                pair.say(&said);
                pair.say(b"more");
                assert_eq!(pair.heard, [&said[..], b"more"].concat(), "{name}");
                let mut control = Vec::new();
                pair.session().close(&mut control).unwrap();
                pair.client.read_tls(&mut &control[..]).unwrap();
                let state = pair.client.process_new_packets().unwrap();
                assert!(state.peer_has_closed(), "{name}");
            }
        }
    }
}

#[test]
fn what_comes_with_the_last_message_of_the_handshake_is_read() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut pair = Pair::new(&server, &Arc::new(client_config(roots.clone(), version)));
        pair.client.writer().write_all(b"early").unwrap();
        pair.shake_hands(100_000);
        assert_eq!(pair.plain.filled(), b"early");
    }
}

#[test]
fn keys_are_renewed_in_both_directions() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    for suite in aws_lc_rs::DEFAULT_CIPHER_SUITES {
        let Some(_) = suite.tls13() else { continue };
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![*suite];
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let mut pair = Pair::new(&server, &Arc::new(config));
        pair.shake_hands(100_000);
        for round in 0..70 {
            pair.say(b"down");
            pair.client.writer().write_all(b"up").unwrap();
            // The client asks for a new key of ours as well.
            pair.client.refresh_traffic_keys().unwrap();
            pair.client.write_tls(&mut pair.wire).unwrap();
            pair.turn(1 + round).unwrap();
            pair.say(b"d");
        }
        assert_eq!(pair.plain.filled(), b"up".repeat(70));
        assert_eq!(pair.heard, b"downd".repeat(70));
    }
}

#[test]
fn a_key_is_replaced_before_it_is_worn_out() {
    let ticketer = Ticketer::new(Clock::System).unwrap();
    let (server, roots) = server(Protocol::Imap, KeyAlgorithm::EcdsaP256, &ticketer);
    for (version, renews) in [
        (&rustls::version::TLS13, true),
        (&rustls::version::TLS12, false),
    ] {
        let mut pair = Pair::new(&server, &Arc::new(client_config(roots.clone(), version)));
        pair.shake_hands(100_000);
        pair.session().limit = 4;
        let said = vec![7; FRAGMENT * 7];
        let mut wire = Buffer::take();
        let sealed = pair.session().seal(&said, &mut wire);
        assert_eq!(sealed.is_ok(), renews, "{version:?}");
        pair.client_takes(wire.filled());
        match renews {
            true => assert_eq!(pair.heard, said),
            // In TLS 1.2 there is no other key: what it could still seal arrives.
            false => assert!(said.starts_with(&pair.heard) && pair.heard.len() < said.len()),
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
    let Finished {
        negotiated, chosen, ..
    } = pair.finished();
    assert_eq!(negotiated.version, "1.3");
    assert_eq!(negotiated.suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(negotiated.alpn, Some(&b"imap"[..]));
    assert!(!negotiated.resumed);
    let chosen = chosen.take().unwrap();
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
            let negotiated = pair.finished().negotiated;
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
        TlsError::Rustls(Error::NoApplicationProtocol)
    ));
    assert_eq!(pair.control, [21, 3, 3, 0, 2, 2, 120]);

    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut handshake = server
        .handshake(&ClientHello::default(), None, local)
        .unwrap();
    let mut control = Vec::new();
    let mut garbage = b"GET / HTTP/1.0\r\n\r\n".to_vec();
    handshake.advance(&mut garbage, &mut control).unwrap_err();
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
