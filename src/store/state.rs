//! Everything that was read from the folder at one time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::cert::{CertIndex, Credential, Problem};
use crate::store::anchors::{Anchors, Roots};
use crate::store::atomic::read_regular;
use crate::store::layout::{DEFAULT, Files, Listing, check_name};
use crate::store::scan::{Scan, Slot, set_aside};
use crate::store::{Options, StoreError};

/// One reading of the folder; never changed, replaced whole.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) roots: Arc<Roots>,
    anchors: Anchors,
    pub(super) slots: BTreeMap<String, Slot>,
    /// NAME in the file `default`.
    pub(super) default: Option<String>,
    /// Set aside for other reasons than a slot's: by file.
    others: BTreeMap<String, Problem>,
}

impl State {
    /// Reads the folder that `listing` lists. What did not change since `previous` is not
    /// parsed again; what became unusable is served on from there.
    pub(super) fn read(
        options: Options,
        roots: Arc<Roots>,
        listing: &Listing,
        previous: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let directory = options.directory.as_path();
        let previous = previous.filter(|previous| previous.options.directory == directory);
        let before = previous.map(|previous| &previous.anchors);
        let roots_changed = previous.is_none_or(|previous| !Arc::ptr_eq(&previous.roots, &roots));
        let anchors = Anchors::read(directory, &roots, before, roots_changed)?;
        let same_anchors = before.is_some_and(|before| Arc::ptr_eq(&before.all, &anchors.all));
        let scan = Scan {
            directory,
            anchors: &anchors.all,
            same_anchors,
        };
        let slot = |(name, files): (&String, &Files)| {
            let before = previous.and_then(|previous| previous.slots.get(name));
            Some((name.clone(), scan.slot(name, *files, before)?))
        };
        let slots: BTreeMap<_, _> = listing.names.iter().filter_map(slot).collect();
        let mut others: BTreeMap<_, _> = listing
            .misnamed
            .iter()
            .map(|(file, reason)| {
                (
                    file.clone(),
                    set_aside(format!("{file}: the name cannot be used: {reason}")),
                )
            })
            .chain(
                anchors
                    .set_aside()
                    .map(|(file, problem)| (file, problem.clone())),
            )
            .collect();
        let default = read_default(directory, &slots, listing).unwrap_or_else(|reason| {
            others.insert(DEFAULT.to_owned(), set_aside(reason));
            None
        });
        Ok(Self {
            options,
            roots,
            anchors,
            slots,
            default,
            others,
        })
    }

    /// The anchors that certificates are judged by.
    pub(super) fn anchors(&self) -> &Arc<crate::cert::TrustAnchors> {
        &self.anchors.all
    }

    /// What can be served under this NAME.
    pub(super) fn credential(&self, name: &str) -> Option<&Arc<Credential>> {
        self.slots
            .get(name)?
            .loaded
            .as_ref()
            .map(|loaded| &loaded.credential)
    }

    /// All that can be served, in the order of NAME.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.slots
            .values()
            .filter_map(|slot| slot.loaded.as_ref())
            .map(|loaded| &loaded.credential)
    }

    /// The index of all that can be served.
    pub(super) fn index(&self) -> CertIndex {
        let credentials = self.credentials().cloned().collect();
        CertIndex::new(credentials, self.default.as_deref(), self.options.order)
    }

    /// NAME of the certificate that stands in where nothing matches: the one in the file
    /// `default` if it can be served, else what the index of this state takes.
    pub(super) fn default_name(&self, now: UnixTime) -> Option<String> {
        let named = self
            .default
            .as_ref()
            .filter(|name| self.credential(name).is_some());
        named
            .cloned()
            .or_else(|| self.index().default_at(now).map(|c| c.name.to_string()))
    }

    /// All that is set aside: NAME or file, and why. A NAME may come twice.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = (&str, &Problem)> {
        let slots = self.slots.iter().flat_map(|(name, slot)| {
            let request = slot
                .request
                .as_ref()
                .and_then(|request| request.as_ref().err());
            slot.problem
                .iter()
                .chain(request)
                .map(move |problem| (name.as_str(), problem))
        });
        slots.chain(
            self.others
                .iter()
                .map(|(file, problem)| (file.as_str(), problem)),
        )
    }

    /// What is set aside without a slot of its own.
    pub(super) fn others(&self) -> &BTreeMap<String, Problem> {
        &self.others
    }
}

fn read_default(
    directory: &Path,
    slots: &BTreeMap<String, Slot>,
    listing: &Listing,
) -> Result<Option<String>, String> {
    let path = directory.join(DEFAULT);
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    let contents = read_regular(&path).map_err(|error| format!("{DEFAULT}: {error}"))?;
    let text = String::from_utf8_lossy(&contents.bytes);
    let name = text.trim();
    if let Err(reason) = check_name(name) {
        return Err(format!(
            "{DEFAULT}: expected one line with the NAME of a certificate: {reason}"
        ));
    }
    if listing.forgets_default(name) {
        return Ok(None);
    }
    match slots.contains_key(name) {
        true => Ok(Some(name.to_owned())),
        false => Err(format!("{DEFAULT}: there is no certificate {name:?}")),
    }
}
