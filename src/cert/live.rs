//! The index in use.
//!
//! Owns the swap of one index for the next, and that no handshake pays for the end of the old
//! one; what is in an index is not its matter.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::cert::CertIndex;

/// The index in use: read by handshakes without a lock, swapped whole by the store.
#[derive(Clone, Debug)]
pub struct LiveIndex(Arc<Live>);

#[derive(Debug)]
struct Live {
    current: ArcSwap<CertIndex>,
    /// Indexes that were replaced while somebody read them. Whoever lets go of an index last
    /// frees it, and a million names take their time: that must be no handshake.
    replaced: Mutex<Vec<Arc<CertIndex>>>,
}

impl LiveIndex {
    /// A live index that holds `index`.
    pub fn new(index: CertIndex) -> Self {
        Self(Arc::new(Live {
            current: ArcSwap::from_pointee(index),
            replaced: Mutex::default(),
        }))
    }

    /// The index now in use.
    pub fn load(&self) -> arc_swap::Guard<Arc<CertIndex>> {
        self.0.current.load()
    }

    /// Makes `index` the one that the next ClientHello sees. What came before is freed here, as
    /// far as nobody reads it any more; the rest is when the next index is published.
    pub fn publish(&self, index: CertIndex) {
        let old = self.0.current.swap(Arc::new(index));
        let mut replaced = self
            .0
            .replaced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        replaced.push(old);
        // Nobody can come to read an index that was replaced: a count of one stays one.
        let unread = |old: &mut Arc<CertIndex>| Arc::strong_count(old) == 1;
        let unread: Vec<_> = replaced.extract_if(.., unread).collect();
        drop(replaced);
        drop(unread);
    }
}
