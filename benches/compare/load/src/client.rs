//! A client of the proxy: where it connects, its TLS, and what it says.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Args)]
pub(crate) struct Options {
    /// Address of the proxy
    #[arg(long)]
    to: SocketAddr,
    /// Server name that is asked for
    #[arg(long, default_value = "mail.example.test")]
    name: String,
    /// File of server names, one a line, asked for in turn instead
    #[arg(long, conflicts_with = "name")]
    names: Option<PathBuf>,
    /// TLS version, the only one offered
    #[arg(long, value_enum, default_value = "1.3")]
    tls: Version,
    /// Key exchange, the only one with a key share
    #[arg(long, value_enum, default_value = "x25519")]
    group: Group,
    /// Speak IMAP in clear until STARTTLS
    #[arg(long)]
    starttls: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Clone, Copy, ValueEnum)]
enum Group {
    X25519,
    P256,
    X25519mlkem768,
}

/// How long one connection may take until it is answered.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What is said once TLS stands.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Talk {
    /// Bytes that come back
    Echo,
    /// One HTTP/1.1 request
    Http,
    /// An IMAP login
    Login,
    /// Nothing
    Nothing,
}

/// A client that asks for its names in turn.
pub(crate) struct Client {
    address: SocketAddr,
    names: Vec<ServerName<'static>>,
    turn: Cell<usize>,
    starttls: bool,
    version: Version,
    provider: Arc<CryptoProvider>,
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let text = match &options.names {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            None => options.name.clone(),
        };
        let names = text.lines().map(|line| {
            let name = ServerName::try_from(line.to_owned());
            name.with_context(|| format!("{line:?} is no server name"))
        });
        let names: Vec<_> = names.collect::<Result<_>>()?;
        ensure!(!names.is_empty(), "no server name to ask for");
        Ok(Self {
            address: options.to,
            names,
            turn: Cell::new(0),
            starttls: options.starttls,
            version: options.tls,
            provider: Arc::new(provider(options.group)),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name whose turn it is.
    pub(crate) fn name(&self) -> ServerName<'static> {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        self.names[turn % self.names.len()].clone()
    }

    /// TLS settings, with a memory of their own for sessions if they are to be resumed.
    pub(crate) fn tls(&self, resume: bool) -> Result<Arc<ClientConfig>> {
        let version = match self.version {
            Version::Tls12 => &rustls::version::TLS12,
            Version::Tls13 => &rustls::version::TLS13,
        };
        let verifier = Trusting(Arc::clone(&self.provider));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = match resume {
            true => Resumption::store(Arc::new(ClientSessionMemoryCache::new(8))),
            false => Resumption::disabled(),
        };
        Ok(Arc::new(config))
    }

    /// A connection on which nothing was said by us.
    pub(crate) async fn dial(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect(self.address).await.context("connect")?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// A connection whose TLS stands.
    pub(crate) async fn connect(&self, tls: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
        let mut socket = self.dial().await?;
        if self.starttls {
            answer(&mut socket, b"* OK").await.context("greeting")?;
            socket.write_all(b"s STARTTLS\r\n").await?;
            answer(&mut socket, b"s OK").await.context("STARTTLS")?;
        }
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(self.name(), socket).await;
        stream.context("handshake")
    }
}

impl Talk {
    /// Says it, and waits for the answer. `size` is how many bytes an echo has.
    pub(crate) async fn on<S>(self, stream: &mut S, size: usize) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Self::Nothing => Ok(()),
            Self::Echo => {
                let mut bytes = vec![b'e'; size];
                stream.write_all(&bytes).await?;
                stream.read_exact(&mut bytes).await?;
                Ok(())
            }
            Self::Http => {
                let request = b"GET / HTTP/1.1\r\nHost: mail.example.test\r\n\r\n";
                stream.write_all(request).await?;
                answer(stream, b"HTTP/1.1 200").await.context("request")
            }
            Self::Login => {
                stream.write_all(b"a LOGIN user secret\r\n").await?;
                answer(stream, b"a OK").await.context("login")
            }
        }
    }
}

/// Waits for lines that begin as expected. Whoever answers here then waits for us, so that all
/// it has sent can be read.
pub(crate) async fn answer<S: AsyncRead + Unpin>(stream: &mut S, expected: &[u8]) -> Result<()> {
    let mut heard = Vec::with_capacity(512);
    while !heard.ends_with(b"\n") {
        if stream.read_buf(&mut heard).await? == 0 {
            bail!("closed by the proxy");
        }
    }
    if !heard.starts_with(expected) {
        let (heard, expected) = (heard.escape_ascii(), expected.escape_ascii());
        bail!("got \"{heard}\", expected \"{expected}…\"");
    }
    Ok(())
}

/// AES-128-GCM, and key shares of one group.
fn provider(group: Group) -> CryptoProvider {
    use aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TLS13_AES_128_GCM_SHA256,
    };
    use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};

    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        kx_groups: match group {
            // With TLS 1.2 the list has to name the curve of the certificate's key as well.
            Group::X25519 => vec![X25519, SECP256R1],
            Group::P256 => vec![SECP256R1],
            Group::X25519mlkem768 => vec![X25519MLKEM768],
        },
        ..aws_lc_rs::default_provider()
    }
}

/// Takes every certificate: the client's work must not be what is measured.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
