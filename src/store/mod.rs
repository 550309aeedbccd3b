//! Owner of the certificate folder: scan, change, publish.
//!
//! One writer: every operation holds the store's mutex and the folder's lock, reads what others
//! changed meanwhile, validates, writes, reads again, and publishes a new index, in this order.
//! All calls that change something block; callers on the runtime use `spawn_blocking`. What
//! makes a certificate good or better than another is `cert`'s to know.

mod also;
mod anchors;
mod atomic;
mod change;
mod error;
mod export;
mod first_certificate;
mod import;
mod layout;
mod moments;
mod note;
mod refresh;
mod removal;
mod report;
mod requests;
mod scan;
mod shared;
mod stamp;
mod state;
mod touched;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::cert::{Bundle, Certificate, Credential, LiveIndex, NewCertificate, Order, Problem};
use crate::store::anchors::Roots;
use crate::store::atomic::{FolderLock, Step};
use crate::store::import::{Given, Pair, made};
use crate::store::layout::{Listing, name_for, valid_name};
use crate::store::moments::Moments;
use crate::store::refresh::Writer;
use crate::store::report::{Changes, log_default, log_set_aside};
use crate::store::scan::Slot;
use crate::store::state::State;
use crate::store::watch::Watch;
use crate::time::Clock;

pub(crate) use atomic::{ReadError, read_regular};
pub use error::StoreError;
pub use export::{Part, Paths};
pub use import::read_given;
pub use requests::NewRequest;

/// Where trust comes from besides `trust/` in the folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RootSource {
    /// The operating system's roots.
    System,
    /// Mozilla's, compiled in.
    Mozilla,
    /// A PEM file.
    File(PathBuf),
}

/// What the store is told by the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The folder; made if it is not there.
    pub directory: PathBuf,
    /// Folders of other programs: read, never written. No two have the same last component.
    pub also: Vec<PathBuf>,
    /// Order of preference of the index.
    pub order: Order,
    /// Trust anchors.
    pub trust: Vec<RootSource>,
}

/// The folder, what was read from it, and the index made of it.
#[derive(Debug)]
pub struct CertStore {
    /// Held by whoever changes something; readers take `state` alone.
    writer: Mutex<Writer>,
    state: ArcSwap<State>,
    live: LiveIndex,
    clock: Clock,
    updates: AtomicU64,
    moments: Moments,
}

/// One line of `cert list`.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A certificate that can be served.
    Certificate {
        /// The credential.
        credential: Arc<Credential>,
        /// Whether it is the default certificate.
        default: bool,
        /// A newer file of this NAME that could not be used, if there is one.
        replaced_by: Option<Problem>,
    },
    /// A request that waits for its certificate.
    Request {
        /// NAME.
        name: String,
    },
    /// Files that cannot be used.
    SetAside {
        /// NAME, or the file if it is none of a NAME.
        name: String,
        /// Why.
        problem: Problem,
    },
}

impl Entry {
    /// NAME, or the file if it is none of a NAME.
    pub fn name(&self) -> &str {
        match self {
            Self::Certificate { credential, .. } => &credential.name,
            Self::Request { name } | Self::SetAside { name, .. } => name,
        }
    }
}

/// What an import did.
#[derive(Clone, Debug)]
pub struct Imported {
    /// NAME.
    pub name: String,
    /// What there is to report about it.
    pub problems: Vec<Problem>,
}

/// Figures for the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stats {
    /// Indexes published since the start.
    pub updates: u64,
    /// Certificates that can be served.
    pub certificates: usize,
    /// Distinct names in the index.
    pub names: usize,
    /// Files set aside, those included whose predecessor is served on.
    pub set_aside: usize,
}

impl CertStore {
    /// Opens (and, if need be, makes) the folder, reads it and publishes the index. Where there is
    /// no certificate to serve, `server` is made.
    pub fn open(options: Options, live: LiveIndex, clock: Clock) -> Result<Self, StoreError> {
        Self::begin(options, live, clock, None)
    }

    /// The same for whoever will call [`Self::refresh`] again and again: what others change is
    /// watched from before the folder is read.
    pub fn open_watched(
        options: Options,
        live: LiveIndex,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        atomic::make_folder(&options.directory)?;
        let watch = Watch::new(&options);
        Self::begin(options, live, clock, Some(watch))
    }

