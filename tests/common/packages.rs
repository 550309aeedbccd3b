//! Programs of packages that are not installed: `tests/run` unpacks them into `target/packages`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/packages");

/// Copies a program into a folder that every user may enter, and returns where it is: servers change
/// their user, and then start themselves once more.
pub(crate) fn program(path: &str, folder: &Path) -> PathBuf {
    copy(&Path::new(PACKAGES).join(path), folder)
}

/// Copies the shared libraries whose names begin so.
pub(crate) fn libraries(prefix: &str, folder: &Path) {
    let below = Path::new(PACKAGES).join("usr/lib");
    let folders = entries(&below).into_iter().filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| entries(&folder));
    for file in files {
        if file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(prefix)
        {
            copy(&file, folder);
        }
    }
}

fn copy(from: &Path, folder: &Path) -> PathBuf {
    let to = folder.join(from.file_name().unwrap());
    let copied = fs::copy(from, &to);
    copied.unwrap_or_else(|error| panic!("{}: {error}; tests/run unpacks it", from.display()));
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    to
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder);
    let entries = entries
        .unwrap_or_else(|error| panic!("{}: {error}; tests/run unpacks it", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}
