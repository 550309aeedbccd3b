//! What the files in the folder are called, and what may be called so.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::cert::NamePattern;
use crate::store::StoreError;
use crate::store::note::Note;
use crate::store::shared::SharedMap;

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

/// How programs that keep a folder for each certificate call the certificate and its key;
/// `*` stands for the folder's name. The first one whose certificate is there is used.
const SUB_FOLDERS: &[(&str, &str)] = &[
    // certbot, dehydrated
    ("fullchain.pem", "privkey.pem"),
    // acme.sh
    ("fullchain.cer", "*.key"),
    // Kubernetes
    ("tls.crt", "tls.key"),
];
/// What acme.sh puts behind the name of a folder whose key is ECDSA.
const ECC: &str = "_ecc";

/// Whose folder it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    /// Ours: nothing lies in it but what this module lists.
    Gatepost,
    /// Another program's, which may keep a folder for each certificate.
    Other,
}

impl Owner {
    /// A request in another's folder is no business of ours.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Gatepost => &["crt", "key", "pem", "csr"],
            Self::Other => &["crt", "key", "pem"],
        }
    }
}

/// Which files there are for one NAME.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Files {
    pub(super) crt: bool,
    pub(super) key: bool,
    pub(super) pem: bool,
    pub(super) csr: bool,
    /// A folder of this NAME with a certificate in it: line of [`SUB_FOLDERS`].
    sub: Option<usize>,
    /// Whether one of them changes without a change to the folder: it is reached by a symbolic
    /// link, or lies in a folder of its own.
    pub(super) elsewhere: bool,
    /// Whether one of them is no regular file.
    odd: bool,
}

impl Files {
    /// Whether a certificate is there, good or bad.
    pub(super) fn certificate(self) -> bool {
        self.crt || self.pem || self.sub.is_some()
    }

    /// Whether there is anything that is a certificate or a request.
    pub(super) fn slot(self) -> bool {
        self.certificate() || self.csr
    }

    /// Whether all of them are regular files in the folder itself.
    pub(super) fn plain(self) -> bool {
        !self.odd && !self.elsewhere
    }

    /// The certificates' files, the one that is used first.
    pub(super) fn certificates(self, name: &str) -> impl Iterator<Item = String> {
        let sub = self.sub.and_then(|line| SUB_FOLDERS.get(line));
        let sub = sub.map(|(certificate, _)| format!("{name}/{certificate}"));
        [(self.crt, "crt"), (self.pem, "pem")]
            .into_iter()
            .filter(|(there, _)| *there)
            .map(move |(_, ending)| format!("{name}.{ending}"))
            .chain(sub)
    }

    /// The file of the key, if it is another one than the certificate's.
    pub(super) fn key_file(self, name: &str) -> Option<String> {
        if self.crt {
            return Some(format!("{name}.key"));
        }
        let (_, key) = SUB_FOLDERS.get(self.sub.filter(|_| !self.pem)?)?;
        let stem = name.strip_suffix(ECC).unwrap_or(name);
        Some(format!("{name}/{}", key.replace('*', stem)))
    }

    /// Everything that a slot is made of.
    pub(super) fn all(self, name: &str) -> impl Iterator<Item = String> {
        let key = self.key_file(name);
        let request = self.csr.then(|| format!("{name}.csr"));
        let its_key = (self.csr && key.is_none()).then(|| format!("{name}.key"));
        let others = key.into_iter().chain(request).chain(its_key);
        self.certificates(name).chain(others)
    }

    fn set(&mut self, ending: &str, there: bool) {
        match ending {
            "crt" => self.crt = there,
            "key" => self.key = there,
            "pem" => self.pem = there,
            "csr" => self.csr = there,
            _ => {}
        }
    }

