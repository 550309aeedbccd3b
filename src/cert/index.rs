//! All certificates by name, and the choice among them.
//!
//! Owns the order of decisions: which names are looked up, who is passed over because the
//! client cannot verify its key, who stands in when nothing matches. Which of two
//! certificates is better is decided in `candidate`; how the index came to be, and when it
//! is replaced, is the store's matter.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use rustls_pki_types::UnixTime;

use crate::cert::candidate::{Candidate, compare};
use crate::cert::timeline::Timeline;
use crate::cert::{ClientCapabilities, Credential, DnsName, Matched, NamePattern, Order, Rank};

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

/// Certificates that carry one name; nearly always one to three.
type Bucket = Vec<Arc<Credential>>;

/// All candidates by name; immutable.
///
/// A choice looks into two buckets and compares what lies in them. What is served when
/// nothing in there is usable is known beforehand for every second (see `timeline`), or
/// looked up under the names of the default certificate: its cost is bounded by what one
/// certificate can carry, whatever clients ask for.
#[derive(Debug)]
pub struct CertIndex {
    /// In the order of NAME.
    credentials: Vec<Arc<Credential>>,
    exact: HashMap<Box<str>, Bucket>,
    /// By what stands right of `*.`.
    wildcard: HashMap<Box<str>, Bucket>,
    addresses: HashMap<IpAddr, Bucket>,
    /// The certificate named as default, if it is there.
    default: Option<Arc<Credential>>,
    /// The best of all, by each kind of key that a client may be able to verify.
    best: [Timeline; ClientCapabilities::EACH.len()],
    order: Order,
}

/// What carries the name that is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Matches<'i> {
    exact: &'i [Arc<Credential>],
    wildcard: &'i [Arc<Credential>],
}

impl<'i> Matches<'i> {
    fn is_empty(self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// A certificate that carries the name both ways comes twice, the better way first.
    pub(super) fn candidates(self, now: UnixTime) -> impl Iterator<Item = Candidate<'i>> {
        let exact = self
            .exact
            .iter()
            .map(|credential| (credential, Matched::Exact));
        let wildcard = self
            .wildcard
            .iter()
            .map(|credential| (credential, Matched::Wildcard));
        exact
            .chain(wildcard)
            .map(move |(credential, matched)| Candidate::new(credential, matched, now))
    }
}

