//! What a certificate costs: time until it can be served, and memory while it can.
//!
//! `cargo bench --bench certificates` makes a folder of 100,000 certificate files, each with a
//! P-256 key of its own and the same intermediate, and has a fresh process of the same program
//! open it. Under `cargo test` there are few.

#![expect(clippy::print_stdout, reason = "what was measured is for the terminal")]

use std::error::Error;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use gatepost::cert::{
    AnchorSource, CertIndex, Credential, LiveIndex, Order, TrustAnchors, read_bundle,
};
use gatepost::store::{CertStore, Options, RootSource};
use gatepost::time::Clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Files of a measurement.
const MANY: usize = 100_000;

/// How many of them are put together one by one under the clock.
const TIMED: usize = 4_000;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, folder] = arguments.as_slice()
        && mode == "--open"
    {
        return open(Path::new(folder));
    }
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let (many, timed) = match measuring {
        true => (MANY, TIMED),
        false => (20, 20),
    };
    let folder = tempfile::tempdir()?;
    fill(folder.path(), many)?;
    put_together(folder.path(), timed)?;
    let opened = Command::new(std::env::current_exe()?)
        .arg("--open")
        .arg(folder.path())
        .status()?;
    assert!(opened.success(), "the folder can be opened");
    Ok(())
}

fn authority(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn names_of(number: usize) -> String {
    format!("host-{number}.domain-{}.example", number / 10)
}

/// `root.pem`, and in `certificates/` one `.crt` and one `.key` for each certificate.
fn fill(folder: &Path, many: usize) -> Result<(), Box<dyn Error>> {
    let root: Issuer = CertifiedIssuer::self_signed(authority("Root")?, KeyPair::generate()?)?;
    let middle: Issuer =
        CertifiedIssuer::signed_by(authority("Intermediate")?, KeyPair::generate()?, &root)?;
    fs::write(folder.join("root.pem"), root.pem())?;
    let certificates = folder.join("certificates");
    fs::create_dir(&certificates)?;
    for number in 0..many {
        let name = names_of(number);
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.clone()])?;
        let leaf = params.signed_by(&key, &middle)?;
        let file = |ending: &str| certificates.join(format!("{name}.{ending}"));
        fs::write(file("crt"), leaf.pem() + &middle.pem())?;
        let mut secret = fs::OpenOptions::new();
        let mut secret = secret
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file("key"))?;
        std::io::Write::write_all(&mut secret, key.serialize_pem().as_bytes())?;
    }
    Ok(())
}

/// Prints what one certificate takes of this thread, from bytes in memory.
fn put_together(folder: &Path, timed: usize) -> Result<(), Box<dyn Error>> {
    let mut anchors = TrustAnchors::new();
    let root = read_bundle(&fs::read(folder.join("root.pem"))?)?;
    for root in root.certificates {
        assert!(anchors.add(root, AnchorSource::Roots), "the root is one");
    }
    anchors.add_mozilla();
    let mut texts = Vec::new();
    for number in 0..timed {
        let file = |ending: &str| {
            let name = format!("{}.{ending}", names_of(number));
            fs::read(folder.join("certificates").join(name))
        };
        texts.push((file("crt")?, file("key")?));
    }
    let (took, read) = on_this_thread(|| {
        let read = texts.iter().map(|(chain, key)| {
            let chain = read_bundle(chain)?.certificates;
            Ok((chain, read_bundle(key)?.keys))
        });
        read.collect::<Result<Vec<_>, Box<dyn Error>>>()
    })?;
    println!("PEM to certificates and key: {:.1} µs", each(took, timed));
    let (took, made) = on_this_thread(|| {
        let made = read
            .into_iter()
            .map(|(chain, keys)| Credential::new("certificate", chain, &keys, &anchors));
        Ok(made.collect::<Result<Vec<_>, _>>()?)
    })?;
    let trusted = made.iter().all(|it| !it.standing.trusted.is_empty());
    assert!(trusted, "the chain leads to the root");
    let bytes: usize = made.iter().map(|it| it.certificate.der.len()).sum();
    println!(
        "Credential::new: {:.1} µs, for certificates of {} bytes",
        each(took, timed),
        bytes / timed
    );
    Ok(())
}

fn each(total: u64, number: usize) -> f64 {
    total as f64 / number as f64 / 1000.0
}

/// What `work` gives, and the nanoseconds of CPU that this thread spent on it.
fn on_this_thread<T>(
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(u64, T), Box<dyn Error>> {
    let spent = || -> Result<u64, Box<dyn Error>> {
        let text = fs::read_to_string("/proc/thread-self/schedstat")?;
        let first = text.split_whitespace().next().ok_or("schedstat is empty")?;
        Ok(first.parse()?)
    };
    let before = spent()?;
    let done = work()?;
    Ok((spent()? - before, done))
}

/// Opens the folder as the proxy does at its start, and prints time and memory.
fn open(folder: &Path) -> Result<(), Box<dyn Error>> {
    let live = LiveIndex::new(CertIndex::new(Vec::new(), None, Order::Kerio));
    let options = Options {
        directory: folder.join("certificates"),
        order: Order::Kerio,
        also: Vec::new(),
        trust: vec![RootSource::File(folder.join("root.pem"))],
    };
    let before = resident()?;
    let begun = Instant::now();
    let store = CertStore::open(options, live, Clock::System)?;
    let took = begun.elapsed();
    let after = resident()?;
    let many = store.stats().certificates;
    println!(
        "{many} certificates opened in {:.2} s, {} bytes of memory each",
        took.as_secs_f64(),
        (after - before) / many
    );
    Ok(())
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.ok_or("no VmRSS")?.parse::<usize>()? * 1024)
}
