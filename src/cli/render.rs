//! The admin API's documents as people read them.

use std::fmt::Write;

use super::output::table;
use crate::admin::api::{Certificate, Certificates, Explanation, Kind, Problem, Status, Timestamp};

/// Names shown of one certificate in a list.
const NAMES_SHOWN: usize = 4;
/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// `cert list`
pub(super) fn list(list: &Certificates) -> String {
    let header = [
        "NAME", "KIND", "SUBJECT", "ISSUER", "NAMES", "EXPIRES", "STANDING", "DEFAULT", "PROBLEMS",
    ];
    let mut text = table(&header, list.certificates.iter().map(list_row));
    let changes = list
        .certificates
        .iter()
        .filter_map(|one| Some((one.next_change.as_ref()?, one)));
    if let Some((change, first)) = changes.min_by_key(|(change, _)| change.at) {
        let _ = writeln!(
            text,
            "\nnext change: {}, then {:?} is {}",
            change.at, first.name, change.standing
        );
    }
    text
}

fn list_row(certificate: &Certificate) -> Vec<String> {
    let default = if certificate.default {
        "default"
    } else {
        NOTHING
    };
    vec![
        certificate.name.clone(),
        kind(certificate.kind).to_owned(),
        or_nothing(certificate.subject.as_deref()),
        match (&certificate.issuer, &certificate.subject) {
            (Some(issuer), Some(subject)) if issuer == subject => "itself".to_owned(),
            (issuer, _) => or_nothing(issuer.as_deref()),
        },
        names(&[&*certificate.names, &*certificate.addresses].concat()),
        certificate
            .not_after
            .map_or_else(|| NOTHING.to_owned(), date),
        or_nothing(certificate.standing.as_deref()),
        default.to_owned(),
        problems(&certificate.problems),
    ]
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Certificate => "certificate",
        Kind::Request => "request",
        Kind::SetAside => "set aside",
    }
}

fn or_nothing(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or(NOTHING)
        .to_owned()
}

fn names(names: &[String]) -> String {
    match names.split_at_checked(NAMES_SHOWN) {
        Some((shown, rest)) if !rest.is_empty() => {
            format!("{} and {} more", shown.join(", "), rest.len())
        }
        _ => or_nothing(Some(&names.join(", "))),
    }
}

/// The day, which is what matters in a list.
pub(super) fn date(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('T') {
        Some((day, _)) => day.to_owned(),
        None => text,
    }
}

fn problems(problems: &[Problem]) -> String {
    let messages: Vec<_> = problems.iter().map(|one| one.message.as_str()).collect();
    or_nothing(Some(&messages.join("; ")))
}

/// `cert explain`
pub(super) fn explain(document: &Explanation) -> String {
    let asked = document.name.as_deref().unwrap_or("no name");
    let listener = match &document.listener {
        Some(listener) => format!(" on {listener}"),
        None => String::new(),
    };
    let mut text = format!(
        "{asked}{listener}, {} client, {}\n\n",
        document.client, document.at
    );
    match (&document.winner, document.outcome.as_str()) {
        (Some(winner), _) => {
            let _ = writeln!(
                text,
                "served: {}, rank {} ({})\n        SHA-256 {}",
                winner.name,
                winner.rank,
                meaning(winner.rank, &winner.matched),
                winner.sha256
            );
        }
        (None, "rejected") => text
            .push_str("rejected: no certificate matches, and the listener refuses unknown names\n"),
        (None, _) => text.push_str("no usable key: this client can verify no certificate here\n"),
    }
    if !document.candidates.is_empty() {
        let rows = document.candidates.iter().map(|lost| {
            vec![
                format!("  {}", lost.rank),
                lost.name.clone(),
                lost.lost_because.clone(),
            ]
        });
        let _ = write!(
            text,
            "\nnot served:\n\n{}",
            table(&["  RANK", "NAME", "BECAUSE"], rows)
        );
    }
    if document.unlisted > 0 {
        let _ = writeln!(text, "  and {} more", document.unlisted);
    }
    text.push('\n');
    text.push_str(&next_change(document));
    text
}

fn next_change(document: &Explanation) -> String {
    match &document.next_change {
        Some(change) => format!(
            "next change: {}, then {}\n",
            change.at,
            change.winner.as_deref().unwrap_or("none")
        ),
        None => "next change: none, as long as nothing but time passes\n".to_owned(),
    }
}

/// A line of the selection table in words.
fn meaning(rank: u8, matched: &str) -> String {
    let standing = match rank {
        1 | 5 => "trusted",
        2 | 6 => "self-signed",
        3 | 7 => "valid",
        4 | 8 => "expired",
        _ if matched == "default" => return "the default certificate".to_owned(),
        _ => "not yet valid",
    };
    match matched {
        "wildcard" => format!("{standing}, wildcard"),
        _ => format!("{standing}, exact name"),
    }
}

