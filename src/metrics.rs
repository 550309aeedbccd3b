//! Every metric: its name, its help and its labels, in one file.
//!
//! Knows no other module; callers pass plain labels. `docs/metrics.md` is the promise, a test
//! compares the two.

/// All metrics of one process. Handles for a listener or an upstream are taken once, at
/// start or reload, so that the live path touches atomics only.
#[derive(Debug)]
pub struct Metrics {}
