//! The only place that reads the wall clock.
//!
//! Everything that depends on the date takes `now` as an argument; whoever needs to
//! know the time holds a [`Clock`], so that tests choose it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls_pki_types::UnixTime;

/// Where the time of day comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// Seconds since the Unix epoch, set by whoever holds the other clone.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands still until [`Clock::set`] moves it.
    pub fn manual(now: UnixTime) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(now.as_secs())))
    }

    /// The time now, in whole seconds.
    pub fn now(&self) -> UnixTime {
        match self {
            Self::System => UnixTime::now(),
            Self::Manual(seconds) => UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                seconds.load(Ordering::Relaxed),
            )),
        }
    }

    /// Moves a manual clock, in either direction; the system's clock is left alone.
    pub fn set(&self, now: UnixTime) {
        if let Self::Manual(seconds) = self {
            seconds.store(now.as_secs(), Ordering::Relaxed);
        }
    }
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}
