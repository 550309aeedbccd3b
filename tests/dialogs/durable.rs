//! A change is the state before or the state after, whatever happens to the program or the disk in
//! the middle of it: the real binary, killed at every call by which it changes the certificate folder,
//! told at each of them that the disk is full or broken, or on a disk that is full.
//!
//! `strace` does the killing, just before the call. What is left is looked at with the eyes of a
//! reader, who may change nothing, and then of the next writer, who tidies up.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gatepost::cert::{CertIndex, LiveIndex, Order, Request, read_bundle, spki_of};
use gatepost::store::{CertStore, Entry, Options, RootSource};
use gatepost::time::Clock;
use rcgen::CertificateSigningRequestParams;
use tempfile::TempDir;

use super::LISTENER;
use crate::common::ca::{DAY, Issuer, Pair, TestCa};
use crate::common::gatepost::PROGRAM;
use crate::common::process::{Outcome, require_root, run};

/// Calls that may change a file or a folder; a question mark: not on every machine.
const CALLS: &str = "?open,openat,?creat,write,pwrite64,writev,fsync,fdatasync,?rename,renameat,\
                     renameat2,?unlink,unlinkat,?link,linkat,ftruncate,?chmod,fchmod,fchmodat,\
                     ?chown,fchown,fchownat,?mkdir,mkdirat,flock";

/// Tries at the same time: they wait for the disk most of their time.
const AT_ONCE: usize = 4;

/// What stands before [`LISTENER`].
const HEAD: &str = "[certificates]\ntrust = [\"root.pem\"]\n[metrics]\nlisten = \"127.0.0.1:0\"\n";

/// What the folders are made of.
struct Stock {
    root: String,
    issuer: Issuer,
    mail: Pair,
    other: Pair,
    new: Pair,
}

impl Stock {
    fn new() -> Self {
        let ca = TestCa::today();
        Self {
            root: ca.root(),
            issuer: ca.intermediate_until(90 * DAY),
            mail: ca.leaf(&["mail.test"]).issue(),
            other: ca.leaf(&["other.test"]).issue(),
            new: ca.leaf(&["mail.test"]).issue(),
        }
    }
}

/// A configuration and a certificate folder.
struct Site(TempDir);

impl Site {
    fn fresh(stock: &Stock) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::write(site.path("proxy.toml"), format!("{HEAD}{LISTENER}")).unwrap();
        fs::write(site.path("root.pem"), &stock.root).unwrap();
        site
    }

    /// Two certificates, of which one is the default.
    fn two(stock: &Stock) -> Self {
        let site = Self::fresh(stock);
        fs::create_dir(site.folder()).unwrap();
        stock.mail.write(&site.folder(), "mail");
        stock.other.write(&site.folder(), "other");
        fs::write(site.folder().join("default"), "mail\n").unwrap();
        site
    }

    /// The same with what is to be imported.
    fn given(stock: &Stock) -> Self {
        let site = Self::two(stock);
        let text = format!("{}{}", stock.new.chain, stock.new.key);
        fs::write(site.path("given.pem"), text).unwrap();
        site
    }

    /// The same with what is to be imported, in the place of a key and a chain in one file.
    fn given_for_one_file(stock: &Stock) -> Self {
        let site = Self::given(stock);
        let file = |name: &str| site.folder().join(name);
        let text = fs::read_to_string(file("mail.crt")).unwrap();
        let text = text + &fs::read_to_string(file("mail.key")).unwrap();
        fs::write(file("mail.pem"), text).unwrap();
        fs::set_permissions(file("mail.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(file("mail.crt")).unwrap();
        fs::remove_file(file("mail.key")).unwrap();
        site
    }

    /// A request that waits alone, and its answer.
    fn answered(stock: &Stock) -> Self {
        let request = "cert request --hostname mail.test --country DE --name waiting";
        Self::two(stock).asked(stock, request, "waiting")
    }

    /// A request with a key of its own that waits beside a certificate, and its answer.
    fn answered_with_another_key(stock: &Stock) -> Self {
        let request = "cert request --hostname mail.test --country DE --name mail";
        Self::two(stock).asked(stock, request, "mail")
    }

    /// A request with the key of the certificate, and its answer.
    fn renewed(stock: &Stock) -> Self {
        Self::two(stock).asked(stock, "cert request --from mail", "mail")
    }

    fn asked(self, stock: &Stock, request: &str, name: &str) -> Self {
        self.command(&[], request).ok();
        let file = self.folder().join(format!("{name}.csr"));
        let request = fs::read_to_string(file).unwrap();
        let request = CertificateSigningRequestParams::from_pem(&request).unwrap();
        let signed = request.signed_by(&stock.issuer).unwrap().pem();
        let text = format!("{}{signed}", stock.issuer.pem());
        fs::write(self.path("given.pem"), text).unwrap();
        self
    }

    /// The same again, for one try.
    fn copy(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.0.path(), copy.path());
        Self(copy)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.path("sslcert")
    }

    /// Runs a command of the program in the site, by way of another program.
    fn command(&self, by: &[&str], command: &str) -> Outcome {
        let place = format!("--chdir={}", self.0.path().display());
        let words = [place.as_str()].into_iter().chain(by.iter().copied());
        let words = words.chain([PROGRAM]).chain(command.split(' '));
        run("env", words, b"")
    }

    /// What those see who may change nothing.
    fn read(&self) -> Vec<String> {
        self.seen(CertStore::inspect)
    }

    /// What the next writer makes of it.
    fn write(&self) -> Vec<String> {
        self.seen(CertStore::open)
    }

    fn seen<E: std::fmt::Debug>(
        &self,
        open: fn(Options, LiveIndex, Clock) -> Result<CertStore, E>,
    ) -> Vec<String> {
        let options = Options {
            directory: self.folder(),
            also: Vec::new(),
            order: Order::Kerio,
            trust: vec![RootSource::File(self.path("root.pem"))],
        };
        let live = LiveIndex::new(CertIndex::new(Vec::new(), None, Order::Kerio));
        let store = open(options, live, Clock::System).unwrap();
        store.entries().iter().map(line).collect()
    }
}

