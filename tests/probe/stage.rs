//! A proxy's configuration and the servers of its upstream, which can be changed line by line.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::ca::{Pair, TestCa};
use crate::common::gatepost::Site;
use crate::common::net::Loopback;
use crate::common::process::{Outcome, Server, require_root, run};
use crate::common::{exim, folder, packages, wait};
use crate::probe::printed::{Change, Printed, read};

/// Words of lines in which a server complains.
const COMPLAINTS: [&str; 9] = [
    "Error:",
    "Warning:",
    "Fatal:",
    "error:",
    "warning:",
    "fatal:",
    "lost connection",
    "unexpected",
    "protocol",
];

/// A user of no package.
const NOBODY: u32 = 65_534;

/// A server whose configuration is text.
pub(crate) struct Mail {
    kind: Kind,
    /// Dropped before its folder: one that still runs makes its folders anew.
    server: Option<Server>,
    folder: TempDir,
    home: Loopback,
    port: u16,
    /// How much of the log was there when it was started last.
    seen: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Dovecot,
    Postfix,
    Exim,
}

impl Mail {
    /// A Dovecot with one service more than none: `protocol`, its listener of the usual name on
    /// `port`. `settings` comes last.
    pub(crate) fn dovecot(protocol: &str, port: u16, settings: &str, own: Option<&Pair>) -> Self {
        require_root("Dovecot");
        let mut mail = Self::new(Kind::Dovecot, port);
        let at = mail.folder.path();
        let tls = match own {
            None => "ssl = no\n".to_owned(),
            Some(pair) => {
                pair.write(at, "own");
                let at = at.display();
                format!("ssl_cert = <{at}/own.crt\nssl_key = <{at}/own.key\n")
            }
        };
        let (service, listener, word) = match protocol {
            "managesieve" => ("managesieve-login", "sieve", "sieve"),
            "imap" => ("imap-login", "imap", "imap"),
            "pop3" => ("pop3-login", "pop3", "pop3"),
            "submission" => ("submission-login", "submission", "submission"),
            other => panic!("Dovecot has no {other}"),
        };
        let (at, ip) = (at.display(), mail.home.ip());
        let text = format!(
            "\
base_dir = {at}/run
state_dir = {at}/state
log_path = {at}/log
protocols = {word}
listen = {ip}
hostname = dovecot.example.org
auth_mechanisms = plain login
mail_location = maildir:~/Maildir
submission_relay_host = {ip}
passdb {{
  driver = static
  args = password=correct-horse
}}
userdb {{
  driver = static
  args = uid={NOBODY} gid={NOBODY} home={at}/mail/%n allow_all_users=yes
}}
service {service} {{
  inet_listener {listener} {{
    port = {port}
  }}
  inet_listener {listener}s {{
    port = 0
  }}
}}
service auth {{
  unix_listener {at}/auth {{
    mode = 0666
  }}
}}
{tls}{settings}"
        );
        fs::write(mail.file("dovecot.conf"), text).unwrap();
        mail.start();
        mail
    }

