//! The store on real folders.

use std::fs;
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
use crate::store::layout::{FIRST_START, LOCK};

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
        order: Order::Kerio,
        trust: Vec::new(),
    }
}

fn open(directory: &Path) -> CertStore {
    CertStore::open(options(directory), empty_index(), Clock::manual(at(NOW))).unwrap()
}

/// A folder that is past its first start, with nothing in it.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FIRST_START), "").unwrap();
    folder
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

fn files(folder: &Path) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| ![LOCK, FIRST_START].contains(&file.as_str()))
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

#[test]
fn the_first_start_makes_a_certificate_for_this_host() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deeper/sslcert");
    let store = open(&folder);
    assert_eq!(list(&store), ["server*"]);
    assert_eq!(files(&folder), ["default", "server.crt", "server.key"]);
    assert_eq!(
        fs::read_to_string(folder.join("default")).unwrap(),
        "server\n"
    );
    for (file, expected) in [
        ("", 0o700),
        ("server.key", 0o600),
        ("server.crt", 0o644),
        (LOCK, 0o600),
    ] {
        assert_eq!(mode(&folder.join(file)), expected, "{file}");
    }
    let credential = store.get("server").unwrap();
    let localhost = NamePattern::Exact(DnsName::parse("localhost").unwrap());
    assert!(credential.certificate.names.contains(&localhost));
    assert_eq!(credential.certificate.key_type.to_string(), "ecdsa-p256");
    let validity = credential.certificate.validity;
    assert!((729..=731).contains(&((validity.not_after - i64::try_from(NOW).unwrap()) / 86400)));
    assert_eq!(credential.standing.kind(at(NOW)), StandingKind::SelfSigned);
    assert_eq!(credential.problems, []);

    let again = open(&folder);
    assert_eq!(sha256(&again, "server"), sha256(&store, "server"));
}

#[test]
fn what_the_administrator_removed_stays_away() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sslcert");
    let store = open(&folder);
    assert_eq!(
        store.remove("server", false).unwrap_err().to_string(),
        "\"server\" is the default certificate: make another one the default first, or force it"
    );
    store.remove("server", true).unwrap();
    assert_eq!(files(&folder), [""; 0]);
    assert_eq!(
        (store.default_name(), list(&open(&folder))),
        (None, Vec::new())
    );
}

