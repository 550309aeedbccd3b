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
