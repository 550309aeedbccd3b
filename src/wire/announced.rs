//! What a mail server says of itself: its banner and its capabilities.

use std::collections::HashSet;

/// What a server told a health probe; shown, cut down, to clients that are still in clear.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Announced {
    /// The text of its greeting: what stands behind the code, the host name (SMTP), the
    /// `[CAPABILITY …]` code (IMAP), without `<timestamp>` and `[XCLIENT]`.
    pub banner: String,
    /// SMTP: EHLO keywords with their parameters, one an entry. IMAP: capability atoms. POP3:
    /// lines of CAPA. ManageSieve: capability lines as sent. No line ends.
    pub capabilities: Vec<String>,
}

impl Announced {
    /// What both say: the capabilities that stand in both (of SIZE the smaller), and the first
    /// banner if it is the same.
    pub fn in_common(&self, other: &Self) -> Self {
        let others = other.capabilities.iter().collect::<HashSet<_>>();
        let other_size = other.capabilities.iter().find_map(|entry| size(entry));
        let shared = |entry: &String| match (size(entry), other_size) {
            (Some(ours), Some(theirs)) => Some(smaller(ours, theirs)),
            _ => others.contains(entry).then(|| entry.clone()),
        };
        Self {
            banner: if self.banner == other.banner {
                self.banner.clone()
            } else {
                String::new()
            },
            capabilities: self.capabilities.iter().filter_map(shared).collect(),
        }
    }
}

/// The largest message that a server takes, if `entry` says so (RFC 1870 section 4); no number,
/// and the number 0, say that there is no fixed limit.
fn size(entry: &str) -> Option<u64> {
    let mut words = entry.split_ascii_whitespace();
    if !words.next()?.eq_ignore_ascii_case("SIZE") {
        return None;
    }
    words.next().map_or(Some(0), |number| number.parse().ok())
}

fn smaller(one: u64, other: u64) -> String {
    match [one, other].into_iter().filter(|&size| size > 0).min() {
        Some(size) => format!("SIZE {size}"),
        None => "SIZE".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(banner: &str, capabilities: &[&str]) -> Announced {
        Announced {
            banner: banner.to_owned(),
            capabilities: capabilities.iter().map(|&entry| entry.to_owned()).collect(),
        }
    }

    #[test]
    fn capabilities_of_both() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &["DSN"], &[]),
            (&["DSN", "ETRN"], &["ETRN", "DSN"], &["DSN", "ETRN"]),
            (&["DSN", "ETRN", "HELP"], &["HELP", "DSN"], &["DSN", "HELP"]),
            (&["LIMITS RCPTMAX=5"], &["LIMITS RCPTMAX=6"], &[]),
            (&["SIZE 1000", "DSN"], &["SIZE 200"], &["SIZE 200"]),
            (&["SIZE 200"], &["SIZE 1000"], &["SIZE 200"]),
            (&["SIZE 200"], &["SIZE"], &["SIZE 200"]),
            (&["SIZE 0"], &["size 300"], &["SIZE 300"]),
            (&["SIZE 0"], &["SIZE"], &["SIZE"]),
            (&["SIZE 10"], &["DSN"], &[]),
            (&["SIZE many"], &["SIZE 10"], &[]),
            (&["SIZE 10"], &["SIZE many"], &[]),
            (&["SIZES 10"], &["SIZES 20"], &[]),
        ];
        for (ours, theirs, both) in cases {
            let found = announced("", ours).in_common(&announced("", theirs));
            assert_eq!(found, announced("", both), "{ours:?} and {theirs:?}");
        }
    }

    #[test]
    fn the_banner_of_both() {
        let dovecot = announced("Dovecot ready.", &[]);
        assert_eq!(dovecot.in_common(&dovecot), dovecot);
        assert_eq!(
            dovecot.in_common(&announced("Cyrus ready.", &[])),
            Announced::default()
        );
    }
}
