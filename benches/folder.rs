//! What a folder of many certificates costs: to start from it, and to change one certificate of it.
//!
//! `cargo bench --bench folder` measures 10,000 and 100,000 certificates, `cargo bench --bench folder --
//! 5000` another number. Each certificate is one file `NAME.pem` with its own P-256 key, itself and an
//! intermediate that all share; beside it `haproxy -c` reads the very same files, if there is an
//! haproxy. Under `cargo test` the folder is small.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gatepost::cert::{CertIndex, LiveIndex, Order};
use gatepost::store::{CertStore, Options, RootSource};
use gatepost::time::Clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// Of so many runs the median is shown.
const STARTS: usize = 3;
const CHANGES: usize = 21;

fn main() {
    let mut numbers: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    if numbers.is_empty() {
        let measuring = std::env::args().any(|argument| argument == "--bench");
        numbers = if measuring {
            vec![10_000, 100_000]
        } else {
            vec![50]
        };
    }
    for number in numbers {
        measure(number);
    }
}

fn measure(number: usize) {
    let place = tempfile::tempdir().expect("there is room for temporary files");
    let folder = place.path().join("sslcert");
    fs::create_dir(&folder).expect("a new folder can be made");
    let authority = Authority::new();
    fs::write(place.path().join("root.pem"), authority.root.pem()).expect("root.pem is written");
    for n in 0..number {
        fs::write(folder.join(format!("host-{n}.pem")), authority.bundle(n))
            .expect("a certificate is written");
    }
    let line = |what: &str, times: Vec<Duration>| {
        let times = sorted(times);
        let median = times[times.len() / 2];
        println!("{number:>7} certificates: {what:<36} {median:>12.3?}");
    };
    line(
        "start",
        (0..STARTS).map(|_| timed(|| drop(open(&place)))).collect(),
    );
    if let Some(times) = haproxy(&place) {
        line("start of haproxy -c", times);
    }
    let store = open(&place);
    let mut more = number..;
    let mut each = |what: &str, change: &dyn Fn(usize, &str)| {
        let times = (0..CHANGES).map(|_| {
            let n = more.next().expect("numbers do not end");
            let bundle = authority.bundle(n);
            timed(|| change(n, &bundle))
        });
        line(what, times.collect());
    };
    each("import one more", &|n, bundle| {
        let name = format!("host-{n}");
        let imported = store.import(bundle.as_bytes(), None, Some(&name));
        imported.expect("it can be served");
        assert!(store.get(&name).is_some());
    });
    each("take up one that was dropped", &|n, bundle| {
        let name = format!("host-{n}");
        fs::write(folder.join(format!("{name}.pem")), bundle).expect("it is written");
        store.refresh();
        assert!(store.get(&name).is_some());
    });
    let mut removed = 0..;
    line(
        "remove one",
        (0..CHANGES)
            .map(|_| {
                let name = format!("host-{}", removed.next().expect("numbers do not end"));
                timed(|| store.remove(&name, true).expect("it is there"))
            })
            .collect(),
    );
    line(
        "look at all, nothing changed",
        (0..STARTS)
            .map(|_| timed(|| store.reload(options(&place)).expect("it can be read")))
            .collect(),
    );
}

fn options(place: &TempDir) -> Options {
    Options {
        directory: place.path().join("sslcert"),
        also: Vec::new(),
        order: Order::Kerio,
        trust: vec![RootSource::File(place.path().join("root.pem"))],
    }
}

fn open(place: &TempDir) -> CertStore {
    let live = LiveIndex::new(CertIndex::new(Vec::new(), None, Order::Kerio));
    let store = CertStore::open_watched(options(place), live, Clock::System);
    store.expect("the folder can be read")
}

/// How long haproxy takes to read the same files, if it is there.
fn haproxy(place: &TempDir) -> Option<Vec<Duration>> {
    let configuration = place.path().join("haproxy.cfg");
    let folder = place.path().join("sslcert");
    let text = format!(
        "defaults\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
         frontend f\n bind 127.0.0.1:19443 ssl crt {}\n",
        folder.display()
    );
    fs::write(&configuration, text).expect("the configuration is written");
    let run = || check(&configuration);
    let first = run()?;
    Some(
        std::iter::once(first)
            .chain((1..STARTS).filter_map(|_| run()))
            .collect(),
    )
}

fn check(configuration: &Path) -> Option<Duration> {
    let began = Instant::now();
    let mut command = Command::new("haproxy");
    let outcome = command
        .args(["-c", "-q", "-f"])
        .arg(configuration)
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(outcome.status.success(), "{said}");
    Some(began.elapsed())
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// A root and an intermediate.
struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let named = |name: &str| {
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters
        };
        let key = || KeyPair::generate().expect("P-256 keys can always be made");
        let root = CertifiedIssuer::self_signed(named("Root"), key());
        let root = root.expect("a root can be made");
        let intermediate = CertifiedIssuer::signed_by(named("Intermediate"), key(), &root);
        let intermediate = intermediate.expect("an intermediate can be made");
        Self { root, intermediate }
    }

    /// Key, certificate and intermediate.
    fn bundle(&self, number: usize) -> String {
        let names = vec![format!("host-{number}.example")];
        let key = KeyPair::generate().expect("P-256 keys can always be made");
        let parameters = CertificateParams::new(names).expect("the name is a name");
        let certificate = parameters.signed_by(&key, &self.intermediate);
        let certificate = certificate.expect("a certificate can be made");
        let chain = certificate.pem() + &self.intermediate.pem();
        key.serialize_pem() + &chain
    }
}
