//! The admin socket's place in the file system: one instance at a time, nobody else's file
//! overwritten, and the right mode from the first instant.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Why the admin socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It is in use.
    #[error("another gatepost answers at {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// What lies there.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("{}: {action}", path.display())]
    Io {
        /// What it was about.
        path: PathBuf,
        /// What was tried, as in "cannot bind".
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Removes the socket when it is dropped, if it is still ours, and keeps other instances away
/// until then.
#[derive(Debug)]
pub struct SocketGuard {
    path: PathBuf,
    identity: Identity,
    /// Held to the end of its life. The file stays: another instance may have it open, and two
    /// files of one name would be two locks.
    _lock: File,
}

/// Device and inode.
type Identity = (u64, u64);

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let ours = identity(&self.path).is_ok_and(|found| found == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

/// Binds the socket. A stale one is replaced; one that answers, and what is no socket, is not.
/// Must be called inside a runtime.
pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketGuard), SocketError> {
    let lock = lock(path)?;
    refuse_others(path)?;
    let listener = bind_over(path, mode)?;
    let guard = SocketGuard {
        path: path.to_owned(),
        identity: identity(path).map_err(failed(path, "cannot find the socket just made"))?,
        _lock: lock,
    };
    let listener = UnixListener::from_std(listener).map_err(failed(path, "cannot listen"))?;
    Ok((listener, guard))
}

impl SocketGuard {
    /// Changes the socket's mode, for connections from now on.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_mode(&self, mode: u32) -> Result<(), SocketError> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
            .map_err(failed(&self.path, "cannot set the mode"))
    }
}

fn lock(path: &Path) -> Result<File, SocketError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed(&name, "cannot open"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(&name, "cannot lock")(source)),
    }
}

/// Whoever answers without holding the lock is no less in use.
fn refuse_others(path: &Path) -> Result<(), SocketError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, "cannot look at")(error)),
    };
    let path = path.to_owned();
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path });
    }
    match connect(&path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        // Would block: somebody listens, and is busy.
        Err(error) if error.kind() != ErrorKind::WouldBlock => {
            Err(failed(&path, "cannot tell whether somebody answers")(error))
        }
        _ => Err(SocketError::InUse { path }),
    }
}

fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Nobody can reach a socket in a folder of mode 0700; it is moved to its place when its own
/// mode is set. The names are short because the path of a socket is (108 bytes).
fn bind_over(path: &Path, mode: u32) -> Result<net::UnixListener, SocketError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = tempfile::Builder::new()
        .prefix(".g")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(failed(parent, "cannot make a folder for the admin socket"))?;
    let hidden = folder.path().join("s");
    let listener = net::UnixListener::bind(&hidden).map_err(failed(path, "cannot bind"))?;
    listener
        .set_nonblocking(true)
        .map_err(failed(path, "cannot listen"))?;
    fs::set_permissions(&hidden, Permissions::from_mode(mode))
        .map_err(failed(path, "cannot set the mode"))?;
    fs::rename(&hidden, path).map_err(failed(path, "cannot put the socket into its place"))?;
    Ok(listener)
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Io {
        path,
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gatepost.sock");
        (folder, path)
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn has_its_mode_and_leaves_nothing_but_the_lock() {
        let (folder, path) = place();
        for mode in [0o600, 0o660, 0o666] {
            let (_listener, guard) = bind(&path, mode).unwrap();
            let found = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o7777, mode);
            assert_eq!(names(&folder), ["gatepost.sock", "gatepost.sock.lock"]);
            drop(guard);
            assert_eq!(names(&folder), ["gatepost.sock.lock"]);
        }
    }

    #[tokio::test]
    async fn replaces_a_stale_socket() {
        let (_folder, path) = place();
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_listener, _guard) = bind(&path, 0o600).unwrap();
        connect(&path).unwrap();
    }

    #[tokio::test]
    async fn leaves_another_instance_alone() {
        let (_folder, path) = place();
        let (_listener, guard) = bind(&path, 0o600).unwrap();
        let error = bind(&path, 0o600).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("another gatepost answers at {}", path.display())
        );
        connect(&path).unwrap();
        drop(guard);

        // One that does not hold the lock, with a backlog that is full.
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let _waiting: Vec<_> = (0..3).map(|_| connect(&path)).collect();
        let error = bind(&path, 0o600).unwrap_err();
        assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    }

    #[tokio::test]
    async fn never_overwrites_what_is_no_socket() {
        let (folder, path) = place();
        fs::write(&path, "letters").unwrap();
        let error = bind(&path, 0o600).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{} exists and is not a socket", path.display())
        );
        assert_eq!(fs::read(&path).unwrap(), b"letters");

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = bind(&link, 0o600).unwrap_err();
        assert!(matches!(error, SocketError::NotASocket { .. }), "{error}");
    }

    #[tokio::test]
    async fn leaves_a_socket_that_is_no_longer_its_own() {
        let (_folder, path) = place();
        let (_listener, guard) = bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = net::UnixListener::bind(&path).unwrap();
        drop(guard);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn names_the_folder_that_is_missing() {
        let path = Path::new("/nonexistent/gatepost.sock");
        let error = bind(path, 0o600).unwrap_err().to_string();
        assert_eq!(error, "/nonexistent/gatepost.sock.lock: cannot open");
    }
}