/// `status`
pub(super) fn status(status: &Status) -> String {
    let draining = if status.draining { ", draining" } else { "" };
    let listeners = status.listeners.iter().map(|listener| {
        vec![
            listener.name.clone(),
            or_nothing(Some(&listener.bound.join(", "))),
            listener.connections.to_string(),
        ]
    });
    let upstreams = status.upstreams.iter().flat_map(|upstream| {
        upstream.servers.iter().map(|server| {
            let up = match server.up {
                Some(true) => "up",
                Some(false) => "DOWN",
                None => "unknown",
            };
            vec![
                upstream.name.clone(),
                server.address.clone(),
                up.to_owned(),
                server.connections.to_string(),
            ]
        })
    });
    let mut text = format!(
        "gatepost {}, running since {}{draining}\n\n{}\n{}\n",
        status.version,
        status.started,
        table(&["LISTENER", "ADDRESS", "CONNECTIONS"], listeners),
        table(&["UPSTREAM", "SERVER", "STATE", "CONNECTIONS"], upstreams),
    );
    let default = status.default.as_deref().unwrap_or("none");
    let _ = writeln!(text, "default certificate: {default}");
    let _ = match &status.expires_next {
        Some(next) => writeln!(text, "expires next: {}, {}", next.name, next.not_after),
        None => writeln!(text, "expires next: none"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn certificate() -> Value {
        json!({
            "name": "mail.example.org", "kind": "certificate",
            "subject": "CN=mail.example.org", "issuer": "CN=CA",
            "names": ["a", "b", "c", "d", "e"], "addresses": ["192.0.2.1"],
            "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z",
            "key_type": "ecdsa-p256", "sha256": "00ff", "standing": "trusted",
            "default": true, "problems": [],
        })
    }

    #[test]
    fn a_list_has_a_line_for_everything() {
        let set_aside = json!({
            "name": "broken", "kind": "set-aside", "names": [], "addresses": [], "default": false,
            "problems": [{"code": "set-aside", "message": "no key"}],
        });
        let mut document = json!({"certificates": [certificate(), set_aside]});
        let change = json!({
            "at": "2027-01-01T00:00:01Z", "standing": "expired", "why": "the certificate expires",
        });
        document["certificates"][0]["next_change"] = change;
        assert_eq!(
            list(&from_value(document).unwrap()),
            "NAME              KIND         SUBJECT              ISSUER  NAMES                  EXPIRES     STANDING  DEFAULT  PROBLEMS\n\
             mail.example.org  certificate  CN=mail.example.org  CN=CA   a, b, c, d and 2 more  2027-01-01  trusted   default  -\n\
             broken            set aside    -                    -       -                      -           -         -        no key\n\
             \nnext change: 2027-01-01T00:00:01Z, then \"mail.example.org\" is expired\n"
        );
    }

    #[test]
    fn an_explanation_says_who_won_and_who_lost() {
        let mut document = json!({
            "name": "a.example.org", "listener": "imaps", "client": "modern",
            "at": "2026-11-21T10:00:00Z", "outcome": "served",
            "winner": {"name": "_.example.org", "rank": 5, "matched": "wildcard", "sha256": "00"},
            "candidates": [{"name": "server", "rank": 9, "lost_because": "rank 9 comes after rank 5"}],
            "next_change": {"at": "2027-01-01T00:00:01Z", "winner": "server"},
        });
        assert_eq!(
            explain(&from_value(document.clone()).unwrap()),
            "a.example.org on imaps, modern client, 2026-11-21T10:00:00Z\n\n\
             served: _.example.org, rank 5 (trusted, wildcard)\n        SHA-256 00\n\n\
             not served:\n\n  RANK  NAME    BECAUSE\n  9     server  rank 9 comes after rank 5\n\n\
             next change: 2027-01-01T00:00:01Z, then server\n"
        );
        document["unlisted"] = json!(7);
        let text = explain(&from_value(document.clone()).unwrap());
        assert!(
            text.contains("rank 9 comes after rank 5\n  and 7 more\n\nnext change"),
            "{text}"
        );
        document["unlisted"] = json!(0);
        document["name"] = Value::Null;
        document["listener"] = Value::Null;
        document["outcome"] = json!("rejected");
        document["winner"] = Value::Null;
        document["candidates"] = json!([]);
        document["next_change"] = Value::Null;
        assert_eq!(
            explain(&from_value(document).unwrap()),
            "no name, modern client, 2026-11-21T10:00:00Z\n\n\
             rejected: no certificate matches, and the listener refuses unknown names\n\n\
             next change: none, as long as nothing but time passes\n"
        );
    }

    #[test]
    fn ranks_in_words() {
        for (rank, matched, expected) in [
            (1, "exact", "trusted, exact name"),
            (4, "exact", "expired, exact name"),
            (6, "wildcard", "self-signed, wildcard"),
            (9, "default", "the default certificate"),
            (9, "wildcard", "not yet valid, wildcard"),
        ] {
            assert_eq!(meaning(rank, matched), expected);
        }
    }

    #[test]
    fn status_names_what_runs() {
        let document = json!({
            "version": "0.1.0", "started": "2026-11-21T10:00:00Z", "draining": false,
            "listeners": [{"name": "imaps", "bound": ["[::]:993"], "connections": 12}],
            "upstreams": [{"name": "old", "servers": [
                {"address": "10.0.0.5", "up": true, "connections": 12},
                {"address": "10.0.0.6", "up": null, "connections": 0},
            ]}],
            "default": "server",
            "expires_next": {"name": "server", "not_after": "2027-01-01T00:00:00Z"},
        });
        assert_eq!(
            status(&from_value(document).unwrap()),
            "gatepost 0.1.0, running since 2026-11-21T10:00:00Z\n\n\
             LISTENER  ADDRESS   CONNECTIONS\nimaps     [::]:993  12\n\n\
             UPSTREAM  SERVER    STATE    CONNECTIONS\n\
             old       10.0.0.5  up       12\nold       10.0.0.6  unknown  0\n\n\
             default certificate: server\nexpires next: server, 2027-01-01T00:00:00Z\n"
        );
    }
}