#[test]
fn no_first_certificate_beside_others() {
    for pair in [
        pair("mail.test"),
        ("broken".to_owned(), "broken".to_owned()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        put_pair(folder.path(), "mail", &pair);
        open(folder.path());
        assert_eq!(files(folder.path()), ["mail.crt", "mail.key"]);
    }
    let folder = tempfile::tempdir().unwrap();
    put_file(folder.path(), "default", "mail\n");
    assert_eq!(
        list(&open(folder.path())),
        ["default: default: there is no certificate \"mail\""]
    );
}

#[test]
fn a_lone_key_is_no_obstacle_and_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    put_file(folder.path(), "server.key", "-----BEGIN SOMETHING-----");
    let store = open(folder.path());
    assert_eq!(list(&store), ["server-2*"]);
    assert_eq!(
        fs::read(folder.path().join("server.key")).unwrap(),
        b"-----BEGIN SOMETHING-----"
    );
    let refused = store
        .create(&new(&["mail.test"]), Some("server"))
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::KeyInTheWay { .. }),
        "{refused}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_bad_file_is_set_aside_and_the_others_go_on() {
    let good = pair("good.test");
    let other = pair("other.test");
    let weak = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let half = &good.0[..good.0.len() / 2];
    type Make<'a> = &'a dyn Fn(&Path);
    let cases: &[(Make<'_>, &str)] = &[
        (
            &|f| put_file(f, "x.crt", &good.0),
            "x.crt: no key, x.key is missing",
        ),
        (
            &|f| put_pair(f, "x", &(good.0.clone(), other.1.clone())),
            "x.crt: the certificate's key is not the key in x.key",
        ),
        (
            &|f| put_pair(f, "x", &(good.1.clone(), good.0.clone())),
            "x.crt: no certificate in it, only a key",
        ),
        (
            &|f| put_pair(f, "x", &(good.0.clone(), good.0.clone())),
            "x.key: no private key in it",
        ),
        (
            &|f| put_file(f, "x.pem", &good.0),
            "x.pem: no private key in it",
        ),
        (
            &|f| put_pair(f, "x", &(half.to_owned(), good.1.clone())),
            "x.crt: ",
        ),
        (
            &|f| put_pair(f, "x", &(String::new(), good.1.clone())),
            "x.crt: ",
        ),
        (
            &|f| put_pair(f, "x", &(good.0.clone(), weak.to_owned())),
            "x.key: ",
        ),
        (
            &|f| {
                put_file(f, "x.crt", [0, 159, 146, 150, 255]);
                put_file(f, "x.key", &good.1);
            },
            "x.crt: ",
        ),
        (
            &|f| put_file(f, "x.pem", vec![b'x'; 2 << 20]),
            "x.pem: 2097152 bytes, expected at most 1048576",
        ),
        (
            &|f| fs::create_dir(f.join("x.pem")).unwrap(),
            "x.pem: a folder, expected a regular file",
        ),
        (
            &|f| symlink("gone", f.join("x.pem")).unwrap(),
            "x.pem: a symbolic link to nothing",
        ),
        (
            &|f| symlink("/dev/zero", f.join("x.pem")).unwrap(),
            "x.pem: a device, expected a regular file",
        ),
        (
            &|f| mknodat(CWD, f.join("x.pem"), FileType::Fifo, Mode::RUSR, 0).unwrap(),
            "x.pem: a FIFO, expected a regular file",
        ),
        (
            &|f| drop(std::os::unix::net::UnixListener::bind(f.join("x.pem")).unwrap()),
            "x.pem: a socket, expected a regular file",
        ),
        (
            &|f| mknodat(CWD, f.join("x.csr"), FileType::Fifo, Mode::RUSR, 0).unwrap(),
            "x.csr: a FIFO, expected a regular file",
        ),
        (
            &|f| put_file(f, "x.csr", &good.0),
            "x.csr: no certificate request in it, expected PEM",
        ),
        (
            &|f| put_file(f, "x y.crt", &good.0),
            "x y.crt: the name cannot be used: only the letters a to z, digits, \".\", \"_\" and \"-\" are allowed",
        ),
        (
            &|f| put_file(f, "trust.crt", &good.0),
            "trust.crt: the name cannot be used: the folder uses this name itself",
        ),
        (
            &|f| put_file(f, "trust/x.pem", "nothing"),
            "trust/x.pem: no certificate in it, expected PEM",
        ),
        (
            &|f| put_file(f, "default", "a\nb\n"),
            "default: expected one line with the NAME of a certificate: ",
        ),
    ];
    for (make, expected) in cases {
        let folder = folder();
        put_pair(folder.path(), "good", &good);
        make(folder.path());
        let store = open(folder.path());
        let lines = list(&store);
        assert!(lines.contains(&"good*".to_owned()), "{expected}: {lines:?}");
        assert_eq!(
            (lines.len(), store.stats().set_aside),
            (2, 1),
            "{expected}: {lines:?}"
        );
        let reasons = store.entries().into_iter().filter_map(|entry| match entry {
            Entry::SetAside { problem, .. } => Some(problem),
            _ => None,
        });
        for problem in reasons {
            assert_eq!(problem.code, ProblemCode::SetAside);
            assert!(
                problem.message.starts_with(expected),
                "{expected}: {}",
                problem.message
            );
        }
    }
}

#[test]
fn what_is_none_of_ours_is_not_looked_at() {
    let folder = folder();
    let other = folder.path().join("elsewhere");
    fs::create_dir(&other).unwrap();
    put_pair(folder.path(), "good", &pair("good.test"));
    put_pair(&other, "linked", &pair("linked.test"));
    for file in [
        "README.md",
        "notes",
        ".hidden.crt",
        "good.crt.bak",
        "lone.key",
    ] {
        put_file(folder.path(), file, "nothing");
    }
    put_file(folder.path(), "default", "good\r\n");
    symlink("elsewhere/linked.crt", folder.path().join("l.crt")).unwrap();
    symlink("elsewhere/linked.key", folder.path().join("l.key")).unwrap();
    let store = open(folder.path());
    assert_eq!(list(&store), ["good*", "l"]);
    let expected = Stats {
        updates: 1,
        certificates: 2,
        names: 2,
        set_aside: 0,
    };
    assert_eq!(store.stats(), expected);
}

