//! What is given out of the folder: certificates, requests and keys as PEM, and where they lie.

use std::path::PathBuf;

use crate::cert::chain_pem;
use crate::store::layout::Listing;
use crate::store::requests;
use crate::store::{CertStore, StoreError, unknown};

/// What there may be of a NAME.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The end-entity certificate alone.
    Certificate,
    /// The certificate and its intermediates, as clients are sent them.
    Chain,
    /// The request that waits.
    Request,
    /// The private key: the certificate's, or if there is none, the request's.
    Key,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Certificate, Self::Chain, Self::Request, Self::Key];

    /// As commands and paths call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Chain => "chain",
            Self::Request => "request",
            Self::Key => "key",
        }
    }
}

/// Where the files of a NAME lie; `None`: there is none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Paths {
    /// Certificate and intermediates.
    pub certificate: Option<PathBuf>,
    /// The key.
    pub key: Option<PathBuf>,
    /// The request.
    pub request: Option<PathBuf>,
}

impl CertStore {
    /// PEM text of a part of a NAME. A key is the caller's to keep secret.
    pub fn export(&self, name: &str, part: Part) -> Result<String, StoreError> {
        let state = self.state.load();
        let slot = state.slot(name).ok_or_else(|| unknown(&state, name))?;
        let directory = &state.options.directory;
        let files = Listing::files_of(directory, name);
        let waiting = || requests::read(directory, name, files);
        let nothing = |reason: String| StoreError::NothingToExport {
            name: name.to_owned(),
            what: part.as_str(),
            reason,
        };
        match (part, &slot.loaded) {
            (Part::Request, _) if files.csr => Ok(waiting().map_err(nothing)?.request.to_pem()),
            (Part::Request, _) => Err(nothing("no request of it waits".to_owned())),
            (Part::Certificate, Some(loaded)) => {
                let end_entity = &loaded.credential.certificate.der;
                Ok(chain_pem(std::slice::from_ref(end_entity)))
            }
            (Part::Chain, Some(loaded)) => {
                let chain: Vec<_> = loaded.credential.chain().cloned().collect();
                Ok(chain_pem(&chain))
            }
            (Part::Key, Some(loaded)) => Ok(loaded.key.to_pem()),
            (Part::Key, None) if files.csr && !files.certificate() => {
                Ok(waiting().map_err(nothing)?.key.to_pem())
            }
            (_, None) => Err(nothing(match &slot.problem {
                Some(problem) => problem.message.clone(),
                None => "it is a request that waits for its certificate".to_owned(),
            })),
        }
    }

    /// Where the files of a NAME lie.
    pub fn paths(&self, name: &str) -> Paths {
        if let Some(paths) = self.state.load().paths_of_another(name) {
            return paths;
        }
        let directory = self.directory();
        let files = Listing::files_of(&directory, name);
        // As whoever reads it may be in another folder.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let path = |ending: &str| directory.join(format!("{name}.{ending}"));
        let pem = (files.pem && !files.crt).then(|| path("pem"));
        Paths {
            certificate: files.crt.then(|| path("crt")).or_else(|| pem.clone()),
            key: match (&pem, files.csr) {
                (Some(pem), false) => Some(pem.clone()),
                _ => files.key.then(|| path("key")).or(pem),
            },
            request: files.csr.then(|| path("csr")),
        }
    }
}
