//! Certificates by what they carry, as a value: a change makes another table, which shares with
//! the one before all but a few small nodes.
//!
//! A tree over the bits of a keyed hash. A leaf holds up to 32 keys, found by 16 bits of their
//! hash that lie side by side, so that a miss reads little more than one cache line of it.
//! The levels above the leaves are small enough to stay in the processor's caches.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use crate::cert::Credential;

/// Bits of the hash that a fork looks at.
const BITS: u32 = 4;

/// Branches of a fork.
const WIDTH: usize = 1 << BITS;

/// Most keys in a leaf that can be divided. Few in tests, so that a handful makes forks.
const FULL: usize = if cfg!(test) { 2 } else { 32 };

/// A fork whose leaves hold no more keys than this becomes a leaf: far from [`FULL`], so that
/// one key that comes and goes does not divide and join in turns.
const SPARSE: usize = FULL / 4 + 1;

/// Forks above each other at most; keys whose hashes agree so far stay in one leaf.
const DEEPEST: u32 = u64::BITS / BITS;

/// Certificates that carry one key; nearly always one to three.
#[derive(Clone, Debug)]
enum Bucket {
    One(Arc<Credential>),
    More(Vec<Arc<Credential>>),
}

#[derive(Clone, Debug)]
struct Entry<K> {
    key: K,
    bucket: Bucket,
    hash: u64,
}

#[derive(Clone, Debug)]
struct Leaf<K> {
    /// Tags of the first entries, in their order.
    tags: [u16; FULL],
    entries: Vec<Entry<K>>,
}

#[derive(Clone, Debug)]
enum Node<K> {
    Fork([Arc<Self>; WIDTH]),
    Leaf(Leaf<K>),
}

/// Certificates by key.
#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    hasher: DefaultHashBuilder,
    root: Arc<Node<K>>,
    len: usize,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            root: Arc::new(Node::Leaf(Leaf::default())),
            len: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Table<K> {
    /// What comes of putting all these in, in their order; each leaf is made in its size.
    pub(super) fn of<'c>(items: impl Iterator<Item = (K, &'c Arc<Credential>)>) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut items: Vec<_> = items
            .map(|(key, credential)| (hasher.hash_one(&key), key, credential))
            .collect();
        // As the forks divide them, by the lowest bits first; those of one key stay in their order.
        items.sort_by_key(|(hash, ..)| hash.reverse_bits());
        let mut entries: Vec<Entry<K>> = Vec::with_capacity(items.len());
        for (hash, key, credential) in items {
            let same_hash = entries.iter_mut().rev().take_while(|it| it.hash == hash);
            match same_hash.into_iter().find(|it| it.key == key) {
                Some(entry) => entry.bucket.push(credential),
                None => {
                    let bucket = Bucket::One(Arc::clone(credential));
                    entries.push(Entry { key, bucket, hash });
                }
            }
        }
        let len = entries.len();
        let root = Arc::new(node(&mut entries.into_iter(), len, 0));
        Self { hasher, root, len }
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The certificates that carry `key`, in the order in which they were put in.
    pub(super) fn get<Q>(&self, key: &Q) -> &[Arc<Credential>]
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let (mut node, mut level) = (&self.root, 0);
        loop {
            match &**node {
                Node::Fork(branches) => node = &branches[branch(hash, level)],
                Node::Leaf(leaf) => {
                    return leaf
                        .position(hash, key)
                        .map_or(&[], |at| leaf.entries[at].bucket.as_slice());
                }
            }
            level += 1;
        }
    }

    /// Puts a certificate under a key. All keys of one certificate are put in one after the
    /// other, so a key that it carries twice shows in the last place.
    pub(super) fn insert(&mut self, key: K, credential: &Arc<Credential>) {
        let hash = self.hasher.hash_one(&key);
        self.len += usize::from(insert(&mut self.root, 0, hash, key, credential));
    }

    /// Takes a certificate from under a key.
    pub(super) fn remove<Q>(&mut self, key: &Q, credential: &Arc<Credential>)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.len -= usize::from(remove(&mut self.root, 0, hash, key, credential));
    }
}

fn branch(hash: u64, level: u32) -> usize {
    // The cast keeps the lowest bits, which are all that is looked at.
    (hash >> (BITS * level)) as usize % WIDTH
}

/// From the end of the hash that forks come to last.
fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16
}