#[test]
fn key_and_chain_in_one_file_and_several_keys_in_one() {
    let folder = folder();
    let (one, two) = (pair("one.test"), pair("two.test"));
    put_file(folder.path(), "one.pem", format!("{}{}", one.1, one.0));
    put_pair(
        folder.path(),
        "two",
        &(two.0.clone(), format!("{}{}", one.1, two.1)),
    );
    let store = open(folder.path());
    assert_eq!(list(&store).len(), 2);
    assert_eq!(store.stats().set_aside, 0);
}

#[test]
fn oddities_are_reported_and_served() {
    let folder = folder();
    let mail = pair("mail.test");
    put_pair(folder.path(), "mail", &mail);
    let key = folder.path().join("mail.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let store = open(folder.path());
    let problems = &store.get("mail").unwrap().problems;
    assert_eq!(codes(problems), [ProblemCode::KeyReadable]);
    assert_eq!(
        problems[0].message,
        "mail.key holds a private key and has mode 0640, expected 0600: chmod 0600 mail.key"
    );

    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    put_file(folder.path(), "mail.pem", pair("other.test").0);
    store.reload(options(folder.path())).unwrap();
    let problems = &store.get("mail").unwrap().problems;
    assert_eq!(codes(problems), [ProblemCode::Shadowed]);
    assert_eq!(
        problems[0].message,
        "mail.pem is not used: mail.crt comes before it"
    );
}

#[test]
fn what_was_good_is_served_on_until_its_replacement_is() {
    let folder = folder();
    let (old, new) = (pair("mail.test"), pair("mail.test"));
    put_pair(folder.path(), "mail", &old);
    let store = open(folder.path());
    let before = store.get("mail").unwrap();
    store.reload(options(folder.path())).unwrap();
    assert!(
        Arc::ptr_eq(&before, &store.get("mail").unwrap()),
        "unchanged files are not read anew"
    );

    put_file(folder.path(), "mail.crt", &new.0);
    store.reload(options(folder.path())).unwrap();
    assert_eq!(list(&store), ["mail*!"]);
    assert_eq!(store.stats().set_aside, 1);
    assert!(Arc::ptr_eq(&before, &store.get("mail").unwrap()));

    // A change of trust judges it again, from memory.
    put_file(folder.path(), "trust/own.pem", &old.0);
    store.reload(options(folder.path())).unwrap();
    assert_eq!(list(&store), ["mail*!"]);
    assert_eq!(
        store.get("mail").unwrap().standing.kind(at(NOW)),
        StandingKind::Trusted
    );

    put_file(folder.path(), "mail.key", &new.1);
    store.reload(options(folder.path())).unwrap();
    assert_eq!(list(&store), ["mail*"]);
    assert_ne!(sha256(&store, "mail"), Some(before.certificate.sha256));

    fs::remove_file(folder.path().join("mail.crt")).unwrap();
    store.reload(options(folder.path())).unwrap();
    assert_eq!(list(&store), [""; 0]);
}

#[test]
fn names_are_found_by_themselves() {
    let folder = folder();
    let store = open(folder.path());
    let cases: &[(&[&str], Option<&str>, &str)] = &[
        (&["mail.test", "other.test"], None, "mail.test"),
        (&["mail.test"], None, "mail.test-2"),
        (&["mail.test"], None, "mail.test-3"),
        (&["mail.test"], Some("mail.test"), "mail.test"),
        (&["*.mail.test"], None, "_.mail.test"),
        (&["bücher.test"], None, "xn--bcher-kva.test"),
        (&["mail.test"], Some("Office_1"), "Office_1"),
    ];
    for (hosts, name, expected) in cases {
        assert_eq!(store.create(&new(hosts), *name).unwrap(), *expected);
    }
    let address = NewCertificate {
        addresses: vec!["2001:db8::1".parse().unwrap()],
        ..new(&[])
    };
    assert_eq!(store.create(&address, None).unwrap(), "2001-db8--1");
    assert_eq!(store.stats().certificates, 7);
    for name in [
        "",
        ".hidden",
        "default",
        "trust",
        "a/b",
        "..",
        "a b",
        "ü",
        &"x".repeat(241),
    ] {
        let refused = store.create(&new(&["mail.test"]), Some(name)).unwrap_err();
        assert!(matches!(refused, StoreError::BadName { .. }), "{refused}");
    }
    assert_eq!(
        store
            .create(&new(&["mail.test"]), Some("a:b"))
            .unwrap_err()
            .to_string(),
        "\"a:b\" cannot name a certificate: only the letters a to z, digits, \".\", \"_\" and \"-\" are allowed"
    );
}

#[test]
fn import_puts_the_end_entity_first_and_keeps_the_rest() {
    let folder = folder();
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = authority.issue("mail.test", &key);
    put_file(folder.path(), "trust/company.pem", authority.pem());
    let store = open(folder.path());
    let mixed = format!("{}{}{}", authority.pem(), key.serialize_pem(), leaf);
    let imported = store.import(mixed.as_bytes(), None, None).unwrap();
    assert_eq!(imported.name, "mail.test");
    let credential = store.get("mail.test").unwrap();
    assert_eq!(credential.certified_key.cert.len(), 2);
    assert_eq!(credential.certified_key.cert[0], credential.certificate.der);
    assert_eq!(credential.standing.kind(at(NOW)), StandingKind::Trusted);
    assert_eq!(
        files(folder.path()),
        ["mail.test.crt", "mail.test.key", "trust"]
    );
    assert_eq!(mode(&folder.path().join("mail.test.key")), 0o600);
    assert_eq!(mode(&folder.path().join("mail.test.crt")), 0o644);

    // A renewal with the same key needs no key, whatever it is to be called.
    let renewed = authority.issue("renewed.test", &key);
    for name in [None, Some("mail.test"), Some("third")] {
        let imported = store.import(renewed.as_bytes(), None, name).unwrap();
        assert_eq!(imported.name, name.unwrap_or("renewed.test"));
    }
}

#[test]
fn import_answers_a_waiting_request_and_keeps_its_key() {
    let folder = folder();
    let authority = Authority::new();
    let store = open(folder.path());
    store.create(&new(&["mail.test"]), Some("mail")).unwrap();
    let waiting = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::new(vec!["mail.test".to_owned()]).unwrap();
    let request = request.serialize_request(&waiting).unwrap().pem().unwrap();
    let old_key = fs::read_to_string(folder.path().join("mail.key")).unwrap();
    put_file(folder.path(), "mail.csr", request);
    put_file(
        folder.path(),
        "mail.key",
        format!("{old_key}{}", waiting.serialize_pem()),
    );
    store.reload(options(folder.path())).unwrap();
    assert_eq!(list(&store), ["mail*", "mail?"]);

    // Another certificate in between does not cost the request its key, nor does a removal.
    let between = pair("mail.test");
    store
        .import(
            between.0.as_bytes(),
            Some(between.1.as_bytes()),
            Some("mail"),
        )
        .unwrap();
    store.remove("mail", true).unwrap();
    assert_eq!(list(&store), ["mail?"]);
    let answer = authority.issue("mail.test", &waiting);
    store.import(answer.as_bytes(), None, Some("mail")).unwrap();
    assert_eq!(list(&store), ["mail*", "mail?"]);

    store.remove("mail", true).unwrap();
    store.remove("mail", false).unwrap();
    assert_eq!(files(folder.path()), [""; 0]);
}

#[test]
fn what_cannot_be_imported_changes_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let (one, two) = (pair("one.test"), pair("two.test"));
    let both = format!("{}{}", one.0, one.0);
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = format!(
        "no key was given, and no key in {} fits the certificate",
        folder.path().display()
    );
    let cases: &[(&str, Option<&str>, &str)] = &[
        ("", None, "cannot read the certificate that was given"),
        (
            &one.0,
            Some("nonsense"),
            "cannot read the key that was given",
        ),
        (
            &one.1,
            None,
            "found no certificate in what was given, expected PEM (-----BEGIN CERTIFICATE-----)",
        ),
        (
            &one.0,
            Some(&one.0),
            "found no private key in what was given, expected PEM (-----BEGIN PRIVATE KEY-----)",
        ),
        (&one.0, None, &no_key),
        (
            &one.0,
            Some(&two.1),
            "the key that was given is not the key of the certificate",
        ),
        (
            &both,
            Some(&two.1),
            "the key that was given is not the key of any of the 2 certificates",
        ),
        (
            bad,
            Some(&one.1),
            "certificate 1 of what was given cannot be read",
        ),
    ];
    for (certificate, key, expected) in cases {
        let refused = store
            .import(certificate.as_bytes(), key.map(str::as_bytes), None)
            .unwrap_err();
        assert_eq!(refused.to_string(), *expected);
    }
    assert_eq!(
        (files(folder.path()), store.stats().updates),
        (Vec::new(), 1)
    );
}

