//! What makes a server the right one: the rules, as rustls asks for them.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use webpki::RawPublicKeyEntity;

use crate::cert::{sha256, spki_of};

/// Which certificates are accepted.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// One that is trusted, in date and for the right name.
    Chain(Arc<WebPkiServerVerifier>),
    /// One with this SHA-256 over its SubjectPublicKeyInfo, whatever else it says.
    Pin([u8; 32]),
    /// Every one.
    Any,
}

/// A rule, and what it was applied to.
///
/// Whatever the rule, the server has to prove that it has the certificate's key. Where the rest
/// of the certificate does not count, only the key is taken out of it: certificates of version
/// 1, which webpki does not read, are common on old servers.
#[derive(Debug)]
pub(super) struct Verifier {
    rule: Rule,
    algorithms: WebPkiSupportedAlgorithms,
    presented: OnceLock<CertificateDer<'static>>,
}

impl Verifier {
    pub(super) fn new(rule: Rule, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            rule,
            algorithms,
            presented: OnceLock::new(),
        }
    }

    /// The same, to which nothing has been presented.
    pub(super) fn for_one_connection(&self) -> Self {
        Self::new(self.rule.clone(), self.algorithms)
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The end-entity certificate, if the server came to show one.
    pub(super) fn presented(&self) -> Option<&CertificateDer<'static>> {
        self.presented.get()
    }

    /// TLS 1.2 does not say which of several algorithms a scheme stands for: one that fits the
    /// key is enough.
    fn verify_tls12_with_key(
        &self,
        message: &[u8],
        key: &SubjectPublicKeyInfoDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let mut mapping = self.algorithms.mapping.iter();
        let (_, algorithms) = mapping
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
        let verifies = |algorithm: &&'static dyn SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        };
        match algorithms.iter().any(verifies) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Asked once a handshake; the first is kept if ever there is a second.
        let _ = self.presented.set(end_entity.clone().into_owned());
        match &self.rule {
            Rule::Chain(chain) => {
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Rule::Pin(pin) if sha256(&key(end_entity)?) != *pin => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Rule::Pin(_) | Rule::Any => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.rule {
            Rule::Chain(chain) => chain.verify_tls12_signature(message, certificate, signed),
            _ => self.verify_tls12_with_key(message, &key(certificate)?, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.rule {
            Rule::Chain(chain) => chain.verify_tls13_signature(message, certificate, signed),
            _ => {
                let key = key(certificate)?;
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate's SubjectPublicKeyInfo.
fn key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let key = spki_of(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(key.into())
}
