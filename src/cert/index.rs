//! All certificates by name, and the choice among them.
//!
//! Owns the order of decisions: which names are looked up, who is passed over because the
//! client cannot verify its key, who stands in when nothing matches. Which of two
//! certificates is better is decided in `candidate`; how the index came to be, and when it
//! is replaced, is the store's matter.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::best::Best;
use crate::cert::candidate::{Candidate, compare};
use crate::cert::ordered::Ordered;
use crate::cert::rank::{seconds, unix_time};
use crate::cert::table::Table;
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

/// All candidates by name; a value: a change makes another index, and shares with it all that
/// is the same in both.
///
/// A choice looks into two buckets and compares what lies in them. What is served when
/// nothing in there is usable is found at once for every second (see `best`), or looked up
/// under the names of the default certificate: its cost is bounded by what one certificate can
/// carry, whatever clients ask for.
#[derive(Clone, Debug)]
pub struct CertIndex {
    /// In the order of NAME.
    credentials: Ordered,
    exact: Table<Box<str>>,
    /// By what stands right of `*.`.
    wildcard: Table<Box<str>>,
    addresses: Table<IpAddr>,
    /// The certificate named as default, if it is there.
    default: Option<Arc<Credential>>,
    /// The best of all, by each kind of key that a client may be able to verify.
    best: [Best; ClientCapabilities::EACH.len()],
    order: Order,
}

