//! What the files in the folder amount to.

use super::*;

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
fn keys_are_not_printed() {
    let folder = folder();
    put_pair(folder.path(), "mail", &pair("mail.test"));
    let store = open(folder.path());
    let text = format!("{store:?}");
    assert!(text.contains("PrivateKey(secret)"));
    assert!(!text.contains("BEGIN"));
}
