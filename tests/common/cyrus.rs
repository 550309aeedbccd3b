//! A real Cyrus: a second opinion on how a server speaks IMAP, POP3 and ManageSieve. It knows neither
//! the PROXY header nor any other way of being told who the client is.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::net::Loopback;
use super::packages;
use super::process::{Server, require_root};

/// `nobody` and `nogroup`.
const OWNER: (u32, u32) = (65_534, 65_534);

/// Each service: the protocol, its program, and its port.
const SERVICES: [(&str, &str, u16); 3] = [
    ("imap", "imapd", 10_143),
    ("pop3", "pop3d", 10_110),
    ("managesieve", "timsieved", 14_190),
];

/// Everybody is a user with any password, and gets a mailbox at the first login.
pub(crate) struct Cyrus {
    server: Server,
    home: Loopback,
    _folder: TempDir,
}

impl Cyrus {
    /// Starts it and returns when it listens.
    pub(crate) fn start() -> Self {
        require_root("Cyrus");
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        let master = programs(at);
        let (imapd, cyrus) = (at.join("imapd.conf"), at.join("cyrus.conf"));
        fs::write(&imapd, configuration(at)).unwrap();
        fs::write(&cyrus, services(at, &home)).unwrap();
        let mut command = Command::new(master);
        command
            // It ends whatever it may in its own group of processes.
            .process_group(0)
            .env("LD_LIBRARY_PATH", at)
            .args(["-D", "-p"])
            .arg(at.join("master.pid"))
            .arg("-C")
            .arg(imapd)
            .arg("-M")
            .arg(cyrus);
        let server = Server::start("cyrus", &mut command, &at.join("log"));
        let mut cyrus = Self {
            server,
            home,
            _folder: folder,
        };
        for (protocol, ..) in SERVICES {
            let address = cyrus.at(protocol);
            cyrus.server.listens(address);
        }
        cyrus
    }

    /// Where it speaks a protocol.
    pub(crate) fn at(&self, protocol: &str) -> SocketAddr {
        let (.., port) = SERVICES
            .into_iter()
            .find(|(name, ..)| *name == protocol)
            .unwrap();
        self.home.port(port)
    }
}

/// Copies them, makes the folders that they write to, and returns the first of them.
fn programs(at: &Path) -> PathBuf {
    let services = SERVICES.map(|(_, program, _)| program);
    for name in ["ctl_cyrusdb"].iter().chain(&services) {
        packages::program(&format!("usr/lib/cyrus/bin/{name}"), at);
    }
    packages::libraries("libcyrus", at);
    for name in ["config", "spool", "sieve"] {
        fs::create_dir(at.join(name)).unwrap();
        chown(at.join(name), Some(OWNER.0), Some(OWNER.1)).unwrap();
    }
    for name in ["db", "lock", "log", "msg", "proc", "ptclient", "socket"] {
        let folder = at.join("config").join(name);
        fs::create_dir(&folder).unwrap();
        chown(folder, Some(OWNER.0), Some(OWNER.1)).unwrap();
    }
    packages::program("usr/lib/cyrus/bin/master", at)
}

fn configuration(at: &Path) -> String {
    let at = at.display();
    format!(
        "\
configdirectory: {at}/config
partition-default: {at}/spool
sievedir: {at}/sieve
cyrus_user: nobody
cyrus_group: nogroup
servername: cyrus.example.org
autocreate_quota: 0
autocreate_post: yes
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN
allowplaintext: yes
"
    )
}

fn services(at: &Path, home: &Loopback) -> String {
    let folder = at.display();
    let command = |program: &str| format!("cmd=\"{folder}/{program} -C {folder}/imapd.conf");
    let mut text = format!(
        "START {{ recover {} -r\" }}\nSERVICES {{\n",
        command("ctl_cyrusdb")
    );
    for (protocol, program, port) in SERVICES {
        let address = home.port(port);
        writeln!(
            text,
            "{protocol} {}\" listen=\"{address}\"",
            command(program)
        )
        .unwrap();
    }
    text + "}\n"
}
