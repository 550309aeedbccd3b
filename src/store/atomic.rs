//! Files that are whole at every instant: written beside their place, synced, renamed.
//!
//! A change is a list of [`Step`]s. All that is to be written is on the disk before the first
//! step takes effect, so that a full disk changes nothing; each step is one rename or one
//! removal, synced before the next.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tempfile::NamedTempFile;

use crate::causes;
use crate::store::StoreError;
use crate::store::layout::{LOCK, TEMPORARY};

/// Larger files are not certificates.
pub(super) const LARGEST_FILE: u64 = 1024 * 1024;

/// One step of a change, by file name in the folder. Not `Debug`: it may hold a key.
pub(super) struct Step {
    file: String,
    what: What,
    role: Role,
}

enum What {
    /// The file has these contents.
    Write {
        contents: String,
        /// Mode 0600 instead of 0644.
        secret: bool,
    },
    /// The file is gone.
    Remove,
}

/// What it means for the change if a step fails.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Role {
    /// The state is the one before.
    Prepares,
    /// With the last of these the state after is reached.
    Decides,
    /// The state is the one after; the next writer does it.
    Tidies,
}

impl Step {
    pub(super) fn secret(file: String, contents: String) -> Self {
        Self::new(
            file,
            What::Write {
                contents,
                secret: true,
            },
        )
    }

    pub(super) fn public(file: String, contents: String) -> Self {
        Self::new(
            file,
            What::Write {
                contents,
                secret: false,
            },
        )
    }

    pub(super) fn remove(file: String) -> Self {
        Self::new(file, What::Remove)
    }

    fn new(file: String, what: What) -> Self {
        let role = Role::Decides;
        Self { file, what, role }
    }

    /// The state is still the one before when this is done.
    pub(super) fn prepares(self) -> Self {
        let role = Role::Prepares;
        Self { role, ..self }
    }

    /// The state is the one after whether this is done or not.
    pub(super) fn tidies(self) -> Self {
        let role = Role::Tidies;
        Self { role, ..self }
    }

    /// The file that it removes.
    pub(super) fn removes(&self) -> Option<&str> {
        matches!(self.what, What::Remove).then_some(&self.file)
    }

    /// The file that it is about.
    pub(super) fn file(&self) -> &str {
        &self.file
    }
}

/// A step that cannot fail any more for want of room.
enum Staged {
    Rename(NamedTempFile),
    Remove,
}

/// Carries a change out. [`StoreError::Unsettled`] if it stopped when a step that decides was
/// done, or may have been.
pub(super) fn apply(directory: &Path, steps: &[Step]) -> Result<(), StoreError> {
    let staged: Vec<Staged> = steps
        .iter()
        .map(|step| stage(directory, step))
        .collect::<Result<_, _>>()?;
    let mut decided = false;
    for (step, staged) in steps.iter().zip(staged) {
        let path = directory.join(&step.file);
        let done = commit(&path, staged);
        decided |= step.role == Role::Decides && done.is_ok();
        let synced = done.and_then(|()| sync_folder(directory));
        match synced {
            Ok(()) => {}
            Err(error) if step.role == Role::Tidies => {
                let error = causes::in_one_line(&error);
                tracing::warn!(error, "the change is done; the next one tidies up after it");
                return Ok(());
            }
            Err(error) if decided => {
                return Err(StoreError::Unsettled {
                    source: Box::new(error),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn stage(directory: &Path, step: &Step) -> Result<Staged, StoreError> {
    let What::Write { contents, secret } = &step.what else {
        return Ok(Staged::Remove);
    };
    let staged = write(directory, contents, *secret).map(Staged::Rename);
    staged.map_err(|source| StoreError::io(&directory.join(&step.file), "cannot write", source))
}

fn write(directory: &Path, contents: &str, secret: bool) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    hand_over(directory, temporary.as_file())?;
    temporary.write_all(contents.as_bytes())?;
    if !secret {
        temporary
            .as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
    }
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

fn commit(path: &Path, step: Staged) -> Result<(), StoreError> {
    match step {
        Staged::Rename(temporary) => {
            let renamed = temporary.persist(path);
            renamed.map_err(|e| StoreError::io(path, "cannot replace", e.error))?;
        }
        Staged::Remove => match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io(path, "cannot remove", source));
            }
            _ => {}
        },
    }
    Ok(())
}

/// What root writes into somebody's folder belongs to that somebody, or a proxy that runs as
/// that user could not read its own key.
fn hand_over(directory: &Path, file: &File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(directory)?;
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Makes the folder, for its owner alone, if it is not there; it is on the disk then.
pub(super) fn make_folder(directory: &Path) -> Result<(), StoreError> {
    let changed = parents_of_missing(directory);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|source| StoreError::io(directory, "cannot make the folder", source))?;
    changed.into_iter().try_for_each(sync_folder)
}

/// The folders that get a new entry when this one is made with all above it.
fn parents_of_missing(directory: &Path) -> Vec<&Path> {
    // The empty path is the working directory.
    let missing =
        |path: &&Path| !path.as_os_str().is_empty() && matches!(path.try_exists(), Ok(false));
    directory
        .ancestors()
        .take_while(missing)
        .filter_map(Path::parent)
        .map(|parent| match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        })
        .collect()
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| StoreError::io(folder, "cannot sync the folder", source))
}

/// The folder's lock: one writer at a time, of all processes. Released when dropped.
#[derive(Debug)]
pub(super) struct FolderLock(
    #[expect(dead_code, reason = "the lock lives as long as its descriptor")] File,
);

impl FolderLock {
    /// Waits for the lock.
    pub(super) fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK);
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
                .open(&path)?;
            hand_over(directory, &file)?;
            file.lock()?;
            Ok(file)
        };
        lock()
            .map(Self)
            .map_err(|source| StoreError::io(&path, "cannot lock", source))
    }
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).expect("open flags fit a C int")
}

