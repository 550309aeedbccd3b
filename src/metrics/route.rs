//! What is counted of the requests of one route on one listener.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

/// Status codes that have a counter at hand: those that RFC 9110 section 15 has classes for.
const CODES: std::ops::RangeInclusive<u16> = 100..=599;

/// Handles of one route on one listener.
#[derive(Debug)]
pub struct RouteMetrics {
    listener: String,
    route: String,
    requests: IntCounterVec,
    by_code: Box<[OnceLock<IntCounter>]>,
    seconds: Histogram,
    removed: AtomicBool,
}

impl RouteMetrics {
    pub(super) fn new(
        listener: &str,
        route: &str,
        requests: &IntCounterVec,
        seconds: &HistogramVec,
    ) -> Self {
        Self {
            listener: listener.to_owned(),
            route: route.to_owned(),
            requests: requests.clone(),
            by_code: CODES.map(|_| OnceLock::new()).collect(),
            seconds: seconds.with_label_values(&[route]),
            removed: AtomicBool::new(false),
        }
    }

    /// Counts a request that is over.
    pub fn request(&self, code: u16, seconds: f64) {
        self.seconds.observe(seconds);
        let known = code.checked_sub(*CODES.start());
        let counter = known.and_then(|n| self.by_code.get(usize::from(n)));
        if let Some(counter) = counter.and_then(OnceLock::get) {
            counter.inc();
            return;
        }
        // A removed route's series must not come back with its last requests.
        if self.removed.load(Ordering::Relaxed) {
            return;
        }
        let code = match counter {
            Some(_) => code.to_string(),
            None => "other".to_owned(),
        };
        let labels = [self.listener.as_str(), self.route.as_str(), code.as_str()];
        let found = self.requests.with_label_values(&labels);
        found.inc();
        if let Some(counter) = counter {
            // Somebody else may have been first, with the same series.
            let _ = counter.set(found);
        }
    }

    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }
}
