//! Handshakes with every kind of client, seen from the client: which certificate was served, or which
//! alert came instead.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use gatepost::cert::ClientCapabilities;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, NamedGroup, SignatureScheme,
};

use super::client::connect;
use super::net::CLIENT;

/// A kind of client, by what it can verify.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Everything, TLS 1.3 or 1.2.
    Modern,
    /// ECDHE suites and signatures of both kinds, TLS 1.2 only.
    Tls12,
    /// RSA signatures only, TLS 1.3 or 1.2.
    RsaOnly,
    /// RSA signatures only, TLS 1.2.
    RsaOnly12,
    /// ECDSA signatures only, TLS 1.3 or 1.2.
    EcdsaOnly,
    /// ECDSA signatures only, TLS 1.2.
    EcdsaOnly12,
    /// Every signature, and no cipher suite but those with RSA, TLS 1.2.
    RsaSuites,
    /// Every signature, and no cipher suite but those with ECDSA, TLS 1.2.
    EcdsaSuites,
    /// No elliptic curve but P-256, TLS 1.2.
    P256Curve,
    /// Ed25519 signatures only, TLS 1.3.
    Ed25519Only,
    /// Signatures with P-521 only, TLS 1.3.
    P521Only,
}

const RSA: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

const ECDSA: [SignatureScheme; 3] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
];

impl Kind {
    /// Every kind with its name.
    pub(crate) const ALL: [(&str, Self); 11] = [
        ("modern", Self::Modern),
        ("tls12", Self::Tls12),
        ("rsa-only", Self::RsaOnly),
        ("rsa-only-12", Self::RsaOnly12),
        ("ecdsa-only", Self::EcdsaOnly),
        ("ecdsa-only-12", Self::EcdsaOnly12),
        ("rsa-suites", Self::RsaSuites),
        ("ecdsa-suites", Self::EcdsaSuites),
        ("p256-curve", Self::P256Curve),
        ("ed25519-only", Self::Ed25519Only),
        ("p521-only", Self::P521Only),
    ];

    /// What `cert explain --client` calls it, if it does.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Modern => Some("modern"),
            Self::Tls12 => Some("tls12"),
            Self::RsaOnly | Self::RsaOnly12 => Some("rsa-only"),
            Self::EcdsaOnly | Self::EcdsaOnly12 => Some("ecdsa-only"),
            _ => None,
        }
    }

    /// What it can verify, put down by hand.
    pub(crate) fn capabilities(self) -> ClientCapabilities {
        let all = ClientCapabilities::ALL;
        let schemes = |schemes: &[SignatureScheme]| ClientCapabilities::from_schemes(schemes);
        match self {
            Self::Modern => all,
            Self::Tls12 => schemes(&[RSA.as_slice(), &ECDSA].concat()),
            Self::RsaOnly | Self::RsaOnly12 | Self::RsaSuites => schemes(&RSA),
            Self::EcdsaOnly | Self::EcdsaOnly12 => schemes(&ECDSA),
            Self::EcdsaSuites => schemes(&[&ECDSA[..], &[SignatureScheme::ED25519]].concat()),
            Self::P256Curve => all.without_curves_missing_from(Some(&[NamedGroup::secp256r1])),
            Self::Ed25519Only => schemes(&[SignatureScheme::ED25519]),
            Self::P521Only => schemes(&[SignatureScheme::ECDSA_NISTP521_SHA512]),
        }
    }

    fn schemes(self) -> Vec<SignatureScheme> {
        match self {
            Self::RsaOnly | Self::RsaOnly12 => RSA.to_vec(),
            Self::EcdsaOnly | Self::EcdsaOnly12 => ECDSA.to_vec(),
            Self::Tls12 => [ECDSA.as_slice(), &RSA].concat(),
            Self::Ed25519Only => vec![SignatureScheme::ED25519],
            Self::P521Only => vec![SignatureScheme::ECDSA_NISTP521_SHA512],
            _ => [&ECDSA[..], &RSA, &[SignatureScheme::ED25519]].concat(),
        }
    }

    fn provider(self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        let suites = &mut provider.cipher_suites;
        let named = |part: &'static str| {
            move |suite: &rustls::SupportedCipherSuite| format!("{suite:?}").contains(part)
        };
        match self {
            Self::RsaSuites => suites.retain(named("_RSA_")),
            Self::EcdsaSuites => suites.retain(named("_ECDSA_")),
            Self::P256Curve => provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1],
            _ => {}
        }
        provider
    }

    /// A configuration that takes whatever certificate is served, if its key has signed.
    pub(crate) fn config(self) -> ClientConfig {
        let provider = Arc::new(self.provider());
        let versions = match self {
            Self::Modern | Self::RsaOnly | Self::EcdsaOnly => &[&TLS13, &TLS12][..],
            Self::Ed25519Only | Self::P521Only => &[&TLS13],
            _ => &[&TLS12],
        };
        let verifier = TakesAnything {
            schemes: self.schemes(),
            provider: Arc::clone(&provider),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // Every handshake is to be a full one.
        config.resumption = rustls::client::Resumption::disabled();
        config
    }
}

