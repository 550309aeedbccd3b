//! What the log says about the folder.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cert::{Credential, Problem, hex};
use crate::store::state::State;
use crate::time::Clock;

/// Says what a change brought into force and what it took away.
pub(super) fn log_changes(state: &State, before: &State, clock: &Clock) {
    for credential in state.credentials() {
        let same = before
            .credential(&credential.name)
            .is_some_and(|old| Arc::ptr_eq(old, credential));
        if !same {
            log_effective(credential, clock);
        }
    }
    for gone in before
        .credentials()
        .filter(|old| state.credential(&old.name).is_none())
    {
        tracing::info!(name = %gone.name, "certificate gone");
    }
    let (old, new) = (&before.default, &state.default);
    if old != new {
        tracing::info!(name = new.as_deref(), "default certificate chosen");
    }
}

fn log_effective(credential: &Credential, clock: &Clock) {
    let names: Vec<String> = credential
        .certificate
        .names
        .iter()
        .map(ToString::to_string)
        .collect();
    tracing::info!(
        name = %credential.name,
        names = names.join(" "),
        sha256 = hex(&credential.certificate.sha256),
        standing = credential.standing.kind(clock.now()).as_str(),
        "certificate effective"
    );
}

/// Says what is set aside and was not before.
pub(super) fn log_set_aside(state: &State, before: Option<&State>) {
    let known: HashSet<_> = before
        .into_iter()
        .flat_map(State::set_aside)
        .map(reason)
        .collect();
    for (name, problem) in state.set_aside() {
        if !known.contains(&reason((name, problem))) {
            tracing::warn!(name, reason = problem.message, "certificate set aside");
        }
    }
}

fn reason<'s>((name, problem): (&'s str, &'s Problem)) -> (&'s str, &'s str) {
    (name, &problem.message)
}