    fn begin(
        options: Options,
        live: LiveIndex,
        clock: Clock,
        watch: Option<Watch>,
    ) -> Result<Self, StoreError> {
        let state = load(options, None, &clock)?;
        live.publish(state.index());
        log_set_aside(&state, None);
        tracing::info!(
            directory = %state.options.directory.display(),
            certificates = state.served(),
            names = live.load().names(),
            set_aside = state.number_set_aside(),
            default = live.load().default_at(clock.now()).map(|default| &*default.name),
            "certificates loaded"
        );
        log_default(&live, &clock);
        let store = Self::new(state, live, clock);
        store.write().watch = watch;
        Ok(store)
    }

    /// Reads the folder as it is, for reports: nothing is made, finished or locked, and a folder
    /// that is not there is empty.
    pub fn inspect(options: Options, live: LiveIndex, clock: Clock) -> Result<Self, StoreError> {
        let roots = Arc::new(Roots::load(&options.trust)?);
        let listing = match options.directory.try_exists() {
            Ok(false) => Listing::default(),
            Ok(true) | Err(_) => Listing::read(&options.directory)?,
        };
        let state = State::read(options, roots, &listing, None)?;
        live.publish(state.index());
        Ok(Self::new(state, live, clock))
    }

    fn new(state: State, live: LiveIndex, clock: Clock) -> Self {
        Self {
            writer: Mutex::default(),
            moments: Moments::new(state.credentials(), clock.now()),
            state: ArcSwap::from_pointee(state),
            live,
            clock,
            updates: AtomicU64::new(1),
        }
    }

    /// Takes new options (a reload) and reads again what changed; a failure changes nothing.
    pub fn reload(&self, options: Options) -> Result<(), StoreError> {
        let mut writer = self.write();
        let before = self.state.load_full();
        if let Some(watch) = &mut writer.watch {
            watch.aim(&options);
        }
        let loaded = load(options, Some(&before), &self.clock);
        let loaded = loaded.inspect_err(|_| {
            if let Some(watch) = &mut writer.watch {
                watch.aim(&before.options);
            }
        });
        self.publish(loaded?);
        Ok(())
    }

    /// Everything in the folder, in the order of NAME; a certificate comes before the request
    /// of the same NAME.
    pub fn entries(&self) -> Vec<Entry> {
        let state = self.state.load();
        let default = self.default_name();
        let slots = state.slots.iter();
        let mut entries: Vec<_> = slots
            .flat_map(|(name, slot)| entries_of(name, slot, default.as_deref()))
            .collect();
        entries.extend(
            state
                .others()
                .iter()
                .map(|(file, problem)| set_aside(file, problem)),
        );
        entries.sort_by(|a, b| a.name().cmp(b.name()));
        entries
    }

    /// What there is under this NAME; a certificate rather than the request beside it.
    pub fn entry(&self, name: &str) -> Result<Entry, StoreError> {
        let state = self.state.load();
        let slot = state.slot(name);
        let default = self.default_name();
        let entry = slot.and_then(|slot| entries_of(name, slot, default.as_deref()).next());
        let other = || Some(set_aside(name, state.others().get(name)?));
        entry.or_else(other).ok_or_else(|| unknown(&state, name))
    }

    /// Certificates that are set aside with nothing served in their place: NAME, and what could be
    /// read of it all the same.
    pub fn unusable(&self) -> Vec<(String, Option<Arc<Certificate>>)> {
        let state = self.state.load();
        let unusable = state.slots.iter().filter(|(_, slot)| {
            // A request is no certificate.
            slot.loaded.is_none() && slot.problem.is_some()
        });
        unusable
            .map(|(name, slot)| (name.clone(), slot.unusable.clone()))
            .collect()
    }

    /// The certificate of this NAME, if it can be served.
    pub fn get(&self, name: &str) -> Option<Arc<Credential>> {
        self.state.load().credential(name).cloned()
    }

    /// NAME of the default certificate: the one chosen, or if that cannot be served, the one
    /// that stands in for it now.
    pub fn default_name(&self) -> Option<String> {
        // Asked often, and the index in use knows it.
        let live = self.live.load();
        live.default_at(self.clock.now())
            .map(|credential| credential.name.to_string())
    }

