//! Files that are written for the user: whole or not at all, and never over another one unasked.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Less what the umask takes.
const PUBLIC: u32 = 0o666;
const SECRET: u32 = 0o600;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    /// Something has the name.
    #[error("{}: exists already, choose another file or replace it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Something that a file cannot take the place of.
    #[error("{}: not a regular file, it is left alone; \"-o -\" writes to standard output", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The system said no.
    #[error("{}: cannot write", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a file beside its place, syncs it and puts it there. A secret one is for its owner alone
/// from the first instant. A symbolic link is followed.
pub(super) fn deliver(
    path: &Path,
    text: &str,
    secret: bool,
    replace: bool,
) -> Result<(), DeliverError> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::AlreadyExists if !replace => DeliverError::Exists {
            path: path.to_owned(),
        },
        _ => DeliverError::Write {
            path: path.to_owned(),
            source,
        },
    };
    let mut place = path.to_owned();
    if replace && let Ok(real) = fs::canonicalize(path) {
        if !real.is_file() {
            let path = path.to_owned();
            return Err(DeliverError::NotAFile { path });
        }
        place = real;
    }
    write(&place, text, secret, replace).map_err(failed)
}

fn write(place: &Path, text: &str, secret: bool, replace: bool) -> io::Result<()> {
    if !replace && place.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mode = if secret { SECRET } else { PUBLIC };
    let mut file = tempfile::Builder::new()
        .prefix(".gatepost-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match replace {
        true => file.persist(place)?,
        false => file.persist_noclobber(place)?,
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_for_its_owner_alone_and_nothing_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        deliver(&path, "one", true, false).unwrap();
        assert_eq!(mode(&path), 0o600);
        let refused = deliver(&path, "two", true, false).unwrap_err();
        let expected = format!(
            "{}: exists already, choose another file or replace it with --force",
            path.display()
        );
        assert_eq!(refused.to_string(), expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");

        // A file that others may read does not make the new one so.
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        deliver(&path, "two", true, true).unwrap();
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("two", 0o600)
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_are_followed_and_devices_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("real"), "old").unwrap();
        symlink("real", file("link")).unwrap();
        symlink("/dev/null", file("null")).unwrap();
        symlink("nothing", file("dangling")).unwrap();
        deliver(&file("link"), "new", false, true).unwrap();
        assert_eq!(fs::read_to_string(file("real")).unwrap(), "new");
        assert!(file("link").is_symlink());
        for (name, replace, expected) in [
            ("link", false, "exists already"),
            ("dangling", false, "exists already"),
            ("null", true, "not a regular file"),
            ("no/such", false, "cannot write"),
        ] {
            let refused = deliver(&file(name), "x", false, replace).unwrap_err();
            assert!(refused.to_string().contains(expected), "{name}: {refused}");
        }
    }
}
