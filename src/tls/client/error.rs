//! Why there is no TLS with an upstream, in words that say what to do about it.

use std::io;

use rustls::client::VerifierBuilderError;
use rustls::pki_types::{CertificateDer, UnixTime, pem};
use rustls::{AlertDescription, CertificateError};

use crate::cert::{Certificate, NameSource};
use crate::time::rfc3339;

/// The most names of a certificate that an error text lists.
const MAX_NAMES: usize = 8;

/// Why the TLS towards an upstream cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file of `trust` that cannot be read.
    #[error("cannot read the trust anchors {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file of `trust` that is not PEM.
    #[error("{path}: not PEM, expected certificates")]
    NotPem {
        /// The file.
        path: String,
        /// Where it is not.
        source: pem::Error,
    },
    /// A file of `trust` with nothing in it to trust.
    #[error("{path}: no certificate in it that can be a trust anchor")]
    NoAnchor {
        /// The file.
        path: String,
    },
    /// rustls finds the trust anchors wanting.
    #[error("no certificate would be trusted")]
    Verifier(#[from] VerifierBuilderError),
    /// rustls finds versions and suites at odds.
    #[error("TLS cannot be put together")]
    Rustls(#[from] rustls::Error),
}

/// Why a handshake with a server failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// It shows a certificate that is not accepted.
    #[error("the server's certificate is refused")]
    Refused {
        /// Why.
        #[source]
        why: Refusal,
        /// The certificate, where it can be read.
        certificate: Option<Box<Certificate>>,
    },
    /// It speaks neither TLS 1.2 nor 1.3, or has no suite in common with us.
    #[error(
        "the server speaks no TLS that is safe, \
         expected TLS 1.3, or TLS 1.2 with forward secrecy and AEAD suites"
    )]
    Incompatible(#[source] rustls::Error),
    /// It broke the rules of TLS, or speaks something else.
    #[error("the TLS handshake with the server failed")]
    Protocol(#[source] rustls::Error),
    /// Its connection failed.
    #[error("the server's connection failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// There is no name that the certificate could be verified for.
    #[error("{host:?} is no name that a certificate can be for, expected `server_name`")]
    NoName {
        /// The server as the configuration names it.
        host: String,
    },
}

/// Why a certificate is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No path to a trust anchor.
    #[error("it is issued by {issuer:?}, to which `trust` leads no way")]
    UnknownIssuer {
        /// As the certificate names it.
        issuer: String,
    },
    /// Its own issuer.
    #[error("it is self-signed and not trusted, `pin` would accept it: {pin}")]
    SelfSigned {
        /// Its SPKI pin.
        pin: String,
    },
    /// Out of date, it or one above it.
    #[error("it, or one above it, expired at {at}")]
    Expired {
        /// RFC 3339
        at: String,
    },
    /// Not in date yet, it or one above it.
    #[error("it, or one above it, is not valid before {at}")]
    NotYetValid {
        /// RFC 3339
        at: String,
    },
    /// For others.
    #[error("it is for {names}, expected {expected:?}")]
    Name {
        /// The name it should have.
        expected: String,
        /// Those it has, the first eight of them.
        names: String,
    },
    /// Another key than the one that is pinned.
    #[error("its SPKI pin is {found}, expected the one that is configured")]
    Pin {
        /// The pin of its key.
        found: String,
    },
    /// Anything else that is wrong with it, or with what was signed with its key.
    #[error("it, or what was signed with its key, cannot be verified")]
    Unverifiable(#[source] rustls::Error),
}

impl UpstreamTlsError {
    /// A bounded word for it, as in the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { why, .. } => why.reason(),
            Self::Incompatible(_) | Self::Protocol(_) => "tls",
            Self::Io(_) => "io",
            Self::NoName { .. } => "tls-name",
        }
    }

    /// The certificate that was refused, where it can be read.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Refused { certificate, .. } => certificate.as_deref(),
            _ => None,
        }
    }
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::UnknownIssuer { .. } | Self::SelfSigned { .. } | Self::Unverifiable(_) => {
                "tls-untrusted"
            }
            Self::Expired { .. } | Self::NotYetValid { .. } => "tls-expired",
            Self::Name { .. } => "tls-name",
            Self::Pin { .. } => "tls-pin",
        }
    }
}

/// What a failed handshake was about. `host` is whom the certificate had to be for.
pub(super) fn explain(
    error: io::Error,
    host: &str,
    presented: Option<&CertificateDer<'static>>,
) -> UpstreamTlsError {
    let error = match error.downcast::<rustls::Error>() {
        Ok(error) => error,
        Err(error) => return UpstreamTlsError::Io(error),
    };
    match error {
        rustls::Error::InvalidCertificate(error) => {
            let certificate = presented.and_then(|der| Certificate::from_der(der.clone()).ok());
            let why = refusal(error, host, certificate.as_ref());
            UpstreamTlsError::Refused {
                why,
                certificate: certificate.map(Box::new),
            }
        }
        error if is_incompatible(&error) => UpstreamTlsError::Incompatible(error),
        error => UpstreamTlsError::Protocol(error),
    }
}

/// Whether the server found no version or no suite in what we offer, or took one that we did
/// not offer.
fn is_incompatible(error: &rustls::Error) -> bool {
    use AlertDescription as Alert;

    match error {
        rustls::Error::PeerIncompatible(_) => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity
        ),
        _ => false,
    }
}

fn refusal(error: CertificateError, host: &str, certificate: Option<&Certificate>) -> Refusal {
    let Some(certificate) = certificate else {
        return Refusal::Unverifiable(error.into());
    };
    match error {
        CertificateError::ApplicationVerificationFailure => Refusal::Pin {
            found: certificate.spki_pin(),
        },
        CertificateError::ExpiredContext { not_after, .. } => Refusal::Expired {
            at: text(not_after),
        },
        CertificateError::NotValidYetContext { not_before, .. } => Refusal::NotYetValid {
            at: text(not_before),
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Refusal::Name {
                expected: host.to_owned(),
                names: names(certificate),
            }
        }
        // Also where it is not the path that is found fault with first: that it says to be a
        // CA's, as those do that are made in haste.
        CertificateError::UnknownIssuer | CertificateError::Other(_) if certificate.self_signed => {
            Refusal::SelfSigned {
                pin: certificate.spki_pin(),
            }
        }
        CertificateError::UnknownIssuer => Refusal::UnknownIssuer {
            issuer: certificate.issuer(),
        },
        error => Refusal::Unverifiable(error.into()),
    }
}

fn text(time: UnixTime) -> String {
    rfc3339(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

/// The first names that the certificate is for.
fn names(certificate: &Certificate) -> String {
    if certificate.name_source == NameSource::CommonName {
        return "no name (no subjectAltName)".to_owned();
    }
    let names = certificate.names.iter().map(ToString::to_string);
    let addresses = certificate.addresses.iter().map(ToString::to_string);
    let all: Vec<_> = names.chain(addresses).collect();
    let first = all.get(..MAX_NAMES).unwrap_or(&all).join(", ");
    match all.len().saturating_sub(MAX_NAMES) {
        0 => first,
        more => format!("{first} ({more} more)"),
    }
}
