//! What the parts of one client's connection know of each other.
//!
//! With HTTP/1.1 all of them run in one task and take turns; with HTTP/2 each request has its
//! own. So everything is an atomic, and nothing depends on the order between two of them.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes that a client may send while it has no request under way: the longest header, and
/// whatever else HTTP/2 has to say before it.
const IDLE_BYTES: u64 = 256 * 1024;

/// Requests that a client may take back before they are answered, if it is more than every
/// other one (CVE-2023-44487).
const TAKEN_BACK: u32 = 100;

/// Bytes of interim responses that are kept for a client; a server may send them without end.
const INTERIM: usize = 64 * 1024;

/// The state of one client's connection.
#[derive(Debug)]
pub(super) struct Pulse {
    begun: Instant,
    /// Requests whose answer is not complete.
    in_flight: AtomicU32,
    /// HTTP/1.1: answers that are complete, and perhaps not written yet.
    ending: AtomicU32,
    requests: AtomicU32,
    taken_back: AtomicU32,
    /// Milliseconds after `begun`, plus one; 0: not so.
    header_since: AtomicU64,
    blocked_since: AtomicU64,
    idle_since: AtomicU64,
    /// Bytes received since the last request.
    unasked: AtomicU64,
    /// HTTP/1.1: a refusal that hyper has written, and that is replaced by our own.
    refused: AtomicU16,
    /// Interim responses to be written before anything else.
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            in_flight: AtomicU32::new(0),
            ending: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            taken_back: AtomicU32::new(0),
            header_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            idle_since: AtomicU64::new(1),
            unasked: AtomicU64::new(0),
            refused: AtomicU16::new(0),
            interim: Mutex::default(),
            has_interim: AtomicBool::new(false),
        }
    }

    /// A moment as it is kept.
    fn millis(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.begun).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn at(&self, moment: &AtomicU64) -> Option<Instant> {
        match moment.load(Relaxed) {
            0 => None,
            millis => Some(self.begun + Duration::from_millis(millis - 1)),
        }
    }

    /// A request has come.
    pub(super) fn request(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.header_since.store(0, Relaxed);
        self.unasked.store(0, Relaxed);
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// A request is over, now. With HTTP/1.1 its answer may still have to be written.
    pub(super) fn over(&self, http2: bool, answered: bool, now: Instant) {
        match http2 {
            true => self.leave(1, now),
            false => drop(self.ending.fetch_add(1, Relaxed)),
        }
        if !answered {
            self.taken_back.fetch_add(1, Relaxed);
        }
    }

    fn leave(&self, requests: u32, now: Instant) {
        self.unasked.store(0, Relaxed);
        self.idle_since.store(self.millis(now), Relaxed);
        self.in_flight.fetch_sub(requests, Relaxed);
    }

    /// Whether nothing is asked and everything is answered.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    /// Since when nothing is asked.
    pub(super) fn idle_since(&self) -> Instant {
        self.at(&self.idle_since).unwrap_or(self.begun)
    }

    /// `n` bytes have come from the client.
    pub(super) fn received(&self, n: usize) {
        self.unasked.fetch_add(n as u64, Relaxed);
        if self.is_idle() && self.header_since.load(Relaxed) == 0 {
            let now = self.millis(Instant::now());
            self.header_since.store(now, Relaxed);
        }
    }

    /// Since when a request's header is on its way.
    pub(super) fn header_since(&self) -> Option<Instant> {
        self.at(&self.header_since)
    }

    /// Everything that hyper had to say is written.
    pub(super) fn flushed(&self) {
        if self.ending.load(Relaxed) > 0 {
            let ending = self.ending.swap(0, Relaxed);
            self.leave(ending, Instant::now());
        }
    }

    /// Whether the client took what was to be written.
    pub(super) fn written(&self, taken: bool) {
        match taken {
            true => self.blocked_since.store(0, Relaxed),
            false => {
                let (now, order) = (self.millis(Instant::now()), Relaxed);
                // It is blocked already, and longer.
                let _ = self.blocked_since.compare_exchange(0, now, order, order);
            }
        }
    }

    /// Since when the client takes nothing.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.at(&self.blocked_since)
    }

    /// Whether the client keeps us at work for nothing.
    pub(super) fn is_flooded(&self) -> bool {
        let taken_back = self.taken_back.load(Relaxed);
        (self.is_idle() && self.unasked.load(Relaxed) > IDLE_BYTES)
            || (taken_back > TAKEN_BACK && taken_back > self.requests() / 2)
    }

    /// HTTP/1.1: what hyper writes now is a refusal of its own, with this status.
    pub(super) fn refuse(&self, status: u16) {
        self.refused.store(status, Relaxed);
    }

    /// The status that hyper would have refused the client with.
    pub(super) fn refusal(&self) -> Option<u16> {
        Some(self.refused.load(Relaxed)).filter(|status| *status > 0)
    }

    /// HTTP/1.1: writes an interim response before the answer. Where an answer before it is not
    /// written yet, the place for it cannot be told from here, and it is left out; so is what the
    /// client does not take.
    pub(super) fn add_interim(&self, bytes: &[u8]) {
        if self.in_flight.load(Relaxed) == 1 && self.ending.load(Relaxed) == 0 {
            let mut interim = self.interim();
            if interim.len() + bytes.len() <= INTERIM {
                interim.extend_from_slice(bytes);
                self.has_interim.store(true, Relaxed);
            }
        }
    }

    /// What is to be written before anything else.
    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        let has = self.has_interim.load(Relaxed) && self.has_interim.swap(false, Relaxed);
        has.then(|| std::mem::take(&mut *self.interim()))
    }

    fn interim(&self) -> MutexGuard<'_, Vec<u8>> {
        self.interim.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