#[test]
fn import_says_that_a_certificate_is_out_of_date() {
    let folder = folder();
    let clock = Clock::manual(at(NOW));
    let store = CertStore::open(options(folder.path()), empty_index(), clock.clone()).unwrap();
    let mail = pair("mail.test");
    for (now, expected) in [
        (NOW - 90 * 86400, vec![ProblemCode::NotYetValid]),
        (NOW, vec![]),
        (NOW + 100 * 86400, vec![ProblemCode::Expired]),
    ] {
        clock.set(at(now));
        let imported = store
            .import(mail.0.as_bytes(), Some(mail.1.as_bytes()), None)
            .unwrap();
        assert_eq!(codes(&imported.problems), expected);
    }
}

#[test]
fn the_default_is_chosen_kept_and_refused() {
    let folder = folder();
    let store = open(folder.path());
    for name in ["a", "b"] {
        store.create(&new(&["mail.test"]), Some(name)).unwrap();
    }
    put_file(folder.path(), "bad.pem", "nothing");
    store.set_default("b").unwrap();
    assert_eq!(store.default_name().as_deref(), Some("b"));
    assert_eq!(open(folder.path()).default_name().as_deref(), Some("b"));
    let live = store.live.load();
    assert_eq!(live.default_at(at(NOW)).map(|c| &*c.name), Some("b"));
    for (name, expected) in [
        ("c", "no certificate \"c\" (known: a, b, bad)"),
        (
            "bad",
            "\"bad\" cannot be the default certificate: bad.pem: ",
        ),
    ] {
        let refused = store.set_default(name).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
    assert!(matches!(
        store.remove("b", false),
        Err(StoreError::DefaultCertificate { .. })
    ));
    assert!(matches!(
        store.remove("c", true),
        Err(StoreError::Unknown { .. })
    ));
    store.remove("bad", false).unwrap();
    store.remove("b", true).unwrap();
    assert_eq!(files(folder.path()), ["a.crt", "a.key"]);
    assert_eq!(store.default_name().as_deref(), Some("a"));
}

/// What the folder holds before a replacement, and which file of it a NAME is served from.
fn befores() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let (old, lone) = (pair("mail.test"), pair("mail.test"));
    vec![
        ("nothing", vec![]),
        ("a lone key", vec![("mail.key", lone.1.clone())]),
        (
            "a pair",
            vec![("mail.crt", old.0.clone()), ("mail.key", old.1.clone())],
        ),
        (
            "one file",
            vec![("mail.pem", format!("{}{}", old.0, old.1))],
        ),
        (
            "both",
            vec![
                ("mail.crt", old.0.clone()),
                ("mail.key", format!("{}{}", lone.1, old.1)),
                ("mail.pem", format!("{}{}", lone.0, lone.1)),
            ],
        ),
    ]
}

