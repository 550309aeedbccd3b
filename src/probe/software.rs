//! What a server is, from what it says of itself.

use crate::wire::announced::Announced;

/// Servers whose settings we know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Software {
    Dovecot,
    Postfix,
    Exim,
    Kerio,
}

/// Names in banners (ManageSieve: in IMPLEMENTATION).
const NAMES: [(&str, Software); 4] = [
    ("dovecot", Software::Dovecot),
    ("postfix", Software::Postfix),
    ("exim", Software::Exim),
    ("kerio", Software::Kerio),
];

/// Capabilities that no other server announces together; banners are often changed, these are
/// not.
const HABITS: [(&[&str], Software); 3] = [
    (&["LOGIN-REFERRALS", "SASL-IR"], Software::Dovecot),
    (&["ETRN", "DSN", "VRFY"], Software::Postfix),
    (
        &["RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"],
        Software::Dovecot,
    ),
];

impl Software {
    /// Every one, the more common first.
    pub(super) const ALL: [Self; 4] = [Self::Dovecot, Self::Postfix, Self::Exim, Self::Kerio];

    /// Who says that; `None` if it could be anybody.
    pub(super) fn of(said: &Announced) -> Option<Self> {
        let banner = said.banner.to_ascii_lowercase();
        let named = NAMES.iter().find(|(name, _)| banner.contains(name));
        let has = |word: &&str| {
            let mut entries = said.capabilities.iter();
            entries.any(|entry| entry.eq_ignore_ascii_case(word))
        };
        let behaves = || HABITS.iter().find(|(words, _)| words.iter().all(has));
        named
            .map(|(_, software)| *software)
            .or_else(|| behaves().map(|(_, software)| *software))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_and_habits_tell() {
        let cases: [(&str, &[&str], Option<Software>); 10] = [
            ("Dovecot (Debian) ready.", &[], Some(Software::Dovecot)),
            ("Dovecot (Debian) Pigeonhole", &[], Some(Software::Dovecot)),
            ("ESMTP Postfix (Debian/GNU)", &[], Some(Software::Postfix)),
            (
                "ESMTP Exim 4.96 Sat, 21 Nov 2026",
                &[],
                Some(Software::Exim),
            ),
            (
                "Kerio Connect 9.2.7 ESMTP ready",
                &[],
                Some(Software::Kerio),
            ),
            (
                "ready",
                &["IMAP4rev1", "SASL-IR", "LOGIN-REFERRALS"],
                Some(Software::Dovecot),
            ),
            (
                "ESMTP",
                &["PIPELINING", "VRFY", "ETRN", "DSN"],
                Some(Software::Postfix),
            ),
            ("ESMTP", &["PIPELINING", "SIZE 100"], None),
            (
                "+OK",
                &["RESP-CODES", "PIPELINING", "AUTH-RESP-CODE"],
                Some(Software::Dovecot),
            ),
            ("", &[], None),
        ];
        for (banner, capabilities, expected) in cases {
            let said = Announced {
                banner: banner.to_owned(),
                capabilities: capabilities.iter().map(|&entry| entry.to_owned()).collect(),
            };
            assert_eq!(Software::of(&said), expected, "{said:?}");
        }
    }
}
