//! What may have changed in the folders, and is to be looked at again.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::store::layout::Owner;

/// One of the folders that certificates are read from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Place {
    /// Our own.
    Own,
    /// One of another's, by its number in the configuration.
    Also(usize),
}

impl Place {
    /// Whose folder it is.
    pub(super) fn owner(self) -> Owner {
        match self {
            Self::Own => Owner::Gatepost,
            Self::Also(_) => Owner::Other,
        }
    }
}

/// What may have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// Nobody knows what: everything is looked at.
    pub(super) all: bool,
    /// Something in `trust/`.
    pub(super) trust: bool,
    /// The file `default`, or something else that has no NAME.
    pub(super) default: bool,
    /// Files.
    pub(super) files: BTreeSet<(Place, OsString)>,
    /// All files of a NAME.
    pub(super) names: BTreeSet<(Place, String)>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spot {
    /// `trust/` in our own folder.
    Trust,
    /// A folder of certificates.
    Place(Place),
}

impl Touched {
    /// Nobody knows what changed in there.
    pub(super) fn lost(&mut self, spot: Spot) {
        match spot {
            Spot::Trust => self.trust = true,
            Spot::Place(_) => self.all = true,
        }
    }

    /// Whether there is nothing to look at.
    pub(super) fn is_empty(&self) -> bool {
        let known = self.files.is_empty() && self.names.is_empty();
        known && !self.all && !self.trust && !self.default
    }
}