    /// The folder.
    pub fn directory(&self) -> PathBuf {
        self.state.load().options.directory.clone()
    }

    /// Figures for the metrics.
    pub fn stats(&self) -> Stats {
        let state = self.state.load();
        Stats {
            updates: self.updates.load(Ordering::Relaxed),
            certificates: state.served(),
            names: self.live.load().names(),
            set_aside: state.number_set_aside(),
        }
    }

    /// Takes a certificate (with its intermediates) and its key, in any form that is not
    /// encrypted. Without a key, one in the folder that fits is used.
    pub fn import(
        &self,
        certificate: &[u8],
        key: Option<&[u8]>,
        name: Option<&str>,
    ) -> Result<Imported, StoreError> {
        let given = read_given(&[("certificate", certificate)], key, None)?;
        self.import_bundle(given, name)
    }

    /// Takes what [`read_given`] has read.
    pub fn import_bundle(&self, given: Bundle, name: Option<&str>) -> Result<Imported, StoreError> {
        let name = name.map(valid_name).transpose()?;
        let given = Given::new(given)?;
        self.change(|state, listing| {
            let pair = given.pair(state, listing, name, self.clock.now())?;
            put(state, listing, pair, name, &self.clock)
        })
    }

    /// Makes a self-signed certificate; its NAME.
    pub fn create(&self, new: &NewCertificate, name: Option<&str>) -> Result<String, StoreError> {
        let name = name.map(valid_name).transpose()?;
        let pair = made(new, self.clock.now())?;
        let imported =
            self.change(|state, listing| put(state, listing, pair, name, &self.clock))?;
        Ok(imported.name)
    }

    /// Removes a certificate and its key, or a request and its key if there is no certificate;
    /// also what is set aside, be it a file that has no NAME.
    /// The default certificate is removed only if `force` is set.
    pub fn remove(&self, name: &str, force: bool) -> Result<(), StoreError> {
        self.change(|state, listing| {
            let default = self.default_name();
            let steps = removal::plan(state, listing, name, force, default.as_deref())?;
            Ok((steps, ()))
        })
    }

    /// Makes a certificate the default one.
    pub fn set_default(&self, name: &str) -> Result<(), StoreError> {
        self.change(|state, _| {
            let slot = state.slot(name).ok_or_else(|| unknown(state, name))?;
            if slot.loaded.is_some() {
                return Ok((change::set_default(name), ()));
            }
            let reason = match &slot.problem {
                Some(problem) => problem.message.clone(),
                None => "it is a request that waits for its certificate".to_owned(),
            };
            Err(StoreError::NotServed {
                name: name.to_owned(),
                reason,
            })
        })
    }

    /// One change: `plan` sees the folder as it is under the lock and says what to write.
    fn change<T>(
        &self,
        plan: impl FnOnce(&State, &Listing) -> Result<(Vec<Step>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.write();
        let directory = self.directory();
        let _lock = FolderLock::acquire(&directory)?;
        let state = self.catch_up(&mut writer, true)?;
        let state = self.settle(&mut writer, state)?;
        let (steps, done) = plan(&state, &state.listing)?;
        let applied = change::carry_out(&directory, &steps);
        // What is in force is what is on the disk, even if not all of it could be written.
        writer.owing |= applied.is_err();
        self.written(&mut writer, &state, &steps)?;
        applied.map(|()| done)
    }

    fn write(&self) -> MutexGuard<'_, Writer> {
        // What a panic leaves behind is at worst looked at once more.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a reading of the folders in force, as far as it differs from the one before.
    fn publish(&self, next: State) -> Arc<State> {
        let (before, next) = (self.state.load_full(), Arc::new(next));
        let changes = Changes::between(&before, &next);
        if changes.to_index() {
            let index = changes.applied_to(&self.live.load());
            self.live.publish(index);
            self.updates.fetch_add(1, Ordering::Relaxed);
            self.moments.add(changes.credentials());
        }
        self.state.store(Arc::clone(&next));
        changes.log(&self.clock);
        log_set_aside(&next, Some(&before));
        if changes.to_index() {
            log_default(&self.live, &self.clock);
        }
        next
    }
}

/// A certificate or what is wrong with it, then a request.
fn entries_of<'a>(
    name: &'a str,
    slot: &'a Slot,
    default: Option<&str>,
) -> impl Iterator<Item = Entry> + use<'a> {
    let certificate = match (&slot.loaded, &slot.problem) {
        (Some(loaded), problem) => Some(Entry::Certificate {
            credential: Arc::clone(&loaded.credential),
            default: default == Some(name),
            replaced_by: problem.clone(),
        }),
        (None, Some(problem)) => Some(set_aside(name, problem)),
        (None, None) => None,
    };
    let request = slot.request.as_ref().map(move |request| match request {
        Ok(()) => Entry::Request {
            name: name.to_owned(),
        },
        Err(problem) => set_aside(name, problem),
    });
    certificate.into_iter().chain(request)
}

