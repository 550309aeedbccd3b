//! Whether files are still the ones that were read, without reading them.

use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::atomic::{Contents, OpenFolder, ReadError};
use crate::store::atomic::{read_looked_at, read_opened, read_regular};
use crate::time::Clock;

/// File systems count time in steps of up to two seconds: a file that changed a moment ago may change
/// once more and look the same.
const COARSEST: i64 = 3;

/// What the file system says of some files, through symbolic links: sizes, times, inodes, modes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    hash: u64,
    /// Whether the next change to one of the files would show.
    settled: bool,
}

/// What the file system says of one file, through symbolic links.
pub(super) struct Look {
    pub(super) file: String,
    /// `None` if it cannot be looked at.
    found: Option<Metadata>,
    opened: Option<File>,
}

impl Look {
    /// Looks at files, which need not be there.
    pub(super) fn at(directory: &Path, files: impl Iterator<Item = String>) -> Vec<Self> {
        files.map(|file| Self::one(directory, file)).collect()
    }

    /// Opens files that were listed as regular ones, and looks at what was opened; what cannot be
    /// opened is only looked at.
    pub(super) fn opening(
        folder: &OpenFolder,
        directory: &Path,
        files: impl Iterator<Item = String>,
    ) -> Vec<Self> {
        let look = |file: String| match folder.file(&file) {
            Some(opened) => Self {
                found: opened.metadata().ok(),
                opened: Some(opened),
                file,
            },
            None => Self::one(directory, file),
        };
        files.map(look).collect()
    }

    fn one(directory: &Path, file: String) -> Self {
        Self {
            found: std::fs::metadata(directory.join(&file)).ok(),
            opened: None,
            file,
        }
    }

    /// Whether the file is there.
    pub(super) fn is_there(&self) -> bool {
        self.found.is_some()
    }

    /// Reads the file, which may be done once; what is known of it is not asked again.
    pub(super) fn read(&self, directory: &Path) -> Result<Contents, ReadError> {
        match (&self.found, &self.opened) {
            (Some(found), Some(opened)) => read_opened(opened, found),
            (Some(found), None) => read_looked_at(&directory.join(&self.file), found),
            (None, _) => read_regular(&directory.join(&self.file)),
        }
    }
}

impl Stamp {
    /// Of looks that are taken before the files are read: a change in between then shows at the
    /// next look.
    pub(super) fn of(looks: &[Look]) -> Self {
        let mut hash = DefaultHasher::new();
        let mut newest = i64::MIN;
        for Look { file, found, .. } in looks {
            file.hash(&mut hash);
            let Some(found) = found else {
                continue;
            };
            let times = [
                (found.mtime(), found.mtime_nsec()),
                (found.ctime(), found.ctime_nsec()),
            ];
            (found.dev(), found.ino(), found.len(), found.mode(), times).hash(&mut hash);
            newest = newest.max(found.ctime());
        }
        let now = i64::try_from(Clock::System.now().as_secs()).unwrap_or(i64::MAX);
        Self {
            hash: hash.finish(),
            settled: newest < now - COARSEST || newest > now + COARSEST,
        }
    }

    /// Whether nothing changed between this look and a later one.
    pub(super) fn holds(self, later: Self) -> bool {
        self.settled && self.hash == later.hash
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::{Duration, SystemTime};

    use super::*;

    fn stamp(folder: &Path) -> Stamp {
        let files = ["a".to_owned(), "b".to_owned()];
        Stamp::of(&Look::at(folder, files.into_iter()))
    }

    #[test]
    fn every_change_shows_and_a_fresh_file_is_not_relied_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let nothing = stamp(folder);
        assert!(nothing.holds(stamp(folder)));
        fs::write(folder.join("a"), "1").unwrap();
        let mut before = stamp(folder);
        assert!(!nothing.holds(before));
        assert!(!before.holds(before), "written this very moment");
        // As if time had passed since.
        before.settled = true;
        assert!(before.holds(stamp(folder)));
        let day = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(folder.join("a"), "22").unwrap(),
            &|| fs::write(folder.join("b"), "").unwrap(),
            &|| fs::rename(folder.join("b"), folder.join("a")).unwrap(),
            &|| {
                let file = File::options().write(true).open(folder.join("a")).unwrap();
                file.set_times(FileTimes::new().set_modified(day)).unwrap();
            },
        ];
        for change in changes {
            before = stamp(folder);
            before.settled = true;
            change();
            assert!(!before.holds(stamp(folder)));
        }
    }
}
