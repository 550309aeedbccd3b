//! A real Postfix: a submission service behind a proxy that speaks PROXY v2, which asks Dovecot for
//! passwords and delivers to it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::dovecot::Dovecot;
use super::net::Loopback;
use super::process::{Server, require_root, run};

/// The domain whose mail it delivers to Dovecot.
pub(crate) const DOMAIN: &str = "example.org";

const SUBMISSION: u16 = 10_587;

pub(crate) struct Postfix {
    pub(crate) server: Server,
    home: Loopback,
    _folder: TempDir,
}

impl Postfix {
    /// Starts it and returns when it listens. Nobody may send before having given a password, not
    /// even to a local mailbox.
    pub(crate) fn start(dovecot: &Dovecot) -> Self {
        require_root("Postfix");
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        for name in ["etc", "queue", "data"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        chown(at.join("data"), Some(owner()), None).unwrap();
        let etc = at.join("etc");
        fs::write(etc.join("main.cf"), main(at, dovecot)).unwrap();
        fs::write(etc.join("master.cf"), master(home.port(SUBMISSION))).unwrap();
        // Makes the folders of the queue.
        run("postfix", [Path::new("-c"), &etc, Path::new("check")], b"").ok();
        let server = Server::start(
            "postfix",
            Command::new(program()).arg("-c").arg(&etc).arg("-s"),
            &at.join("mail.log"),
        );
        let mut postfix = Self {
            server,
            home,
            _folder: folder,
        };
        postfix.server.listens(postfix.home.port(SUBMISSION));
        postfix
    }

    pub(crate) fn submission(&self) -> SocketAddr {
        self.home.port(SUBMISSION)
    }
}

/// Its master process, which `postfix start-fg` would run.
fn program() -> PathBuf {
    let folder = run("postconf", ["-dh", "daemon_directory"], b"").ok();
    Path::new(folder.trim()).join("master")
}

/// The user that it runs as.
fn owner() -> u32 {
    let id = run("id", ["-u", "postfix"], b"").ok();
    id.trim().parse().unwrap()
}

fn main(at: &Path, dovecot: &Dovecot) -> String {
    let (at, lmtp, auth) = (at.display(), dovecot.lmtp(), dovecot.auth());
    let (lmtp, auth) = (lmtp.display(), auth.display());
    format!(
        "\
compatibility_level = 3.6
queue_directory = {at}/queue
data_directory = {at}/data
maillog_file = {at}/mail.log
maillog_file_prefixes = {at}
inet_interfaces = loopback-only
inet_protocols = ipv4
disable_dns_lookups = yes
smtpd_peername_lookup = no
myhostname = mail.{DOMAIN}
mydestination =
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {DOMAIN}
virtual_transport = lmtp:unix:{lmtp}
mailbox_size_limit = 0
message_size_limit = 52428800
smtpd_tls_security_level = none
smtpd_tls_auth_only = no
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
"
    )
}

fn master(submission: SocketAddr) -> String {
    format!(
        "\
{submission} inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
"
    )
}