/// The node of the first `len` entries, which come as forks divide them.
fn node<K>(entries: &mut std::vec::IntoIter<Entry<K>>, len: usize, level: u32) -> Node<K> {
    if len <= FULL || level == DEEPEST {
        let mut leaf = Leaf::default();
        leaf.entries.reserve_exact(len);
        entries.take(len).for_each(|entry| leaf.push(entry));
        return Node::Leaf(leaf);
    }
    let mut branches = [const { None }; WIDTH];
    let mut left = len;
    while left > 0 {
        let waiting = &entries.as_slice()[..left];
        let at = branch(waiting[0].hash, level);
        let below = waiting.partition_point(|entry| branch(entry.hash, level) == at);
        branches[at] = Some(node(entries, below, level + 1));
        left -= below;
    }
    let empty = || Node::Leaf(Leaf::default());
    Node::Fork(branches.map(|node| Arc::new(node.unwrap_or_else(empty))))
}

/// Whether the key is a new one.
fn insert<K: Clone + Eq>(
    node: &mut Arc<Node<K>>,
    level: u32,
    hash: u64,
    key: K,
    credential: &Arc<Credential>,
) -> bool {
    match Arc::make_mut(node) {
        Node::Fork(branches) => {
            let branch = &mut branches[branch(hash, level)];
            return insert(branch, level + 1, hash, key, credential);
        }
        Node::Leaf(leaf) => {
            if let Some(at) = leaf.position(hash, &key) {
                leaf.entries[at].bucket.push(credential);
                return false;
            }
            if leaf.entries.len() < FULL || level == DEEPEST {
                let bucket = Bucket::One(Arc::clone(credential));
                leaf.push(Entry { key, bucket, hash });
                return true;
            }
            let divided = std::mem::take(leaf).divide(level);
            *node = Arc::new(divided);
        }
    }
    insert(node, level, hash, key, credential)
}

/// Whether nothing carries the key any more.
fn remove<K, Q>(
    node: &mut Arc<Node<K>>,
    level: u32,
    hash: u64,
    key: &Q,
    credential: &Arc<Credential>,
) -> bool
where
    K: Borrow<Q> + Clone,
    Q: Eq + ?Sized,
{
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => leaf.remove(hash, key, credential),
        Node::Fork(branches) => {
            let branch = &mut branches[branch(hash, level)];
            let gone = remove(branch, level + 1, hash, key, credential);
            if gone && let Some(joined) = join(branches) {
                *node = Arc::new(Node::Leaf(joined));
            }
            gone
        }
    }
}

/// The leaf that takes the place of branches that hold next to nothing.
fn join<K: Clone>(branches: &[Arc<Node<K>>; WIDTH]) -> Option<Leaf<K>> {
    let leaves = branches.iter().map(|branch| match &**branch {
        Node::Leaf(leaf) => Some(leaf.entries.as_slice()),
        Node::Fork(_) => None,
    });
    let leaves: Vec<_> = leaves.collect::<Option<_>>()?;
    if leaves.iter().map(|entries| entries.len()).sum::<usize>() > SPARSE {
        return None;
    }
    let mut joined = Leaf::default();
    for entry in leaves.into_iter().flatten() {
        joined.push(entry.clone());
    }
    Some(joined)
}

impl<K> Default for Leaf<K> {
    fn default() -> Self {
        Self {
            tags: [0; FULL],
            entries: Vec::new(),
        }
    }
}

impl<K> Leaf<K> {
    fn position<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is = |at: &usize| {
            let entry = self.entries.get(*at);
            entry.is_some_and(|entry| entry.hash == hash && entry.key.borrow() == key)
        };
        let tag = tag(hash);
        let same_tag = |(at, own): (usize, &u16)| u32::from(*own == tag) << at;
        let mut same: u32 = self.tags.iter().enumerate().map(same_tag).sum();
        while same != 0 {
            let at = same.trailing_zeros() as usize;
            if is(&at) {
                return Some(at);
            }
            same &= same - 1;
        }
        (FULL..self.entries.len()).find(is)
    }

    fn push(&mut self, entry: Entry<K>) {
        if let Some(own) = self.tags.get_mut(self.entries.len()) {
            *own = tag(entry.hash);
        }
        // One more at a time: a leaf has room for what it holds and little more.
        self.entries.reserve_exact(1);
        self.entries.push(entry);
    }

    fn remove<Q>(&mut self, hash: u64, key: &Q, credential: &Arc<Credential>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(at) = self.position(hash, key) else {
            return false;
        };
        if !self.entries[at].bucket.remove(credential) {
            return false;
        }
        self.entries.swap_remove(at);
        if let (Some(own), Some(moved)) = (self.tags.get_mut(at), self.entries.get(at)) {
            *own = tag(moved.hash);
        }
        true
    }

    /// The keys of this leaf on the branches of a fork.
    fn divide(self, level: u32) -> Node<K> {
        let mut leaves: [Self; WIDTH] = std::array::from_fn(|_| Self::default());
        for entry in self.entries {
            leaves[branch(entry.hash, level)].push(entry);
        }
        Node::Fork(leaves.map(|leaf| Arc::new(Node::Leaf(leaf))))
    }
}