/// What is different in the next index, see [`CertIndex::with`].
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// NAMEs of certificates that go; one that is not in the index is passed over.
    pub removed: Vec<String>,
    /// Certificates that come, each in the place of what has its NAME now.
    pub added: Vec<Arc<Credential>>,
    /// NAME of the default certificate from then on (not only if it is another).
    pub default: Option<String>,
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
    /// Builds the index. `default` is the NAME of the default certificate. Of credentials with
    /// the same NAME the last one counts.
    pub fn new(credentials: Vec<Arc<Credential>>, default: Option<&str>, order: Order) -> Self {
        let credentials = Ordered::new(credentials, by_name);
        let exact = |name: &NamePattern| match name {
            NamePattern::Exact(name) => Some(Box::from(name.as_str())),
            NamePattern::Wildcard(_) => None,
        };
        let wildcard = |name: &NamePattern| match name {
            NamePattern::Exact(_) => None,
            NamePattern::Wildcard(parent) => Some(Box::from(parent.as_str())),
        };
        let addresses = credentials.iter().flat_map(|credential| {
            let addresses = credential.certificate.addresses.iter();
            addresses.map(move |address| (address.to_canonical(), credential))
        });
        let mut index = Self {
            exact: Table::of(names(&credentials, exact)),
            wildcard: Table::of(names(&credentials, wildcard)),
            addresses: Table::of(addresses),
            default: None,
            best: ClientCapabilities::EACH.map(|kind| best_of_kind(&credentials, kind)),
            order,
            credentials: credentials.clone(),
        };
        index.set_default(default);
        index
    }

    /// The next index: this one but for `changes`. Its cost is in proportion to the names that
    /// come and go, whatever the size of the index, and so is that of dropping the old one
    /// while the new one is there. It answers as [`Self::new`] would with the same credentials.
    ///
    /// ```ignore
    /// let next = live.load().with(&changes);
    /// live.publish(next);
    /// ```
    #[must_use]
    pub fn with(&self, changes: &Changes) -> Self {
        let mut next = self.clone();
        for name in &changes.removed {
            next.take(name);
        }
        for credential in &changes.added {
            next.take(&credential.name);
            next.put(credential);
        }
        next.set_default(changes.default.as_deref());
        next
    }

    fn put(&mut self, credential: &Arc<Credential>) {
        self.credentials.insert(credential);
        if let Some(best) = self.best_like(credential) {
            best.insert(credential);
        }
        for name in &credential.certificate.names {
            match name {
                NamePattern::Exact(name) => self.exact.insert(name.as_str().into(), credential),
                NamePattern::Wildcard(parent) => {
                    self.wildcard.insert(parent.as_str().into(), credential);
                }
            }
        }
        for address in &credential.certificate.addresses {
            self.addresses.insert(address.to_canonical(), credential);
        }
    }

    fn take(&mut self, name: &str) {
        let Some(credential) = self.get(name).cloned() else {
            return;
        };
        self.credentials.remove(&credential);
        if let Some(best) = self.best_like(&credential) {
            best.remove(&credential);
        }
        for name in &credential.certificate.names {
            match name {
                NamePattern::Exact(name) => self.exact.remove(name.as_str(), &credential),
                NamePattern::Wildcard(parent) => {
                    self.wildcard.remove(parent.as_str(), &credential);
                }
            }
        }
        for address in &credential.certificate.addresses {
            self.addresses.remove(&address.to_canonical(), &credential);
        }
    }

    fn best_like(&mut self, credential: &Credential) -> Option<&mut Best> {
        let key = credential.certificate.key_type;
        let mut kinds = ClientCapabilities::EACH.into_iter().zip(&mut self.best);
        let like = kinds.find(|(kind, _)| kind.can_verify(key));
        like.map(|(_, best)| best)
    }

    fn set_default(&mut self, name: Option<&str>) {
        self.default = name.and_then(|name| self.get(name)).cloned();
    }

    /// Chooses a certificate. Takes no lock and allocates nothing.
    pub fn select(&self, query: &Query<'_>, now: UnixTime) -> Selected<'_> {
        let exact = Matches {
            exact: self.exactly(query),
            wildcard: &[],
        };
        let chosen = self.best(exact.candidates(now), query.client);
        if let Some(chosen) = chosen.filter(|it| self.order.beats_wildcards(it.kind)) {
            // Nearly always, and the names by wildcard need not be looked at.
            return served(chosen);
        }
        let matches = Matches {
            wildcard: self.by_wildcard(query),
            ..exact
        };
        let chosen = match self.best(matches.candidates(now), query.client) {
            Some(matched) => Some(matched),
            None if self.refuses(query, matches) => return Selected::Rejected,
            None => self.fallback(query.client, now),
        };
        chosen.map_or(Selected::NoUsableKey, served)
    }

    /// What carries the reference identifier: the name sent; else the name assumed; else,
    /// where no name is assumed, the local address.
    pub(super) fn matches(&self, query: &Query<'_>) -> Matches<'_> {
        Matches {
            exact: self.exactly(query),
            wildcard: self.by_wildcard(query),
        }
    }

    fn exactly(&self, query: &Query<'_>) -> &[Arc<Credential>] {
        match (query.server_name.or(query.assumed), query.local) {
            (Some(name), _) => self.exact.get(name.as_str()),
            (None, Some(address)) => self.addresses.get(&address.to_canonical()),
            (None, None) => &[],
        }
    }

    fn by_wildcard(&self, query: &Query<'_>) -> &[Arc<Credential>] {
        let name = query.server_name.or(query.assumed);
        let parent = name.and_then(DnsName::parent);
        parent.map_or(&[], |parent| self.wildcard.get(parent))
    }

    fn carriers(&self, name: &DnsName) -> Matches<'_> {
        Matches {
            exact: self.exact.get(name.as_str()),
            wildcard: name
                .parent()
                .map_or(&[], |parent| self.wildcard.get(parent)),
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
        let best_of_each_kind = self.best_for(client).filter_map(|best| best.at(now));
        self.best(best_of_each_kind, client)
    }

    /// The best of each kind of key that `client` can verify.
    fn best_for(&self, client: ClientCapabilities) -> impl Iterator<Item = &Best> {
        let kinds = ClientCapabilities::EACH.into_iter().zip(&self.best);
        kinds
            .filter(move |(kind, _)| client.shares(*kind))
            .map(|(_, best)| best)
    }

    /// The next second after `now` at which [`Self::best_of_all`] or its standing is another.
    fn best_of_all_changes(&self, client: ClientCapabilities, now: UnixTime) -> Option<UnixTime> {
        let best = self.best_of_all(client, now)?;
        let own = best.credential.standing.next_change(now);
        let limit = own.map_or(i64::MAX, seconds);
        let challenged = self.best_for(client).fold(limit, |limit, kind| {
            kind.challenge(&best, seconds(now), limit)
        });
        unix_time(challenged).filter(|_| challenged < i64::MAX)
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
                wildcard: self.wildcard.get(parent.as_str()),
            },
        });
        let by_address = credential
            .certificate
            .addresses
            .iter()
            .map(|address| Matches {
                exact: self.addresses.get(&address.to_canonical()),
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
        let named = self.default.is_some();
        if (named && usable(&default)) || self.refuses(query, matches) {
            return None;
        }
        let default_changes = match named {
            true => None,
            false => self.best_of_all_changes(ClientCapabilities::ALL, now),
        };
        if usable(&default) {
            return default_changes;
        }
        let relatives = self.relatives(default.credential, now);
        relatives
            .filter(usable)
            .filter_map(change)
            .chain(default_changes)
            .chain(self.best_of_all_changes(query.client, now))
            .min()
    }

    /// Number of distinct names (exact, wildcard and address).
    pub fn names(&self) -> usize {
        self.exact.len() + self.wildcard.len() + self.addresses.len()
    }

    /// Every credential, in the order of NAME.
    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.credentials.iter()
    }

    /// Number of credentials.
    pub fn len(&self) -> usize {
        self.credentials.len()
    }

    /// Whether there is no credential.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The credential of this NAME.
    pub fn get(&self, name: &str) -> Option<&Arc<Credential>> {
        self.credentials.find(|other| (*other.name).cmp(name))
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

fn served(candidate: Candidate<'_>) -> Selected<'_> {
    Selected::Served(Selection {
        credential: candidate.credential,
        rank: candidate.rank(),
        matched: candidate.matched,
    })
}

fn by_name(a: &Arc<Credential>, b: &Arc<Credential>) -> Ordering {
    a.name.cmp(&b.name)
}

/// Every name that `key` makes a key of, with who carries it.
fn names<'c>(
    credentials: &'c Ordered,
    key: impl Fn(&NamePattern) -> Option<Box<str>> + Copy + 'c,
) -> impl Iterator<Item = (Box<str>, &'c Arc<Credential>)> {
    credentials.iter().flat_map(move |credential| {
        let names = credential.certificate.names.iter();
        names.filter_map(move |name| Some((key(name)?, credential)))
    })
}

fn best_of_kind(credentials: &Ordered, kind: ClientCapabilities) -> Best {
    let of_kind = |credential: &&Arc<Credential>| kind.can_verify(credential.certificate.key_type);
    Best::of(credentials.iter().filter(of_kind).cloned().collect())
}

#[cfg(test)]
mod tests;
