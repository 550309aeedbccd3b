//! A real Postfix: each way to stand behind a proxy, and some without, as services side by side. It
//! asks Dovecot for passwords and delivers to it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;

use super::ca::Pair;
use super::dovecot::Dovecot;
use super::net::Loopback;
use super::process::{Server, require_root, run};

/// The domain whose mail it delivers to Dovecot.
pub(crate) const DOMAIN: &str = "example.org";

/// One of its services. In the log its lines begin with its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    /// For everybody's mail, behind a PROXY header. Relays for 127.0.0.1, as all of this kind do.
    Mx,
    /// The same, with postscreen before it, which keeps new clients waiting.
    MxPostscreen,
    /// For everybody's mail; believes the XCLIENT and XFORWARD of 127.0.0.1.
    MxXclient,
    /// For everybody's mail; believes nobody: who comes from 127.0.0.1 may relay.
    MxPlain,
    /// For those who give a password, behind a PROXY header.
    Submission,
    /// For those who give a password; believes the XCLIENT and XFORWARD of 127.0.0.1.
    SubmissionXclient,
    /// For those who give a password after STARTTLS, behind a PROXY header.
    SubmissionStartTls,
    /// For those who give a password, with TLS from the byte after the PROXY header.
    SubmissionTls,
}

/// Where a connection that says nothing is nothing to complain about.
const LISTENS: Service = Service::MxPlain;

impl Service {
    const ALL: [Self; 8] = [
        Self::Mx,
        Self::MxPostscreen,
        Self::MxXclient,
        Self::MxPlain,
        Self::Submission,
        Self::SubmissionXclient,
        Self::SubmissionStartTls,
        Self::SubmissionTls,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mx => "mx",
            Self::MxPostscreen => "mx-postscreen",
            Self::MxXclient => "mx-xclient",
            Self::MxPlain => "mx-plain",
            Self::Submission => "submission",
            Self::SubmissionXclient => "submission-xclient",
            Self::SubmissionStartTls => "submission-starttls",
            Self::SubmissionTls => "submission-tls",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Mx => 10_025,
            Self::MxPostscreen => 10_026,
            Self::MxXclient => 10_027,
            Self::MxPlain => 10_028,
            Self::Submission => 10_587,
            Self::SubmissionXclient => 10_588,
            Self::SubmissionStartTls => 10_589,
            Self::SubmissionTls => 10_465,
        }
    }

    /// What it has that the others have not.
    fn options(self) -> &'static [&'static str] {
        const HEADER: &str = "smtpd_upstream_proxy_protocol=haproxy";
        const XCLIENT: &str = "smtpd_authorized_xclient_hosts=127.0.0.1";
        const XFORWARD: &str = "smtpd_authorized_xforward_hosts=127.0.0.1";
        const PASSWORD: &str = "smtpd_recipient_restrictions=permit_sasl_authenticated,reject";
        match self {
            Self::Mx => &[HEADER],
            Self::MxPostscreen => &["postscreen_upstream_proxy_protocol=haproxy"],
            Self::MxXclient => &[XCLIENT, XFORWARD],
            Self::MxPlain => &[],
            Self::Submission => &[HEADER, PASSWORD],
            Self::SubmissionXclient => &[XCLIENT, XFORWARD, PASSWORD],
            Self::SubmissionStartTls => &[
                HEADER,
                PASSWORD,
                "smtpd_tls_security_level=encrypt",
                "smtpd_tls_auth_only=yes",
            ],
            Self::SubmissionTls => &[HEADER, PASSWORD, "smtpd_tls_wrappermode=yes"],
        }
    }

    fn entry(self, address: SocketAddr) -> String {
        let (limit, program) = match self {
            Self::MxPostscreen => ("1", "postscreen"),
            _ => ("-", "smtpd"),
        };
        let mut entry = format!("{address} inet n - n - {limit} {program}\n");
        let name = format!("syslog_name={}", self.name());
        for option in [name.as_str()].iter().chain(self.options()) {
            writeln!(entry, "  -o {option}").unwrap();
        }
        entry
    }
}

