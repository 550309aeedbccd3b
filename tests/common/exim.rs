//! A real Exim, which takes mail behind a PROXY header and believes nothing else.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::net::Loopback;
use super::packages;
use super::postfix::DOMAIN;
use super::process::{Server, require_root};

const SMTP: u16 = 10_025;

/// Whom it becomes; first user of no package.
pub(crate) const OWNER: u32 = 65_534;

pub(crate) struct Exim {
    pub(crate) server: Server,
    home: Loopback,
    folder: TempDir,
}

impl Exim {
    /// Starts it and returns when it listens.
    pub(crate) fn start() -> Self {
        require_root("Exim");
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        for name in ["spool", "log", "mail"] {
            fs::create_dir(at.join(name)).unwrap();
            chown(at.join(name), Some(OWNER), Some(OWNER)).unwrap();
        }
        let program = packages::program("usr/sbin/exim4", at);
        let file = at.join("exim.conf");
        fs::write(&file, configuration(at, &program, home.port(SMTP))).unwrap();
        let mut command = Command::new(&program);
        command.arg("-C").arg(&file).arg("-bdf").arg("-q1m");
        with_its_user(&mut command, at);
        // What it says before it becomes its user goes where it writes as that user.
        let log = at.join("log/main");
        fs::write(&log, "").unwrap();
        chown(&log, Some(OWNER), Some(OWNER)).unwrap();
        let server = Server::start("exim", &mut command, &log);
        let mut exim = Self {
            server,
            home,
            folder,
        };
        exim.server.listens(exim.at());
        exim
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.home.port(SMTP)
    }

    /// What has been delivered.
    pub(crate) fn delivered(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path().join("mail/new"));
        let files = files.into_iter().flatten();
        files
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    }
}

/// It looks for the user of its package by name, and there is none where the package is not installed.
pub(crate) fn with_its_user(command: &mut Command, at: &Path) {
    let (users, groups) = (at.join("passwd"), at.join("group"));
    let user = format!("Debian-exim:x:{OWNER}:{OWNER}::/:/bin/false\n");
    fs::write(&users, format!("root:x:0:0::/:/bin/false\n{user}")).unwrap();
    let group = format!("Debian-exim:x:{OWNER}:\nmail:x:8:\n");
    fs::write(&groups, format!("root:x:0:\n{group}")).unwrap();
    command
        .env("LD_PRELOAD", "libnss_wrapper.so")
        .env("NSS_WRAPPER_PASSWD", users)
        .env("NSS_WRAPPER_GROUP", groups);
}

fn configuration(at: &Path, program: &Path, smtp: SocketAddr) -> String {
    let (at, program, ip, port) = (at.display(), program.display(), smtp.ip(), smtp.port());
    format!(
        "\
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
exim_path = {program}
spool_directory = {at}/spool
log_file_path = {at}/log/%s
pid_file_path = {at}/spool/exim.pid
primary_hostname = exim.{DOMAIN}
local_interfaces = {ip}
daemon_smtp_ports = {port}
hosts_proxy = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
log_selector = +proxy +smtp_connection
tls_advertise_hosts =
deliver_drop_privilege
acl_smtp_rcpt = recipient
begin acl
recipient:
  accept domains = {DOMAIN}
  accept hosts = 127.0.0.1
  deny message = relay not permitted
begin routers
here:
  driver = accept
  domains = {DOMAIN}
  transport = mailbox
away:
  driver = accept
  transport = nowhere
begin transports
mailbox:
  driver = appendfile
  directory = {at}/mail
  maildir_format
nowhere:
  driver = appendfile
  file = /dev/null
"
    )
}