fn line(entry: &Entry) -> String {
    match entry {
        Entry::Certificate {
            credential,
            default,
            replaced_by,
        } => {
            let certificate = &credential.certificate;
            let default = if *default { "default" } else { "" };
            let sum = certificate.fingerprint();
            let names: Vec<_> = certificate.names.iter().map(ToString::to_string).collect();
            format!(
                "{} {sum} {} {default} {replaced_by:?}",
                credential.name,
                names.join(" ")
            )
        }
        Entry::Request { name } => format!("{name} request"),
        Entry::SetAside { name, problem } => format!("{name} SET ASIDE: {}", problem.message),
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let name = entry.unwrap().file_name();
            (from.join(&name), to.join(&name))
        };
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Every change: what it is, what is there before, and the command.
type Change = (&'static str, fn(&Stock) -> Site, &'static str);

const CHANGES: [Change; 15] = [
    ("the first start", Site::fresh, "cert set-default server"),
    (
        "new",
        Site::two,
        "cert new --hostname new.test --country DE",
    ),
    (
        "new in the place of another",
        Site::two,
        "cert new --hostname new.test --country DE --name mail",
    ),
    (
        "request",
        Site::two,
        "cert request --hostname new.test --country DE",
    ),
    (
        "request with another key",
        Site::two,
        "cert request --hostname new.test --country DE --name mail",
    ),
    ("renewal", Site::two, "cert request --from mail"),
    ("import", Site::given, "cert import given.pem --name new"),
    (
        "import in the place of another",
        Site::given,
        "cert import given.pem --name mail",
    ),
    (
        "import in the place of one file",
        Site::given_for_one_file,
        "cert import given.pem --name mail",
    ),
    ("answer", Site::answered, "cert import-signed given.pem"),
    (
        "answer with another key",
        Site::answered_with_another_key,
        "cert import-signed given.pem",
    ),
    (
        "answer to a renewal",
        Site::renewed,
        "cert import-signed given.pem",
    ),
    (
        "request given up",
        Site::answered_with_another_key,
        "cert remove mail --request",
    ),
    (
        "removal of the default",
        Site::answered_with_another_key,
        "cert remove mail --force",
    ),
    ("choice", Site::two, "cert set-default other"),
];

/// A change, its two states, and its calls.
struct Trial {
    what: &'static str,
    command: &'static str,
    site: Site,
    before: Vec<String>,
    after: Vec<String>,
    /// The calls that change something in the folder.
    calls: Vec<Call>,
    /// How often the state before was found, and the one after.
    found: [AtomicUsize; 2],
}

/// A call to the system.
struct Call {
    name: String,
    /// Among those of this name, from 1.
    number: usize,
    text: String,
}

impl Trial {
    fn new(stock: &Stock, (what, prepare, command): Change) -> Self {
        let site = prepare(stock);
        let before = site.read();
        let whole = site.copy();
        let trace = format!("trace={CALLS}");
        let strace = ["strace", "-f", "-y", "-qq", "-o", "calls", "-e", &trace];
        let outcome = whole.command(&strace, command);
        assert!(outcome.status.success(), "{what}: {outcome:#?}");
        let calls = fs::read_to_string(whole.path("calls")).unwrap();
        let trial = Self {
            what,
            command,
            after: whole.read(),
            calls: changing(&calls),
            before,
            site,
            found: Default::default(),
        };
        assert_ne!(whole.read(), trial.before, "{what}");
        trial.tidy(&whole, what);
        // At least a lock, and one file that is written, synced and renamed.
        assert!(trial.calls.len() >= 5, "{what}: {calls}");
        trial
    }

    fn strace(&self, site: &Site, call: &Call, fault: &str) -> Outcome {
        let trace = format!("trace={}", call.name);
        let inject = format!("inject={}:{fault}:when={}", call.name, call.number);
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        site.command(&strace, self.command)
    }

    /// Whether this is the state after; panics if it is not the one before either. New keys differ
    /// from try to try, so what is new is compared without its fingerprint.
    #[track_caller]
    fn is_after(&self, seen: &[String], case: &str) -> bool {
        let known: HashSet<&String> = self.before.iter().collect();
        let form = |lines: &[String]| -> Vec<String> {
            let form = |line: &String| match known.contains(line) {
                true => line.clone(),
                false => line
                    .split(' ')
                    .filter(|word| word.len() != 64)
                    .collect::<Vec<_>>()
                    .join(" "),
            };
            lines.iter().map(form).collect()
        };
        let is_after = form(seen) == form(&self.after);
        assert!(is_after || seen == self.before, "{case}: {seen:#?}");
        is_after
    }

    /// Nothing is left but what is in use, and keys are for their owner alone.
    #[track_caller]
    fn tidy(&self, site: &Site, case: &str) {
        for entry in fs::read_dir(site.folder()).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            assert!(!file.starts_with('.') || file == ".lock", "{case}: {file}");
            let Some(name) = file.strip_suffix(".key") else {
                continue;
            };
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{case}: {file}");
            let mut used = Vec::new();
            if let Ok(pem) = fs::read(path.with_file_name(format!("{name}.crt"))) {
                let certificates = read_bundle(&pem).unwrap().certificates;
                used.push(spki_of(&certificates[0]).unwrap());
            }
            if let Ok(pem) = fs::read(path.with_file_name(format!("{name}.csr"))) {
                used.push(Request::from_pem(&pem).unwrap().spki);
            }
            let keys = read_bundle(&fs::read(&path).unwrap()).unwrap().keys;
            for key in &keys {
                assert!(used.iter().any(|used| used == key.spki()), "{case}: {file}");
            }
            used.dedup();
            assert_eq!(keys.len(), used.len(), "{case}: {file}");
        }
    }

    /// Killed just before this call.
    fn killed(&self, call: &Call) {
        let case = format!("{}, killed before {} {}", self.what, call.number, call.text);
        let site = self.site.copy();
        let outcome = self.strace(&site, call, "signal=KILL");
        assert!(!outcome.status.success(), "{case}: {outcome:#?}");
        let read = self.is_after(&site.read(), &case);
        self.found[usize::from(read)].fetch_add(1, Ordering::SeqCst);
        if self.what == "the first start" && !site.folder().exists() {
            return;
        }
        let written = self.is_after(&site.write(), &case);
        // Whoever comes to an empty folder makes the first certificate.
        assert!(written == read || self.what == "the first start", "{case}");
        self.tidy(&site, &case);
    }

    /// Told at this call that the disk is full, or broken.
    fn failed(&self, call: &Call, error: &str, text: &str) {
        let case = format!("{}, {error} at {} {}", self.what, call.number, call.text);
        let site = self.site.copy();
        let outcome = self.strace(&site, call, &format!("error={error}"));
        let is_after = self.is_after(&site.read(), &case);
        if outcome.status.success() {
            assert!(is_after, "{case}: {outcome:#?}");
        } else {
            let said = &outcome.stderr;
            assert!(
                said.contains("sslcert") && said.contains(text),
                "{case}: {said}"
            );
            // Whether the disk has what decides is not known then.
            let unsure = said.contains("the change was not completed");
            assert!(
                !is_after || unsure || self.what == "the first start",
                "{case}: {said}"
            );
        }
        if site.folder().exists() {
            site.write();
            self.tidy(&site, &case);
        }
    }
}

