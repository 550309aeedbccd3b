//! Certificates in an order, as a value: a change makes another tree, which shares with the one
//! before all but the nodes on one path.
//!
//! Beside each branch stands between which seconds a certificate below it can have each
//! standing. So the first certificate of a standing at any second is found by going down, and
//! nothing has to be known beforehand of the seconds at which another becomes the first: of a
//! million certificates each may be that, at its own second.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::cert::{Credential, Standing, StandingKind};

/// Most items of a leaf, and most branches of a fork. Few in tests, so that a handful makes a
/// tree of some height.
const WIDTH: usize = if cfg!(test) { 3 } else { 32 };

/// A total order of certificates.
pub(super) type Compare = fn(&Arc<Credential>, &Arc<Credential>) -> Ordering;

/// Certificates in the order of `compare`, no two of which are equal in it.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    compare: Compare,
    root: Arc<Node>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Arc<Credential>>),
    /// At least one.
    Fork(Vec<Branch>),
}

#[derive(Clone, Debug)]
struct Branch {
    node: Arc<Node>,
    /// The last certificate below.
    last: Arc<Credential>,
    spans: Spans,
}

/// By [`StandingKind`].
type Spans = [Span; StandingKind::ALL.len()];

/// Where the periods lie in which certificates have one standing; may say too much, never too
/// little.
#[derive(Clone, Copy, Debug)]
struct Span {
    first_begin: i64,
    last_begin: i64,
    last_end: i64,
}

impl Span {
    const NEVER: Self = Self {
        first_begin: i64::MAX,
        last_begin: i64::MIN,
        last_end: i64::MIN,
    };

    fn new(begin: i64, end: i64) -> Self {
        Self {
            first_begin: begin,
            last_begin: begin,
            last_end: end,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            first_begin: self.first_begin.min(other.first_begin),
            last_begin: self.last_begin.max(other.last_begin),
            last_end: self.last_end.max(other.last_end),
        }
    }

    fn contains(self, second: i64) -> bool {
        (self.first_begin..=self.last_end).contains(&second)
    }
}

/// The periods in which a certificate may have each standing.
fn spans(standing: &Standing) -> Spans {
    let own = standing.validity;
    let in_date = Span::new(own.not_before, own.not_after);
    StandingKind::ALL.map(|kind| match kind {
        StandingKind::Trusted => standing
            .trusted
            .iter()
            .map(|period| {
                let begin = period.not_before.max(own.not_before);
                Span::new(begin, period.not_after)
            })
            .fold(Span::NEVER, Span::and),
        StandingKind::SelfSigned if standing.self_signed => in_date,
        StandingKind::Valid if !standing.self_signed => in_date,
        StandingKind::SelfSigned | StandingKind::Valid => Span::NEVER,
        StandingKind::Expired => Span::new(own.not_after.saturating_add(1), i64::MAX),
        StandingKind::NotYetValid => Span::new(i64::MIN, own.not_before.saturating_sub(1)),
    })
}

fn union(all: impl Iterator<Item = Spans>) -> Spans {
    all.fold(
        [Span::NEVER; StandingKind::ALL.len()],
        |mut union, spans| {
            for (span, other) in union.iter_mut().zip(spans) {
                *span = span.and(other);
            }
            union
        },
    )
}

impl Branch {
    /// `None` for a node with nothing below it.
    fn new(node: Arc<Node>) -> Option<Self> {
        let (last, spans) = match &*node {
            Node::Leaf(items) => {
                let each = items.iter().map(|item| spans(&item.standing));
                (items.last()?, union(each))
            }
            Node::Fork(branches) => {
                let each = branches.iter().map(|branch| branch.spans);
                (&branches.last()?.last, union(each))
            }
        };
        Some(Self {
            last: Arc::clone(last),
            spans,
            node,
        })
    }
}

