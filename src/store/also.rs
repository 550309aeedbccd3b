//! Folders of other programs: read, never written.

use std::path::{Path, PathBuf};

use crate::causes;
use crate::cert::Problem;
use crate::store::layout::{Listing, Owner, check_name};
use crate::store::scan::set_aside;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Also {
    pub(super) path: PathBuf,
    /// FOLDER: what comes before the slash in the NAMEs of its certificates.
    pub(super) label: String,
    pub(super) listing: Listing,
    /// Why it cannot be listed; what was known of it is served on.
    problem: Option<Problem>,
}

impl Also {
    /// Reads the folders; one that cannot be listed has the contents that it had in `known`.
    pub(super) fn read_all(paths: &[PathBuf], known: &[Self]) -> Vec<Self> {
        let read = |path: &PathBuf| {
            let before = known.iter().find(|also| also.path == *path);
            Self::read(path, before)
        };
        paths.iter().map(read).collect()
    }

    fn read(path: &Path, before: Option<&Self>) -> Self {
        let label = label(path);
        let (listing, problem) = match Listing::read_of(path, Owner::Other) {
            Ok(listing) => (listing, None),
            Err(error) => {
                let known = before.map(|before| before.listing.clone());
                let reason = causes::in_one_line(&error);
                (known.unwrap_or_default(), Some(set_aside(reason)))
            }
        };
        Self {
            path: path.to_owned(),
            label,
            listing,
            problem,
        }
    }

    /// What cannot be used of it, by `FOLDER` or `FOLDER/FILE`.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = (String, Problem)> {
        let label = &self.label;
        let misnamed = self.listing.misnamed.iter().map(move |(file, reason)| {
            let file = format!("{label}/{file}");
            let message = format!("{file}: the name cannot be used: {reason}");
            (file, set_aside(message))
        });
        let problem = self.problem.iter();
        misnamed.chain(problem.map(move |problem| (label.clone(), problem.clone())))
    }
}

/// What a folder's certificates are called by.
fn label(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Says what is wrong with a text that is to be NAME or FOLDER/NAME.
pub(super) fn valid_full_name(text: &str) -> Result<(), &'static str> {
    match text.split_once('/') {
        Some((folder, name)) => check_name(folder).and_then(|()| check_name(name)),
        None => check_name(text),
    }
}
