//! The TLS of one connection: bytes in, bytes out, no socket.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion};

use crate::tls::resolver::ConnectionResolver;
use crate::tls::{Buffer, Chosen};
use crate::wire::client_hello;

/// Bytes of handshake answers, alerts and key updates that may wait to be sent. A handshake
/// flight with a long chain fits; a peer that asks for key updates without end does not.
const CONTROL_LIMIT: usize = 256 * 1024;

/// Why TLS ended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What rustls says of it.
    #[error("TLS failed")]
    Rustls(#[from] rustls::Error),
    /// No certificate has a key whose signatures this client can verify.
    #[error("no certificate has a key that this client can verify")]
    NoUsableKey,
    /// The peer made us answer more than anybody needs.
    #[error("more than {CONTROL_LIMIT} bytes of answers to the peer's TLS messages are waiting")]
    ControlFlood,
}

/// What one call of [`Session::open`] did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opened {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Whether the peer has said close_notify.
    pub closed: bool,
}

/// What was negotiated.
#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    /// `1.2` or `1.3`
    pub version: &'static str,
    /// The suite by its OpenSSL name, as servers behind log it.
    pub suite: &'static str,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// The ALPN protocol agreed on, where it is the registered name of a protocol that we
    /// know.
    pub alpn: Option<&'static [u8]>,
}

/// The server's side of one TLS connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// Given up when the handshake is over.
    resolver: Option<Arc<ConnectionResolver>>,
    /// Whether TLS failed: nothing more is said then, the alert was the last.
    failed: bool,
}

