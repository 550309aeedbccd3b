//! Everything that was read from the folders at one time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cert::{CertIndex, Credential, Problem};
use crate::store::also::{Also, valid_full_name};
use crate::store::anchors::{Anchors, Roots};
use crate::store::atomic::read_regular;
use crate::store::layout::{DEFAULT, Listing, Owner};
use crate::store::scan::{Scan, SharedSlot, Slot, full_name, set_aside};
use crate::store::shared::SharedMap;
use crate::store::touched::{Place, Touched};
use crate::store::{Options, Paths, StoreError};

/// One reading of the folders; replaced whole. A copy costs nothing, and shares with the one before
/// all that did not change.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) options: Arc<Options>,
    pub(super) roots: Arc<Roots>,
    pub(super) anchors: Arc<Anchors>,
    /// Our own folder.
    pub(super) listing: Listing,
    /// Those of others.
    pub(super) also: Vec<Also>,
    pub(super) slots: SharedMap<String, SharedSlot>,
    counts: Counts,
    /// NAME in the file `default`.
    pub(super) default: Option<String>,
    /// Why the file `default` cannot be used.
    pub(super) default_problem: Option<Problem>,
}

/// How many slots …
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// … can be served.
    served: usize,
    /// Problems for which something is set aside.
    set_aside: usize,
}

impl State {
    /// Reads our own folder, which `listing` lists, and those of others. What did not change since
    /// `previous` is not read again; what became unusable is served on from there.
    pub(super) fn read(
        options: impl Into<Arc<Options>>,
        roots: Arc<Roots>,
        listing: &Listing,
        previous: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let options = options.into();
        let directory = options.directory.as_path();
        let previous = previous.filter(|previous| previous.options.directory == directory);
        let before = previous.map(|previous| &*previous.anchors);
        let roots_changed = previous.is_none_or(|previous| !Arc::ptr_eq(&previous.roots, &roots));
        let anchors = Anchors::read(directory, &roots, before, roots_changed)?;
        let same_anchors = before.is_some_and(|before| Arc::ptr_eq(&before.all, &anchors.all));
        let known = previous.map(|previous| previous.also.as_slice());
        let mut state = Self {
            also: Also::read_all(&options.also, known.unwrap_or_default()),
            roots,
            anchors: Arc::new(anchors),
            listing: listing.clone(),
            slots: previous
                .map(|state| state.slots.clone())
                .unwrap_or_default(),
            counts: previous.map(|state| state.counts).unwrap_or_default(),
            default: None,
            default_problem: None,
            options,
        };
        state.forget_missing(known.unwrap_or_default());
        for place in state.places() {
            state.read_place(place, same_anchors);
        }
        state.read_default();
        Ok(state)
    }

