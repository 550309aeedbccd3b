//! What the tests share: certificates, the real proxy, real mail servers, clients, waiting.

pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod cyrus;
pub(crate) mod dovecot;
pub(crate) mod echo;
pub(crate) mod exim;
pub(crate) mod gatepost;
pub(crate) mod handshake;
pub(crate) mod net;
pub(crate) mod nginx;
pub(crate) mod packages;
pub(crate) mod postfix;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod scrape;
pub(crate) mod wait;
pub(crate) mod web;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

/// A folder of its own that other users may enter, as the unprivileged processes of mail servers do.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("gatepost-")
        .tempdir()
        .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}
