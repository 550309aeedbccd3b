//! A sorted map that shares with its copies all that did not change.
//!
//! The entries lie in runs of a few hundred. A copy takes no more than a reference to the list of
//! runs; a change to a copy makes that list and one run anew. So the next reading of a folder
//! of a million files costs no more than what is different in it, and so does finding out what is.

use std::borrow::Borrow;
use std::sync::Arc;

/// Most entries of a run. Few in tests, so that a handful makes several.
const LONGEST: usize = if cfg!(test) { 4 } else { 256 };

type Run<K, V> = Arc<Vec<(K, V)>>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct SharedMap<K, V> {
    /// None of them empty, in the order of their keys.
    runs: Arc<Vec<Run<K, V>>>,
}

/// A key of which the values differ: before and after.
pub(super) type Difference<'m, K, V> = (&'m K, Option<&'m V>, Option<&'m V>);

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            runs: Arc::default(),
        }
    }
}

impl<K, V> SharedMap<K, V> {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All entries in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.runs.iter().flat_map(|run| run.iter());
        entries.map(|(key, value)| (key, value))
    }

    /// All keys in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values in the order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Whether it is a copy of the other with nothing changed in either.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.runs, &other.runs)
    }
}

impl<K: Clone + Ord, V: Clone> SharedMap<K, V> {
    /// The run that has the key if any has, and the key's place in it.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let starts_before =
            |run: &Run<K, V>| run.first().is_some_and(|(first, _)| first.borrow() <= key);
        let at = self.runs.partition_point(starts_before).saturating_sub(1);
        let place = self.runs.get(at).map_or(Err(0), |run| {
            run.binary_search_by(|(own, _)| own.borrow().cmp(key))
        });
        (at, place)
    }

    /// The value of a key.
    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (run, place) = self.find(key);
        self.runs.get(run)?.get(place.ok()?).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub(super) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Gives a key a value, whether it had one or not.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let (at, place) = self.find(&key);
        let runs = Arc::make_mut(&mut self.runs);
        let Some(run) = runs.get_mut(at) else {
            runs.push(Arc::new(vec![(key, value)]));
            return;
        };
        let run = Arc::make_mut(run);
        match place {
            Ok(place) => run[place] = (key, value),
            Err(place) => {
                run.insert(place, (key, value));
            }
        }
        if run.len() > LONGEST {
            // What comes in order fills the runs.
            let last = at + 1 == runs.len();
            let run = Arc::make_mut(&mut runs[at]);
            let kept = if last { LONGEST } else { LONGEST / 2 };
            let right = run.split_off(kept);
            runs.insert(at + 1, Arc::new(right));
        }
    }

    /// Takes a key out.
    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let (at, Ok(place)) = self.find(key) else {
            return;
        };
        let runs = Arc::make_mut(&mut self.runs);
        let run = Arc::make_mut(&mut runs[at]);
        run.remove(place);
        if run.is_empty() {
            runs.remove(at);
        }
    }
}

impl<K: Clone + Ord, V: Clone + PartialEq> SharedMap<K, V> {
    /// What is different from what was `before`, in the order of the keys. Runs that both have are
    /// not looked into.
    pub(super) fn differences<'m>(&'m self, before: &'m Self) -> Vec<Difference<'m, K, V>> {
        let (mut old, mut new) = (Cursor::new(before), Cursor::new(self));
        let mut different = Vec::new();
        loop {
            old.pass_shared(&mut new);
            match (old.entry(), new.entry()) {
                (Some((key, before)), Some((other, after))) if key == other => {
                    if before != after {
                        different.push((key, Some(before), Some(after)));
                    }
                    old.advance();
                    new.advance();
                }
                (Some((key, before)), other) if other.is_none_or(|(other, _)| key < other) => {
                    different.push((key, Some(before), None));
                    old.advance();
                }
                (_, Some((key, after))) => {
                    different.push((key, None, Some(after)));
                    new.advance();
                }
                (_, None) => return different,
            }
        }
    }
}

/// A place in a map.
struct Cursor<'m, K, V> {
    runs: &'m [Run<K, V>],
    /// In the first of them.
    place: usize,
}

impl<'m, K, V> Cursor<'m, K, V> {
    fn new(map: &'m SharedMap<K, V>) -> Self {
        Self {
            runs: &map.runs,
            place: 0,
        }
    }

    fn entry(&self) -> Option<(&'m K, &'m V)> {
        let (key, value) = self.runs.first()?.get(self.place)?;
        Some((key, value))
    }

    fn advance(&mut self) {
        self.place += 1;
        if let [run, rest @ ..] = self.runs
            && self.place >= run.len()
        {
            (self.runs, self.place) = (rest, 0);
        }
    }

    /// Passes the runs that the other has as well, if both stand before one.
    fn pass_shared(&mut self, other: &mut Self) {
        while self.place == 0
            && other.place == 0
            && let ([own, rest @ ..], [others, others_rest @ ..]) = (self.runs, other.runs)
            && Arc::ptr_eq(own, others)
        {
            (self.runs, other.runs) = (rest, others_rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    type Model = BTreeMap<u8, u8>;

    fn change(map: &mut SharedMap<u8, u8>, model: &mut Model, (key, value): (u8, Option<u8>)) {
        match value {
            Some(value) => {
                map.insert(key, value);
                model.insert(key, value);
            }
            None => {
                map.remove(&key);
                model.remove(&key);
            }
        }
    }

    fn differences(before: &Model, after: &Model) -> Vec<(u8, Option<u8>, Option<u8>)> {
        let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        keys.into_iter()
            .map(|key| (*key, before.get(key).copied(), after.get(key).copied()))
            .filter(|(_, before, after)| before != after)
            .collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_knows_what_is_different(
            first in vec(any::<(u8, Option<u8>)>(), 0..200),
            second in vec(any::<(u8, Option<u8>)>(), 0..20),
        ) {
            let (mut map, mut model) = (SharedMap::default(), Model::new());
            for one in first {
                change(&mut map, &mut model, one);
            }
            let (before, model_before) = (map.clone(), model.clone());
            for one in second {
                change(&mut map, &mut model, one);
            }
            for (map, model) in [(&before, &model_before), (&map, &model)] {
                let entries: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(entries, model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(map.is_empty(), model.is_empty());
                for key in 0..=u8::MAX {
                    prop_assert_eq!(map.get(&key), model.get(&key));
                }
            }
            let found = map.differences(&before).into_iter();
            let found: Vec<_> = found.map(|(key, a, b)| (*key, a.copied(), b.copied())).collect();
            prop_assert_eq!(found, differences(&model_before, &model));
        }
    }

    #[test]
    fn a_change_makes_one_run_anew() {
        let mut map = SharedMap::default();
        for key in 0..100_u8 {
            map.insert(key, ());
        }
        assert_eq!(map.runs.len(), 25, "what comes in order fills the runs");
        let before = map.clone();
        map.remove(&50);
        let shared = |run: &Run<u8, ()>| before.runs.iter().any(|other| Arc::ptr_eq(run, other));
        assert_eq!(map.runs.iter().filter(|run| !shared(run)).count(), 1);
        assert!(!map.is(&before) && before.contains_key(&50));
    }
}
