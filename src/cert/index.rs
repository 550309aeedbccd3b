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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::samples::{Ask, Sample, answer, at, load, sample};
    use crate::cert::{ClientKind, KeyType};

    const RSA: KeyType = KeyType::Rsa(2048);

    fn index(samples: &[Sample], default: &str) -> CertIndex {
        CertIndex::new(load(samples), Some(default), Order::Kerio)
    }

    /// One certificate for each line of the table, and the default.
    fn nine() -> Vec<Sample> {
        let expired = |name, names| sample(name, names).period(0, 1400);
        vec![
            sample("exact-trusted", &["mail.x"]).trusted(),
            sample("exact-self-signed", &["mail.x"]).self_signed(),
            sample("exact-valid", &["mail.x"]),
            expired("exact-expired", &["mail.x"]),
            sample("wildcard-trusted", &["*.x"]).trusted(),
            sample("wildcard-self-signed", &["*.x"]).self_signed(),
            sample("wildcard-valid", &["*.x"]),
            expired("wildcard-expired", &["*.x"]),
            sample("default", &["else.example"]).trusted(),
        ]
    }

    #[test]
    fn the_nine_lines_in_both_orders() {
        let kerio = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        let safe = [0, 1, 2, 4, 5, 6, 3, 7, 8];
        for (order, lines) in [(Order::Kerio, kerio), (Order::Safe, safe)] {
            for served in 0..lines.len() {
                let left: Vec<_> = lines[served..]
                    .iter()
                    .map(|&line| nine()[line].load())
                    .collect();
                let index = CertIndex::new(left, Some("default"), order);
                let line = lines[served];
                let name = &nine()[line].name;
                let selected = answer(&index, &Ask::name("mail.x"), 1500);
                assert!(
                    selected.starts_with(&format!("{name} {}", line + 1)),
                    "{selected}"
                );
            }
        }
    }

    #[test]
    fn names_match_as_presented_identifiers_do() {
        let index = index(&nine(), "default");
        for (name, served) in [
            ("mail.x", "exact-trusted 1 exact"),
            ("www.x", "wildcard-trusted 5 wildcard"),
            ("x", "default 9 default"),
            ("a.b.x", "default 9 default"),
            ("else.example", "default 1 exact"),
            ("a.else.example", "default 9 default"),
            ("-", "default 9 default"),
        ] {
            assert_eq!(answer(&index, &Ask::name(name), 1500), served, "{name}");
        }
    }

    #[test]
    fn a_certificate_staged_for_tomorrow_waits_for_its_second() {
        let staged = sample("staged", &["mail.x"]).period(1600, 9999).trusted();
        let wildcard = sample("wildcard", &["*.x"]).period(0, 1549);
        let index = index(
            &[staged, wildcard, sample("default", &[]).trusted()],
            "default",
        );
        for (now, served) in [
            (1549, "wildcard 7 wildcard"),
            (1550, "wildcard 8 wildcard"),
            (1599, "wildcard 8 wildcard"),
            (1600, "staged 1 exact"),
            (10_000, "staged 4 exact"),
            (1599, "wildcard 8 wildcard"),
        ] {
            assert_eq!(
                answer(&index, &Ask::name("mail.x"), now),
                served,
                "at {now}"
            );
        }
        let staged = sample("staged", &["mail.x"]).period(1600, 9999);
        let wildcard = sample("wildcard", &["*.x"]).period(1600, 9999);
        let default = sample("default", &[]).trusted();
        let index = self::index(&[wildcard.clone(), staged, default.clone()], "default");
        assert_eq!(answer(&index, &Ask::name("mail.x"), 1500), "staged 9 exact");
        let index = self::index(&[wildcard, default], "default");
        assert_eq!(
            answer(&index, &Ask::name("mail.x"), 1500),
            "wildcard 9 wildcard"
        );
    }

    #[test]
    fn an_intermediate_that_expires_demotes_by_itself() {
        let mut first = sample("first", &["mail.x"]).period(1001, 1999);
        first.trusted = Some((1001, 1499));
        let index = index(&[first, sample("second", &["mail.x"]).trusted()], "first");
        assert_eq!(answer(&index, &Ask::name("mail.x"), 1499), "first 1 exact");
        assert_eq!(answer(&index, &Ask::name("mail.x"), 1500), "second 1 exact");
    }

    #[test]
    fn a_client_gets_the_best_that_it_can_verify() {
        let samples = [
            sample("ecdsa", &["mail.x"]).trusted(),
            sample("rsa", &["mail.x"]).key(RSA),
            sample("rsa-wildcard", &["*.x"]).key(RSA).trusted(),
            sample("ed25519", &["ed.x"]).key(KeyType::Ed25519).trusted(),
            sample("default", &["home.x"]).trusted(),
            sample("home-valid", &["home.x"]).key(RSA),
            sample("home-trusted", &["home.x"])
                .key(RSA)
                .period(0, 1700)
                .trusted(),
        ];
        let all = index(&samples, "default");
        let one_wildcard = index(&samples[..5], "default");
        let nothing_but_ecdsa = index(&samples[..1], "ecdsa");
        let empty = index(&[], "default");
        for (index, name, kind, served) in [
            (&all, "mail.x", ClientKind::Modern, "ecdsa 1 exact"),
            (&all, "mail.x", ClientKind::Tls12, "ecdsa 1 exact"),
            (&all, "mail.x", ClientKind::RsaOnly, "rsa 3 exact"),
            (&all, "mail.x", ClientKind::EcdsaOnly, "ecdsa 1 exact"),
            (&all, "ed.x", ClientKind::Modern, "ed25519 1 exact"),
            (&all, "ed.x", ClientKind::Tls12, "rsa-wildcard 5 wildcard"),
            // Known, but with no key for this client: the default, which it can verify.
            (&all, "ed.x", ClientKind::EcdsaOnly, "default 9 default"),
            // The default is ECDSA: another one for its name, the wildcard being one of them.
            (&all, "y", ClientKind::RsaOnly, "rsa-wildcard 9 default"),
            (
                &one_wildcard,
                "y",
                ClientKind::RsaOnly,
                "rsa-wildcard 9 default",
            ),
            (
                &nothing_but_ecdsa,
                "y",
                ClientKind::RsaOnly,
                "no-usable-key",
            ),
            (
                &nothing_but_ecdsa,
                "mail.x",
                ClientKind::RsaOnly,
                "no-usable-key",
            ),
            (&empty, "mail.x", ClientKind::Modern, "no-usable-key"),
            (&empty, "-", ClientKind::Modern, "no-usable-key"),
        ] {
            let ask = Ask::name(name).client(kind);
            assert_eq!(answer(index, &ask, 1500), served, "{name} {kind}");
        }
    }

    #[test]
    fn a_default_that_the_client_cannot_verify_is_stood_in_for() {
        let ask = Ask::name("unknown.example").client(ClientKind::RsaOnly);
        let default = sample("default", &["home.x"]).trusted();
        let by_address = sample("by-address", &["z"]).key(RSA).address("192.0.2.1");
        let relative = sample("relative", &["home.x"]).key(RSA).period(0, 1400);
        let stranger = sample("stranger", &["z"]).key(RSA).trusted();
        let self_signed = sample("self-signed", &["z"]).key(RSA).self_signed();
        let all = [default, relative, stranger, self_signed, by_address];
        let [default, relative, stranger, self_signed, by_address] = &all;
        let with_address = default.clone().address("::ffff:192.0.2.1");
        for (samples, served) in [
            // One for the default's names wins, though strangers stand better.
            (vec![default, relative, stranger], "relative 9 default"),
            (
                vec![&with_address, by_address, stranger],
                "by-address 9 default",
            ),
            (vec![default, by_address, stranger], "stranger 9 default"),
            (
                vec![default, self_signed, by_address],
                "self-signed 9 default",
            ),
        ] {
            let samples: Vec<_> = samples.into_iter().cloned().collect();
            assert_eq!(answer(&index(&samples, "default"), &ask, 1500), served);
        }
    }

    #[test]
    fn a_default_that_is_not_there_is_the_best_of_all() {
        let samples = [
            sample("expired", &["a.x"]).trusted().period(0, 1400),
            sample("self-signed", &["b.x"]).self_signed(),
            sample("trusted", &["c.x"]).trusted().key(KeyType::Ed25519),
            sample("staged", &["d.x"]).period(2500, 9999),
        ];
        let index = index(&samples, "gone");
        for (now, served) in [
            (500, "expired"),
            (1500, "trusted"),
            (2000, "trusted"),
            (2500, "staged"),
        ] {
            let default = index.default_at(at(now)).map(|default| &*default.name);
            assert_eq!(default, Some(served), "at {now}");
            let ask = Ask::name("unknown.example");
            assert_eq!(answer(&index, &ask, now), format!("{served} 9 default"));
        }
        let named = self::index(&samples, "staged");
        assert_eq!(answer(&named, &Ask::name("-"), 1500), "staged 9 default");
    }

    #[test]
    fn a_name_that_nothing_matches_may_be_refused() {
        let samples = [
            sample("ecdsa", &["mail.x"]).address("192.0.2.1"),
            sample("rsa", &["other.x"]).key(RSA),
        ];
        let index = index(&samples, "ecdsa");
        let refusing = |name: &str| Ask {
            unknown_name: UnknownName::Reject,
            ..Ask::name(name)
        };
        let rsa_only = |name| refusing(name).client(ClientKind::RsaOnly);
        let assuming = |ask| Ask {
            assumed: Ask::name("unknown.x").server_name,
            ..ask
        };
        for (ask, served) in [
            (refusing("unknown.x"), "rejected"),
            (rsa_only("unknown.x"), "rejected"),
            (refusing("mail.x"), "ecdsa 3 exact"),
            // Known, though this client cannot verify its key.
            (rsa_only("mail.x"), "rsa 9 default"),
            // No name was sent.
            (refusing("-"), "ecdsa 9 default"),
            (assuming(refusing("-")), "ecdsa 9 default"),
            (rsa_only("-"), "rsa 9 default"),
        ] {
            assert_eq!(answer(&index, &ask, 1500), served, "{ask:?}");
        }
        let empty = CertIndex::new(Vec::new(), None, Order::Kerio);
        assert_eq!(answer(&empty, &refusing("unknown.x"), 1500), "rejected");
        assert_eq!(answer(&empty, &refusing("-"), 1500), "no-usable-key");
    }

    #[test]
    fn without_a_name_the_hostname_is_assumed_or_the_address_looked_up() {
        let samples = [
            sample("four", &[]).address("192.0.2.1"),
            sample("six", &[]).address("2001:db8::1").trusted(),
            sample("home", &["home.x"]),
            sample("default", &["else.example"]),
        ];
        let index = index(&samples, "default");
        let ask = |sent: &str, assumed: &str, local: &str| Ask {
            assumed: Ask::name(assumed).server_name,
            local: local.parse().ok(),
            ..Ask::name(sent)
        };
        for (ask, served) in [
            (ask("-", "-", "192.0.2.1"), "four 3 exact"),
            (ask("-", "-", "::ffff:192.0.2.1"), "four 3 exact"),
            (ask("-", "-", "2001:db8::1"), "six 1 exact"),
            (ask("-", "-", "192.0.2.9"), "default 9 default"),
            (ask("-", "-", "-"), "default 9 default"),
            (ask("-", "home.x", "192.0.2.1"), "home 3 exact"),
            (ask("-", "unknown.x", "192.0.2.1"), "default 9 default"),
            (
                ask("else.example", "home.x", "192.0.2.1"),
                "default 3 exact",
            ),
            (ask("unknown.x", "home.x", "192.0.2.1"), "default 9 default"),
        ] {
            assert_eq!(answer(&index, &ask, 1500), served, "{ask:?}");
        }
    }

    #[test]
    fn what_the_index_says_of_itself() {
        let samples = [
            sample("b", &["mail.x", "*.x", "mail.x"]).address("192.0.2.1"),
            sample("a", &["mail.x", "*.y"]).address("::ffff:192.0.2.1"),
        ];
        let index = index(&samples, "b");
        assert_eq!(index.names(), 4);
        let names: Vec<_> = index.credentials().iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(index.get("b").map(|it| &*it.name), Some("b"));
        assert!(index.get("c").is_none());
        assert_eq!(index.default_at(at(1500)).map(|it| &*it.name), Some("b"));
    }
}
