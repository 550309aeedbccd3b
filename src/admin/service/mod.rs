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
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::admin::api;
use crate::causes;
use crate::cert::{Bundle, IssueError, LiveIndex, NameError, Passphrase, UnknownClientKind};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::store::{CertStore, StoreError, read_given};
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
        let given = given(import)?;
        let imported = self.store.import_bundle(given, import.name.as_deref())?;
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

/// What is in the document, whatever form it has.
fn given(import: &api::Import) -> Result<Bundle, ServiceError> {
    let decoded = |field, text: &Option<String>| {
        let text = text.as_deref().map(str::as_bytes);
        let decoded = text.map(|text| BASE64.decode(text).map(Zeroizing::new));
        decoded
            .transpose()
            .map_err(|_| ServiceError::NotBase64 { field })
    };
    let pkcs12 = decoded("pkcs12_base64", &import.pkcs12_base64)?;
    let der = decoded("der_base64", &import.der_base64)?;
    let pem = import.certificate_pem.as_deref().map(str::as_bytes);
    let texts = [
        ("certificate", pem),
        (
            "PKCS#12 file",
            pkcs12.as_ref().map(|bytes| bytes.as_slice()),
        ),
        ("certificate", der.as_ref().map(|bytes| bytes.as_slice())),
    ];
    let texts: Vec<_> = texts
        .into_iter()
        .filter_map(|(what, bytes)| Some((what, bytes?)))
        .collect();
    if texts.is_empty() {
        let field = "certificate_pem";
        return Err(ServiceError::Missing { field });
    }
    let key = import.key_pem.as_deref().map(str::as_bytes);
    let passphrase = import.passphrase.as_ref();
    let passphrase = passphrase.map(|text| Passphrase::new(text.clone().into_bytes()));
    Ok(read_given(&texts, key, passphrase.as_ref())?)
}
