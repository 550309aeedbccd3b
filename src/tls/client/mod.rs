//! TLS towards upstreams: whom to believe, and a handshake.
//!
//! Owns trust and verification as `[[upstream]]` asks for them. Knows nothing of what is spoken
//! before and after, and opens no connection: it is given one.

mod error;
mod roots;
#[cfg(test)]
mod tests;
mod verifier;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use error::{ClientTlsError, Refusal, UpstreamTlsError};

use crate::cert::{Certificate, DnsName};
use crate::config::{Tls, TlsVersion, Upstream};
use crate::time::Clock;
use crate::tls::Provider;
use crate::tls::handshake::{suite_name, version_name};
use verifier::{Rule, Verifier};

/// Everything that the TLS towards the servers of an upstream has in common.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: ClientConfig,
    verifier: Arc<Verifier>,
    server_name: Option<DnsName>,
}

/// What came of a handshake with a server.
#[derive(Debug)]
pub struct Peer {
    /// `1.2` or `1.3`
    pub version: &'static str,
    /// The suite by its OpenSSL name.
    pub suite: &'static str,
    /// What the server showed; `None` if it is accepted although it cannot be read.
    pub certificate: Option<Certificate>,
}

impl ClientTls {
    /// Puts the TLS towards `upstream` together. Trust anchors are read if they count for
    /// anything: not beside a pin, and not where nothing is verified.
    ///
    /// # Errors
    /// If a file of `trust` cannot be used.
    pub fn new(upstream: &Upstream, clock: Clock) -> Result<Self, ClientTlsError> {
        // Servers behind us are near and old: a key share that fills a packet helps against
        // nobody there, and is too much for some of them.
        let provider = Provider::new(&Tls {
            min_version: TlsVersion::V1_2,
            post_quantum: false,
        });
        let verification = &upstream.verification;
        let rule = match (verification.pin, verification.verify) {
            (Some(pin), _) => Rule::Pin(pin),
            (None, false) => Rule::Any,
            (None, true) => {
                let roots = Arc::new(roots::read(&verification.trust)?);
                let crypto = Arc::clone(&provider.crypto);
                Rule::Chain(WebPkiServerVerifier::builder_with_provider(roots, crypto).build()?)
            }
        };
        let algorithms = provider.crypto.signature_verification_algorithms;
        let verifier = Arc::new(Verifier::new(rule, algorithms));
        let crypto = Arc::clone(&provider.crypto);
        let mut config = ClientConfig::builder_with_details(crypto, Arc::new(clock))
            .with_protocol_versions(provider.versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        // The certificate is looked at in every handshake: a session resumed could be that of
        // a server whose certificate has expired since.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config,
            verifier,
            server_name: verification.server_name.clone(),
        })
    }

    /// Shakes hands over `stream`; `server_host` is the server as the configuration names it.
    /// Whoever calls sets the time limit.
    ///
    /// # Errors
    /// If the server speaks no TLS that we speak, or is not who it should be.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        server_host: &str,
        stream: S,
    ) -> Result<TlsStream<S>, UpstreamTlsError> {
        let host = self
            .server_name
            .as_ref()
            .map_or(server_host, DnsName::as_str);
        let name = self.name(host)?;
        // A verifier for each connection: after a failure nobody else knows what was presented.
        let verifier = Arc::new(self.verifier.for_one_connection());
        let mut config = self.config.clone();
        let watching = Arc::clone(&verifier) as _;
        config.dangerous().set_certificate_verifier(watching);
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        connecting
            .await
            .map_err(|error| error::explain(error, host, verifier.presented()))
    }

    /// The name to ask for and to verify; an address is verified, but not asked for. Where no
    /// name is verified there need be none.
    fn name(&self, host: &str) -> Result<ServerName<'static>, UpstreamTlsError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let name = DnsName::parse(host).ok();
        let name = name.and_then(|name| ServerName::try_from(name.as_str().to_owned()).ok());
        match (name, self.verifier.rule()) {
            (Some(name), _) => Ok(name),
            (None, Rule::Pin(_) | Rule::Any) => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()),
            (None, Rule::Chain(_)) => Err(UpstreamTlsError::NoName {
                host: host.to_owned(),
            }),
        }
    }
}

impl Peer {
    /// Who is at the other end of a stream whose handshake is over.
    pub fn of<S>(stream: &TlsStream<S>) -> Option<Self> {
        let (_, connection) = stream.get_ref();
        let presented = connection.peer_certificates()?.first()?;
        Some(Self {
            version: version_name(connection.protocol_version()?),
            suite: suite_name(connection.negotiated_cipher_suite()?.suite()),
            certificate: Certificate::from_der(presented.clone().into_owned()).ok(),
        })
    }
}