impl CertIndex {
    /// Builds the index. `default` is the NAME of the default certificate.
    pub fn new(mut credentials: Vec<Arc<Credential>>, default: Option<&str>, order: Order) -> Self {
        credentials.sort_by(|a, b| a.name.cmp(&b.name));
        let mut index = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            addresses: HashMap::new(),
            default: None,
            best: ClientCapabilities::EACH.map(|kind| best_of_kind(&credentials, kind)),
            order,
            credentials,
        };
        for credential in &index.credentials {
            for name in &credential.certificate.names {
                let (names, key) = match name {
                    NamePattern::Exact(name) => (&mut index.exact, name),
                    NamePattern::Wildcard(parent) => (&mut index.wildcard, parent),
                };
                put(names.entry(key.as_str().into()).or_default(), credential);
            }
            for address in &credential.certificate.addresses {
                let address = address.to_canonical();
                put(index.addresses.entry(address).or_default(), credential);
            }
        }
        index.default = default.and_then(|name| index.get(name)).cloned();
        index
    }

    /// Chooses a certificate. Takes no lock and allocates nothing.
    pub fn select(&self, query: &Query<'_>, now: UnixTime) -> Selected<'_> {
        let matches = self.matches(query);
        let chosen = match self.best(matches.candidates(now), query.client) {
            Some(matched) => Some(matched),
            None if self.refuses(query, matches) => return Selected::Rejected,
            None => self.fallback(query.client, now),
        };
        chosen.map_or(Selected::NoUsableKey, |candidate| {
            Selected::Served(Selection {
                credential: candidate.credential,
                rank: candidate.rank(),
                matched: candidate.matched,
            })
        })
    }

    /// What carries the reference identifier: the name sent; else the name assumed; else,
    /// where no name is assumed, the local address.
    pub(super) fn matches(&self, query: &Query<'_>) -> Matches<'_> {
        match (query.server_name.or(query.assumed), query.local) {
            (Some(name), _) => self.carriers(name),
            (None, Some(address)) => Matches {
                exact: bucket(self.addresses.get(&address.to_canonical())),
                wildcard: &[],
            },
            (None, None) => Matches::default(),
        }
    }

    fn carriers(&self, name: &DnsName) -> Matches<'_> {
        Matches {
            exact: bucket(self.exact.get(name.as_str())),
            wildcard: bucket(name.parent().and_then(|parent| self.wildcard.get(parent))),
        }
    }

    /// Only a name that was sent can be refused, and only if no certificate carries it: one
    /// whose key the client cannot verify still makes the name known.
    fn refuses(&self, query: &Query<'_>, matches: Matches<'_>) -> bool {
        query.unknown_name == UnknownName::Reject
            && query.server_name.is_some()
            && matches.is_empty()
    }

    fn best<'i>(
        &self,
        candidates: impl Iterator<Item = Candidate<'i>>,
        client: ClientCapabilities,
    ) -> Option<Candidate<'i>> {
        candidates
            .filter(|candidate| client.can_verify(candidate.key_type()))
            .min_by(|a, b| compare(self.order, a, b))
    }

    /// Line 9: the default certificate; else another one for its names; else any at all.
    fn fallback(&self, client: ClientCapabilities, now: UnixTime) -> Option<Candidate<'_>> {
        let default = self.default_candidate(now)?;
        if client.can_verify(default.key_type()) {
            return Some(default);
        }
        self.best(self.relatives(default.credential, now), client)
            .or_else(|| self.best_of_all(client, now))
    }

    pub(super) fn default_candidate(&self, now: UnixTime) -> Option<Candidate<'_>> {
        match &self.default {
            Some(named) => Some(Candidate::new(named, Matched::Default, now)),
            None => self.best_of_all(ClientCapabilities::ALL, now),
        }
    }

    fn best_of_all(&self, client: ClientCapabilities, now: UnixTime) -> Option<Candidate<'_>> {
        let best_of_each_kind = self.best.iter().filter_map(|timeline| timeline.at(now));
        self.best(best_of_each_kind, client)
    }

    /// Certificates that carry one of the names of `credential`. None of these names was
    /// asked for, so they compete as the default does: by standing, then the ties.
    fn relatives<'i>(
        &'i self,
        credential: &'i Credential,
        now: UnixTime,
    ) -> impl Iterator<Item = Candidate<'i>> {
        let by_name = credential.certificate.names.iter().map(|name| match name {
            NamePattern::Exact(name) => self.carriers(name),
            NamePattern::Wildcard(parent) => Matches {
                exact: &[],
                wildcard: bucket(self.wildcard.get(parent.as_str())),
            },
        });
        let by_address = credential
            .certificate
            .addresses
            .iter()
            .map(|address| Matches {
                exact: bucket(self.addresses.get(&address.to_canonical())),
                wildcard: &[],
            });
        by_name
            .chain(by_address)
            .flat_map(|matches| matches.exact.iter().chain(matches.wildcard))
            .map(move |credential| Candidate::new(credential, Matched::Default, now))
    }

    /// The next second after `now` at which another certificate may be the answer. Which of
    /// the steps of [`Self::select`] gives it is the same at all times, only who is best in
    /// that step is not; so nobody else's changes matter.
    pub(super) fn next_instant(&self, query: &Query<'_>, now: UnixTime) -> Option<UnixTime> {
        let usable = |candidate: &Candidate<'_>| query.client.can_verify(candidate.key_type());
        let change = |candidate: Candidate<'_>| candidate.credential.standing.next_change(now);
        let matches = self.matches(query);
        if matches.candidates(now).any(|candidate| usable(&candidate)) {
            return matches
                .candidates(now)
                .filter(usable)
                .filter_map(change)
                .min();
        }
        let default = self.default_candidate(now)?;
        let for_ever = self.default.is_some() && usable(&default);
        if for_ever || self.refuses(query, matches) {
            return None;
        }
        let relatives = self.relatives(default.credential, now);
        relatives
            .filter(usable)
            .filter_map(change)
            .chain(
                self.best
                    .iter()
                    .filter_map(|timeline| timeline.next_change(now)),
            )
            .min()
    }

    /// Number of distinct names (exact, wildcard and address).
    pub fn names(&self) -> usize {
        self.exact.len() + self.wildcard.len() + self.addresses.len()
    }

    /// Every credential, in the order of NAME.
    pub fn credentials(&self) -> &[Arc<Credential>] {
        &self.credentials
    }

    /// The credential of this NAME.
    pub fn get(&self, name: &str) -> Option<&Arc<Credential>> {
        let found = self
            .credentials
            .binary_search_by(|other| (*other.name).cmp(name));
        self.credentials.get(found.ok()?)
    }

    /// What is served for rank 9 at `now`, whoever asks.
    pub fn default_at(&self, now: UnixTime) -> Option<&Arc<Credential>> {
        self.default_candidate(now)
            .map(|candidate| candidate.credential)
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }
}

fn best_of_kind(credentials: &[Arc<Credential>], kind: ClientCapabilities) -> Timeline {
    let of_kind = |credential: &&Arc<Credential>| kind.can_verify(credential.certificate.key_type);
    let credentials: Vec<_> = credentials.iter().filter(of_kind).collect();
    Timeline::of(&credentials)
}

/// Certificates are put in one after the other, so a name that one carries twice shows in
/// the last place.
fn put(bucket: &mut Bucket, credential: &Arc<Credential>) {
    if bucket
        .last()
        .is_none_or(|last| !Arc::ptr_eq(last, credential))
    {
        bucket.push(Arc::clone(credential));
    }
}

fn bucket(found: Option<&Bucket>) -> &[Arc<Credential>] {
    found.map_or(&[], Vec::as_slice)
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
