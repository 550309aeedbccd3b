//! Which certificate one connection gets: the live index, asked at its ClientHello.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::cert::{
    ClientCapabilities, Credential, DnsName, LiveIndex, Matched, Query, Rank, Selected, UnknownName,
};
use crate::time::Clock;

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
/// rustls asks it once the versions and suites are settled, and has by then reduced the
/// client's signature schemes to those that its suites can use.
#[derive(Debug)]
pub(super) struct ConnectionResolver {
    pub(super) index: LiveIndex,
    pub(super) clock: Clock,
    pub(super) server_name: Option<Arc<DnsName>>,
    pub(super) assumed: Option<Arc<DnsName>>,
    pub(super) local: IpAddr,
    pub(super) unknown_name: UnknownName,
    /// Whether TLS 1.2 will be spoken: there the curve of an ECDSA key must be among the
    /// client's groups too (RFC 8422 section 5.1).
    pub(super) tls12: bool,
    pub(super) chosen: OnceLock<Chosen>,
}

impl ResolvesServerCert for ConnectionResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // After a HelloRetryRequest rustls asks again, and must get what it got before.
        if let Some(chosen) = self.chosen.get() {
            return Some(Arc::clone(&chosen.credential.certified_key));
        }
        let mut client = ClientCapabilities::from_schemes(hello.signature_schemes());
        if self.tls12 {
            client = client.without_curves_missing_from(hello.named_groups());
        }
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
        Some(Arc::clone(&chosen.credential.certified_key))
    }
}