/// Carries out the first `done` steps of what `plan` says, as a process that dies then would.
fn die_after(
    folder: &Path,
    done: usize,
    plan: impl FnOnce(&State, &Listing) -> Vec<Step>,
) -> usize {
    let listing = Listing::read(folder).unwrap();
    let roots = Arc::new(Roots::default());
    let state = State::read(options(folder), roots, &listing, None).unwrap();
    let steps = plan(&state, &listing);
    apply(folder, &steps[..done.min(steps.len())]).unwrap();
    put_file(folder, ".tmp-left", "half a key");
    steps.len()
}

#[test]
fn a_replacement_fits_at_every_step() {
    for (what, before) in befores() {
        let mut done = 0;
        loop {
            let folder = folder();
            before
                .iter()
                .for_each(|(file, contents)| put_file(folder.path(), file, contents));
            let old = sha256(&open(folder.path()), "mail");
            let new = made(&new(&["mail.test"]), at(NOW)).unwrap();
            let sha = Some(new.certificate.sha256);
            let steps = die_after(folder.path(), done, |state, listing| {
                let there = (listing.files("mail"), state.slots.get("mail"));
                change::replace(folder.path(), "mail", &new.chain, &new.key, there).unwrap()
            });
            let store = open(folder.path());
            let found = sha256(&store, "mail");
            assert!(found == old || found == sha, "{what}, {done} of {steps}");
            assert_eq!(store.stats().set_aside, 0, "{what}, {done} of {steps}");
            assert!(
                !files(folder.path()).iter().any(|f| f.starts_with('.')),
                "{what}, {done}"
            );
            if what == "nothing" && found.is_none() {
                assert_eq!(files(folder.path()), [""; 0], "{done} of {steps}");
            }
            if done == steps {
                assert_eq!(found, sha, "{what}");
                assert_eq!(files(folder.path()), ["mail.crt", "mail.key"], "{what}");
                let keys = scan::read_keys(folder.path(), "mail").unwrap();
                let kept = if what == "a lone key" { 2 } else { 1 };
                assert_eq!(keys.len(), kept, "{what}");
                break;
            }
            done += 1;
        }
        assert!(done >= 2, "{what}: {done} steps");
    }
}