/// A regular file's contents and mode.
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("a symbolic link to nothing")]
    Dangling,
    #[error("{0}, expected a regular file")]
    Kind(&'static str),
    #[error("{0} bytes, expected at most {limit}", limit = LARGEST_FILE)]
    TooLarge(u64),
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// How a file is opened that may turn out to be something else.
const NEVER_WAITING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// A folder of which many files are read: each is found from it, and not from the root.
pub(super) struct OpenFolder {
    folder: OwnedFd,
    /// What its files are opened with.
    flags: OFlags,
}

impl OpenFolder {
    /// Opens the folder, if that can be done.
    pub(super) fn open(directory: &Path) -> Option<Self> {
        let open = |flags: OFlags| {
            let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(directory, folder | flags, Mode::empty()).ok()
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | NEVER_WAITING;
        // To note when each was read takes as long as to read it. Only the owner may forgo it.
        if let Some(folder) = open(OFlags::NOATIME) {
            let flags = flags | OFlags::NOATIME;
            return Some(Self { folder, flags });
        }
        open(OFlags::empty()).map(|folder| Self { folder, flags })
    }

    /// Opens a file of it that was listed as a regular one, if that can be done.
    pub(super) fn file(&self, name: &str) -> Option<File> {
        let file = rustix::fs::openat(&self.folder, name, self.flags, Mode::empty());
        file.ok().map(File::from)
    }
}

/// Reads a regular file, through symbolic links, without ever waiting for a FIFO or touching a
/// device: what it is, is asked before it is opened, and again of what was opened.
pub(crate) fn read_regular(path: &Path) -> Result<Contents, ReadError> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => ReadError::Dangling,
        _ => ReadError::Io(error),
    })?;
    read_looked_at(path, &metadata)
}

/// The same where it was asked already what it is.
pub(super) fn read_looked_at(path: &Path, found: &fs::Metadata) -> Result<Contents, ReadError> {
    acceptable(found)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags(NEVER_WAITING))
        .open(path)
        .map_err(ReadError::Io)?;
    let metadata = file.metadata().map_err(ReadError::Io)?;
    read_opened(&file, &metadata)
}

/// The same of a file that is open, of which this was asked since.
pub(super) fn read_opened(file: &File, metadata: &fs::Metadata) -> Result<Contents, ReadError> {
    acceptable(metadata)?;
    let bytes = read_to_end(file, metadata.len()).map_err(ReadError::Io)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= LARGEST_FILE => Ok(Contents {
            bytes,
            mode: metadata.mode() & 0o7777,
        }),
        _ => Err(ReadError::TooLarge(metadata.len())),
    }
}

/// All of a file that should have `length` bytes, but no more than [`LARGEST_FILE`] and one.
fn read_to_end(mut file: &File, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).unwrap_or_default();
    // A read that had room for one byte more and did not fill it saw the end: one is enough.
    let mut bytes = vec![0; length + 1];
    let read = match file.read(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        read => read?,
    };
    bytes.truncate(read);
    if read != length {
        let left = (LARGEST_FILE + 1).saturating_sub(bytes.len() as u64);
        file.take(left).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn acceptable(metadata: &fs::Metadata) -> Result<(), ReadError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return match metadata.len() {
            length if length > LARGEST_FILE => Err(ReadError::TooLarge(length)),
            _ => Ok(()),
        };
    }
    Err(ReadError::Kind(match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_end_whatever_its_size_is_said_to_be() {
        // Regular, and of size 0 as long as nobody reads it.
        let version = Path::new("/proc/version");
        let read = read_regular(version).unwrap().bytes;
        assert!(read.len() > 1 && read == fs::read(version).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let largest = usize::try_from(LARGEST_FILE).unwrap();
        for length in [0, 1, 1000, largest] {
            fs::write(&path, vec![7; length]).unwrap();
            assert_eq!(read_regular(&path).unwrap().bytes, vec![7; length]);
            let file = File::open(&path).unwrap();
            for said in [0, length / 2, length + 1, 2 * length] {
                let read = read_to_end(&file, said as u64).unwrap();
                assert_eq!(read, vec![7; length], "{said}");
                io::Seek::rewind(&mut &file).unwrap();
            }
        }
        fs::write(&path, vec![7; largest + 1]).unwrap();
        assert!(matches!(read_regular(&path), Err(ReadError::TooLarge(_))));
        let endless = File::open("/dev/zero").unwrap();
        assert_eq!(read_to_end(&endless, 10).unwrap().len(), largest + 1);
    }

    #[test]
    fn every_folder_that_gets_an_entry_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path();
        let deep = there.join("a/b/sslcert");
        let expected = [there.join("a/b"), there.join("a"), there.to_owned()];
        assert_eq!(parents_of_missing(&deep), expected);
        make_folder(&deep).unwrap();
        assert!(deep.is_dir());
        assert_eq!(parents_of_missing(&deep), [""; 0].map(Path::new));
        let relative = Path::new("no-such-folder/sslcert");
        let expected = ["no-such-folder", "."].map(Path::new);
        assert_eq!(parents_of_missing(relative), expected);
    }
}
