//! Everything that is true about certificates, keys and names.
//!
//! Pure: bytes and `now` go in, values come out. Nothing in here opens a file or a
//! socket, or reads a clock.

mod algorithm;
mod best;
mod candidate;
mod capabilities;
mod certificate;
mod chain;
mod credential;
mod distinguished_name;
mod explain;
mod extensions;
mod fingerprint;
mod index;
mod input;
mod intermediates;
mod issue;
mod key;
mod live;
mod name;
#[cfg(test)]
mod oracle;
mod ordered;
mod path;
mod presented;
mod rank;
mod request;
#[cfg(test)]
mod samples;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod trust;

pub use capabilities::{ClientCapabilities, ClientKind, UnknownClientKind};
pub use certificate::{Certificate, CertificateError, NameSource, spki_of};
pub use chain::{Chain, end_entity_first};
pub use credential::{Credential, CredentialError, Problem, ProblemCode};
pub use explain::{Explanation, Lost, NextChange, Outcome, Winner};
pub use extensions::Extensions;
pub use fingerprint::{hex, sha256, short_id};
pub use index::{CertIndex, Changes, Query, Selected, Selection, UnknownName};
pub use input::{Bundle, BundleError, DecryptError, MAX_INPUT, Passphrase};
pub use input::{chain_pem, read_bundle, read_input};
pub use issue::{IssueError, KeyAlgorithm, NewCertificate, Subject, new_key, self_signed};
pub use key::{KeyError, KeyType, PrivateKey};
pub use live::LiveIndex;
pub use name::{DnsName, NameError, NamePattern};
pub use rank::{Matched, Order, Rank, Standing, StandingKind, Validity};
pub use request::{Identity, Request, RequestError, request};
pub use trust::{AnchorSource, TrustAnchors};