#[test]
fn a_removal_leaves_all_or_nothing() {
    for (what, before) in befores().into_iter().skip(2) {
        let mut done = 0;
        loop {
            let folder = folder();
            before
                .iter()
                .for_each(|(file, contents)| put_file(folder.path(), file, contents));
            put_file(folder.path(), "default", "mail\n");
            let old = sha256(&open(folder.path()), "mail");
            assert!(old.is_some());
            let steps = die_after(folder.path(), done, |_, listing| {
                change::remove("mail", listing.files("mail"), true)
            });
            let found = sha256(&open(folder.path()), "mail");
            assert!(found == old || found.is_none(), "{what}, {done} of {steps}");
            let left = files(folder.path());
            assert!(
                !left.iter().any(|file| file.starts_with('.')),
                "{what}, {done}"
            );
            if found.is_none() {
                assert!(
                    !left.contains(&"mail.key".to_owned()),
                    "{what}, {done} of {steps}"
                );
            }
            if done == steps {
                assert_eq!(left, [""; 0], "{what}");
                break;
            }
            done += 1;
        }
    }
}

#[test]
fn the_first_start_is_finished_by_the_next() {
    let mut done = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let steps = die_after(folder.path(), done, |_, listing| {
            let clock = Clock::manual(at(NOW));
            first_start::plan(folder.path(), listing, &clock)
                .unwrap()
                .unwrap()
                .1
        });
        let store = open(folder.path());
        assert_eq!(list(&store), ["server*"], "{done} of {steps}");
        assert_eq!(
            files(folder.path()),
            ["default", "server.crt", "server.key"]
        );
        assert_eq!(
            fs::read_to_string(folder.path().join(FIRST_START)).unwrap(),
            ""
        );
        if done == steps {
            break;
        }
        done += 1;
    }
    assert!(done >= 6, "{done} steps");
}

#[test]
fn two_processes_never_undo_each_others_work() {
    let folder = folder();
    let store = open(folder.path());
    let other = open(folder.path());
    const EACH: usize = 12;
    std::thread::scope(|scope| {
        for (who, store) in [("a", &store), ("b", &other)] {
            scope.spawn(move || {
                for n in 0..EACH {
                    store.create(&new(&["same.test"]), None).unwrap();
                    store.create(&new(&["same.test"]), Some("shared")).unwrap();
                    store.create(&new(&["gone.test"]), Some(who)).unwrap();
                    if n + 1 < EACH {
                        store.remove(who, true).unwrap();
                    }
                }
            });
        }
    });
    store.set_default("b").unwrap();
    other.set_default("a").unwrap();
    let names = list(&open(folder.path()));
    assert_eq!(names.len(), 2 * EACH + 3);
    assert_eq!(names[..2], ["a*", "b"]);
    assert_eq!(list(&other), names);
    assert_eq!(files(folder.path()).len(), 2 * names.len() + 1);
}