/// The calls that change something in the certificate folder.
fn changing(log: &str) -> Vec<Call> {
    let mut threads = HashSet::new();
    let mut numbers = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let (thread, text) = line.split_once(' ').unwrap();
        threads.insert(thread);
        let Some((name, _)) = text.trim_start().split_once('(') else {
            continue;
        };
        let number = numbers.entry(name).or_insert(0);
        *number += 1;
        let reads = name.starts_with("open") && text.contains("O_RDONLY");
        // To sync a folder it is opened, and not to list it.
        let syncs = text.contains("sslcert\", O_RDONLY") && !text.contains("O_DIRECTORY");
        if text.contains("sslcert") && (!reads || syncs) {
            calls.push(Call {
                name: name.to_owned(),
                number: *number,
                text: text.to_owned(),
            });
        }
    }
    // They are counted for each thread by itself.
    assert_eq!(threads.len(), 1, "{log}");
    calls
}

/// Does this for every call of every change, some at a time.
fn at_every_call(work: impl Fn(&Trial, &Call) + Sync) -> Vec<Trial> {
    let stock = Stock::new();
    let trials: Vec<_> = CHANGES.map(|change| Trial::new(&stock, change)).into();
    let all: Vec<_> = trials
        .iter()
        .flat_map(|trial| trial.calls.iter().map(move |call| (trial, call)))
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((trial, call)) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    work(trial, call);
                }
            });
        }
    });
    trials
}