impl Session {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        resolver: Arc<ConnectionResolver>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            resolver: Some(resolver),
            failed: false,
        })
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What was negotiated; `None` before it is.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let version = version_name(self.connection.protocol_version()?);
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        Some(Negotiated {
            version,
            suite: suite_name(suite),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: match self.connection.alpn_protocol() {
                Some(b"imap") => Some(b"imap"),
                Some(b"pop3") => Some(b"pop3"),
                Some(b"managesieve") => Some(b"managesieve"),
                Some(b"h2") => Some(b"h2"),
                Some(b"http/1.1") => Some(b"http/1.1"),
                _ => None,
            },
        })
    }

    /// Whether our last message is the session ticket, for which no client waits. In TLS 1.2
    /// the ticket stands before our Finished, for which every client does.
    pub fn ends_with_ticket(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Takes out which certificate was chosen, once the handshake is over.
    pub fn take_chosen(&mut self) -> Option<Chosen> {
        self.resolver.take()?.chosen.get().cloned()
    }

    /// Takes received bytes: plaintext is appended to `plain`, what must be sent in answer
    /// to `control`. `wire` is decrypted in place and must be consumed as reported.
    ///
    /// As much plaintext comes out at the most as ciphertext went in, so a [`Buffer`] of
    /// ciphertext fits into an empty one of plaintext.
    ///
    /// # Errors
    /// `control` then holds the alert for the peer.
    pub fn open(
        &mut self,
        wire: &mut [u8],
        plain: &mut Buffer,
        control: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        let mut opened = Opened::default();
        let mut failed = None;
        let before = control.len();
        // After a failure only what is to be sent is asked for, the alert for the peer being
        // the last of it: rustls would look at the same bytes again, and fail again.
        while failed.is_none() || self.connection.wants_write() {
            let rest = wire.get_mut(opened.consumed..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            opened.consumed += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        opened.consumed += record.discard;
                        let taken = plain.append(record.payload);
                        debug_assert_eq!(taken, record.payload.len(), "plaintext fits");
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(control, |room| match data.encode(room) {
                        Err(EncodeError::InsufficientSize(error)) => Err(error),
                        // Encoded already: there is nothing left to write.
                        Err(EncodeError::AlreadyEncoded) => Ok(0),
                        Ok(n) => Ok(n),
                    });
                }
                // Whatever was encoded is in `control`, which is sent in order.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened.closed = true,
                Err(error) => failed = Some(error),
                Ok(_) => break,
            }
            if control.len() > CONTROL_LIMIT {
                self.failed = true;
                return Err(TlsError::ControlFlood);
            }
        }
        match failed {
            None => Ok(opened),
            Some(error) => {
                self.failed = true;
                let error = self.explain(error);
                if let TlsError::NoUsableKey = error {
                    // rustls says access_denied, which is about client certificates (RFC 8446
                    // section 6.2).
                    control.truncate(before);
                    control.extend(Alert::HandshakeFailure.record());
                }
                Err(error)
            }
        }
    }

    /// Encrypts `plain` into the room of `wire`.
    ///
    /// `held` is what [`Self::open`] did not consume: rustls keeps the beginning of a message
    /// that comes in several records in there, and remembers how much of it there is.
    ///
    /// # Errors
    /// If the keys are exhausted, or the room is too small.
    pub fn seal(
        &mut self,
        held: &mut [u8],
        plain: &[u8],
        wire: &mut Buffer,
    ) -> Result<(), TlsError> {
        if self.failed {
            return Err(rustls::Error::HandshakeNotComplete.into());
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(held);
        let ConnectionState::WriteTraffic(mut traffic) = state? else {
            return Err(rustls::Error::HandshakeNotComplete.into());
        };
        let n = traffic
            .encrypt(plain, wire.room())
            .map_err(|_| rustls::Error::EncryptError)?;
        wire.advance(n);
        Ok(())
    }

    /// Appends a close_notify alert to `control`: nothing more is said on this side. `held`
    /// is as in [`Self::seal`].
    ///
    /// # Errors
    /// If the keys are exhausted.
    pub fn close(&mut self, held: &mut [u8], control: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.failed {
            return Ok(());
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(held);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let mut alert = [0; 64];
            let n = traffic
                .queue_close_notify(&mut alert)
                .map_err(|_| rustls::Error::EncryptError)?;
            control.extend_from_slice(alert.get(..n).unwrap_or_default());
        }
        Ok(())
    }

    /// rustls knows only that the resolver had nothing to give.
    fn explain(&self, error: rustls::Error) -> TlsError {
        let unresolved = self
            .resolver
            .as_ref()
            .is_some_and(|resolver| resolver.chosen.get().is_none());
        match error {
            rustls::Error::General(_) if unresolved => TlsError::NoUsableKey,
            error => TlsError::Rustls(error),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(secret)")
    }
}

/// Appends to `out` what `write` wants to write, in room of the size that it asks for.
fn append(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, InsufficientSizeError>,
) {
    let start = out.len();
    if let Err(InsufficientSizeError { required_size }) = write(&mut []) {
        out.resize(start + required_size, 0);
        let n = write(&mut out[start..]).unwrap_or_default();
        out.truncate(start + n);
    }
}

/// Alerts that are written here because rustls has none, or another one, for the case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alert {
    /// handshake_failure
    HandshakeFailure,
    /// protocol_version
    ProtocolVersion,
    /// decode_error
    DecodeError,
    /// internal_error: TLS is not to be had now, through no fault of the client's.
    InternalError,
    /// unrecognized_name
    UnrecognizedName,
}

impl Alert {
    /// A fatal one, in a record of its own: in clear, so before the keys are there only.
    pub fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        // RFC 8446 section 6.
        let description = match self {
            Self::HandshakeFailure => 40,
            Self::DecodeError => 50,
            Self::ProtocolVersion => 70,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        };
        [ALERT, 3, 3, 0, 2, FATAL, description]
    }
}

/// The version that was negotiated, of which there are two.
pub(super) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "1.3",
        _ => "1.2",
    }
}

/// The OpenSSL name of a suite.
pub(super) fn suite_name(suite: rustls::CipherSuite) -> &'static str {
    let name = client_hello::suite_name(suite.into());
    name.or_else(|| suite.as_str()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use rustls::client::{ClientConnection, Resumption};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use std::io::{Read, Write};

    use super::*;
    use crate::cert::{
        CertIndex, Credential, DnsName, KeyAlgorithm, LiveIndex, NamePattern, NewCertificate,
        Order, Subject, TrustAnchors, UnknownName, read_bundle, self_signed,
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
}