/// Believes every certificate, and checks that the server has its key.
#[derive(Debug)]
struct TakesAnything {
    schemes: Vec<SignatureScheme>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TakesAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// What a client got for its ClientHello.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Got {
    /// The end-entity certificate, DER.
    Certificate(Vec<u8>),
    /// A fatal alert, by its number.
    Alert(u8),
    /// The end of the connection, in no words.
    Nothing(String),
}

impl fmt::Debug for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(der) => write!(f, "a certificate of {} bytes", der.len()),
            Self::Alert(number) => write!(f, "alert {number}"),
            Self::Nothing(why) => write!(f, "nothing ({why})"),
        }
    }
}

/// Whether rustls can send this text as the name it asks for, letter by letter.
pub(crate) fn can_be_sent(name: &str) -> bool {
    let plain = name == name.to_ascii_lowercase() && !name.ends_with('.');
    plain && matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)))
}

/// A whole handshake, asking for `name` or for none.
pub(crate) fn shake_hands(to: SocketAddr, kind: Kind, name: Option<&str>) -> Got {
    let mut config = kind.config();
    config.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("unnamed").to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = connect(to, CLIENT).unwrap();
    while client.is_handshaking() {
        if let Err(error) = client.complete_io(&mut socket) {
            return got_instead(&error);
        }
    }
    let served = client.peer_certificates().and_then(|chain| chain.first());
    Got::Certificate(served.unwrap().to_vec())
}

fn got_instead(error: &io::Error) -> Got {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::AlertReceived(alert)) => Got::Alert(u8::from(*alert)),
        _ => Got::Nothing(error.to_string()),
    }
}

/// A ClientHello for TLS 1.2 that asks for these very bytes, whatever they are.
pub(crate) fn client_hello(name: &[u8]) -> Vec<u8> {
    // rustls asks for names only: the bytes are put in the place of a name of their length.
    let mut stand_in: String = "q".repeat(name.len());
    for dot in (60..name.len().saturating_sub(1)).step_by(60) {
        stand_in.replace_range(dot..=dot, ".");
    }
    let server_name = ServerName::try_from(stand_in.clone()).unwrap();
    let config = Arc::new(Kind::Tls12.config());
    let mut client = ClientConnection::new(config, server_name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let place = hello
        .windows(name.len())
        .position(|window| window == stand_in.as_bytes())
        .unwrap();
    hello[place..place + name.len()].copy_from_slice(name);
    hello
}

/// The first half of a handshake in TLS 1.2, where the server's certificate comes in clear.
pub(crate) fn ask_in_clear(to: SocketAddr, name: &[u8]) -> Got {
    let mut socket = connect(to, CLIENT).unwrap();
    socket.write_all(&client_hello(name)).unwrap();
    read_flight(&mut socket)
}

/// Reads what a server says first in TLS 1.2 (or before TLS): its certificate or an alert.
pub(crate) fn read_flight(socket: &mut TcpStream) -> Got {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let mut messages = Vec::new();
    loop {
        let (kind, payload) = match read_record(socket) {
            Ok(record) => record,
            Err(error) => return Got::Nothing(error.to_string()),
        };
        match (kind, payload.as_slice()) {
            (ALERT, &[_, number]) => return Got::Alert(number),
            (HANDSHAKE, _) => messages.extend(payload),
            _ => panic!("a record of type {kind} and {} bytes", payload.len()),
        }
        if let Some(der) = certificate_in(&messages) {
            return Got::Certificate(der);
        }
    }
}

fn read_record(socket: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    socket.read_exact(&mut header)?;
    let [kind, _, _, high, low] = header;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    socket.read_exact(&mut payload)?;
    Ok((kind, payload))
}

/// The first certificate of the Certificate message (RFC 5246 section 7.4.2), if that is whole.
fn certificate_in(mut messages: &[u8]) -> Option<Vec<u8>> {
    const CERTIFICATE: u8 = 11;
    loop {
        let (kind, rest) = messages.split_first()?;
        let (message, rest) = length_prefixed(rest)?;
        if *kind == CERTIFICATE {
            let (list, _) = length_prefixed(message)?;
            return length_prefixed(list).map(|(first, _)| first.to_vec());
        }
        messages = rest;
    }
}

/// What follows a length of three bytes, and what follows that.
fn length_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[high, middle, low], rest) = bytes.split_first_chunk()?;
    let length = u32::from_be_bytes([0, high, middle, low]);
    rest.split_at_checked(usize::try_from(length).unwrap())
}
