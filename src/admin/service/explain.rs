//! The choice of a certificate, explained.

use std::net::IpAddr;

use rustls_pki_types::UnixTime;

use crate::admin::api;
use crate::admin::service::{Context, ServiceError};
use crate::cert::{self, ClientCapabilities, ClientKind, DnsName, Query, hex};
use crate::config::Listener;

/// What was typed for a client that sends no name.
const NO_NAME: &str = "-";

/// The name that a client sends.
enum Host {
    /// None.
    Unnamed,
    /// None, to this address: IP literals are not names (RFC 6066 section 3).
    Address(IpAddr),
    /// This one.
    Named(DnsName),
}

impl Context {
    /// What a handshake would be served, and why.
    pub fn explain(&self, asked: &api::Explain) -> Result<api::Explanation, ServiceError> {
        let host = read_host(asked.host.as_deref())?;
        let client: ClientKind = match &asked.client {
            Some(text) => text.parse()?,
            None => ClientKind::default(),
        };
        let at = match &asked.at {
            Some(text) => read_time(text)?,
            None => self.clock.now(),
        };
        let config = self.config.load();
        let listener = match &asked.listener {
            Some(name) => Some(find(&config.listeners, name)?),
            None => None,
        };
        let query = Query {
            server_name: match &host {
                Host::Named(name) => Some(name),
                Host::Unnamed | Host::Address(_) => None,
            },
            assumed: listener.and_then(|listener| listener.hostname.as_ref()),
            local: match &host {
                Host::Address(address) => Some(*address),
                Host::Unnamed | Host::Named(_) => listener.and_then(only_address),
            },
            client: ClientCapabilities::from(client),
            unknown_name: match listener {
                Some(listener) => listener.unknown_name,
                None => config.certificates.unknown_name,
            },
        };
        let explanation = self.live.load().explain(&query, at);
        Ok(document(explanation, &host, listener, client, at))
    }
}

fn read_host(host: Option<&str>) -> Result<Host, ServiceError> {
    let Some(text) = host.filter(|host| *host != NO_NAME) else {
        return Ok(Host::Unnamed);
    };
    match text.parse() {
        Ok(address) => Ok(Host::Address(address)),
        Err(_) => Ok(Host::Named(DnsName::parse(text)?)),
    }
}

fn read_time(text: &str) -> Result<UnixTime, ServiceError> {
    let bad = || ServiceError::BadTime {
        found: text.to_owned(),
    };
    let time: api::Timestamp = text.parse().map_err(|_| bad())?;
    let seconds = u64::try_from(time.0).map_err(|_| bad())?;
    let since_epoch = std::time::Duration::from_secs(seconds);
    Ok(UnixTime::since_unix_epoch(since_epoch))
}

fn find<'c>(
    listeners: &'c [std::sync::Arc<Listener>],
    name: &str,
) -> Result<&'c Listener, ServiceError> {
    let found = listeners.iter().find(|listener| listener.name == name);
    found.map(AsRef::as_ref).ok_or_else(|| {
        let known: Vec<_> = listeners.iter().map(|l| l.name.as_str()).collect();
        ServiceError::UnknownListener {
            name: name.to_owned(),
            known: known.join(", "),
        }
    })
}

/// The address that clients of this listener connect to, if there is only one.
fn only_address(listener: &Listener) -> Option<IpAddr> {
    match listener.bind.as_slice() {
        [address] if !address.ip().is_unspecified() => Some(address.ip().to_canonical()),
        _ => None,
    }
}

fn document(
    explanation: cert::Explanation,
    host: &Host,
    listener: Option<&Listener>,
    client: ClientKind,
    at: UnixTime,
) -> api::Explanation {
    api::Explanation {
        name: match host {
            Host::Unnamed => None,
            Host::Address(address) => Some(address.to_string()),
            Host::Named(name) => Some(name.to_string()),
        },
        listener: listener.map(|listener| listener.name.clone()),
        client: client.as_str().to_owned(),
        at: at.into(),
        outcome: explanation.outcome.as_str().to_owned(),
        winner: explanation.winner.map(|winner| api::Winner {
            name: winner.name,
            rank: winner.rank,
            matched: winner.matched.as_str().to_owned(),
            sha256: hex(&winner.sha256),
        }),
        candidates: explanation.candidates.into_iter().map(Into::into).collect(),
        unlisted: explanation.unlisted,
        next_change: explanation.next_change.map(|change| api::NextChange {
            at: change.at.into(),
            winner: change.winner,
        }),
    }
}