impl Bucket {
    fn as_slice(&self) -> &[Arc<Credential>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }

    fn push(&mut self, credential: &Arc<Credential>) {
        let last = self.as_slice().last();
        if last.is_some_and(|last| Arc::ptr_eq(last, credential)) {
            return;
        }
        match self {
            Self::One(one) => *self = Self::More(vec![Arc::clone(one), Arc::clone(credential)]),
            Self::More(more) => more.push(Arc::clone(credential)),
        }
    }

    /// Whether nothing is left.
    fn remove(&mut self, credential: &Arc<Credential>) -> bool {
        match self {
            Self::One(one) => Arc::ptr_eq(one, credential),
            Self::More(more) => {
                more.retain(|own| !Arc::ptr_eq(own, credential));
                more.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::samples::{load, sample};

    fn credential(number: usize) -> Arc<Credential> {
        load(&[sample(&format!("certificate-{number}"), &[])]).remove(0)
    }

    #[test]
    fn all_at_once_is_the_same_as_one_after_the_other() {
        let all: Vec<_> = (0..40).map(credential).collect();
        // Some keys are carried by one certificate, some by several, and one by all of them, twice.
        let mut items = Vec::new();
        for (number, credential) in all.iter().enumerate() {
            for key in [number, number / 3, 1000, 1000] {
                items.push((key, credential));
            }
        }
        let mut inserted = Table::default();
        for (key, credential) in &items {
            inserted.insert(*key, credential);
        }
        let made = Table::of(items.into_iter());
        assert_eq!(made.len(), inserted.len());
        for key in 0..=1001 {
            let (made, inserted) = (made.get(&key), inserted.get(&key));
            let same = made.iter().zip(inserted).all(|(a, b)| Arc::ptr_eq(a, b));
            assert!(same && made.len() == inserted.len(), "{key}");
        }
        assert_eq!(made.get(&1000).len(), all.len());
        let empty = Table::<usize>::of(std::iter::empty());
        assert!(empty.len() == 0 && empty.get(&1).is_empty());
    }

    #[test]
    fn keys_of_the_same_hash_are_told_apart() {
        const HASH: u64 = 0x1234_5678_9abc_def0;
        let all: Vec<_> = (0..3 * FULL).map(credential).collect();
        let mut root = Arc::new(Node::Leaf(Leaf::default()));
        for (key, credential) in all.iter().enumerate() {
            assert!(insert(&mut root, 0, HASH, key, credential));
            assert!(!insert(&mut root, 0, HASH, key, credential));
        }
        let holds = |root: &Arc<Node<usize>>, key| {
            let (mut node, mut level) = (root, 0);
            while let Node::Fork(branches) = &**node {
                node = &branches[branch(HASH, level)];
                level += 1;
            }
            let Node::Leaf(leaf) = &**node else {
                return false;
            };
            let at = leaf.position(HASH, &key);
            at.is_some_and(|at| Arc::ptr_eq(&leaf.entries[at].bucket.as_slice()[0], &all[key]))
        };
        assert!((0..all.len()).all(|key| holds(&root, key)));
        let whole = Arc::clone(&root);
        for key in 0..all.len() {
            assert!(remove(&mut root, 0, HASH, &key, &all[key]));
            assert!(!remove(&mut root, 0, HASH, &key, &all[key]));
            let left = (0..all.len()).filter(|other| holds(&root, *other));
            assert_eq!(left.count(), all.len() - key - 1);
        }
        assert!((0..all.len()).all(|key| holds(&whole, key)));
        let Node::Leaf(leaf) = &*root else {
            panic!("the forks are gone with the keys");
        };
        assert!(leaf.entries.is_empty());
    }
}