    /// What there is now.
    fn look(directory: &Path, name: &str, owner: Owner) -> Self {
        let mut files = Self::default();
        for ending in owner.endings() {
            let found = directory
                .join(format!("{name}.{ending}"))
                .symlink_metadata();
            let Ok(found) = found else {
                continue;
            };
            if owner == Owner::Other && is_folder(&directory.join(format!("{name}.{ending}"))) {
                continue;
            }
            files.set(ending, true);
            files.elsewhere |= found.is_symlink();
            files.odd |= !found.is_file();
        }
        if owner == Owner::Other {
            files.look_into(&directory.join(name));
        }
        files
    }

    fn look_into(&mut self, folder: &Path) {
        let there = |file: &str| folder.join(file).symlink_metadata().is_ok();
        self.sub = SUB_FOLDERS
            .iter()
            .position(|(certificate, _)| there(certificate));
        self.elsewhere |= self.sub.is_some();
    }
}

fn is_folder(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// A folder's contents, by name only. A copy costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Files by NAME.
    pub(super) names: SharedMap<String, Files>,
    /// File names that would be ours but for their NAME, with what is wrong with it.
    pub(super) misnamed: SharedMap<String, &'static str>,
    /// Left behind by a process that died: [`TEMPORARY`] files.
    pub(super) temporaries: BTreeSet<String>,
    /// By NAME: what is said of changes that may have been left unfinished.
    pub(super) notes: BTreeMap<String, Note>,
    /// NAMEs that must be looked at to know whether they changed: those of which something is
    /// [`Files::elsewhere`], and all folders in a folder of another's.
    pub(super) elsewhere: SharedMap<String, ()>,
}

/// What a file name in the folder means.
enum Meaning<'t> {
    Temporary,
    Unsettled(&'t str),
    /// NAME and ending.
    File(&'t str, &'t str),
    Nothing,
}

impl<'t> Meaning<'t> {
    fn of(text: &'t str, owner: Owner) -> Self {
        if text.starts_with('.') {
            return match text.strip_prefix(UNSETTLED) {
                _ if owner == Owner::Other => Self::Nothing,
                _ if text.starts_with(TEMPORARY) => Self::Temporary,
                Some(name) => Self::Unsettled(name),
                None => Self::Nothing,
            };
        }
        match text.rsplit_once('.') {
            Some((name, ending)) if owner.endings().contains(&ending) => Self::File(name, ending),
            _ => Self::Nothing,
        }
    }
}

impl Listing {
    /// Reads the folder. Dot-files of others and unknown endings are not looked at.
    pub(super) fn read(directory: &Path) -> Result<Self, StoreError> {
        Self::read_of(directory, Owner::Gatepost)
    }

    /// Reads a folder of ours or of another's.
    pub(super) fn read_of(directory: &Path, owner: Owner) -> Result<Self, StoreError> {
        let error = |source| StoreError::io(directory, "cannot list the folder", source);
        let mut listing = Self::default();
        let mut names: BTreeMap<String, Files> = BTreeMap::new();
        let mut noted = Vec::new();
        for entry in fs::read_dir(directory).map_err(error)? {
            let entry = entry.map_err(error)?;
            let file = entry.file_name();
            let text = file.to_string_lossy();
            let kind = entry.file_type().ok();
            let linked = kind.is_some_and(|kind| kind.is_symlink());
            let may_be_folder = linked || kind.is_some_and(|kind| kind.is_dir());
            if owner == Owner::Other && may_be_folder && is_folder(&entry.path()) {
                if check_name(&text).is_ok() {
                    let files = names.entry(text.clone().into_owned()).or_default();
                    files.look_into(&entry.path());
                    listing.elsewhere.insert(text.into_owned(), ());
                }
                continue;
            }
            let Some((name, ending)) = listing.note(&text, owner, true) else {
                continue;
            };
            let noted_only = ending == UNSETTLED;
            if noted_only {
                noted.push(name.to_owned());
            }
            let files = match names.get_mut(name) {
                Some(files) => files,
                None => names.entry(name.to_owned()).or_default(),
            };
            files.set(ending, true);
            files.elsewhere |= linked;
            files.odd |= !noted_only && !kind.is_some_and(|kind| kind.is_file());
        }
        for name in noted {
            let files = names.entry(name.clone()).or_default();
            listing.look_at_note(directory, &name, files);
        }
        for (name, files) in names {
            listing.set(name, files);
        }
        Ok(listing)
    }

