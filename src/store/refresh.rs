//! What others change is taken up: files dropped, changed, renamed and removed by hand or by programs.
//!
//! What makes something better takes effect at once. What takes something away, a good file that
//! becomes a bad one or none, is believed only if it is still so after [`PATIENCE`]: a key that is
//! written a second after its certificate, or a file that is removed to be written anew, costs
//! nobody a handshake and no line of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::causes;
use crate::store::atomic::{self, Step};
use crate::store::layout::{DEFAULT, TRUST};
use crate::store::scan::SharedSlot;
use crate::store::state::State;
use crate::store::touched::{Place, Touched};
use crate::store::watch::Watch;
use crate::store::{CertStore, StoreError, change};

/// How long a change for the worse may be one that is not finished.
const PATIENCE: Duration = Duration::from_millis(1300);
/// Between two looks at what is not believed yet.
const AGAIN: Duration = Duration::from_millis(200);

/// What whoever holds the writer's lock knows besides the state.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// None: nobody comes back to see what changed (the command line).
    pub(super) watch: Option<Watch>,
    /// How long it is not believed: [`PATIENCE`], unless a test says otherwise.
    pub(super) patience: Patience,
    /// What is worse than before and not believed yet, by NAME, `default` or `trust`, and since when.
    doubtful: BTreeMap<String, Instant>,
    /// Whether something was told that could not be read then.
    pub(super) owing: bool,
    /// What the log says of a folder that cannot be read.
    complaint: Option<String>,
}

/// How long a change for the worse is not believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(pub(super) Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(PATIENCE)
    }
}

impl CertStore {
    /// A descriptor that becomes readable when [`Self::refresh`] has something to do; none if the
    /// system does not tell, or nothing is watched.
    pub fn notifications(&self) -> std::io::Result<Option<OwnedFd>> {
        let writer = self.write();
        writer.watch.as_ref().map_or(Ok(None), Watch::notifications)
    }

    /// Reads what others changed since the last time, and publishes it. Returns how soon to come
    /// back if nothing is told before. Needs no lock on the folder: files of one NAME fit each other at
    /// every instant of a change of ours, and what does not fit is not believed at once.
    ///
    /// # Errors
    /// If our own folder cannot be read; what was known of it is served on.
    pub fn refresh(&self) -> Duration {
        let mut writer = self.write();
        let caught_up = self.catch_up(&mut writer, false);
        let elsewhere = match caught_up {
            Ok(state) => {
                writer.complaint = None;
                state.places().any(|place| {
                    let (_, _, listing) = state.place(place);
                    !listing.elsewhere.is_empty()
                })
            }
            Err(error) => {
                let complaint = causes::in_one_line(&error);
                if writer.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(error = complaint, "what was read before is served on");
                }
                writer.complaint = Some(complaint);
                false
            }
        };
        match &writer.watch {
            Some(_) if !writer.doubtful.is_empty() => AGAIN,
            Some(watch) => watch.next_look(elsewhere),
            None => Duration::MAX,
        }
    }

    /// Brings the state up to date with the folders. Before a change of ours what nobody tells of
    /// matters in our own folder only.
    pub(super) fn catch_up(
        &self,
        writer: &mut Writer,
        before_a_change: bool,
    ) -> Result<Arc<State>, StoreError> {
        let before = self.state.load_full();
        let Some(watch) = &mut writer.watch else {
            let next = before.all_again()?;
            return Ok(self.publish(next));
        };
        let mut touched = watch.told();
        let due = watch.is_due();
        touched.all |= !watch.tells_all() && (due || before_a_change);
        if due && !before_a_change {
            let began = Instant::now();
            look_elsewhere(&before, &mut touched);
            watch.looked(began);
        }
        writer.add_doubtful(&before, &mut touched);
        if touched.is_empty() {
            return Ok(before);
        }
        let (all, began) = (touched.all, Instant::now());
        let mut next = writer.again(&before, &touched)?;
        if all && let Some(watch) = &mut writer.watch {
            watch.looked(began);
        }
        writer.believe(&before, &mut next, &BTreeSet::new());
        Ok(self.publish(next))
    }

    /// Reads what our own change wrote, and what was told meanwhile.
    pub(super) fn written(
        &self,
        writer: &mut Writer,
        before: &State,
        steps: &[Step],
    ) -> Result<Arc<State>, StoreError> {
        // Told of our own files is what was told until now: nothing of it is read twice.
        let watch = writer.watch.as_mut();
        let mut touched = watch.map(Watch::told).unwrap_or_default();
        let files = steps.iter().map(Step::file);
        let files = files.map(|file| (Place::Own, file.into()));
        touched.files.extend(files);
        writer.add_doubtful(before, &mut touched);
        let mut next = writer.again(before, &touched)?;
        let ours = steps.iter().map(|step| {
            let file = step.file();
            file.rsplit_once('.')
                .map_or(file, |(name, _)| name)
                .to_owned()
        });
        if writer.watch.is_some() {
            writer.believe(before, &mut next, &ours.collect());
        }
        Ok(self.publish(next))
    }

    /// Finishes what a process that died left unfinished. To be called under the folder's lock.
    pub(super) fn settle(
        &self,
        writer: &mut Writer,
        state: Arc<State>,
    ) -> Result<Arc<State>, StoreError> {
        let directory = state.options.directory.as_path();
        let steps = change::leftovers(directory, &state.listing);
        if steps.is_empty() {
            return Ok(state);
        }
        atomic::apply(directory, &steps)?;
        self.written(writer, &state, &steps)
    }
}