fn set_aside(name: &str, problem: &Problem) -> Entry {
    Entry::SetAside {
        name: name.to_owned(),
        problem: problem.clone(),
    }
}

fn unknown(state: &State, name: &str) -> StoreError {
    const SHOWN: usize = 10;
    let mut known: Vec<&str> = state
        .slots
        .keys()
        .map(String::as_str)
        .take(SHOWN + 1)
        .collect();
    if known.len() > SHOWN {
        known[SHOWN] = "…";
    }
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    StoreError::Unknown {
        name: name.to_owned(),
        known,
    }
}

/// Plans the place of a certificate after a last look at whether it can be served.
fn put(
    state: &State,
    listing: &Listing,
    pair: Pair,
    name: Option<&str>,
    clock: &Clock,
) -> Result<(Vec<Step>, Imported), StoreError> {
    let Pair {
        certificate,
        chain,
        key,
        problems,
    } = pair;
    let name = match name {
        Some(name) => name.to_owned(),
        None => listing.free_name(&name_for(&certificate.names, &certificate.addresses)?),
    };
    let made = Credential::new(
        &name,
        chain.clone(),
        std::slice::from_ref(&key),
        state.anchors(),
    );
    let credential = made.map_err(|source| StoreError::Unusable {
        name: name.clone(),
        source,
    })?;
    let problems = [credential.problems_at(clock.now()), problems].concat();
    let there = (listing.files(&name), state.slot(&name));
    let steps = change::replace(&state.options.directory, &name, &chain, &key, there)?;
    Ok((steps, Imported { name, problems }))
}

/// Reads everything from the start: trust, folder (made if need be), and a certificate if the
/// folder is opened now and has none to serve.
fn load(options: Options, previous: Option<&State>, clock: &Clock) -> Result<State, StoreError> {
    let roots = Roots::load(&options.trust)?;
    let roots = match previous {
        Some(previous) if *previous.roots == roots => Arc::clone(&previous.roots),
        _ => Arc::new(roots),
    };
    let directory = options.directory.as_path();
    atomic::make_folder(directory)?;
    let (lock, listing) = match FolderLock::acquire(directory) {
        Ok(lock) => (Some(lock), settle(directory)?),
        Err(StoreError::Io { source, .. }) if read_only(&source) => {
            tracing::warn!(directory = %directory.display(), error = %source, "the folder cannot be written to");
            (None, Listing::read(directory)?)
        }
        Err(error) => return Err(error),
    };
    let state = State::read(options.clone(), Arc::clone(&roots), &listing, previous)?;
    let opened = previous.is_none_or(|previous| previous.options.directory != directory);
    if lock.is_none() || !opened || state.served() > 0 {
        return Ok(state);
    }
    match first_certificate::make(directory, &listing, clock)? {
        Some(listing) => State::read(options.clone(), roots, &listing, Some(&state)),
        None => Ok(state),
    }
}

fn read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Lists the folder after finishing what a process that died left unfinished.
fn settle(directory: &Path) -> Result<Listing, StoreError> {
    let listing = Listing::read(directory)?;
    let steps = change::leftovers(directory, &listing);
    if steps.is_empty() {
        return Ok(listing);
    }
    atomic::apply(directory, &steps)?;
    Listing::read(directory)
}

#[cfg(test)]
mod tests;