    /// Looks at one file again; the NAME that is to be read again, if it is one's.
    pub(super) fn look(&mut self, directory: &Path, file: &OsStr, owner: Owner) -> Option<String> {
        let text = file.to_string_lossy();
        let there = directory.join(file).symlink_metadata().is_ok();
        let folder = owner == Owner::Other
            && check_name(&text).is_ok()
            && (self.elsewhere.contains_key(&*text) || is_folder(&directory.join(file)));
        let name = match folder {
            true => text.into_owned(),
            false => self.note(&text, owner, there)?.0.to_owned(),
        };
        self.look_at(directory, &name, owner);
        Some(name)
    }

    /// Looks at the files of one NAME again.
    pub(super) fn look_at(&mut self, directory: &Path, name: &str, owner: Owner) -> Files {
        let mut files = Files::look(directory, name, owner);
        if owner == Owner::Gatepost {
            self.look_at_note(directory, name, &mut files);
        }
        let folder = owner == Owner::Other && is_folder(&directory.join(name));
        self.set(name.to_owned(), files);
        if folder {
            self.elsewhere.insert(name.to_owned(), ());
        }
        files
    }

    /// Reads what is said of a change to a NAME, and passes over what is gone by one that was decided.
    fn look_at_note(&mut self, directory: &Path, name: &str, files: &mut Files) {
        let there = directory.join(format!("{UNSETTLED}{name}"));
        if there.symlink_metadata().is_err() {
            self.notes.remove(name);
            return;
        }
        let note = Note::read(directory, name);
        for ending in note.passed_over(directory, name) {
            files.set(ending, false);
        }
        self.notes.insert(name.to_owned(), note);
    }

    /// Whether what there is of a NAME is what is listed.
    pub(super) fn still(&self, directory: &Path, name: &str, owner: Owner) -> bool {
        let folder = is_folder(&directory.join(name));
        (folder || !self.elsewhere.contains_key(name))
            && self.files(name) == Files::look(directory, name, owner)
    }

    fn set(&mut self, name: String, files: Files) {
        let known = self.elsewhere.contains_key(&name);
        if files.elsewhere && !known {
            self.elsewhere.insert(name.clone(), ());
        } else if !files.elsewhere && known {
            self.elsewhere.remove(&name);
        }
        if files == Files::default() {
            self.names.remove(&name);
        } else if self.names.get(&name) != Some(&files) {
            self.names.insert(name, files);
        }
    }

    /// Notes what a file name says by itself; NAME and ending (or [`UNSETTLED`]) if it is one's.
    fn note<'t>(&mut self, text: &'t str, owner: Owner, there: bool) -> Option<(&'t str, &'t str)> {
        match Meaning::of(text, owner) {
            Meaning::Temporary if there => drop(self.temporaries.insert(text.to_owned())),
            Meaning::Temporary => drop(self.temporaries.remove(text)),
            Meaning::Unsettled(name) if check_name(name).is_ok() => return Some((name, UNSETTLED)),
            Meaning::Unsettled(_) => {}
            Meaning::Nothing => {}
            Meaning::File(name, ending) => match (check_name(name), there) {
                (Ok(()), _) => return Some((name, ending)),
                (Err(reason), true) => self.misnamed.insert(text.to_owned(), reason),
                (Err(_), false) => self.misnamed.remove(text),
            },
        }
        None
    }

    /// The files of one NAME.
    pub(super) fn files(&self, name: &str) -> Files {
        self.names.get(name).copied().unwrap_or_default()
    }

    /// The files of one NAME, without a look at all the others.
    pub(super) fn files_of(directory: &Path, name: &str) -> Files {
        Self::default().look_at(directory, name, Owner::Gatepost)
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