impl From<cert::Lost> for api::Candidate {
    fn from(lost: cert::Lost) -> Self {
        Self {
            name: lost.name,
            rank: lost.rank,
            lost_because: lost.because,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admin::fixture::{DAY, Fixture, NOW, at};
    use crate::config;

    fn asked(host: &str, listener: Option<&str>) -> api::Explain {
        api::Explain {
            host: Some(host.to_owned()),
            listener: listener.map(str::to_owned),
            ..api::Explain::default()
        }
    }

    fn winner(explanation: &api::Explanation) -> Option<(&str, u8, &str)> {
        let winner = explanation.winner.as_ref()?;
        Some((&winner.name, winner.rank, &winner.matched))
    }

    #[test]
    fn says_who_wins_and_who_does_not() {
        let fixture = Fixture::new();
        fixture.make("mail.example.com", 10);
        fixture.make("*.example.com", 100);
        fixture.make("127.0.0.1", 100);
        let explain = |asked| fixture.context.explain(&asked).unwrap();

        let exact = explain(asked("MAIL.example.com.", Some("imaps")));
        assert_eq!(exact.name.as_deref(), Some("mail.example.com"));
        assert_eq!(exact.listener.as_deref(), Some("imaps"));
        assert_eq!(
            (exact.client.as_str(), exact.at.0),
            ("modern", 1_795_255_200)
        );
        assert_eq!(exact.outcome, "served");
        assert_eq!(winner(&exact), Some(("mail.example.com", 2, "exact")));
        assert_eq!(exact.candidates[0].name, "_.example.com");

        for (host, listener, expected) in [
            (
                "www.example.com",
                None,
                Some(("_.example.com", 6, "wildcard")),
            ),
            ("other.example.net", None, Some(("server", 9, "default"))),
            ("-", None, Some(("server", 9, "default"))),
            ("-", Some("imaps"), Some(("mail.example.com", 2, "exact"))),
            ("-", Some("strict"), Some(("127.0.0.1", 2, "exact"))),
            ("127.0.0.1", None, Some(("127.0.0.1", 2, "exact"))),
            ("other.example.net", Some("strict"), None),
        ] {
            let explanation = explain(asked(host, listener));
            assert_eq!(winner(&explanation), expected, "{host} {listener:?}");
        }
        let rejected = explain(asked("other.example.net", Some("strict")));
        assert_eq!(rejected.outcome, "rejected");
        assert_eq!(explain(api::Explain::default()).name, None);
    }

    #[test]
    fn without_a_listener_the_default_for_all_listeners_holds() {
        let fixture = Fixture::new();
        let mut config = config::Config::clone(&fixture.context.config.load());
        config.certificates.unknown_name = cert::UnknownName::Reject;
        fixture.context.config.store(Arc::new(config));
        let outcome = |host, listener| {
            let explanation = fixture.context.explain(&asked(host, listener)).unwrap();
            explanation.outcome
        };
        assert_eq!(outcome("other.example.net", None), "rejected");
        assert_eq!(outcome("other.example.net", Some("imaps")), "served");
        assert_eq!(outcome("-", None), "served");
    }

    #[test]
    fn looks_into_the_future_and_at_other_clients() {
        let fixture = Fixture::new();
        fixture.make("mail.example.com", 10);
        let future = api::Explain {
            at: Some("2026-12-02T11:00:00+01:00".to_owned()),
            ..asked("mail.example.com", None)
        };
        let explanation = fixture.context.explain(&future).unwrap();
        assert_eq!(explanation.at.to_string(), "2026-12-02T10:00:00Z");
        assert_eq!(winner(&explanation), Some(("mail.example.com", 4, "exact")));

        let old = api::Explain {
            client: Some("rsa-only".to_owned()),
            ..asked("mail.example.com", None)
        };
        let explanation = fixture.context.explain(&old).unwrap();
        assert_eq!(explanation.outcome, "no-usable-key");
        assert_eq!(explanation.client, "rsa-only");
        assert_eq!(winner(&explanation), None);
        assert_eq!(explanation.candidates.len(), 2);

        fixture.context.clock.set(at(NOW + 20 * DAY));
        let now = fixture.context.explain(&asked("-", None)).unwrap();
        assert_eq!(now.at, at(NOW + 20 * DAY).into());
    }

    #[test]
    fn says_what_cannot_be_asked() {
        let fixture = Fixture::new();
        let plain = || asked("mail.example.com", None);
        for (asked, expected) in [
            (
                asked("mail.example.com", Some("imap")),
                "no listener \"imap\" (known: imaps, strict)",
            ),
            (
                api::Explain {
                    at: Some("tomorrow".to_owned()),
                    ..plain()
                },
                "\"tomorrow\" is not a time, expected one such as \"2026-11-21T10:00:00Z\"",
            ),
            (
                api::Explain {
                    at: Some("1969-12-31T23:59:59Z".to_owned()),
                    ..plain()
                },
                "\"1969-12-31T23:59:59Z\" is not a time, expected one such as \"2026-11-21T10:00:00Z\"",
            ),
        ] {
            let error = fixture.context.explain(&asked).unwrap_err();
            assert_eq!(error.detail(), expected);
            let status = if asked.listener.is_some() { 404 } else { 400 };
            assert_eq!(error.status(), status);
        }
        let client = api::Explain {
            client: Some("netscape".to_owned()),
            ..plain()
        };
        for asked in [client, asked("a b", None), asked("*.example.com", None)] {
            let error = fixture.context.explain(&asked).unwrap_err();
            assert_eq!(error.status(), 400, "{error}");
        }
    }
}
