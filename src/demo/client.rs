//! A TLS client that trusts the demo's CA, and tells what it was shown.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tries::TryError;

/// Connects as a client that trusts nothing but the demo's CA.
#[derive(Clone, Debug)]
pub(super) struct Client {
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
}

/// What a server showed, and what a careful client thinks of it.
#[derive(Debug)]
pub(super) struct Shown {
    /// Its end-entity certificate.
    pub(super) certificate: CertificateDer<'static>,
    /// None, if a careful client would go on.
    pub(super) objection: Option<rustls::Error>,
}

impl Client {
    /// A client that trusts `ca`.
    pub(super) fn new(ca: CertificateDer<'static>) -> Result<Self, TryError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?;
        Ok(Self { provider, verifier })
    }

    /// Connects, asks for `name`, and goes on only if the certificate is in order.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<TlsStream<TcpStream>, TryError> {
        self.handshake(address, name, Arc::clone(&self.verifier) as _)
            .await
    }

    /// Connects, asks for `name`, and looks at the certificate, whatever it is.
    pub(super) async fn look(&self, address: SocketAddr, name: &str) -> Result<Shown, TryError> {
        let witness = Arc::new(Witness {
            verifier: Arc::clone(&self.verifier),
            shown: Mutex::default(),
        });
        self.handshake(address, name, Arc::clone(&witness) as _)
            .await?;
        let mut shown = witness.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.take().ok_or(TryError::NoCertificate)
    }

    async fn handshake(
        &self,
        address: SocketAddr,
        name: &str,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<TlsStream<TcpStream>, TryError> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(connector.connect(name, stream).await?)
    }
}

/// Lets every certificate pass, and remembers what the careful verifier says of it.
#[derive(Debug)]
struct Witness {
    verifier: Arc<WebPkiServerVerifier>,
    shown: Mutex<Option<Shown>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(Shown {
            certificate: end_entity.clone().into_owned(),
            objection: verdict.err(),
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl Shown {
    /// What a careful client says, in a word or two.
    pub(super) fn verdict(&self) -> String {
        match &self.objection {
            None => "trusts it".to_owned(),
            Some(rustls::Error::InvalidCertificate(reason)) => match reason {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "expired".to_owned()
                }
                CertificateError::UnknownIssuer => "unknown issuer".to_owned(),
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => "wrong name".to_owned(),
                other => other.to_string(),
            },
            Some(other) => other.to_string(),
        }
    }
}
