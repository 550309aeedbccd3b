//! A real Dovecot: IMAP, POP3, LMTP and authentication, behind a proxy that speaks PROXY v2.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::net::Loopback;
use super::process::{Server, require_root};

/// Owner of all mail; first user of no package.
const MAIL_OWNER: (u32, u32) = (65_534, 65_534);

/// Every name is a user, with an empty mailbox at first.
pub(crate) const PASSWORD: &str = "correct-horse";

const IMAP: u16 = 10_143;
const POP3: u16 = 10_110;

pub(crate) struct Dovecot {
    pub(crate) server: Server,
    home: Loopback,
    folder: TempDir,
}

impl Dovecot {
    /// Starts it and returns when it listens. A password is taken only on a session that it holds for
    /// secured (`disable_plaintext_auth`), and it has no TLS itself: so it must believe the PROXY header.
    pub(crate) fn start() -> Self {
        require_root("Dovecot");
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        let mail = at.join("mail");
        fs::create_dir(&mail).unwrap();
        chown(&mail, Some(MAIL_OWNER.0), Some(MAIL_OWNER.1)).unwrap();
        let file = at.join("dovecot.conf");
        fs::write(&file, configuration(at, &home)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let server = Server::start(
            "dovecot",
            Command::new("dovecot").arg("-F").arg("-c").arg(&file),
            &at.join("dovecot.log"),
        );
        let mut dovecot = Self {
            server,
            home,
            folder,
        };
        dovecot.server.listens(dovecot.home.port(IMAP));
        dovecot.server.listens(dovecot.home.port(POP3));
        dovecot
    }

    pub(crate) fn imap(&self) -> SocketAddr {
        self.home.port(IMAP)
    }

    pub(crate) fn pop3(&self) -> SocketAddr {
        self.home.port(POP3)
    }

    /// Where mail is delivered.
    pub(crate) fn lmtp(&self) -> PathBuf {
        self.folder.path().join("lmtp")
    }

    /// Where Postfix asks whether a password is right.
    pub(crate) fn auth(&self) -> PathBuf {
        self.folder.path().join("auth")
    }
}

fn configuration(at: &Path, home: &Loopback) -> String {
    let (at, listen) = (at.display(), home.ip());
    let (uid, gid) = MAIL_OWNER;
    format!(
        "\
base_dir = {at}/run
state_dir = {at}/state
log_path = {at}/dovecot.log
protocols = imap pop3 lmtp
listen = {listen}
ssl = no
disable_plaintext_auth = yes
haproxy_trusted_networks = 127.0.0.0/8
auth_mechanisms = plain login
mail_location = maildir:~/Maildir
first_valid_uid = 1
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={at}/mail/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {IMAP}
    haproxy = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {POP3}
    haproxy = yes
  }}
}}
service lmtp {{
  unix_listener {at}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {at}/auth {{
    mode = 0666
  }}
}}
"
    )
}
