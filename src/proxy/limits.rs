//! How many connections there may be, in all and from one client, without a lock.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use hashbrown::DefaultHashBuilder;
use tokio::sync::Notify;

/// How many connections there may be in all. Beyond it, accept waits.
#[derive(Debug)]
pub struct ConnectionLimit {
    active: AtomicUsize,
    limit: AtomicUsize,
    released: Notify,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<ConnectionLimit>);

impl ConnectionLimit {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            released: Notify::new(),
        })
    }

    /// Changes the limit; connections beyond a lower one go on.
    pub fn set(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.released.notify_waiters();
    }

    /// Connections now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Waits until no connection is left.
    pub async fn idle(&self) {
        self.until(|| (self.active() == 0).then_some(())).await;
    }

    /// Waits until there is room, and takes none of it.
    pub(super) async fn room(&self) {
        let room = || self.active() < self.limit.load(Ordering::Relaxed);
        self.until(|| room().then_some(())).await;
    }

    /// Waits for a place.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        self.until(|| self.try_enter()).await
    }

    /// Tries after every release, until there is something.
    async fn until<T>(&self, attempt: impl Fn() -> Option<T>) -> T {
        loop {
            if let Some(outcome) = attempt() {
                return outcome;
            }
            let released = self.released.notified();
            tokio::pin!(released);
            // From here on no release is missed; one may have come before.
            released.as_mut().enable();
            if let Some(outcome) = attempt() {
                return outcome;
            }
            released.await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |active: usize| (active < limit).then_some(active + 1);
        let entered = self
            .active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.0.active.fetch_sub(1, Ordering::Relaxed);
        // Somebody waits only where there was no place left, or for the last one to leave.
        if before == 1 || before >= self.0.limit.load(Ordering::Relaxed) {
            self.0.released.notify_waiters();
        }
    }
}

/// Counters in each row; a power of two.
const COLUMNS: usize = 16 * 1024;

/// How many connections one client may have.
///
/// A count-min sketch of two rows: every address has one counter in each, found by a keyed
/// hash, and the smaller one is its count. It never counts too few; it counts too many only
/// for an address that meets crowded counters in both rows, which nobody can aim at without
/// the keys. In return nothing is locked, allocated or looked for.
#[derive(Debug)]
pub struct ClientLimit {
    limit: AtomicU32,
    farewells: AtomicUsize,
    rows: [Box<[AtomicU32]>; 2],
    hashers: [DefaultHashBuilder; 2],
}

/// Refused clients that are listened to for a moment longer, at a time: a close with bytes unread
/// is a reset, which can take our last word away. Whoever has too many connections is not to
/// hold the places of others with more of them.
const FAREWELLS: usize = 64;

/// One refused client that is still listened to; no more when dropped.
#[derive(Debug)]
pub(super) struct Farewell(Arc<ClientLimit>);

/// One connection in a client's count; taken out when dropped.
#[derive(Debug)]
pub(super) struct Counted {
    limit: Arc<ClientLimit>,
    columns: [u16; 2],
}

impl ClientLimit {
    /// Room for `limit` connections from each client.
    pub fn new(limit: usize) -> Arc<Self> {
        let row = || (0..COLUMNS).map(|_| AtomicU32::new(0)).collect();
        let this = Self {
            limit: AtomicU32::new(0),
            farewells: AtomicUsize::new(0),
            rows: [row(), row()],
            hashers: [DefaultHashBuilder::default(), DefaultHashBuilder::default()],
        };
        this.set(limit);
        Arc::new(this)
    }

    /// Changes the limit; connections beyond a lower one go on.
    pub fn set(&self, limit: usize) {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Leave to listen to a refused client for a moment; `None` if there are enough of them.
    pub(super) fn farewell(self: &Arc<Self>) -> Option<Farewell> {
        let one_more = |n: usize| (n < FAREWELLS).then_some(n + 1);
        let entered = self
            .farewells
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.is_ok().then(|| Farewell(Arc::clone(self)))
    }

    /// Counts a connection from `client`; `None` if there are too many.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Counted> {
        let key = key(client);
        let column = |n: usize| (self.hashers[n].hash_one(key) as usize % COLUMNS) as u16;
        let counted = Counted {
            limit: Arc::clone(self),
            columns: [column(0), column(1)],
        };
        let before = counted
            .counters()
            .map(|c| c.fetch_add(1, Ordering::Relaxed));
        let count = before[0].min(before[1]);
        (count < self.limit.load(Ordering::Relaxed)).then_some(counted)
    }
}

impl Counted {
    fn counters(&self) -> [&AtomicU32; 2] {
        let [first, second] = self.columns;
        let [one, two] = &self.limit.rows;
        [&one[usize::from(first)], &two[usize::from(second)]]
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.farewells.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for counter in self.counters() {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What counts as one client: an IPv4 address, an IPv6 network of 64 bits.
fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // The highest bit keeps a network apart from every IPv4 address; of two networks that
        // differ only there, one is not in use (2000::/3 is what the Internet has).
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ipv4_by_address_and_ipv6_by_network() {
        let limit = ClientLimit::new(1);
        let enter = |text: &str| limit.enter(text.parse().unwrap());
        let held = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("::ffff:192.0.2.1").is_none(), "the same in IPv6 form");
        assert!(enter("192.0.2.2").is_some());
        drop(held);
        assert!(enter("192.0.2.1").is_some());

        let held = enter("2001:db8:1:2::1").unwrap();
        assert!(enter("2001:db8:1:2:ffff::9").is_none());
        assert!(enter("2001:db8:1:3::1").is_some());
        drop(held);
    }

    #[tokio::test]
    async fn beyond_the_limit_entering_waits_for_a_place() {
        let limit = ConnectionLimit::new(1);
        let place = limit.enter().await;
        let waiting = tokio::spawn({
            let limit = Arc::clone(&limit);
            async move { limit.enter().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(place);
        drop(waiting.await.unwrap());
        limit.idle().await;
        assert_eq!(limit.active(), 0);
    }
}
