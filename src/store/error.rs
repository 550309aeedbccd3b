//! What can go wrong with the folder, in words an operator can act on.

use std::io;
use std::path::Path;

use crate::cert::{BundleError, CertificateError, CredentialError, IssueError};

/// Why an operation was refused or failed. Everything but [`StoreError::Io`] and
/// [`StoreError::Unsettled`] is found before the first byte is written.
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
    /// A text that cannot be a NAME.
    #[error("{name:?} cannot name a certificate: {reason}")]
    BadName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A certificate that covers no name, and no NAME was given.
    #[error("the certificate names no host: say what it is to be called")]
    NoHostName,
    /// The default certificate is removed only on purpose.
    #[error("{name:?} is the default certificate: make another one the default first, or force it")]
    DefaultCertificate {
        /// NAME.
        name: String,
    },
    /// Listed as set aside, and not to be removed by a command.
    #[error("{name:?} cannot be removed: {reason}")]
    NotRemovable {
        /// NAME or file.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A certificate that cannot be served was to become the default.
    #[error("{name:?} cannot be the default certificate: {reason}")]
    NotServed {
        /// NAME.
        name: String,
        /// Why it is not served.
        reason: String,
    },
    /// What was given could not be read.
    #[error("cannot read the {what} that was given")]
    Input {
        /// "certificate" or "key".
        what: &'static str,
        /// What was found.
        source: BundleError,
    },
    /// Nothing in what was given is a certificate.
    #[error("found no certificate in what was given, only a private key")]
    NoCertificate,
    /// A block that says it is a certificate and is none.
    #[error("certificate {position} of what was given cannot be read")]
    BadCertificate {
        /// Counted from one.
        position: usize,
        /// What was found.
        source: CertificateError,
    },
    /// A key file was given that holds no key.
    #[error("found no private key in what was given as the key, only certificates")]
    NoKeyGiven,
    /// No key came with the certificate, and none in the folder fits it.
    #[error(
        "no key was given, and no key in {directory} fits {}",
        of_certificates(.certificates)
    )]
    NoKey {
        /// Key ids of the certificates.
        certificates: Vec<String>,
        /// The folder.
        directory: String,
    },
    /// Certificates and keys that have nothing to do with each other.
    #[error(
        "{} of {}",
        not_the_key(.keys),
        of_certificates(.certificates)
    )]
    KeyMismatch {
        /// Key ids of the keys.
        keys: Vec<String>,
        /// Key ids of the certificates.
        certificates: Vec<String>,
    },
    /// Certificate and key fit, and still cannot be served.
    #[error("certificate {name:?} cannot be served")]
    Unusable {
        /// NAME it would have had.
        name: String,
        /// Why.
        source: CredentialError,
    },
    /// A key of unknown use lies where the new one is to go.
    #[error(
        "{file} holds something that cannot be read and may be a key in use: move it away or choose another NAME"
    )]
    KeyInTheWay {
        /// File in the folder.
        file: String,
    },
    /// A request that waits is not lost to another one.
    #[error(
        "a request of {name:?} waits already, with another key (key id {key_id}): ask again for that \
         key, choose another NAME, or give the request up with \"gatepost cert remove {name} --request\""
    )]
    RequestWaits {
        /// NAME.
        name: String,
        /// Which key it waits with.
        key_id: String,
    },
    /// Something that may be a request is not lost to another one either.
    #[error(
        "what lies where the request is to go cannot be used, and may be one that waits: {reason}; \
         give it up with \"gatepost cert remove {name} --request\", or choose another NAME"
    )]
    RequestInTheWay {
        /// NAME.
        name: String,
        /// What is wrong with it, with its file.
        reason: String,
    },
    /// There is no such request.
    #[error("no request of {name:?} waits (waiting: {waiting})")]
    NoRequest {
        /// NAME asked for.
        name: String,
        /// Which do.
        waiting: String,
    },
    /// A CA's answer to something else.
    #[error(
        "no request waits for {}: looked for key id {}; waiting: {waiting}{hint}",
        certificates(key_ids),
        key_ids.join(", ")
    )]
    NoWaitingRequest {
        /// Key ids of what was given.
        key_ids: Vec<String>,
        /// NAMEs and key ids of what waits.
        waiting: String,
        /// What else is known of it, if anything.
        hint: String,
    },
    /// The certificate that a request is to follow, again.
    #[error(
        "this is the certificate that {name:?} has already, and no answer to the request that waits \
         for its successor"
    )]
    NotAnAnswer {
        /// NAME.
        name: String,
    },
    /// Something that there is not of a NAME.
    #[error("{name:?} has no {what} to give out: {reason}")]
    NothingToExport {
        /// NAME.
        name: String,
        /// "certificate", "key" …
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The certificate could not be made.
    #[error("cannot make a certificate")]
    Issue(#[from] IssueError),
    /// A file of trust anchors without any.
    #[error("{path}: found no trust anchor, expected PEM certificates")]
    NoAnchor {
        /// The file.
        path: String,
    },
    /// The file system said no.
    #[error("{path}: {action}")]
    Io {
        /// What it was about.
        path: String,
        /// What was tried, as in "cannot write".
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Some steps of a change are done and one failed; key and certificate fit each other all the same.
    #[error("the change was not completed")]
    Unsettled {
        /// The step that failed.
        source: Box<Self>,
    },
}

impl StoreError {
    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            action,
            source,
        }
    }
}

fn of_certificates(ids: &[String]) -> String {
    format!("{} ({})", certificates(ids), key_ids(ids))
}

fn certificates(ids: &[String]) -> String {
    match ids.len() {
        1 => "the certificate".to_owned(),
        n => format!("any of the {n} certificates"),
    }
}

/// By which keys can be told apart.
fn key_ids(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    let shown = ids.get(..SHOWN).unwrap_or(ids).join(", ");
    format!("key id {shown}{more}")
}

fn not_the_key(ids: &[String]) -> String {
    match ids {
        [_] => format!("the key that was given ({}) is not the key", key_ids(ids)),
        _ => format!(
            "none of the keys that were given ({}) is the key",
            key_ids(ids)
        ),
    }
}