impl Ordered {
    /// All of `items`. Of those that are equal in the order, the last one counts.
    pub(super) fn new(mut items: Vec<Arc<Credential>>, compare: Compare) -> Self {
        items.sort_by(compare);
        let mut items = items.into_iter().peekable();
        let mut distinct = Vec::with_capacity(items.len());
        while let Some(item) = items.next() {
            if items.peek().is_none_or(|next| compare(&item, next).is_ne()) {
                distinct.push(item);
            }
        }
        let len = distinct.len();
        let mut nodes: Vec<Arc<Node>> = distinct
            .chunks(WIDTH)
            .map(|items| Arc::new(Node::Leaf(items.to_vec())))
            .collect();
        while nodes.len() > 1 {
            nodes = nodes
                .chunks(WIDTH)
                .map(|below| Arc::new(fork(below.iter().cloned())))
                .collect();
        }
        let root = nodes.pop();
        Self {
            compare,
            root: root.unwrap_or_else(|| Arc::new(Node::Leaf(Vec::new()))),
            len,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts one in; one that is equal to it in the order goes.
    pub(super) fn insert(&mut self, item: &Arc<Credential>) {
        let (added, right) = insert(&mut self.root, item, self.compare);
        self.len += usize::from(added);
        if let Some(right) = right {
            let left = std::mem::replace(&mut self.root, Arc::clone(&right));
            self.root = Arc::new(fork([left, right].into_iter()));
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, item: &Arc<Credential>) {
        self.len -= usize::from(remove(&mut self.root, item, self.compare));
        while let Node::Fork(branches) = &*self.root
            && let [only] = branches.as_slice()
        {
            self.root = Arc::clone(&only.node);
        }
    }

    /// The one that `place` finds equal; `place` says on which side of it another lies.
    pub(super) fn find(
        &self,
        place: impl Fn(&Arc<Credential>) -> Ordering,
    ) -> Option<&Arc<Credential>> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Leaf(items) => return items.get(items.binary_search_by(place).ok()?),
                Node::Fork(branches) => {
                    let at = branches.partition_point(|branch| place(&branch.last).is_lt());
                    node = &branches.get(at)?.node;
                }
            }
        }
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Credential>> {
        Iter {
            above: Vec::new(),
            items: [].iter(),
            next: Some(&self.root),
        }
    }

    /// The first that is `kind` at `second`.
    pub(super) fn first(&self, kind: StandingKind, second: i64) -> Option<&Arc<Credential>> {
        first(&self.root, kind, second)
    }

    /// Shows `visit` each certificate that may come to be `kind` after `after` and before
    /// `before`, which `visit` may bring nearer by what it returns.
    pub(super) fn becoming(
        &self,
        kind: StandingKind,
        after: i64,
        before: i64,
        visit: &mut impl FnMut(&Arc<Credential>, i64) -> i64,
    ) -> i64 {
        becoming(&self.root, kind, after, before, visit)
    }
}

/// A fork above nodes none of which is empty.
fn fork(nodes: impl Iterator<Item = Arc<Node>>) -> Node {
    Node::Fork(nodes.filter_map(Branch::new).collect())
}

/// Whether there is one more, and the right half of a node that had to be divided.
fn insert(
    node: &mut Arc<Node>,
    item: &Arc<Credential>,
    compare: Compare,
) -> (bool, Option<Arc<Node>>) {
    match Arc::make_mut(node) {
        Node::Leaf(items) => match items.binary_search_by(|own| compare(own, item)) {
            Ok(at) => {
                items[at] = Arc::clone(item);
                (false, None)
            }
            Err(at) => {
                items.insert(at, Arc::clone(item));
                (
                    true,
                    overflow(items).map(|right| Arc::new(Node::Leaf(right))),
                )
            }
        },
        Node::Fork(branches) => {
            let at = branches.partition_point(|branch| compare(&branch.last, item).is_lt());
            let at = at.min(branches.len() - 1);
            let (added, right) = insert(&mut branches[at].node, item, compare);
            let changed = [Some(Arc::clone(&branches[at].node)), right];
            let changed = changed.into_iter().flatten().filter_map(Branch::new);
            drop(branches.splice(at..=at, changed));
            (
                added,
                overflow(branches).map(|right| Arc::new(Node::Fork(right))),
            )
        }
    }
}

fn overflow<T>(items: &mut Vec<T>) -> Option<Vec<T>> {
    (items.len() > WIDTH).then(|| items.split_off(items.len() / 2))
}

/// Whether it was there.
fn remove(node: &mut Arc<Node>, item: &Arc<Credential>, compare: Compare) -> bool {
    match Arc::make_mut(node) {
        Node::Leaf(items) => match items.binary_search_by(|own| compare(own, item)) {
            Ok(at) => {
                items.remove(at);
                true
            }
            Err(_) => false,
        },
        Node::Fork(branches) => {
            let at = branches.partition_point(|branch| compare(&branch.last, item).is_lt());
            let Some(branch) = branches.get_mut(at) else {
                return false;
            };
            let gone = remove(&mut branch.node, item, compare);
            let changed = Branch::new(Arc::clone(&branch.node));
            drop(branches.splice(at..=at, changed));
            gone
        }
    }
}

fn first(node: &Node, kind: StandingKind, second: i64) -> Option<&Arc<Credential>> {
    match node {
        Node::Leaf(items) => items
            .iter()
            .find(|item| item.standing.kind_at(second) == kind),
        Node::Fork(branches) => branches
            .iter()
            .filter(|branch| branch.spans[kind.place()].contains(second))
            .find_map(|branch| first(&branch.node, kind, second)),
    }
}

fn becoming(
    node: &Node,
    kind: StandingKind,
    after: i64,
    mut before: i64,
    visit: &mut impl FnMut(&Arc<Credential>, i64) -> i64,
) -> i64 {
    match node {
        Node::Leaf(items) => {
            for item in items {
                before = visit(item, before);
            }
        }
        // What begins latest stands first, so the nearest seconds lie at the end.
        Node::Fork(branches) => {
            for branch in branches.iter().rev() {
                let span = branch.spans[kind.place()];
                if span.last_begin > after && span.first_begin < before {
                    before = becoming(&branch.node, kind, after, before, visit);
                }
            }
        }
    }
    before
}

struct Iter<'t> {
    above: Vec<std::slice::Iter<'t, Branch>>,
    items: std::slice::Iter<'t, Arc<Credential>>,
    next: Option<&'t Node>,
}

impl<'t> Iterator for Iter<'t> {
    type Item = &'t Arc<Credential>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(item);
            }
            let node = match self.next.take() {
                Some(node) => node,
                None => match self.above.last_mut()?.next() {
                    Some(branch) => &*branch.node,
                    None => {
                        self.above.pop();
                        continue;
                    }
                },
            };
            match node {
                Node::Leaf(items) => self.items = items.iter(),
                Node::Fork(branches) => self.above.push(branches.iter()),
            }
        }
    }
}
