//! Waiting for an event, never for a length of time: a condition is asked for again and again until
//! it holds. The only place in the tests that pauses.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything that works takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The same for what is much work.
pub(crate) const LONG: Duration = Duration::from_secs(240);

const POLL: Duration = Duration::from_millis(5);

/// The first value that `condition` gives. Panics with `what` when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn for_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    let held = holds(|| {
        found = condition();
        found.is_some()
    });
    assert!(held, "waited {PATIENCE:?} for {what}, in vain");
    found.unwrap()
}

/// Returns at this time: for load that keeps a pace.
pub(crate) fn for_time(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

/// Returns when `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for_some(what, || condition().then_some(()));
}

/// Returns when `condition` holds, for what takes the machine a while.
#[track_caller]
pub(crate) fn for_longer(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(LONG, condition),
        "waited {LONG:?} for {what}, in vain"
    );
}

/// Whether `condition` comes to hold before [`PATIENCE`] is over.
pub(crate) fn holds(condition: impl FnMut() -> bool) -> bool {
    holds_within(PATIENCE, condition)
}

fn holds_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

/// The first success. Panics with the last error when [`PATIENCE`] is over.
#[track_caller]
pub(crate) fn for_ok<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let mut last = None;
    let held = holds(|| {
        last = Some(attempt());
        matches!(last, Some(Ok(_)))
    });
    assert!(
        held,
        "waited {PATIENCE:?} for {what}: {:?}",
        last.unwrap().err()
    );
    last.unwrap().unwrap()
}
