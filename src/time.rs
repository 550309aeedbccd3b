//! The only place that reads the wall clock.
//!
//! Everything that depends on the date takes `now` as an argument; whoever needs to
//! know the time holds a [`Clock`], so that tests choose it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls_pki_types::UnixTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

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

/// Seconds since the Unix epoch as people and documents write them: RFC 3339 in UTC. What no
/// calendar holds is the number itself.
pub fn rfc3339(seconds: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// Seconds since the Unix epoch as access logs write them: `27/Nov/2026:22:15:10 +0000`.
pub fn common_log(seconds: i64) -> String {
    let format =
        format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| seconds.to_string())
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::{common_log, rfc3339};

    #[test]
    fn seconds_as_access_logs_write_them() {
        assert_eq!(common_log(1_781_913_599), "19/Jun/2026:23:59:59 +0000");
        assert_eq!(common_log(0), "01/Jan/1970:00:00:00 +0000");
    }

    #[test]
    fn seconds_as_text() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_781_913_599, "2026-06-19T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }
}
