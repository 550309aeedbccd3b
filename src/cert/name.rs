//! Names: the reference identifier that a client asks for, the presented identifiers
//! that a certificate carries, and how they match (RFC 9525 section 6.3).
//!
//! One truth table, the same one as in the tests:
//!
//! | presented         | reference           | match |
//! |-------------------|---------------------|-------|
//! | `example.com`     | `example.com`       | yes   |
//! | `example.com`     | `www.example.com`   | no    |
//! | `*.example.com`   | `www.example.com`   | yes   |
//! | `*.example.com`   | `example.com`       | no    |
//! | `*.example.com`   | `a.b.example.com`   | no    |
//! | `*.b.example.com` | `a.b.example.com`   | yes   |
//!
//! Knows nothing of certificates: where a name was found is for others to say.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Longest name in bytes, without a final dot (RFC 1035 section 2.3.4, in text form).
const MAX_NAME: usize = 253;

/// Longest label in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// Longest text that is worth converting to A-labels: 253 characters of four bytes.
const MAX_UNICODE: usize = 4 * MAX_NAME;

/// A reference identifier: A-labels (UTS #46), lower case, no final dot.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DnsName(Box<str>);

/// Why a text is not a name; each quotes what was found.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or a dot alone.
    #[error("an empty host name")]
    Empty,
    /// An address where a name is needed.
    #[error("{0:?} is an IP address, not a host name")]
    IpLiteral(String),
    /// Two dots in a row, or one at the beginning.
    #[error("host name {0:?} has an empty label")]
    EmptyLabel(String),
    /// Over 63 bytes between two dots.
    #[error("host name {name:?} has a label of {found} bytes, at most {MAX_LABEL} are allowed")]
    LongLabel {
        /// The name.
        name: String,
        /// Length of the label, as an A-label.
        found: usize,
    },
    /// Over 253 bytes in all.
    #[error("host name {name:?} has {found} bytes, at most {MAX_NAME} are allowed")]
    TooLong {
        /// The beginning of the name.
        name: String,
        /// Length of the name.
        found: usize,
    },
    /// Something other than letters, digits, `-`, `_` and `.`.
    #[error(
        "host name {name:?} contains {found:?}, expected letters, digits, \"-\", \"_\" and \".\""
    )]
    BadCharacter {
        /// The name.
        name: String,
        /// The first character that does not belong there.
        found: char,
    },
    /// `-` at either end of a label.
    #[error("host name {0:?} has a label that begins or ends with \"-\"")]
    Hyphen(String),
    /// The last label is a number, as in no host name and every IPv4 address.
    #[error("host name {0:?} ends in a number")]
    NumericEnd(String),
    /// No form in A-labels (UTS #46).
    #[error("{0:?} is not an internationalised host name")]
    NotInternational(String),
    /// A wildcard where one host is to be named.
    #[error("{0:?} is a wildcard, a single host name is needed")]
    Wildcard(String),
    /// `*` alone.
    #[error("wildcard {0:?} stands for every name, expected \"*.\" and a domain")]
    BareWildcard(String),
    /// `f*.x`, `**.x`: the star is part of a label.
    #[error("wildcard {0:?} has \"*\" within a label, it must be the whole first label")]
    PartialWildcard(String),
    /// `a.*.x`: the star is not in the first label.
    #[error("wildcard {0:?} has \"*\" after the first label, it must be the whole first label")]
    InnerWildcard(String),
    /// `*.*.x`: more than one star.
    #[error("wildcard {0:?} has more than one \"*\", one as the whole first label is allowed")]
    RepeatedWildcard(String),
}