    /// A Postfix with one service on `port`: `options` are `-o` options of it, `settings` more
    /// lines of main.cf. It asks `auth`, a Dovecot, for passwords, if there is one.
    pub(crate) fn postfix(
        port: u16,
        options: &[&str],
        settings: &str,
        auth: Option<&Self>,
        own: Option<&Pair>,
    ) -> Self {
        require_root("Postfix");
        let mut mail = Self::new(Kind::Postfix, port);
        let at = mail.folder.path().to_path_buf();
        for name in ["etc", "queue", "data"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        let id = run("id", ["-u", "postfix"], b"").ok();
        chown(at.join("data"), Some(id.trim().parse().unwrap()), None).unwrap();
        let mut main = main_cf(&at) + settings;
        if let Some(dovecot) = auth {
            let socket = dovecot.folder.path().join("auth");
            main += &format!(
                "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n",
                socket.display()
            );
        }
        if let Some(pair) = own {
            pair.write(&at, "own");
            let at = at.display();
            main +=
                &format!("smtpd_tls_cert_file = {at}/own.crt\nsmtpd_tls_key_file = {at}/own.key\n");
        }
        fs::write(mail.file("etc/main.cf"), main).unwrap();
        let options = options.iter().map(|option| format!("  -o {option}\n"));
        let master = master_cf(mail.address(), &options.collect::<String>());
        fs::write(mail.file("etc/master.cf"), master).unwrap();
        // Makes the folders of the queue.
        run(
            "postfix",
            [Path::new("-c"), &mail.file("etc"), Path::new("check")],
            b"",
        )
        .ok();
        mail.start();
        mail
    }

    /// An Exim that relays for the hosts of `relay_from_hosts`. `settings` are more lines before
    /// the first `begin`.
    pub(crate) fn exim(port: u16, settings: &str, authenticators: &str) -> Self {
        require_root("Exim");
        let mut mail = Self::new(Kind::Exim, port);
        let at = mail.folder.path();
        for name in ["spool", "logs"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        // What it says before it becomes its user goes where it writes as that user.
        fs::write(mail.log(), "").unwrap();
        for path in [at.join("spool"), at.join("logs"), mail.log()] {
            chown(path, Some(exim::OWNER), Some(exim::OWNER)).unwrap();
        }
        let program = packages::program("usr/sbin/exim4", at);
        let hosts = match settings.contains("relay_from_hosts") {
            true => "",
            false => "hostlist relay_from_hosts =\n",
        };
        let text = exim_conf(at, &program, mail.address(), &format!("{hosts}{settings}"));
        fs::write(mail.file("exim.conf"), text + authenticators).unwrap();
        mail.start();
        mail
    }

    fn new(kind: Kind, port: u16) -> Self {
        Self {
            kind,
            folder: folder(),
            home: Loopback::claim(),
            port,
            server: None,
            seen: 0,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.home.port(self.port)
    }

    fn log(&self) -> PathBuf {
        self.file(match self.kind {
            Kind::Dovecot | Kind::Postfix => "log",
            Kind::Exim => "logs/main",
        })
    }

    /// Its configuration files.
    fn files(&self) -> Vec<PathBuf> {
        match self.kind {
            Kind::Dovecot => vec![self.file("dovecot.conf")],
            Kind::Postfix => vec![self.file("etc/main.cf"), self.file("etc/master.cf")],
            Kind::Exim => vec![self.file("exim.conf")],
        }
    }

    /// Runs it, or runs it anew.
    fn start(&mut self) {
        for file in self.files() {
            fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        }
        drop(self.server.take());
        // Its children may listen a little longer than it lives.
        wait::until("the server to be gone", || !is_listened_on(self.address()));
        let log = self.log();
        self.seen = fs::read(&log).map_or(0, |log| log.len());
        let (name, mut command) = match self.kind {
            Kind::Dovecot => {
                let mut command = Command::new("dovecot");
                command.arg("-F").arg("-c").arg(self.file("dovecot.conf"));
                ("dovecot", command)
            }
            Kind::Postfix => {
                let programs = run("postconf", ["-dh", "daemon_directory"], b"").ok();
                let mut command = Command::new(Path::new(programs.trim()).join("master"));
                command.arg("-c").arg(self.file("etc")).arg("-s");
                ("postfix", command)
            }
            Kind::Exim => {
                let mut command = Command::new(self.file("exim4"));
                let file = self.file("exim.conf");
                command.arg("-C").arg(file).arg("-bdf").arg("-q1h");
                exim::with_its_user(&mut command, self.folder.path());
                ("exim", command)
            }
        };
        let mut server = Server::start(name, &mut command, &log);
        wait::until("the server to listen", || {
            assert!(server.ended().is_none(), "{name} ended");
            is_listened_on(self.address())
        });
        self.server = Some(server);
    }

    /// Sets options of Exim, in its authenticator or before all sections; what is there already is
    /// replaced.
    fn set_in_exim(&self, authenticator: bool, lines: &str) {
        const SECTIONS: &str = "begin acl\n";
        const AUTHENTICATORS: &str = "begin authenticators\n";
        let file = self.file("exim.conf");
        let text = fs::read_to_string(&file).unwrap();
        let (main, sections) = text.split_once(SECTIONS).unwrap();
        let (sections, own) = sections.split_once(AUTHENTICATORS).unwrap();
        let (mut main, mut own) = (main.to_owned(), own.to_owned());
        let part = if authenticator { &mut own } else { &mut main };
        for line in lines.lines() {
            let (key, _) = line.split_once('=').unwrap();
            let is_other = |old: &&str| !old.trim_start().starts_with(key);
            let kept: String = part
                .lines()
                .filter(is_other)
                .map(|old| format!("{old}\n"))
                .collect();
            *part = format!("{kept}{line}\n");
        }
        let text = format!("{main}{SECTIONS}{sections}{AUTHENTICATORS}{own}");
        fs::write(file, text).unwrap();
    }

    /// The lines of its log, since it was started last, that have one of these words.
    fn logged(&self, words: &[&str]) -> Vec<String> {
        let log = fs::read(self.log()).unwrap();
        let log = String::from_utf8_lossy(&log[self.seen..]).into_owned();
        let has_one = |line: &&str| words.iter().any(|word| line.contains(word));
        log.lines().filter(has_one).map(str::to_owned).collect()
    }
}

/// Whether something listens there: asked of the kernel, for a connection that says nothing is
/// itself something that servers log.
fn is_listened_on(address: SocketAddr) -> bool {
    const LISTEN: &str = "0A";
    let SocketAddr::V4(address) = address else {
        panic!("{address} is not IPv4");
    };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&local) && fields.nth(1) == Some(LISTEN)
    })
}

