//! Owner of the certificate folder: scan, change, publish.
//!
//! One writer: every operation holds the store's mutex and the folder's lock, validates,
//! writes, builds a new index and publishes it, in this order. All calls block; callers on
//! the runtime use `spawn_blocking`.

use std::path::PathBuf;

use crate::cert::{LiveIndex, NewCertificate, Order, Problem};
use crate::time::Clock;

/// Where trust comes from besides `trust/` in the folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootSource {
    /// The operating system's roots.
    System,
    /// Mozilla's, compiled in.
    Mozilla,
    /// A PEM file.
    File(PathBuf),
}

/// What the store is told by the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The folder; made if it is not there.
    pub directory: PathBuf,
    /// Order of preference of the index.
    pub order: Order,
    /// Trust anchors.
    pub trust: Vec<RootSource>,
}

/// The folder, what was read from it, and the index made of it.
#[derive(Debug)]
pub struct CertStore {}

/// One line of `cert list`.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A certificate that can be served.
    Certificate {
        /// The credential.
        credential: std::sync::Arc<crate::cert::Credential>,
        /// Whether it is the default certificate.
        default: bool,
        /// A newer file of this NAME that could not be used, if there is one.
        replaced_by: Option<Problem>,
    },
    /// A request that waits for its certificate.
    Request {
        /// NAME.
        name: String,
    },
    /// Files that cannot be used.
    SetAside {
        /// NAME.
        name: String,
        /// Why.
        problem: Problem,
    },
}

/// What an import did.
#[derive(Clone, Debug)]
pub struct Imported {
    /// NAME.
    pub name: String,
    /// What there is to report about it.
    pub problems: Vec<Problem>,
}

/// Why an operation was refused or failed; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No certificate of that NAME.
    #[error("no certificate {name:?} (known: {known})")]
    Unknown {
        /// NAME asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The file system said no.
    #[error("{path}: {action}")]
    Io {
        /// What it was about.
        path: String,
        /// What was tried, as in "cannot write".
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl CertStore {
    /// Opens (and at the first start makes) the folder, reads it and publishes the index.
    pub fn open(_options: Options, _live: LiveIndex, _clock: Clock) -> Result<Self, StoreError> {
        todo!()
    }

    /// Takes new options (a reload) and reads the folder again; a failure changes nothing.
    pub fn reload(&self, _options: Options) -> Result<(), StoreError> {
        todo!()
    }

    /// Everything in the folder, in the order of NAME.
    pub fn entries(&self) -> Vec<Entry> {
        todo!()
    }

    /// NAME of the default certificate.
    pub fn default_name(&self) -> Option<String> {
        todo!()
    }

    /// Takes a certificate (with its intermediates) and its key, PEM.
    pub fn import(
        &self,
        _certificate_pem: &[u8],
        _key_pem: Option<&[u8]>,
        _name: Option<&str>,
    ) -> Result<Imported, StoreError> {
        todo!()
    }

    /// Makes a self-signed certificate; its NAME.
    pub fn create(&self, _new: &NewCertificate, _name: Option<&str>) -> Result<String, StoreError> {
        todo!()
    }

    /// Removes a certificate and its key.
    pub fn remove(&self, _name: &str, _force: bool) -> Result<(), StoreError> {
        todo!()
    }

    /// Makes a certificate the default one.
    pub fn set_default(&self, _name: &str) -> Result<(), StoreError> {
        todo!()
    }
}