impl DnsName {
    /// Reads a host name as people and peers write it: U-labels, upper case, one final dot.
    /// IP literals, wildcards, empty labels and names over 253 bytes are refused.
    ///
    /// Runs once a handshake: a name in ASCII costs one pass and one allocation.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parse_part(text, text)
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands right of the first dot, if anything does.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }

    /// Reads `part`; an error quotes `whole`.
    fn parse_part(part: &str, whole: &str) -> Result<Self, NameError> {
        let ascii = to_ascii(part, whole)?;
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        check(name, whole)?;
        let mut name = Box::<str>::from(name);
        name.make_ascii_lowercase();
        Ok(Self(name))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// U-labels to A-labels. ASCII passes as it is: A-labels are compared byte by byte
/// (RFC 9525 section 6.3), so nothing would be gained by decoding them.
fn to_ascii<'t>(text: &'t str, whole: &str) -> Result<Cow<'t, str>, NameError> {
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    if text.len() > MAX_UNICODE {
        return Err(NameError::TooLong {
            name: quote(whole),
            found: whole.len(),
        });
    }
    Uts46::new()
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::Allow,
            DnsLength::Ignore,
        )
        .map_err(|_| NameError::NotInternational(quote(whole)))
}

/// Checks an ASCII name that has lost its final dot. Accepts exactly what the TLS library
/// accepts as a server name (tested), so that each name that can be asked for can be served.
fn check(name: &str, whole: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(found) = name.chars().find(|c| !is_name_character(*c)) {
        return Err(bad_character(name, found, whole));
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong {
            name: quote(whole),
            found: name.len(),
        });
    }
    let mut last = "";
    for label in name.split('.') {
        check_label(label, whole)?;
        last = label;
    }
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(match name.parse::<IpAddr>() {
            Ok(_) => NameError::IpLiteral(quote(whole)),
            Err(_) => NameError::NumericEnd(quote(whole)),
        });
    }
    Ok(())
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn check_label(label: &str, whole: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel(quote(whole)));
    }
    if label.len() > MAX_LABEL {
        return Err(NameError::LongLabel {
            name: quote(whole),
            found: label.len(),
        });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen(quote(whole)));
    }
    Ok(())
}

/// Says what people most likely meant by a character that no name has.
fn bad_character(name: &str, found: char, whole: &str) -> NameError {
    let unbracketed = name.trim_start_matches('[').trim_end_matches(']');
    if unbracketed.parse::<Ipv6Addr>().is_ok() {
        NameError::IpLiteral(quote(whole))
    } else if name.contains('*') {
        NameError::Wildcard(quote(whole))
    } else {
        NameError::BadCharacter {
            name: quote(whole),
            found,
        }
    }
}

/// The beginning of a text from outside, short enough for one line of a log.
fn quote(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
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
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if !text.contains('*') {
            return DnsName::parse(text).map(Self::Exact);
        }
        match text.strip_prefix("*.") {
            Some(parent) if !parent.is_empty() && !parent.contains('*') => {
                Self::parse_wildcard(parent, text)
            }
            _ => Err(misplaced_star(text)),
        }
    }

    /// Whether the reference identifier is covered.
    pub fn matches(&self, name: &DnsName) -> bool {
        match self {
            Self::Exact(own) => own == name,
            Self::Wildcard(parent) => name.parent() == Some(parent.as_str()),
        }
    }

    fn parse_wildcard(parent: &str, whole: &str) -> Result<Self, NameError> {
        let parent = DnsName::parse_part(parent, whole)?;
        let found = parent.as_str().len() + "*.".len();
        if found > MAX_NAME {
            return Err(NameError::TooLong {
                name: quote(whole),
                found,
            });
        }
        Ok(Self::Wildcard(parent))
    }
}

fn misplaced_star(text: &str) -> NameError {
    let first = text.split('.').next().unwrap_or_default();
    let quoted = quote(text);
    match (first, text.matches('*').count()) {
        ("*", 1) => NameError::BareWildcard(quoted),
        ("*", _) => NameError::RepeatedWildcard(quoted),
        (first, _) if first.contains('*') => NameError::PartialWildcard(quoted),
        _ => NameError::InnerWildcard(quoted),
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

#[cfg(test)]
mod tests;
