//! Whether a server would let anybody log in, from what it announces.

use crate::wire::mail::MailProtocol;

/// What a server offers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Login {
    /// These ways.
    Offered(String),
    /// None; how it says so.
    Hidden(String),
    /// It does not say.
    Unknown,
}

impl Login {
    /// What these capabilities mean; entries as in [`crate::wire::announced::Announced`].
    pub(super) fn of(protocol: MailProtocol, capabilities: &[String]) -> Self {
        match protocol {
            MailProtocol::Imap => imap(capabilities),
            MailProtocol::Pop3 => pop3(capabilities),
            MailProtocol::Submission => submission(capabilities),
            MailProtocol::ManageSieve => managesieve(capabilities),
            MailProtocol::Smtp => Self::Unknown,
        }
    }

    fn of_ways(ways: Vec<String>, hidden: &str) -> Self {
        match ways.is_empty() {
            true => Self::Hidden(hidden.to_owned()),
            false => Self::Offered(ways.join(" ")),
        }
    }
}

/// Whether the server announces STARTTLS.
pub(super) fn offers_starttls(protocol: MailProtocol, capabilities: &[String]) -> bool {
    let keyword = match protocol {
        MailProtocol::Pop3 => "STLS",
        MailProtocol::ManageSieve => "\"STARTTLS\"",
        MailProtocol::Imap | MailProtocol::Smtp | MailProtocol::Submission => "STARTTLS",
    };
    behind(capabilities, keyword).is_some()
}

/// What stands behind a keyword in its entry.
fn behind<'a>(capabilities: &'a [String], keyword: &str) -> Option<&'a str> {
    capabilities.iter().find_map(|entry| {
        let (word, rest) = entry.split_once(' ').unwrap_or((entry, ""));
        word.eq_ignore_ascii_case(keyword).then_some(rest.trim())
    })
}

fn imap(capabilities: &[String]) -> Login {
    let mechanism = |entry: &&String| {
        let head = entry.get(..5);
        head.is_some_and(|head| head.eq_ignore_ascii_case("AUTH="))
    };
    let mut ways: Vec<_> = capabilities.iter().filter(mechanism).cloned().collect();
    if behind(capabilities, "LOGINDISABLED").is_none() {
        ways.insert(0, "LOGIN".to_owned());
    }
    Login::of_ways(ways, "LOGINDISABLED")
}

fn pop3(capabilities: &[String]) -> Login {
    let mut ways = Vec::new();
    if behind(capabilities, "USER").is_some() {
        ways.push("USER".to_owned());
    }
    if let Some(mechanisms) = behind(capabilities, "SASL").filter(|list| !list.is_empty()) {
        ways.push(format!("SASL {mechanisms}"));
    }
    Login::of_ways(ways, "CAPA has neither USER nor a SASL mechanism")
}

fn submission(capabilities: &[String]) -> Login {
    // Before RFC 2554 it was `AUTH=`, and some have nothing else.
    let old = || {
        let mut entries = capabilities.iter();
        entries.find_map(|entry| {
            let (word, mechanisms) = entry.split_at_checked("AUTH=".len())?;
            word.eq_ignore_ascii_case("AUTH=").then_some(mechanisms)
        })
    };
    match behind(capabilities, "AUTH").or_else(old) {
        Some("") => Login::Hidden("AUTH without a mechanism".to_owned()),
        Some(mechanisms) => Login::Offered(format!("AUTH {mechanisms}")),
        None => Login::Hidden("EHLO has no AUTH".to_owned()),
    }
}

fn managesieve(capabilities: &[String]) -> Login {
    match behind(capabilities, "\"SASL\"").map(|list| list.trim_matches('"')) {
        Some("") => Login::Hidden("SASL without a mechanism".to_owned()),
        Some(mechanisms) => Login::Offered(format!("SASL {mechanisms}")),
        None => Login::Hidden("no SASL".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(capabilities: &[&str]) -> Vec<String> {
        capabilities.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn every_protocol_says_in_its_own_way_who_may_log_in() {
        use MailProtocol::{Imap, ManageSieve, Pop3, Smtp, Submission};

        let offered = |ways: &str| Login::Offered(ways.to_owned());
        let cases: [(MailProtocol, &[&str], Login); 15] = [
            (
                Imap,
                &["IMAP4rev1", "AUTH=PLAIN"],
                offered("LOGIN AUTH=PLAIN"),
            ),
            (Imap, &["IMAP4rev1"], offered("LOGIN")),
            (
                Imap,
                &["LOGINDISABLED", "auth=gssapi"],
                offered("auth=gssapi"),
            ),
            (
                Imap,
                &["LoginDisabled"],
                Login::Hidden("LOGINDISABLED".to_owned()),
            ),
            (Pop3, &["USER"], offered("USER")),
            (
                Pop3,
                &["USER", "SASL PLAIN LOGIN"],
                offered("USER SASL PLAIN LOGIN"),
            ),
            (
                Pop3,
                &["TOP", "SASL"],
                Login::Hidden("CAPA has neither USER nor a SASL mechanism".to_owned()),
            ),
            (
                Submission,
                &["AUTH PLAIN LOGIN"],
                offered("AUTH PLAIN LOGIN"),
            ),
            (
                Submission,
                &["SIZE", "auth=LOGIN PLAIN"],
                offered("AUTH LOGIN PLAIN"),
            ),
            (
                Submission,
                &["AUTH"],
                Login::Hidden("AUTH without a mechanism".to_owned()),
            ),
            (
                Submission,
                &["SIZE"],
                Login::Hidden("EHLO has no AUTH".to_owned()),
            ),
            (ManageSieve, &["\"SASL\" \"PLAIN\""], offered("SASL PLAIN")),
            (
                ManageSieve,
                &["\"SASL\" \"\""],
                Login::Hidden("SASL without a mechanism".to_owned()),
            ),
            (
                ManageSieve,
                &["\"VERSION\" \"1.0\""],
                Login::Hidden("no SASL".to_owned()),
            ),
            (Smtp, &["AUTH PLAIN"], Login::Unknown),
        ];
        for (protocol, capabilities, expected) in cases {
            let found = Login::of(protocol, &entries(capabilities));
            assert_eq!(found, expected, "{capabilities:?}");
        }
    }

    #[test]
    fn starttls_has_three_names() {
        use MailProtocol::{Imap, ManageSieve, Pop3, Smtp};

        let cases = [
            (Imap, "STARTTLS", true),
            (Imap, "STARTTLS2", false),
            (Smtp, "starttls", true),
            (Pop3, "STLS", true),
            (Pop3, "STARTTLS", false),
            (ManageSieve, "\"STARTTLS\"", true),
        ];
        for (protocol, entry, expected) in cases {
            let found = offers_starttls(protocol, &entries(&[entry]));
            assert_eq!(found, expected, "{protocol:?} {entry}");
        }
    }
}
