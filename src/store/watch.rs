//! Who says that something changed in the folders: the kernel, where it can.
//!
//! One inotify descriptor watches our folder, `trust/` in it, and the folders of others; not what
//! lies below them or behind symbolic links, which is looked at once in a while (see
//! `refresh`). The mask leaves out that files are opened and read, or our own reading would wake us.
//! A folder on a network file system, or one that the kernel takes no watch for, is looked at whole.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::store::Options;
use crate::store::layout::{DEFAULT, LOCK, TEMPORARY, TRUST, UNSETTLED};
use crate::store::touched::{Place, Spot, Touched};

/// Between two looks at what the kernel does not tell us of.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at whether the folders are still the same ones.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Looking may take one part in so many of the time of a processor.
const SHARE: u32 = 20;

/// File systems that others change behind the kernel's back: NFS, SMB, CIFS, FUSE, 9P, AFS, Ceph,
/// Coda, as `statfs` calls them.
const REMOTE: &[u32] = &[
    0x6969,
    0x517b,
    0xfe53_4d42,
    0xff53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x5346_414f,
    0x00c3_6400,
    0x7375_7245,
];

/// What is watched, and how.
#[derive(Debug)]
pub(super) struct Watch {
    /// None: the kernel gives us none, everything is polled.
    inotify: Option<OwnedFd>,
    folders: Vec<Watched>,
    /// When everything was last looked at that is not told.
    looked: Instant,
    /// How long that took.
    cost: Duration,
}

#[derive(Debug)]
struct Watched {
    spot: Spot,
    path: PathBuf,
    /// Device and inode, as long as it is there.
    is: Option<(u64, u64)>,
    descriptor: Option<i32>,
    /// Whether the log says that it is polled.
    said: bool,
}