pub(crate) struct Postfix {
    pub(crate) server: Server,
    home: Loopback,
    _folder: TempDir,
}

impl Postfix {
    /// Starts one without TLS of its own, and returns when it listens.
    pub(crate) fn start(dovecot: &Dovecot) -> Self {
        Self::start_with(dovecot, None)
    }

    /// One that has TLS of its own where that is in the name of the service.
    pub(crate) fn start_with_tls(dovecot: &Dovecot, pair: &Pair) -> Self {
        Self::start_with(dovecot, Some(pair))
    }

    fn start_with(dovecot: &Dovecot, own: Option<&Pair>) -> Self {
        require_root("Postfix");
        let folder = super::folder();
        let home = Loopback::claim();
        let at = folder.path();
        make_folders(at);
        let etc = at.join("etc");
        write_long_ago(
            &etc.join("main.cf"),
            &(main(at, dovecot) + &own_tls(&etc, own)),
        );
        fs::write(etc.join("master.cf"), master(&home, dovecot, own.is_some())).unwrap();
        let mut postfix = Self {
            server: start(at),
            home,
            _folder: folder,
        };
        postfix.server.listens(postfix.at(LISTENS));
        postfix
    }

    pub(crate) fn at(&self, service: Service) -> SocketAddr {
        self.home.port(service.port())
    }
}

/// What `postfix check` would make, which takes longer than all the rest.
fn make_folders(at: &Path) {
    const QUEUE: [&str; 13] = [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming",
        "maildrop", "private", "public", "saved", "trace",
    ];
    for name in ["etc", "queue", "queue/pid", "data"] {
        fs::create_dir(at.join(name)).unwrap();
    }
    let owner = owner();
    chown(at.join("data"), Some(owner), None).unwrap();
    for name in QUEUE {
        let folder = at.join("queue").join(name);
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(owner), None).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

/// Postfix waits until nobody can be writing its settings any more: two seconds after the last time.
fn write_long_ago(file: &Path, text: &str) {
    let mut file = File::create(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

fn start(at: &Path) -> Server {
    Server::start(
        "postfix",
        Command::new(program())
            .arg("-c")
            .arg(at.join("etc"))
            .arg("-s"),
        &at.join("mail.log"),
    )
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
inet_protocols = all
disable_dns_lookups = yes
smtpd_peername_lookup = no
myhostname = mail.{DOMAIN}
mydestination =
mynetworks = 127.0.0.1/32
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {DOMAIN}
virtual_transport = lmtp:unix:{lmtp}
default_transport = discard
mailbox_size_limit = 0
message_size_limit = 52428800
postscreen_access_list =
postscreen_greet_wait = 1s
postscreen_greet_action = enforce
smtpd_tls_security_level = none
smtpd_tls_auth_only = no
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
"
    )
}

fn own_tls(etc: &Path, own: Option<&Pair>) -> String {
    let Some(pair) = own else {
        return String::new();
    };
    pair.write(etc, "own");
    let etc = etc.display();
    format!("smtpd_tls_cert_file = {etc}/own.crt\nsmtpd_tls_key_file = {etc}/own.key\n")
}

fn master(home: &Loopback, dovecot: &Dovecot, own_tls: bool) -> String {
    let services = Service::ALL.into_iter().filter(|service| {
        let needs_tls = [Service::SubmissionStartTls, Service::SubmissionTls];
        own_tls || !needs_tls.contains(service)
    });
    let entries = services.map(|service| service.entry(home.port(service.port())));
    let (entries, relay) = (entries.collect::<String>(), dovecot.relay());
    format!(
        "\
{entries}{relay} inet n - n - - smtpd
  -o syslog_name=relay
smtpd pass - - n - - smtpd
  -o syslog_name=mx-postscreen
dnsblog unix - - n - 0 dnsblog
tlsmgr unix - - n 1000? 1 tlsmgr
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
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
"
    )
}
