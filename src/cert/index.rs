//! All certificates by name, and the choice among them.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::UnixTime;

use crate::cert::{ClientCapabilities, Credential, DnsName, Matched, Order, Rank};

/// What happens to a name that no certificate matches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownName {
    /// The default certificate is served.
    #[default]
    Default,
    /// The handshake is refused (alert unrecognized_name).
    Reject,
}

/// What a ClientHello asks, and where it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The SNI host_name, if one was sent that is a name.
    pub server_name: Option<&'a DnsName>,
    /// The listener's `hostname`: assumed when no name was sent.
    pub assumed: Option<&'a DnsName>,
    /// The local address, for certificates with iPAddress names.
    pub local: Option<IpAddr>,
    /// What the client can verify.
    pub client: ClientCapabilities,
    /// What happens to a name that was sent and that nothing matches.
    pub unknown_name: UnknownName,
}

/// The certificate chosen.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'i> {
    /// What is served.
    pub credential: &'i Arc<Credential>,
    /// Its line in the table.
    pub rank: Rank,
    /// How it matched.
    pub matched: Matched,
}

/// The answer to a query.
#[derive(Clone, Copy, Debug)]
pub enum Selected<'i> {
    /// This certificate.
    Served(Selection<'i>),
    /// The name is unknown and the listener refuses unknown names.
    Rejected,
    /// No certificate at all whose key this client can verify.
    NoUsableKey,
}

/// All candidates by name; immutable.
#[derive(Debug)]
pub struct CertIndex {}

impl CertIndex {
    /// Builds the index. `default` is the NAME of the default certificate.
    pub fn new(_credentials: Vec<Arc<Credential>>, _default: Option<&str>, _order: Order) -> Self {
        todo!()
    }

    /// Chooses a certificate. Takes no lock and allocates nothing.
    pub fn select(&self, _query: &Query<'_>, _now: UnixTime) -> Selected<'_> {
        todo!()
    }

    /// Number of distinct names (exact, wildcard and address).
    pub fn names(&self) -> usize {
        todo!()
    }

    /// Every credential, in the order of NAME.
    pub fn credentials(&self) -> &[Arc<Credential>] {
        todo!()
    }

    /// The credential of this NAME.
    pub fn get(&self, _name: &str) -> Option<&Arc<Credential>> {
        todo!()
    }

    /// What is served for rank 9 at `now`, whoever asks.
    pub fn default_at(&self, _now: UnixTime) -> Option<&Arc<Credential>> {
        todo!()
    }
}

/// The index in use: read by handshakes without a lock, swapped whole by the store.
#[derive(Clone, Debug)]
pub struct LiveIndex(Arc<ArcSwap<CertIndex>>);

impl LiveIndex {
    /// A live index that holds `index`.
    pub fn new(index: CertIndex) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(index)))
    }

    /// The index now in use.
    pub fn load(&self) -> arc_swap::Guard<Arc<CertIndex>> {
        self.0.load()
    }

    /// Makes `index` the one that the next ClientHello sees.
    pub fn publish(&self, index: CertIndex) {
        self.0.store(Arc::new(index));
    }
}