fn exim_conf(at: &Path, program: &Path, smtp: SocketAddr, settings: &str) -> String {
    let (at, program, ip, port) = (at.display(), program.display(), smtp.ip(), smtp.port());
    format!(
        "\
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
exim_path = {program}
spool_directory = {at}/spool
log_file_path = {at}/logs/%s
pid_file_path = {at}/spool/exim.pid
primary_hostname = exim.example.org
local_interfaces = {ip}
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
log_selector = +smtp_connection
tls_advertise_hosts =
acl_smtp_rcpt = recipient
{settings}begin acl
recipient:
  accept domains = example.org
  accept hosts = +relay_from_hosts
  deny message = relay not permitted
begin routers
away:
  driver = accept
  transport = nowhere
begin transports
nowhere:
  driver = appendfile
  file = /dev/null
begin authenticators
"
    )
}

fn main_cf(at: &Path) -> String {
    let at = at.display();
    format!(
        "\
compatibility_level = 3.6
queue_directory = {at}/queue
data_directory = {at}/data
maillog_file = {at}/log
maillog_file_prefixes = {at}
inet_interfaces = loopback-only
inet_protocols = ipv4
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_upstream_proxy_timeout = 1s
myhostname = mail.example.org
mydestination = example.org
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
"
    )
}

fn master_cf(address: SocketAddr, options: &str) -> String {
    format!(
        "\
{address} inet n - n - - smtpd
{options}postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
"
    )
}

/// A proxy's configuration, and the server behind it.
pub(crate) struct Stage {
    pub(crate) site: Site,
    pub(crate) mail: Mail,
    /// Every file as it was at first.
    original: Vec<(PathBuf, String)>,
}

impl Stage {
    /// One listener of `protocol`, one upstream with these keys, and the server behind it.
    pub(crate) fn new(ca: &TestCa, protocol: &str, keys: &str, mail: Mail) -> Self {
        let server = mail.address();
        let configuration = format!(
            r#"
[[listener]]
name = "clients"
bind = ["127.0.0.1:9"]
protocol = "{protocol}"
tls = "implicit"
hostname = "mail.example.org"
upstream = "behind"

[[upstream]]
name = "behind"
servers = ["{server}"]
{keys}
"#
        );
        let site = Site::new(ca, &[], &configuration);
        let mut files = mail.files();
        files.push(site.path("proxy.toml"));
        let text = |file: PathBuf| (file.clone(), fs::read_to_string(file).unwrap());
        let original = files.into_iter().map(text).collect();
        Self {
            site,
            mail,
            original,
        }
    }

    /// Makes everything as it was at first.
    fn reset(&mut self) {
        for (file, text) in &self.original {
            fs::write(file, text).unwrap();
        }
        self.mail.start();
    }

    pub(crate) fn probe(&self) -> (Outcome, Printed) {
        let outcome = self.site.command(&["check", "--probe"]);
        let mut servers = read(&outcome);
        assert_eq!(servers.len(), 1, "{outcome:#?}");
        (outcome, servers.remove(0))
    }

