//! What the files in the folder are called, and what may be called so.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::cert::NamePattern;
use crate::store::StoreError;
use crate::store::note::Note;

/// The lock that every writer holds.
pub(super) const LOCK: &str = ".lock";
/// What the names of unfinished files start with.
pub(super) const TEMPORARY: &str = ".tmp-";
/// What the name of a note about a change of a NAME under way starts with.
pub(super) const UNSETTLED: &str = ".unsettled-";
/// One line: the NAME of the default certificate.
pub(super) const DEFAULT: &str = "default";
/// Folder of more trust anchors.
pub(super) const TRUST: &str = "trust";
/// What the certificate is called that is made where there is none to serve.
pub(super) const SERVER: &str = "server";

/// Room for the ending within the 255 bytes that file systems allow, and for `-2`, `-3` ….
const LONGEST_NAME: usize = 240;

/// Which files there are for one NAME.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Files {
    pub(super) crt: bool,
    pub(super) key: bool,
    pub(super) pem: bool,
    pub(super) csr: bool,
}

impl Files {
    /// Whether a certificate is there, good or bad.
    pub(super) fn certificate(self) -> bool {
        self.crt || self.pem
    }

    fn set(&mut self, ending: &str, there: bool) -> bool {
        let slot = match ending {
            "crt" => &mut self.crt,
            "key" => &mut self.key,
            "pem" => &mut self.pem,
            "csr" => &mut self.csr,
            _ => return false,
        };
        *slot = there;
        true
    }
}

/// The folder's contents, by name only.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files by NAME.
    pub(super) names: BTreeMap<String, Files>,
    /// File names that would be ours but for their NAME, with what is wrong with it.
    pub(super) misnamed: BTreeMap<String, &'static str>,
    /// Left behind by a process that died: [`TEMPORARY`] files.
    pub(super) temporaries: Vec<String>,
    /// By NAME: what is said of changes that may have been left unfinished.
    pub(super) notes: BTreeMap<String, Note>,
}

impl Listing {
    /// Reads the folder. Dot-files of others and unknown endings are not looked at.
    pub(super) fn read(directory: &Path) -> Result<Self, StoreError> {
        let error = |source| StoreError::io(directory, "cannot list the folder", source);
        let mut listing = Self::default();
        for entry in fs::read_dir(directory).map_err(error)? {
            listing.add(&entry.map_err(error)?.file_name());
        }
        listing.read_notes(directory);
        Ok(listing)
    }

    /// Passes over what is gone by a change that was decided.
    fn read_notes(&mut self, directory: &Path) {
        for (name, note) in &mut self.notes {
            *note = Note::read(directory, name);
            let Some(files) = self.names.get_mut(name) else {
                continue;
            };
            for ending in note.passed_over(directory, name) {
                files.set(ending, false);
            }
        }
    }

    fn add(&mut self, file: &OsStr) {
        let text = file.to_string_lossy();
        if text.starts_with(TEMPORARY) {
            self.temporaries.push(text.into_owned());
        } else if let Some(name) = text.strip_prefix(UNSETTLED) {
            if check_name(name).is_ok() {
                self.notes.insert(name.to_owned(), Note::default());
            }
        } else if let Some((name, ending)) =
            text.rsplit_once('.').filter(|_| !text.starts_with('.'))
        {
            let mut files = self.names.get(name).copied().unwrap_or_default();
            if !files.set(ending, true) {
                return;
            }
            match check_name(name) {
                Ok(()) => drop(self.names.insert(name.to_owned(), files)),
                Err(reason) => drop(self.misnamed.insert(text.clone().into_owned(), reason)),
            }
        }
    }

    /// The files of one NAME.
    pub(super) fn files(&self, name: &str) -> Files {
        self.names.get(name).copied().unwrap_or_default()
    }

    /// The files of one NAME, without a look at all the others.
    pub(super) fn files_of(directory: &Path, name: &str) -> Files {
        let mut files = Files::default();
        for ending in ["crt", "key", "pem", "csr"] {
            let found = directory
                .join(format!("{name}.{ending}"))
                .symlink_metadata();
            files.set(ending, found.is_ok());
        }
        for ending in Note::read(directory, name).passed_over(directory, name) {
            files.set(ending, false);
        }
        files
    }

    /// Whether the file `default` chooses a NAME by a change that was not carried out.
    pub(super) fn forgets_default(&self, name: &str) -> bool {
        let note = self.notes.get(name);
        note.is_some_and(|note| note.forgets_default(self.files(name)))
    }

    /// `wanted`, or with the first of `-2`, `-3` … that no file has.
    pub(super) fn free_name(&self, wanted: &str) -> String {
        if !self.names.contains_key(wanted) {
            return wanted.to_owned();
        }
        (2_u64..)
            .map(|n| format!("{wanted}-{n}"))
            .find(|name| !self.names.contains_key(name))
            .expect("a folder holds fewer files than there are numbers")
    }
}

/// Says what is wrong with a text that is to be a NAME.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err("it is empty"),
        DEFAULT | TRUST => Err("the folder uses this name itself"),
        _ if name.starts_with('.') => Err("it starts with a dot"),
        _ if !name.chars().all(allowed) => {
            Err("only the letters a to z, digits, \".\", \"_\" and \"-\" are allowed")
        }
        _ if name.len() > LONGEST_NAME => Err("it is longer than 240 characters"),
        _ => Ok(()),
    }
}

/// Refuses a text that cannot be a NAME.
pub(super) fn valid_name(name: &str) -> Result<&str, StoreError> {
    match check_name(name) {
        Ok(()) => Ok(name),
        Err(reason) => Err(StoreError::BadName {
            name: name.to_owned(),
            reason,
        }),
    }
}

/// What a certificate for these names is called if nobody says otherwise: its first host name.
pub(super) fn name_for(names: &[NamePattern], addresses: &[IpAddr]) -> Result<String, StoreError> {
    let name = match (names.first(), addresses.first()) {
        (Some(NamePattern::Exact(name)), _) => name.to_string(),
        (Some(NamePattern::Wildcard(parent)), _) => format!("_.{parent}"),
        (None, Some(address)) => format!("{address}").replace(':', "-"),
        (None, None) => return Err(StoreError::NoHostName),
    };
    valid_name(&name)?;
    Ok(name)
}
