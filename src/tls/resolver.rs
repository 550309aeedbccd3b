//! Which certificate one connection gets: the live index, asked at its ClientHello.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::cert::{Credential, DnsName, LiveIndex, Matched, Query, Rank, Selected, UnknownName};
use crate::time::Clock;
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
#[derive(Debug)]
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
