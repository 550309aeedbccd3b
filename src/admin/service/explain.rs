//! The choice of a certificate, explained.

use std::net::IpAddr;

use rustls_pki_types::UnixTime;

use crate::admin::api;
use crate::admin::service::{Context, ServiceError};
use crate::cert::{self, ClientCapabilities, ClientKind, DnsName, Query, UnknownName, hex};
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
            unknown_name: listener.map_or(UnknownName::Default, |l| l.unknown_name),
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
