//! The store on real folders.

mod changing;
mod dying;
mod reading;
mod start;
mod trust;
mod waiting;
mod watching;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustls_pki_types::UnixTime;
use tempfile::TempDir;

use super::*;
use crate::cert::{
    CertIndex, DnsName, KeyAlgorithm, NamePattern, ProblemCode, StandingKind, Subject, self_signed,
};
use crate::store::atomic::apply;
use crate::store::layout::LOCK;

const NOW: u64 = 1_800_000_000;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn empty_index() -> LiveIndex {
    LiveIndex::new(CertIndex::new(Vec::new(), None, Order::Kerio))
}

fn options(directory: &Path) -> Options {
    Options {
        directory: directory.to_owned(),
        also: Vec::new(),
        order: Order::Kerio,
        trust: Vec::new(),
    }
}

fn open(directory: &Path) -> CertStore {
    CertStore::open(options(directory), empty_index(), Clock::manual(at(NOW))).unwrap()
}

/// What keeps the store from making a certificate in an empty folder.
const IN_THE_WAY: &str = "server.key";

/// A folder in which no certificate is made: with nothing in it but what is in the way.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put_file(folder.path(), IN_THE_WAY, "");
    folder
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile.
pub(super) fn logged(work: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

fn new(hosts: &[&str]) -> NewCertificate {
    NewCertificate {
        names: hosts
            .iter()
            .map(|host| NamePattern::parse(host).unwrap())
            .collect(),
        addresses: Vec::new(),
        subject: Subject::default(),
        days: 90,
        key: KeyAlgorithm::EcdsaP256,
    }
}

fn pair(host: &str) -> (String, String) {
    self_signed(&new(&[host]), at(NOW)).unwrap()
}

fn put_file(folder: &Path, file: &str, contents: impl AsRef<[u8]>) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn put_pair(folder: &Path, name: &str, (certificate, key): &(String, String)) {
    put_file(folder, &format!("{name}.crt"), certificate);
    put_file(folder, &format!("{name}.key"), key);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// All files but the lock and what [`folder`] put there.
fn files(folder: &Path) -> Vec<String> {
    let put_there =
        |file: &str| file == IN_THE_WAY && fs::read(folder.join(file)).unwrap().is_empty();
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file != LOCK && !put_there(file))
        .collect();
    files.sort();
    files
}

/// `cert list` in short: `NAME`, `NAME*` (default), `NAME!` (replaced), `NAME?` (request), `NAME: why`.
fn list(store: &CertStore) -> Vec<String> {
    let line = |entry: &Entry| match entry {
        Entry::Certificate {
            default,
            replaced_by,
            ..
        } => format!(
            "{}{}{}",
            entry.name(),
            if *default { "*" } else { "" },
            if replaced_by.is_some() { "!" } else { "" },
        ),
        Entry::Request { name } => format!("{name}?"),
        Entry::SetAside { name, problem } => format!("{name}: {}", problem.message),
    };
    store.entries().iter().map(line).collect()
}

fn sha256(store: &CertStore, name: &str) -> Option<[u8; 32]> {
    store
        .get(name)
        .map(|credential| credential.certificate.sha256)
}

fn codes(problems: &[Problem]) -> Vec<ProblemCode> {
    problems.iter().map(|problem| problem.code).collect()
}

/// A private CA: its certificate, and leaves that it issues.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Company CA");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, host: &str, key: &rcgen::KeyPair) -> String {
        let parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        parameters.signed_by(key, &self.0).unwrap().pem()
    }
}