    /// Does what is printed.
    fn apply(&mut self, changes: &[Change]) {
        for Change { place, lines } in changes {
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            match place.as_str() {
                "proxy.toml, [[upstream]] \"behind\"" => {
                    set_keys(&self.site.path("proxy.toml"), &lines)
                }
                "dovecot.conf" => append(&self.mail.file("dovecot.conf"), &lines),
                "Postfix's main.cf" => append(&self.mail.file("etc/main.cf"), &lines),
                "Exim's configuration, before the first \"begin\"" => {
                    self.mail.set_in_exim(false, &lines)
                }
                "Exim's configuration, in its authenticators" => {
                    self.mail.set_in_exim(true, &lines)
                }
                place => {
                    let service = format!(
                        "Postfix's master.cf, below the service on port {}",
                        self.mail.port
                    );
                    assert_eq!(place, service);
                    let address = format!("{} inet n - n - - smtpd\n", self.mail.address());
                    let file = self.mail.file("etc/master.cf");
                    let text = fs::read_to_string(&file).unwrap();
                    // An option that is there already is replaced: the last one counts.
                    let (head, rest) = text.split_once(&address).unwrap();
                    let end = rest.find("postlog").unwrap();
                    let (options, rest) = rest.split_at(end);
                    fs::write(file, format!("{head}{address}{options}{lines}{rest}")).unwrap();
                }
            }
        }
        self.mail.start();
    }

    /// The first finding is an error, or a warning, about `subject`; whichever of its remedies is
    /// applied, and whatever else is found and done then, the probe is content in the end, and the
    /// server has nothing to complain of.
    #[track_caller]
    pub(crate) fn is_content_after_each_remedy(&mut self, subject: &str, remedies: usize) {
        let (outcome, found) = self.probe();
        let finding = wrong(&found).unwrap_or_else(|| panic!("content with {outcome:#?}"));
        let (_, text) = finding.text.split_once(": ").unwrap();
        assert!(text.starts_with(&format!("{subject}: ")), "{outcome:#?}");
        assert_eq!(finding.remedies.len(), remedies, "{outcome:#?}");
        if finding.is_error() {
            assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
            assert!(found.headline.contains(": does not work"), "{outcome:#?}");
        }
        for (n, remedy) in finding.remedies.iter().enumerate() {
            if n > 0 {
                self.reset();
            }
            self.apply(remedy);
            self.becomes_content(subject, n);
        }
    }

    fn becomes_content(&mut self, subject: &str, n: usize) {
        const STEPS: usize = 4;
        for _ in 0..STEPS {
            let (outcome, found) = self.probe();
            let Some(finding) = wrong(&found) else {
                assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
                assert!(found.headline.contains(": works ("), "{outcome:#?}");
                self.leaves_no_complaint();
                return;
            };
            let same = finding.text.contains(&format!(": {subject}: "));
            assert!(!same, "remedy {n} did not help: {outcome:#?}");
            let remedy = finding.remedies.first();
            self.apply(remedy.unwrap_or_else(|| panic!("nothing to be done: {outcome:#?}")));
        }
        panic!("not content after {STEPS} steps: {:#?}", self.probe());
    }

    /// A probe that is content gives the server nothing to complain of.
    #[track_caller]
    fn leaves_no_complaint(&mut self) {
        self.mail.start();
        let (outcome, found) = self.probe();
        outcome.ok();
        // Whether it relays is asked on a connection of its own.
        let sessions = match found
            .findings
            .iter()
            .any(|finding| finding.text.starts_with("relay: "))
        {
            true => 2,
            false => 1,
        };
        wait::until("the server to log the end of the sessions", || {
            let ended = ["Disconnected: ", "disconnect from ", "closed by QUIT"];
            let lines = self.mail.logged(&ended).len();
            lines >= sessions
        });
        let complaints = self.mail.logged(&COMPLAINTS);
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// What is to be put right first: an error, else a warning.
fn wrong(found: &Printed) -> Option<&crate::probe::printed::Finding> {
    let mut findings = found.findings.iter();
    let error = findings.find(|finding| finding.is_error());
    error.or_else(|| found.findings.iter().find(|finding| finding.is_warning()))
}

fn append(file: &Path, lines: &str) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text + lines).unwrap();
}

/// Sets keys of the only upstream, which comes last in the file.
fn set_keys(file: &Path, lines: &str) {
    let mut text = fs::read_to_string(file).unwrap();
    for line in lines.lines() {
        let (key, _) = line.split_once(" = ").unwrap();
        let (head, table) = text.split_once("[[upstream]]\n").unwrap();
        let kept = table
            .lines()
            .filter(|old| !old.starts_with(&format!("{key} = ")));
        let kept: String = kept.map(|line| format!("{line}\n")).collect();
        text = format!("{head}[[upstream]]\n{kept}{line}\n");
    }
    fs::write(file, text).unwrap();
}