/// What changed without the folder's changing: behind links, and in folders of a certificate's own.
fn look_elsewhere(state: &State, touched: &mut Touched) {
    for place in state.places() {
        let (directory, _, listing) = state.place(place);
        for name in listing.elsewhere.keys() {
            let files = listing.files(name);
            let same = match state.slot_at(place, name) {
                Some(slot) => slot.holds(directory, name, files),
                None => listing.still(directory, name, place.owner()),
            };
            if !same {
                touched.names.insert((place, name.clone()));
            }
        }
    }
}

impl Writer {
    /// Reads again what was touched; all of it the next time if it cannot be read now.
    fn again(&mut self, before: &State, touched: &Touched) -> Result<State, StoreError> {
        let next = match touched.all {
            true => None,
            false => before.again(touched).transpose(),
        };
        let next = next.unwrap_or_else(|| before.all_again());
        self.owing = next.is_err();
        next
    }

    fn add_doubtful(&self, state: &State, touched: &mut Touched) {
        touched.all |= self.owing;
        for name in self.doubtful.keys() {
            match (name.as_str(), name.split_once('/')) {
                (DEFAULT, _) => touched.default = true,
                (TRUST, _) => touched.trust = true,
                (_, None) => drop(touched.names.insert((Place::Own, name.clone()))),
                (_, Some((folder, name))) => {
                    let place = state.also_at(folder);
                    let place = place.map(|place| (place, name.to_owned()));
                    touched.names.extend(place);
                }
            }
        }
    }

    /// Takes back what is worse in `next` than `before` and may be only half of a change. What is
    /// `ours` is not doubted.
    fn believe(&mut self, before: &State, next: &mut State, ours: &BTreeSet<String>) {
        let (known, now) = (std::mem::take(&mut self.doubtful), Instant::now());
        let mut doubt = |name: &str| {
            let since = known.get(name).copied().unwrap_or(now);
            let doubtful = now - since < self.patience.0;
            if doubtful {
                self.doubtful.insert(name.to_owned(), since);
            }
            doubtful
        };
        let worse = next
            .changes(before)
            .filter(|(name, old, new)| is_worse(*old, *new) && !ours.contains(*name))
            .map(|(name, old, _)| (name.to_owned(), old.cloned()));
        for (name, old) in worse.collect::<Vec<_>>() {
            if doubt(&name) {
                next.put(name, old);
            }
        }
        next.read_default();
        let problem = &next.default_problem;
        if problem.is_some() && *problem != before.default_problem && doubt(DEFAULT) {
            next.default.clone_from(&before.default);
            next.default_problem.clone_from(&before.default_problem);
        }
        let same = Arc::ptr_eq(&next.anchors.all, &before.anchors.all);
        if same && next.anchors.is_worse(&before.anchors) && doubt(TRUST) {
            next.anchors = Arc::clone(&before.anchors);
        }
    }
}

/// Whether something that could be used cannot be used any more, or is gone.
fn is_worse(old: Option<&SharedSlot>, new: Option<&SharedSlot>) -> bool {
    let Some(new) = new else {
        return old.is_some_and(|old| old.loaded.is_some() || matches!(old.request, Some(Ok(()))));
    };
    let is_new = |problem| old.is_none_or(|old| old.set_aside().all(|known| known != problem));
    new.set_aside().any(is_new)
}
