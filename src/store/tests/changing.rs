//! Import, create, remove, set the default.

use super::*;

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
fn import_puts_the_end_entity_first_and_leaves_the_root_out() {
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
    assert_eq!(credential.chain().count(), 1);
    assert_eq!(credential.chain().next(), Some(&credential.certificate.der));
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
    let both = format!("{}{}", one.0, two.0);
    let id = |pair: &(String, String)| {
        let keys = crate::cert::read_bundle(pair.1.as_bytes()).unwrap().keys;
        crate::cert::short_id(keys[0].spki())
    };
    let third = pair("three.test");
    let [id_one, id_two, id_three] = [&one, &two, &third].map(id);
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = format!(
        "no key was given, and no key in {} fits the certificate (key id {id_one})",
        folder.path().display()
    );
    let not_its_key = format!(
        "the key that was given (key id {id_two}) is not the key of the certificate (key id {id_one})"
    );
    let not_theirs = format!(
        "the key that was given (key id {id_three}) is not the key of any of the 2 certificates \
         (key id {id_one}, {id_two})"
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
            "found no certificate in what was given, only a private key",
        ),
        (
            &one.0,
            Some(&one.0),
            "found no private key in what was given as the key, only certificates",
        ),
        (&one.0, None, &no_key),
        (&one.0, Some(&two.1), &not_its_key),
        (&both, Some(&third.1), &not_theirs),
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

#[test]
fn what_is_set_aside_is_removed_or_refused_with_the_reason() {
    use std::os::unix::ffi::OsStrExt;
    let good = pair("good.test");
    let cases: &[(&[&str], &str, Option<&str>)] = &[
        (&["x.crt"], "x", None),
        (&["x.crt", "x.key", "x.pem"], "x", None),
        (&["x.pem", "x.key"], "x", None),
        (&["x.csr"], "x", None),
        (&["x y.crt"], "x y.crt", None),
        (&["default.key"], "default.key", None),
        (
            &["x.pem/"],
            "x",
            Some("x.pem is a folder: remove it by hand"),
        ),
        (
            &["x y.crt/"],
            "x y.crt",
            Some("x y.crt is a folder: remove it by hand"),
        ),
        (
            &["default"],
            "default",
            Some("it says which certificate is the default and is none itself: "),
        ),
        (
            &["trust/x.pem"],
            "trust/x",
            Some("trust/x.pem is for trust anchors and is no certificate of this proxy: "),
        ),
        (
            &["\u{fffd}.crt"],
            "\u{fffd}.crt",
            Some("the file's name is not UTF-8: rename or remove it by hand"),
        ),
    ];
    for (set_aside, name, reason) in cases {
        let folder = folder();
        put_pair(folder.path(), "good", &good);
        for file in *set_aside {
            match file.strip_suffix('/') {
                Some(file) => fs::create_dir(folder.path().join(file)).unwrap(),
                None if file.starts_with('\u{fffd}') => {
                    let file = std::ffi::OsStr::from_bytes(b"\xff.crt");
                    fs::write(folder.path().join(file), "nothing").unwrap();
                }
                None => put_file(folder.path(), file, "nothing"),
            }
        }
        let store = open(folder.path());
        assert_eq!(store.entry(name).unwrap().name(), *name);
        let listed = list(&store);
        let removed = store.remove(name, false);
        match reason {
            None => {
                removed.unwrap();
                assert_eq!(list(&store), ["good*"], "{name}");
                assert_eq!(files(folder.path()), ["good.crt", "good.key"], "{name}");
            }
            Some(reason) => {
                let said = removed.unwrap_err().to_string();
                let expected = format!("{name:?} cannot be removed: {reason}");
                assert!(said.starts_with(&expected), "{said}");
                assert_eq!(list(&store), listed, "{name}");
            }
        }
    }
}
