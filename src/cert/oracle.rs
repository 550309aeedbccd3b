//! The specification of the choice once more, as slow and simple as can be, and the index
//! held against it.

use std::cmp::Reverse;
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, proptest};
use proptest::{option, prop_assert_eq};
use rustls_pki_types::UnixTime;

use crate::cert::samples::{Sample, answer, any_ask, any_order, any_samples, at, load};
use crate::cert::{
    CertIndex, ClientCapabilities, Credential, KeyType, Matched, NamePattern, NameSource, Order,
    Query, StandingKind, UnknownName,
};

struct Oracle<'o> {
    credentials: &'o [Arc<Credential>],
    default: Option<&'o str>,
    order: Order,
    now: UnixTime,
}

type Entry<'o> = (&'o Arc<Credential>, Matched);

impl<'o> Oracle<'o> {
    fn select(&self, query: &Query<'_>) -> Option<Option<Entry<'o>>> {
        let way = |it: &Arc<Credential>| way_of(it, query);
        let all = || self.credentials.iter();
        let named: Vec<_> = all().filter_map(|it| Some((it, way(it)?))).collect();
        if let Some(best) = self.best(&named, query.client) {
            return Some(Some(best));
        }
        let reject = query.unknown_name == UnknownName::Reject;
        if reject && query.server_name.is_some() && named.is_empty() {
            return None;
        }
        let everything: Vec<_> = all().map(|it| (it, Matched::Default)).collect();
        let is_default = |(it, _): &&Entry<'o>| self.default == Some(&*it.name);
        let default = everything.iter().find(is_default).copied();
        let default = default.or_else(|| self.best(&everything, ClientCapabilities::ALL));
        let Some((default, _)) = default else {
            return Some(None);
        };
        let mut relatives = everything.clone();
        relatives.retain(|(it, _)| related(default, it));
        Some(
            self.best(&[(default, Matched::Default)], query.client)
                .or_else(|| self.best(&relatives, query.client))
                .or_else(|| self.best(&everything, query.client)),
        )
    }

    fn best(&self, among: &[Entry<'o>], client: ClientCapabilities) -> Option<Entry<'o>> {
        let usable = |(it, _): &&Entry<'o>| client.can_verify(it.certificate.key_type);
        among
            .iter()
            .filter(usable)
            .copied()
            .min_by_key(|&(it, way)| {
                let kind = it.standing.kind(self.now);
                let certificate = &it.certificate;
                let past = match (it.standing.trusted.len(), it.standing.self_signed) {
                    (1.., _) => 1,
                    (0, true) => 2,
                    (0, false) => 3,
                };
                let period = certificate.validity;
                let expired = kind == StandingKind::Expired;
                let key = match certificate.key_type {
                    KeyType::Rsa(_) => 2,
                    KeyType::Ed25519 => 3,
                    _ => 1,
                };
                (
                    self.line(way, kind),
                    certificate.name_source == NameSource::CommonName,
                    expired.then_some((past, Reverse(period.not_after))),
                    key,
                    Reverse((period.not_before, period.not_after)),
                    certificate.sha256,
                    it.name.clone(),
                )
            })
    }

    fn line(&self, way: Matched, kind: StandingKind) -> usize {
        let lines = match self.order {
            Order::Kerio => "e0 e1 e2 e3 w0 w1 w2 w3 e4 w4 d0 d1 d2 d3 d4",
            Order::Safe => "e0 e1 e2 w0 w1 w2 e3 w3 e4 w4 d0 d1 d2 d3 d4",
        };
        let way = way.as_str().chars().next().unwrap();
        let line = format!("{way}{}", kind as u8);
        lines.find(&line).unwrap()
    }
}

fn way_of(credential: &Credential, query: &Query<'_>) -> Option<Matched> {
    let certificate = &credential.certificate;
    let Some(name) = query.server_name.or(query.assumed) else {
        let local = query.local?;
        return certificate
            .addresses
            .contains(&local)
            .then_some(Matched::Exact);
    };
    let exact = NamePattern::Exact(name.clone());
    if certificate.names.contains(&exact) {
        return Some(Matched::Exact);
    }
    let covers = certificate
        .names
        .iter()
        .any(|pattern| pattern.matches(name));
    covers.then_some(Matched::Wildcard)
}

fn related(default: &Credential, other: &Credential) -> bool {
    let (default, other) = (&default.certificate, &other.certificate);
    let by_name = default.names.iter().any(|name| match name {
        NamePattern::Exact(name) => other.names.iter().any(|pattern| pattern.matches(name)),
        wildcard @ NamePattern::Wildcard(_) => other.names.contains(wildcard),
    });
    let shared = |address| other.addresses.contains(address);
    by_name || default.addresses.iter().any(shared)
}

fn shuffled() -> impl Strategy<Value = (Vec<Sample>, Vec<Sample>)> {
    any_samples(7).prop_flat_map(|samples| (Just(samples.clone()), Just(samples).prop_shuffle()))
}

proptest! {
    #[test]
    fn the_choice_is_the_documented_one_in_any_order_of_loading(
        (samples, again) in shuffled(),
        default in option::of(0..4_u8),
        order in any_order(),
        ask in any_ask(),
        now in 0..26_u64,
    ) {
        let default = default.map(|it| format!("certificate-{it}"));
        let loaded = load(&samples);
        let oracle = Oracle {
            credentials: &loaded,
            default: default.as_deref(),
            order,
            now: at(now),
        };
        let expected = match oracle.select(&ask.query()) {
            None => "rejected".to_owned(),
            Some(None) => "no-usable-key".to_owned(),
            Some(Some((it, way))) => {
                let rank = it.standing.rank(way, at(now));
                format!("{} {rank} {}", it.name, way.as_str())
            }
        };
        let index = CertIndex::new(loaded.clone(), default.as_deref(), order);
        prop_assert_eq!(answer(&index, &ask, now), expected.as_str());
        let index = CertIndex::new(load(&again), default.as_deref(), order);
        prop_assert_eq!(answer(&index, &ask, now), expected.as_str());
    }
}