#[test]
fn a_failed_reload_changes_nothing() {
    let folder = folder();
    put_pair(folder.path(), "mail", &pair("mail.test"));
    let store = open(folder.path());
    put_pair(folder.path(), "new", &pair("new.test"));
    put_file(folder.path(), "roots/empty.pem", "nothing");
    for (file, expected) in [
        ("gone.pem", "cannot read the trust anchors"),
        (
            "empty.pem",
            "found no trust anchor, expected PEM certificates",
        ),
    ] {
        let path = folder.path().join("roots").join(file);
        let trust = vec![RootSource::File(path.clone())];
        let refused = store
            .reload(Options {
                trust,
                ..options(folder.path())
            })
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{}: {expected}", path.display())
        );
        assert_eq!(
            (list(&store), store.stats().updates),
            (vec!["mail*".to_owned()], 1)
        );
    }
    store.reload(options(folder.path())).unwrap();
    assert_eq!((list(&store).len(), store.stats().updates), (2, 2));
}

#[test]
fn trust_comes_from_files_and_from_the_folder() {
    let folder = folder();
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate().unwrap();
    put_pair(
        folder.path(),
        "mail",
        &(authority.issue("mail.test", &key), key.serialize_pem()),
    );
    let roots = folder.path().join("company-roots");
    fs::write(&roots, authority.pem()).unwrap();
    let store = open(folder.path());
    let standing = || store.get("mail").unwrap().standing.kind(at(NOW));
    assert_eq!(standing(), StandingKind::Valid);
    for trust in [
        RootSource::File(roots),
        RootSource::Mozilla,
        RootSource::System,
    ] {
        let expected = match trust {
            RootSource::File(_) => StandingKind::Trusted,
            _ => StandingKind::Valid,
        };
        store
            .reload(Options {
                trust: vec![trust],
                ..options(folder.path())
            })
            .unwrap();
        assert_eq!(standing(), expected);
    }
    put_file(folder.path(), "trust/company.pem", authority.pem());
    store.reload(options(folder.path())).unwrap();
    assert_eq!(standing(), StandingKind::Trusted);

    // A trust file that breaks is reported, and what it held still counts.
    put_file(folder.path(), "trust/company.pem", "half a file");
    store.reload(options(folder.path())).unwrap();
    assert_eq!(standing(), StandingKind::Trusted);
    assert_eq!(store.stats().set_aside, 1);
    fs::remove_file(folder.path().join("trust/company.pem")).unwrap();
    store.reload(options(folder.path())).unwrap();
    assert_eq!(standing(), StandingKind::Valid);
}

#[test]
fn keys_are_not_printed() {
    let folder = folder();
    put_pair(folder.path(), "mail", &pair("mail.test"));
    let store = open(folder.path());
    let text = format!("{store:?}");
    assert!(text.contains("PrivateKey(secret)"));
    assert!(!text.contains("BEGIN"));
}

#[test]
fn a_change_that_cannot_be_written_changes_nothing() {
    let folder = folder();
    put_file(folder.path(), "b", "b");
    let change = [
        Step::remove("b".to_owned()),
        Step::public("no/where".to_owned(), String::new()),
    ];
    // All is staged in the folder itself before the first step, so only the second one fails here.
    let stopped = apply(folder.path(), &change).unwrap_err();
    assert_eq!(stopped.to_string(), "the change was not completed");
    assert_eq!(
        files(folder.path()),
        [""; 0],
        "and no temporary file is left"
    );
    let gone = folder.path().join("gone");
    let refused = apply(&gone, &[Step::public("a".to_owned(), String::new())]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("{}: cannot write", gone.join("a").display())
    );
}
