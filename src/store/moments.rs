//! What time alone changes: certificates that expire, begin to be valid, or lose their intermediate.
//!
//! Selection needs none of this, it looks at the time for each handshake. This is for whoever reads the
//! log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls_pki_types::UnixTime;

use crate::cert::{
    CertIndex, ClientCapabilities, ClientKind, Credential, NamePattern, Query, Selected,
    StandingKind, UnknownName,
};
use crate::store::CertStore;
use crate::store::report::log_default_kind;

/// Lines for certificates that change in the same second; the rest are a number.
const LINES: usize = 100;
/// Names of a certificate that are looked up for what is served for them now.
const NAMES: usize = 8;

/// When somebody will next have to be told.
#[derive(Debug)]
pub(super) struct Moments(Mutex<Span>);

/// From `since` until before `until` every certificate is the same thing.
#[derive(Clone, Copy, Debug)]
struct Span {
    since: UnixTime,
    until: Option<UnixTime>,
}

impl Moments {
    /// What these certificates are now is known.
    pub(super) fn new<'c>(
        credentials: impl Iterator<Item = &'c Arc<Credential>>,
        now: UnixTime,
    ) -> Self {
        let until = next_change(credentials, now);
        Self(Mutex::new(Span { since: now, until }))
    }

    /// Takes more certificates into account. Those that are gone may at worst cost a look.
    pub(super) fn add<'c>(&self, credentials: impl Iterator<Item = &'c Arc<Credential>>) {
        let mut span = self.span();
        let next = next_change(credentials, span.since);
        span.until = span.until.into_iter().chain(next).min();
    }

    fn span(&self) -> MutexGuard<'_, Span> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that was last looked at, if something may be another thing now.
    fn passed(&self, now: UnixTime) -> Option<UnixTime> {
        let mut span = self.span();
        if now >= span.since && span.until.is_none_or(|until| now < until) {
            // Nothing changed up to now; a clock that goes back passes it again.
            span.since = now;
            return None;
        }
        Some(span.since)
    }
}

fn next_change<'c>(
    credentials: impl Iterator<Item = &'c Arc<Credential>>,
    now: UnixTime,
) -> Option<UnixTime> {
    credentials
        .filter_map(|credential| credential.standing.next_change(now))
        .min()
}

impl CertStore {
    /// Whether [`Self::tell_time`] has something to look at. Costs nothing.
    pub fn time_has_come(&self) -> bool {
        self.moments.passed(self.clock.now()).is_some()
    }

    /// Says in the log what certificates have become by time alone since the last call, whichever
    /// way the clock went. Goes through all of them only if one of them did.
    pub fn tell_time(&self) {
        let now = self.clock.now();
        let Some(then) = self.moments.passed(now) else {
            return;
        };
        // What is published meanwhile is told by whoever publishes it.
        let _writer = self.write();
        let (state, live) = (self.state.load_full(), self.live.load());
        let mut told = 0;
        for credential in state.credentials() {
            let (was, is) = (
                credential.standing.kind(then),
                credential.standing.kind(now),
            );
            if was == is {
                continue;
            }
            told += 1;
            if told <= LINES {
                log_change(credential, was, is, &instead(&live, credential, now));
            }
        }
        if told > LINES {
            let more = told - LINES;
            tracing::warn!(more, "more certificates changed their standing");
        }
        log_other_default(&live, then, now);
        *self.moments.span() = Span {
            since: now,
            until: next_change(state.credentials(), now),
        };
    }
}

fn log_change(credential: &Credential, was: StandingKind, is: StandingKind, instead: &str) {
    let (name, was_text, is_text) = (&*credential.name, was.as_str(), is.as_str());
    let instead = (!instead.is_empty()).then_some(instead);
    match (was, is) {
        (_, StandingKind::Expired) => {
            tracing::warn!(name, was = was_text, instead, "certificate expired");
        }
        (StandingKind::Trusted, _) => tracing::warn!(
            name,
            was = was_text,
            standing = is_text,
            instead,
            "certificate no longer trusted"
        ),
        _ => tracing::info!(
            name,
            was = was_text,
            standing = is_text,
            instead,
            "certificate changed its standing"
        ),
    }
}

/// What else is served for its names now.
fn instead(index: &CertIndex, credential: &Credential, now: UnixTime) -> String {
    let mut winners = BTreeSet::new();
    for pattern in credential.certificate.names.iter().take(NAMES) {
        let NamePattern::Exact(name) = pattern else {
            continue;
        };
        let query = Query {
            server_name: Some(name),
            assumed: None,
            local: None,
            client: ClientCapabilities::from(ClientKind::Modern),
            unknown_name: UnknownName::Default,
        };
        if let Selected::Served(selection) = index.select(&query, now)
            && selection.credential.name != credential.name
        {
            winners.insert(&*selection.credential.name);
        }
    }
    winners.into_iter().collect::<Vec<_>>().join(" ")
}

fn log_other_default(index: &CertIndex, then: UnixTime, now: UnixTime) {
    let (Some(was), Some(is)) = (index.default_at(then), index.default_at(now)) else {
        return;
    };
    if was.name != is.name {
        tracing::warn!(name = %is.name, was = %was.name, "another certificate stands in as the default");
    }
    if is.standing.kind(then) != is.standing.kind(now) || was.name != is.name {
        log_default_kind(is, now);
    }
}