#[test]
fn killed_at_any_call_it_leaves_the_state_before_or_after() {
    for trial in at_every_call(Trial::killed) {
        let found = trial.found.map(AtomicUsize::into_inner);
        let seen = found.iter().all(|times| *times > 0);
        assert!(
            seen,
            "{}: {found:?} of the states before and after",
            trial.what
        );
    }
}

#[test]
fn an_error_at_any_call_is_said_and_leaves_the_state_before_or_after() {
    at_every_call(|trial, call| {
        trial.failed(call, "ENOSPC", "No space left on device");
        trial.failed(call, "EIO", "Input/output error");
    });
}

/// What the script below does on a disk on which page after page becomes free.
const FULL: &str = r#"
mount -t tmpfs -o size=256k,mode=0700 none sslcert
cp -a before/. sslcert/
"$1" cert list --json > list.0 || exit 1
cat /dev/zero > sslcert/filler 2>/dev/null
for try in $(seq 1 40); do
    "$@" > "said.$try" 2>&1 && status=0 || status=$?
    echo "$status" > "status.$try"
    "$1" cert list --json > "list.$try" || exit 1
    [ "$status" -ne 0 ] || exit 0
    truncate --size=-4096 sslcert/filler || exit 1
done
exit 1
"#;

#[test]
fn on_a_full_disk_nothing_changes_and_the_reason_is_said() {
    require_root("a file system of the test's own");
    let stock = Stock::new();
    for (what, prepare, command) in CHANGES {
        let site = prepare(&stock);
        let file = |name: &str, number: usize| {
            let path = site.path(&format!("{name}.{number}"));
            fs::read_to_string(path).unwrap()
        };
        match site.folder().exists() {
            true => fs::rename(site.folder(), site.path("before")).unwrap(),
            false => fs::create_dir(site.path("before")).unwrap(),
        }
        fs::create_dir(site.folder()).unwrap();
        // In a mount namespace of its own, which ends with the script.
        let by = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            FULL,
            "sh",
        ];
        let outcome = site.command(&by, command);
        assert!(outcome.status.success(), "{what}: {outcome:#?}");
        let mut tries = 1;
        while file("status", tries) != "0\n" {
            let said = file("said", tries);
            let cause = said.contains("No space left on device (os error 28)");
            assert!(cause && said.contains("sslcert/"), "{what}: {said}");
            assert_eq!(said.lines().count(), 1, "{what}: {said}");
            assert_eq!(file("list", tries), file("list", 0), "{what}, {tries}");
            tries += 1;
        }
        assert!(tries > 1, "{what}: the disk was not full");
        assert_ne!(file("list", tries), file("list", 0), "{what}");
    }
}
