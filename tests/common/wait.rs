//! Waiting for an event, never for a length of time: a condition is asked for again and again until
//! it holds. The only place in the tests that pauses.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything that works takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(5);

/// The first value that `condition` gives. Panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn for_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} for {what}, in vain"
        );
        thread::sleep(POLL);
    }
}

/// Returns when `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for_some(what, || condition().then_some(()));
}

/// The first success. Panics with the last error when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn for_ok<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for {what}: {error:?}"
            ),
        }
        thread::sleep(POLL);
    }
}
