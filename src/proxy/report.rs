//! What is known of a connection when it ends: one line of the access log, and its counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::cert::DnsName;
use crate::proxy::relay::Bytes;
use crate::proxy::session::Active;
use crate::proxy::upstream::Lease;
use crate::proxy::{Party, SessionError, Stage, Upstream};
use crate::tls::{Chosen, Negotiated, TlsError};
use crate::wire::guard::GuardError;

/// Collected along the path.
#[derive(Debug)]
pub(super) struct Report {
    /// The client: the peer, or whom a believed PROXY header named.
    pub(super) client: SocketAddr,
    pub(super) started: Instant,
    pub(super) server_name: Option<Arc<DnsName>>,
    pub(super) chosen: Option<Chosen>,
    pub(super) negotiated: Option<Negotiated>,
    /// On listeners with STARTTLS, what came of it; label `outcome` of the metrics.
    pub(super) starttls: Option<&'static str>,
    /// What a client offered that is too old for our TLS.
    pub(super) offered: Option<String>,
    /// Where it was routed to.
    pub(super) upstream: Option<Arc<Upstream>>,
    /// The server that it was connected to.
    pub(super) lease: Option<Lease>,
    pub(super) bytes: Bytes,
    /// Whether requests have left lines of their own.
    pub(super) by_request: bool,
}

impl Report {
    pub(super) fn new(client: SocketAddr) -> Self {
        Self {
            client,
            started: Instant::now(),
            server_name: None,
            chosen: None,
            negotiated: None,
            starttls: None,
            offered: None,
            upstream: None,
            lease: None,
            bytes: Bytes::default(),
            by_request: false,
        }
    }

    /// Counts the end, and writes the line if it is wanted.
    pub(super) fn finish(&self, active: &Active, outcome: &Result<(), SessionError>) {
        let (stage, party, reason) = match outcome {
            Ok(()) => (Stage::Relay, Party::Downstream, "done"),
            Err(error) => (error.stage(), error.party(), error.reason()),
        };
        active.metrics.ended(stage.as_str(), party.as_str(), reason);
        if let Some(outcome) = self.starttls {
            active.metrics.starttls(outcome);
        }
        if let Err(error) = outcome {
            count_refusal(active, error);
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::debug!(cause, "{error}");
        }
        if active.access && !self.by_request {
            self.write(active, stage, party, reason);
        }
    }

    fn write(&self, active: &Active, stage: Stage, party: Party, reason: &str) {
        tracing::info!(
            target: "gatepost::access",
            client = %self.client,
            listener = active.config.name,
            sni = self.server_name.as_deref().map(DnsName::as_str),
            certificate = self.chosen.as_ref().map(|chosen| &*chosen.credential.name),
            rank = self.chosen.as_ref().map(|chosen| chosen.rank.number()),
            tls = self.negotiated.map(|tls| tls.version),
            suite = self.negotiated.map(|tls| tls.suite),
            resumed = self.negotiated.map(|tls| tls.resumed),
            starttls = self.starttls,
            offered = self.offered,
            upstream = self.upstream.as_ref().map(|upstream| &*upstream.config().name),
            server = self.lease.as_ref().map(Lease::server),
            bytes_up = self.bytes.up,
            bytes_down = self.bytes.down,
            seconds = self.started.elapsed().as_secs_f64(),
            stage = stage.as_str(),
            party = party.as_str(),
            end = reason,
            "connection"
        );
    }
}

/// Counts what did not come to a relay under its own name as well.
fn count_refusal(active: &Active, error: &SessionError) {
    if let SessionError::UnknownName | SessionError::Handshake(TlsError::NoUsableKey) = error {
        active.metrics.selected(0);
    }
    match error {
        SessionError::ProxyHeader(_)
        | SessionError::ClientLimit
        | SessionError::Denied
        | SessionError::UnknownName
        | SessionError::NoRoute => active.metrics.refused(error.reason()),
        SessionError::Injection | SessionError::Guard(GuardError::Injection) => {
            active.metrics.starttls_injection();
        }
        // Nothing that the handshake did.
        SessionError::Drained(_) => {}
        _ if error.stage() == Stage::Handshake => active.metrics.handshake_failed(error.reason()),
        _ => {}
    }
}