    /// Our own folder, then those of others.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let also = (0..self.also.len()).map(Place::Also);
        std::iter::once(Place::Own).chain(also)
    }

    /// Path, FOLDER and contents.
    pub(super) fn place(&self, place: Place) -> (&Path, Option<&str>, &Listing) {
        match place {
            Place::Own => (&self.options.directory, None, &self.listing),
            Place::Also(number) => {
                let also = &self.also[number];
                (&also.path, Some(&also.label), &also.listing)
            }
        }
    }

    fn scan(&self, place: Place, same_anchors: bool) -> Scan<'_> {
        let (directory, label, _) = self.place(place);
        Scan {
            directory,
            label,
            anchors: &self.anchors.all,
            same_anchors,
        }
    }

    /// Drops the slots whose files are gone, or are those of another folder of the same name.
    fn forget_missing(&mut self, known: &[Also]) {
        let listed = |full: &str| match full.split_once('/') {
            None => self.listing.files(full).slot(),
            Some((folder, name)) => {
                let also = self.also.iter().find(|also| *also.label == *folder);
                also.is_some_and(|also| {
                    let same = known.iter().any(|before| before.path == also.path);
                    same && also.listing.files(name).slot()
                })
            }
        };
        let gone = self.slots.keys().filter(|full| !listed(full));
        let gone: Vec<_> = gone.cloned().collect();
        for full in gone {
            self.put(full, None);
        }
    }

    fn read_place(&mut self, place: Place, same_anchors: bool) {
        let (_, label, listing) = self.place(place);
        let names: Vec<_> = listing.names.iter().collect();
        let previous = |name: &str| match label {
            None => self.slots.get(name).cloned(),
            Some(_) => self.slots.get(&full_name(label, name)).cloned(),
        };
        let slots = self.scan(place, same_anchors).slots(&names, previous);
        let full = names.iter().map(|(name, _)| full_name(label, name));
        let read: Vec<_> = full.zip(slots).collect();
        for (full, slot) in read {
            self.put(full, slot);
        }
    }

    /// Reads again what was touched, and nothing else. `None` if that is not enough, because
    /// other trust anchors may make another thing of everything.
    pub(super) fn again(&self, touched: &Touched) -> Result<Option<Self>, StoreError> {
        let mut next = self.clone();
        if touched.trust {
            let directory = &self.options.directory;
            let anchors = Anchors::read(directory, &self.roots, Some(&self.anchors), false)?;
            if !Arc::ptr_eq(&anchors.all, &self.anchors.all) {
                return Ok(None);
            }
            next.anchors = Arc::new(anchors);
        }
        let mut names = touched.names.clone();
        for (place, file) in &touched.files {
            let name = next.look(*place, |listing, directory, owner| {
                listing.look(directory, file, owner)
            });
            names.extend(name.map(|name| (*place, name)));
        }
        for (place, name) in names {
            next.look(place, |listing, directory, owner| {
                listing.look_at(directory, &name, owner)
            });
            let (_, label, listing) = next.place(place);
            let full = full_name(label, &name);
            let files = listing.files(&name);
            let slot = next
                .scan(place, true)
                .slot(&name, files, next.slots.get(&full));
            next.put(full, slot);
        }
        next.read_default();
        Ok(Some(next))
    }

    /// Everything again that changed, by the looks of the files.
    pub(super) fn all_again(&self) -> Result<Self, StoreError> {
        let listing = Listing::read(&self.options.directory)?;
        let (options, roots) = (Arc::clone(&self.options), Arc::clone(&self.roots));
        Self::read(options, roots, &listing, Some(self))
    }

    fn look<T>(&mut self, place: Place, look: impl FnOnce(&mut Listing, &Path, Owner) -> T) -> T {
        match place {
            Place::Own => look(&mut self.listing, &self.options.directory, place.owner()),
            Place::Also(number) => {
                let also = &mut self.also[number];
                look(&mut also.listing, &also.path, place.owner())
            }
        }
    }

    /// Puts a slot in its place.
    pub(super) fn put(&mut self, full: String, slot: Option<SharedSlot>) {
        let before = self.slots.get(&full);
        if before == slot.as_ref() {
            return;
        }
        if let Some(before) = before {
            self.counts.served -= usize::from(before.loaded.is_some());
            self.counts.set_aside -= before.set_aside().count();
        }
        match slot {
            Some(slot) => {
                self.counts.served += usize::from(slot.loaded.is_some());
                self.counts.set_aside += slot.set_aside().count();
                self.slots.insert(full, slot);
            }
            None => self.slots.remove(&full),
        }
    }

    /// Reads the file `default`.
    pub(super) fn read_default(&mut self) {
        (self.default, self.default_problem) = match self.default_in_folder() {
            Ok(default) => (default, None),
            Err(reason) => (None, Some(set_aside(reason))),
        };
    }

    fn default_in_folder(&self) -> Result<Option<String>, String> {
        let path = self.options.directory.join(DEFAULT);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let contents = read_regular(&path).map_err(|error| format!("{DEFAULT}: {error}"))?;
        let text = String::from_utf8_lossy(&contents.bytes);
        let name = text.trim();
        if let Err(reason) = valid_full_name(name) {
            return Err(format!(
                "{DEFAULT}: expected one line with the NAME of a certificate: {reason}"
            ));
        }
        if self.listing.forgets_default(name) {
            return Ok(None);
        }
        match self.slots.contains_key(name) {
            true => Ok(Some(name.to_owned())),
            false => Err(format!("{DEFAULT}: there is no certificate {name:?}")),
        }
    }

    /// NAMEs of which something differs, with what there was and what there is. Costs in
    /// proportion to them.
    pub(super) fn changes<'s>(
        &'s self,
        since: &'s Self,
    ) -> impl Iterator<Item = (&'s str, Option<&'s SharedSlot>, Option<&'s SharedSlot>)> {
        let different = self.slots.differences(&since.slots).into_iter();
        different.map(|(name, old, new)| (name.as_str(), old, new))
    }

    /// The anchors that certificates are judged by.
    pub(super) fn anchors(&self) -> &Arc<crate::cert::TrustAnchors> {
        &self.anchors.all
    }

    /// What there is under this NAME.
    pub(super) fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.get(name).map(|slot| &**slot)
    }

    /// The same by place.
    pub(super) fn slot_at(&self, place: Place, name: &str) -> Option<&Slot> {
        match self.place(place) {
            (_, None, _) => self.slot(name),
            (_, label, _) => self.slot(&full_name(label, name)),
        }
    }

    /// Where the files lie of what is called `FOLDER`, `FOLDER/NAME` or `FOLDER/FILE`.
    pub(super) fn owned_by_another(&self, name: &str) -> Option<PathBuf> {
        let (folder, name) = name.split_once('/').unwrap_or((name, ""));
        let also = self.also.iter().find(|also| also.label == folder)?;
        if name.is_empty() {
            return Some(also.path.clone());
        }
        let file = also.listing.files(name).certificates(name).next();
        Some(also.path.join(file.as_deref().unwrap_or(name)))
    }

    /// Where the files of `FOLDER/NAME` lie.
    pub(super) fn paths_of_another(&self, name: &str) -> Option<Paths> {
        let (folder, name) = name.split_once('/')?;
        let also = self.also.iter().find(|also| also.label == folder)?;
        let files = also.listing.files(name);
        let directory = std::path::absolute(&also.path).unwrap_or_else(|_| also.path.clone());
        let certificate = files.certificates(name).next();
        let key = files.key_file(name).or_else(|| certificate.clone());
        Some(Paths {
            certificate: certificate.map(|file| directory.join(file)),
            key: key.map(|file| directory.join(file)),
            request: None,
        })
    }

    /// The folder of another's that is called so.
    pub(super) fn also_at(&self, folder: &str) -> Option<Place> {
        let at = self.also.iter().position(|also| also.label == folder);
        at.map(Place::Also)
    }

    /// What can be served under this NAME.
    pub(super) fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        self.slot(name)?.credential()
    }

    /// All that can be served, in the order of NAME.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.slots.values().filter_map(|slot| slot.credential())
    }

    /// How many certificates can be served.
    pub(super) fn served(&self) -> usize {
        self.counts.served
    }

    /// How many things are set aside.
    pub(super) fn number_set_aside(&self) -> usize {
        self.counts.set_aside + self.others().len()
    }

    /// The index of all that can be served.
    pub(super) fn index(&self) -> CertIndex {
        let credentials = self.credentials().cloned().collect();
        CertIndex::new(credentials, self.default.as_deref(), self.options.order)
    }

    /// What is set aside without a slot of its own: by file.
    pub(super) fn others(&self) -> BTreeMap<String, Problem> {
        let misnamed = self.listing.misnamed.iter();
        let misnamed = misnamed.map(|(file, reason)| {
            let message = format!("{file}: the name cannot be used: {reason}");
            (file.clone(), set_aside(message))
        });
        let anchors = self.anchors.set_aside();
        let anchors = anchors.map(|(file, problem)| (file, problem.clone()));
        let default = self.default_problem.clone();
        misnamed
            .chain(anchors)
            .chain(default.map(|problem| (DEFAULT.to_owned(), problem)))
            .chain(self.also.iter().flat_map(Also::set_aside))
            .collect()
    }
}
