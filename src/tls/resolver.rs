//! Which certificate one connection gets: the live index, asked at its ClientHello.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::KeyLog;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::cert::{Credential, DnsName, LiveIndex, Matched, Query, Rank, Selected, UnknownName};
use crate::time::Clock;
use crate::tls::direction::TrafficSecret;
use crate::tls::session::Traffic;
use crate::tls::unsuited::{tls12_capabilities, tls13_capabilities};

/// What was chosen, and why: for the log and the metrics.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The certificate served.
    pub credential: Arc<Credential>,
    /// Its line in the table.
    pub rank: Rank,
    /// How it matched.
    pub matched: Matched,
}

/// The resolver of one connection.
///
/// rustls asks it once the version is settled.
pub(super) struct ConnectionResolver {
    pub(super) index: LiveIndex,
    pub(super) clock: Clock,
    pub(super) server_name: Option<Arc<DnsName>>,
    pub(super) assumed: Option<Arc<DnsName>>,
    pub(super) local: IpAddr,
    pub(super) unknown_name: UnknownName,
    /// Whether TLS 1.2 will be spoken.
    pub(super) tls12: bool,
    pub(super) chosen: OnceLock<Chosen>,
    /// The first traffic secrets of TLS 1.3, ours and the client's.
    pub(super) sent: OnceLock<TrafficSecret>,
    pub(super) received: OnceLock<TrafficSecret>,
}

impl ConnectionResolver {
    /// The secrets that later keys are made of; there are some in TLS 1.3.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        Some(Traffic {
            received: self.received.get()?.clone(),
            sent: self.sent.get()?.clone(),
        })
    }

    fn place(&self, label: &str) -> Option<&OnceLock<TrafficSecret>> {
        match label {
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.sent),
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.received),
            _ => None,
        }
    }
}

/// rustls gives the keys of a finished handshake away, but the secrets that later ones are made
/// of only to whoever would log them. Nothing is logged here.
impl KeyLog for ConnectionResolver {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let (Some(place), Some(secret)) = (self.place(label), TrafficSecret::new(secret)) else {
            return;
        };
        // There is one of each in a handshake.
        let _ = place.set(secret);
    }

    fn will_log(&self, label: &str) -> bool {
        self.place(label).is_some()
    }
}

impl ResolvesServerCert for ConnectionResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // After a HelloRetryRequest rustls asks again, and must get what it got before.
        if let Some(chosen) = self.chosen.get() {
            return Some(Arc::clone(chosen.credential.certified_key()));
        }
        let schemes = hello.signature_schemes();
        let client = match self.tls12 {
            true => tls12_capabilities(hello.cipher_suites(), schemes, hello.named_groups()),
            false => tls13_capabilities(schemes),
        };
        let query = Query {
            server_name: self.server_name.as_deref(),
            assumed: self.assumed.as_deref(),
            local: Some(self.local),
            client,
            unknown_name: self.unknown_name,
        };
        let index = self.index.load();
        let Selected::Served(selection) = index.select(&query, self.clock.now()) else {
            return None;
        };
        let chosen = self.chosen.get_or_init(|| Chosen {
            credential: Arc::clone(selection.credential),
            rank: selection.rank,
            matched: selection.matched,
        });
        Some(Arc::clone(chosen.credential.certified_key()))
    }
}

impl fmt::Debug for ConnectionResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionResolver(secret)")
    }
}
