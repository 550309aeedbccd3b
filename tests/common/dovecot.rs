//! A real Dovecot: IMAP, POP3, ManageSieve, submission, LMTP and authentication.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::ca::Pair;
use super::net::Loopback;
use super::process::{Server, require_root};
use super::wait;

/// Owner of all mail; first user of no package.
const MAIL_OWNER: (u32, u32) = (65_534, 65_534);

/// Every name is a user, with an empty mailbox at first.
pub(crate) const PASSWORD: &str = "correct-horse";

/// Where its submission service hands on what it gets.
const RELAY: u16 = 10_024;

/// Each service: the protocol, Dovecot's word for it, its port, and its port with TLS from the first
/// byte.
const SERVICES: [(&str, &str, u16, u16); 4] = [
    ("imap", "imap", 10_143, 10_993),
    ("pop3", "pop3", 10_110, 10_995),
    ("managesieve", "sieve", 14_190, 15_190),
    ("submission", "submission", 10_587, 10_465),
];

/// Whom it believes about where a client comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Believes {
    /// A PROXY header, which every connection must begin with.
    Header,
    /// What 127.0.0.1 says by XCLIENT and by IMAP ID (`login_trusted_networks`).
    Neighbour,
    /// Nobody.
    Nobody,
}

/// Its own TLS.
#[derive(Clone, Copy)]
pub(crate) enum OwnTls<'a> {
    /// It has none: a password is taken only on a session that it holds for secured all the same.
    None,
    /// From the first byte, and by STARTTLS.
    Modern(&'a Pair),
    /// The same, but with nothing newer than TLS 1.0.
    Old(&'a Pair),
}

pub(crate) struct Dovecot {
    pub(crate) server: Server,
    home: Loopback,
    folder: Folder,
}

/// Its folder, which can be removed while it still ends.
struct Folder(TempDir);

impl Dovecot {
    /// One that must believe the PROXY header, as it takes a password only on a session that it holds
    /// for secured (`disable_plaintext_auth`), and has no TLS itself.
    pub(crate) fn start() -> Self {
        Self::with(Believes::Header, OwnTls::None)
    }

    /// Starts it and returns when it listens.
    pub(crate) fn with(believes: Believes, tls: OwnTls<'_>) -> Self {
        require_root("Dovecot");
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        let mail = at.join("mail");
        fs::create_dir(&mail).unwrap();
        chown(&mail, Some(MAIL_OWNER.0), Some(MAIL_OWNER.1)).unwrap();
        let file = at.join("dovecot.conf");
        let text = configuration(at, &home) + &services(believes) + &own_tls(at, tls);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let mut dovecot = Self {
            server: run(&file),
            home,
            folder: Folder(folder),
        };
        let (protocol, ..) = SERVICES[0];
        dovecot.server.listens(dovecot.at(protocol));
        dovecot
    }

    /// Runs it once more, on the same addresses and with the same mail.
    pub(crate) fn again(&mut self) {
        self.server = run(&self.folder.0.path().join("dovecot.conf"));
        let (protocol, ..) = SERVICES[0];
        let address = self.at(protocol);
        self.server.listens(address);
    }

    /// Where it speaks a protocol: in clear at first.
    pub(crate) fn at(&self, protocol: &str) -> SocketAddr {
        let (_, _, port, _) = service(protocol);
        self.home.port(port)
    }

    /// Where it speaks a protocol with TLS from the first byte.
    pub(crate) fn at_tls(&self, protocol: &str) -> SocketAddr {
        let (_, _, _, port) = service(protocol);
        self.home.port(port)
    }

    /// Where it hands on what is submitted to it.
    pub(crate) fn relay(&self) -> SocketAddr {
        self.home.port(RELAY)
    }

    /// Where mail is delivered.
    pub(crate) fn lmtp(&self) -> PathBuf {
        self.folder.0.path().join("lmtp")
    }

    /// Where Postfix asks whether a password is right.
    pub(crate) fn auth(&self) -> PathBuf {
        self.folder.0.path().join("auth")
    }

    /// A message in a user's mailbox, when there is one.
    #[track_caller]
    pub(crate) fn delivered(&self, user: &str) -> String {
        let folder = self.folder.0.path().join("mail").join(user).join("Maildir");
        wait::for_some("the message to be delivered", || {
            let found = ["new", "cur"].map(|part| fs::read_dir(folder.join(part)));
            let mut files = found.into_iter().flatten().flatten();
            let file = files.next()?.unwrap();
            Some(fs::read_to_string(file.path()).unwrap())
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Under another name, so that nothing comes into it any more.
        let ended = self.0.path().with_extension("ended");
        drop(fs::rename(self.0.path(), &ended).and_then(|()| fs::remove_dir_all(&ended)));
    }
}

fn run(file: &Path) -> Server {
    Server::start(
        "dovecot",
        Command::new("dovecot").arg("-F").arg("-c").arg(file),
        &file.with_extension("log"),
    )
    // The process that writes its log stays for a second after all others.
    .unawaited()
}

fn service(protocol: &str) -> (&'static str, &'static str, u16, u16) {
    let mut services = SERVICES.into_iter();
    let found = services.find(|(name, ..)| *name == protocol);
    found.unwrap_or_else(|| panic!("Dovecot has no {protocol}"))
}

/// What is the same for every kind.
fn configuration(at: &Path, home: &Loopback) -> String {
    let (at, listen) = (at.display(), home.ip());
    let (uid, gid) = MAIL_OWNER;
    format!(
        "\
base_dir = {at}/run
state_dir = {at}/state
log_path = {at}/dovecot.log
protocols = imap pop3 lmtp sieve submission
listen = {listen}
hostname = dovecot.example.org
disable_plaintext_auth = yes
auth_mechanisms = plain login
mail_location = maildir:~/Maildir
first_valid_uid = 1
submission_relay_host = {listen}
submission_relay_port = {RELAY}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={at}/mail/%n allow_all_users=yes
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

/// The listeners, and whom they believe.
fn services(believes: Believes) -> String {
    let (haproxy, mut text) = match believes {
        Believes::Header => (
            "haproxy = yes",
            "haproxy_trusted_networks = 127.0.0.0/8\n".to_owned(),
        ),
        Believes::Neighbour => ("", "login_trusted_networks = 127.0.0.1\n".to_owned()),
        Believes::Nobody => ("", String::new()),
    };
    for (protocol, name, port, tls_port) in SERVICES {
        // Dovecot listens with TLS only where it has a certificate.
        write!(
            text,
            "\
service {protocol}-login {{
  inet_listener {name} {{
    port = {port}
    {haproxy}
  }}
  inet_listener {name}s {{
    port = {tls_port}
    ssl = yes
    {haproxy}
  }}
}}
"
        )
        .unwrap();
    }
    text
}

fn own_tls(at: &Path, tls: OwnTls<'_>) -> String {
    let pair = match tls {
        OwnTls::None => return "ssl = no\n".to_owned(),
        OwnTls::Modern(pair) | OwnTls::Old(pair) => pair,
    };
    pair.write(at, "own");
    let at = at.display();
    let text = format!("ssl = yes\nssl_cert = <{at}/own.crt\nssl_key = <{at}/own.key\n");
    if matches!(tls, OwnTls::Modern(_)) {
        return text;
    }
    let limit = "\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = limit
[limit]
MinProtocol = TLSv1
MaxProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
";
    fs::write(format!("{at}/openssl.cnf"), limit).unwrap();
    text + &format!(
        "\
ssl_min_protocol = TLSv1
ssl_cipher_list = ALL:@SECLEVEL=0
import_environment = $import_environment OPENSSL_CONF={at}/openssl.cnf
"
    )
}
