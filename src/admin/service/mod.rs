//! What the admin API does, apart from HTTP: documents in, documents out.
//!
//! The server calls it for those who ask over the socket, the command line when no proxy runs;
//! both get the same rules. Everything may block.

mod describe;
mod dialogs;
mod explain;
mod mx;
mod show;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admin::api;
use crate::causes;
use crate::cert::{IssueError, LiveIndex, NameError, UnknownClientKind};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::{CertStore, StoreError};
use crate::time::Clock;

/// What the documents are made of.
#[derive(Clone, Debug)]
pub struct Context {
    /// The certificate folder.
    pub store: Arc<CertStore>,
    /// The index that handshakes use.
    pub live: LiveIndex,
    /// The time of day.
    pub clock: Clock,
    /// The configuration in use.
    pub config: Arc<ArcSwap<Config>>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The certificate folder says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such listener.
    #[error("no listener {name:?} (known: {known})")]
    UnknownListener {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Not a host name.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// Not a kind of client.
    #[error(transparent)]
    BadClient(#[from] UnknownClientKind),
    /// Not a time.
    #[error("{found:?} is not a time, expected one such as \"2026-11-21T10:00:00Z\"")]
    BadTime {
        /// What was given.
        found: String,
    },
    /// The fields of a new certificate.
    #[error(transparent)]
    BadField(#[from] IssueError),
    /// A field that must be there.
    #[error("no {field:?} was given")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field that is not what it says.
    #[error("{field:?} is not base64")]
    NotBase64 {
        /// Its name.
        field: &'static str,
    },
    /// Another key, and the same.
    #[error(
        "\"from\" keeps the key of a certificate, and \"key_type\" asks for another: only one of them can be"
    )]
    KeyIsKept,
    /// Promised for later.
    #[error("{what} is not in this version")]
    NotInThisVersion {
        /// What was asked for.
        what: &'static str,
    },
}

impl ServiceError {
    /// The HTTP status that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Store(
                StoreError::Unknown { .. }
                | StoreError::NoRequest { .. }
                | StoreError::NothingToExport { .. },
            )
            | Self::UnknownListener { .. } => 404,
            Self::BadField(error) | Self::Store(StoreError::Issue(error)) => match error {
                IssueError::NoRandom(_) | IssueError::Failed(_) => 500,
                _ => 400,
            },
            Self::Store(StoreError::BadName { .. }) => 400,
            Self::Store(
                StoreError::DefaultCertificate { .. } | StoreError::RequestWaits { .. },
            ) => 409,
            Self::Store(
                StoreError::Io { .. } | StoreError::NoAnchor { .. } | StoreError::Unsettled { .. },
            ) => 500,
            Self::Store(_) => 422,
            Self::NotInThisVersion { .. } => 501,
            _ => 400,
        }
    }

    /// The whole chain of causes, as a problem's detail.
    pub fn detail(&self) -> String {
        causes::in_one_line(self)
    }
}

impl Context {
    /// Takes a certificate and its key.
    pub fn import(&self, import: &api::Import) -> Result<api::Imported, ServiceError> {
        for (field, what) in [
            (&import.pkcs12_base64, "PKCS#12 (\"pkcs12_base64\")"),
            (&import.der_base64, "DER (\"der_base64\")"),
            (&import.passphrase, "an encrypted key (\"passphrase\")"),
        ] {
            if field.is_some() {
                return Err(ServiceError::NotInThisVersion { what });
            }
        }
        let certificate = import
            .certificate_pem
            .as_deref()
            .ok_or(ServiceError::Missing {
                field: "certificate_pem",
            })?;
        let key = import.key_pem.as_deref().map(str::as_bytes);
        let imported = self
            .store
            .import(certificate.as_bytes(), key, import.name.as_deref())?;
        Ok(api::Imported {
            name: imported.name,
            problems: imported.problems.iter().map(Into::into).collect(),
        })
    }

    /// Removes a certificate; the default one only if `force` is set.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), ServiceError> {
        Ok(self.store.remove(name, force)?)
    }

    /// NAME of the default certificate.
    pub fn default_certificate(&self) -> api::DefaultCertificate {
        let name = self.store.default_name();
        api::DefaultCertificate { name }
    }

    /// Makes a certificate the default one.
    pub fn set_default(&self, name: &str) -> Result<(), ServiceError> {
        Ok(self.store.set_default(name)?)
    }

    /// Brings the metrics of certificates up to date.
    pub fn observe(&self, metrics: &Metrics) {
        let stats = self.store.stats();
        metrics.certificates(&self.samples(), stats.set_aside, stats.names, stats.updates);
    }
}
