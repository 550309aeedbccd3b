//! Names: the reference identifier that a client asks for, the presented identifiers
//! that a certificate carries, and how they match (RFC 9525 section 6.3).

use std::fmt;

/// A reference identifier: A-labels (UTS #46), lower case, no final dot.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DnsName(Box<str>);

/// Why a text is not a name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Not a host name at all.
    #[error("{0:?} is not a host name")]
    NotAHostName(String),
}

impl DnsName {
    /// Reads a host name as people and peers write it: U-labels, upper case, one final dot.
    /// IP literals, wildcards, empty labels and names over 253 bytes are refused.
    pub fn parse(_text: &str) -> Result<Self, NameError> {
        todo!()
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands right of the first dot, if anything does.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A presented identifier, as a certificate carries it and a route names it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NamePattern {
    /// This name only.
    Exact(DnsName),
    /// `*.PARENT`: one non-empty label before the parent.
    Wildcard(DnsName),
}

impl NamePattern {
    /// Reads `name` or `*.name`; a star anywhere else is refused.
    pub fn parse(_text: &str) -> Result<Self, NameError> {
        todo!()
    }

    /// Whether the reference identifier is covered.
    pub fn matches(&self, _name: &DnsName) -> bool {
        todo!()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}
