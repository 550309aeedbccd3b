//! Durations and their distribution.

use std::time::Duration;

use serde_json::{Value, json};

#[derive(Default)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Quantiles in microseconds, by nearest rank.
    pub(crate) fn summary(mut self) -> Value {
        self.0.sort_unstable();
        let at = |quantile: f64| {
            let rank = (quantile * self.0.len() as f64).ceil() as usize;
            let duration = self.0.get(rank.saturating_sub(1))?;
            Some(duration.as_secs_f64() * 1e6)
        };
        json!({ "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": at(1.0) })
    }
}