impl Watch {
    /// Watches the folders of `options`.
    pub(super) fn new(options: &Options) -> Self {
        let inotify = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(inotify) => Some(inotify),
            Err(error) => {
                tracing::warn!(%error, "the system does not tell of changes to certificate folders: they are looked at again and again");
                None
            }
        };
        let mut watch = Self {
            inotify,
            folders: Vec::new(),
            looked: Instant::now(),
            cost: Duration::ZERO,
        };
        watch.aim(options);
        watch
    }

    /// A descriptor that is readable when something happened.
    pub(super) fn notifications(&self) -> io::Result<Option<OwnedFd>> {
        self.inotify.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Watches the folders of other options instead.
    pub(super) fn aim(&mut self, options: &Options) {
        let own = [
            (Spot::Place(Place::Own), options.directory.clone()),
            (Spot::Trust, options.directory.join(TRUST)),
        ];
        let also = options.also.iter().enumerate();
        let also = also.map(|(at, path)| (Spot::Place(Place::Also(at)), path.clone()));
        let wanted: Vec<_> = own.into_iter().chain(also).collect();
        let now = self
            .folders
            .iter()
            .map(|folder| (folder.spot, &folder.path));
        if now.eq(wanted.iter().map(|(spot, path)| (*spot, path))) {
            return;
        }
        for folder in std::mem::take(&mut self.folders) {
            self.unwatch(folder.descriptor);
        }
        for (spot, path) in wanted {
            self.folders.push(Watched {
                spot,
                path,
                is: None,
                descriptor: None,
                said: false,
            });
        }
        self.check(&mut Touched::default());
    }

    /// As if the kernel told of nothing.
    #[cfg(test)]
    pub(super) fn deafen(&mut self) {
        self.inotify = None;
        for folder in &mut self.folders {
            folder.descriptor = None;
        }
    }

    fn unwatch(&self, descriptor: Option<i32>) {
        if let (Some(inotify), Some(descriptor)) = (&self.inotify, descriptor) {
            // It may be gone with its folder.
            let _ = inotify::remove_watch(inotify, descriptor);
        }
    }

    /// Whether all folders are told of.
    pub(super) fn tells_all(&self) -> bool {
        let mut folders = self.folders.iter();
        folders.all(|folder| folder.is.is_none() || folder.descriptor.is_some())
    }

    /// When to look at what is not told, if there is something of that kind.
    pub(super) fn next_look(&self, elsewhere: bool) -> Duration {
        if elsewhere || !self.tells_all() {
            LOOK_EVERY.max(self.cost * SHARE)
        } else {
            CHECK_EVERY
        }
    }

    /// Whether it is time to look at what is not told.
    pub(super) fn is_due(&self) -> bool {
        // A timer that comes early by a hair's breadth has come.
        let every = LOOK_EVERY.max(self.cost * SHARE) / 10 * 9;
        self.looked.elapsed() >= every
    }

    /// Notes how long the look took that began then.
    pub(super) fn looked(&mut self, began: Instant) {
        (self.looked, self.cost) = (Instant::now(), began.elapsed());
    }

    /// What was told since the last time. A folder that is another one now is watched anew, and to
    /// be read as a whole.
    pub(super) fn told(&mut self) -> Touched {
        let mut touched = Touched::default();
        if let Err(error) = self.drain(&mut touched) {
            tracing::debug!(%error, "what changed in the certificate folders is not known");
            touched.all = true;
        }
        self.check(&mut touched);
        touched
    }

    fn drain(&mut self, touched: &mut Touched) -> io::Result<()> {
        let Some(inotify) = &self.inotify else {
            return Ok(());
        };
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = event.events();
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                touched.all = true;
            }
            let gone = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
            let file = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            for folder in &mut self.folders {
                if folder.descriptor != Some(event.wd()) {
                    continue;
                }
                if kind.intersects(gone | ReadFlags::UNMOUNT) {
                    // Which one is there now is seen by the check.
                    folder.is = None;
                    touched.lost(folder.spot);
                    continue;
                }
                if let Some(file) = file {
                    told_of(folder.spot, file, touched);
                }
            }
        }
    }

    /// Looks whether the folders are still the same, and watches those that are not.
    fn check(&mut self, touched: &mut Touched) {
        for at in 0..self.folders.len() {
            let folder = &self.folders[at];
            let found = fs::metadata(&folder.path)
                .ok()
                .filter(|found| found.is_dir());
            let is = found.map(|found| (found.dev(), found.ino()));
            if is == folder.is {
                continue;
            }
            touched.lost(folder.spot);
            self.unwatch(folder.descriptor);
            let descriptor = is.map(|_| self.watch(&self.folders[at].path));
            let folder = &mut self.folders[at];
            folder.is = is;
            folder.descriptor = match descriptor {
                Some(Ok(descriptor)) => Some(descriptor),
                Some(Err(error)) => {
                    say_polled(folder, &error);
                    None
                }
                None => None,
            };
        }
    }

    fn watch(&self, path: &Path) -> io::Result<i32> {
        let Some(inotify) = &self.inotify else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if is_remote(path)? {
            return Err(io::Error::other("a network file system"));
        }
        let mask = WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        Ok(inotify::add_watch(inotify, path, mask)?)
    }
}

fn say_polled(folder: &mut Watched, error: &io::Error) {
    if !folder.said && error.kind() != io::ErrorKind::Unsupported {
        tracing::warn!(
            directory = %folder.path.display(),
            reason = %error,
            "the system does not tell of changes to this folder: it is looked at again and again"
        );
    }
    folder.said = true;
}

/// Whether others can change it without our kernel's knowing.
fn is_remote(path: &Path) -> io::Result<bool> {
    let found = rustix::fs::fstatfs(File::open(path)?)?;
    // As wide as it is on each kind of machine, and never more than 32 bits of it used.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "magic numbers"
    )]
    let kind = found.f_type as u32;
    Ok(REMOTE.contains(&kind))
}

fn told_of(spot: Spot, file: &OsStr, touched: &mut Touched) {
    let Spot::Place(place) = spot else {
        touched.trust = true;
        return;
    };
    let bytes = file.as_bytes();
    let ours = |start: &str| place == Place::Own && bytes.starts_with(start.as_bytes());
    if bytes == LOCK.as_bytes() {
        return;
    }
    if place == Place::Own && bytes == DEFAULT.as_bytes() {
        touched.default = true;
    } else if place == Place::Own && bytes == TRUST.as_bytes() {
        touched.trust = true;
    } else if !bytes.starts_with(b".") || ours(TEMPORARY) || ours(UNSETTLED) {
        touched.files.insert((place, file.to_owned()));
    }
}
