//! Requests, their answers, and what is given out.

use super::*;

fn wanted(hosts: &[&str]) -> NewRequest {
    NewRequest {
        names: new(hosts).names,
        ..NewRequest::default()
    }
}

fn renewal(from: &str) -> NewRequest {
    NewRequest {
        from: Some(from.to_owned()),
        ..NewRequest::default()
    }
}

fn key_pem(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(format!("{name}.key"))).unwrap()
}

/// A CA's certificate for the request of a NAME, with other names if some are given.
fn answer(authority: &Authority, store: &CertStore, name: &str, names: &[&str]) -> String {
    let request = store.export(name, Part::Request).unwrap();
    let mut signed = rcgen::CertificateSigningRequestParams::from_pem(&request).unwrap();
    if !names.is_empty() {
        let names = names.iter().map(|name| (*name).to_owned());
        let others = rcgen::CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        signed.params.subject_alt_names = others.subject_alt_names;
    }
    signed.signed_by(&authority.0).unwrap().pem()
}

fn take(store: &CertStore, pem: &str) -> Result<Imported, StoreError> {
    let bundle = crate::cert::read_bundle(pem.as_bytes()).unwrap();
    store.import_signed(bundle.certificates)
}

#[test]
fn a_request_waits_with_its_key_and_its_answer_takes_its_place() {
    let folder = folder();
    let authority = Authority::new();
    put_file(folder.path(), "trust/company.pem", authority.pem());
    let store = open(folder.path());
    let name = store.request(&wanted(&["mail.test", "*.mail.test"]), None);
    assert_eq!(name.unwrap(), "mail.test");
    assert_eq!(list(&store), ["mail.test?"]);
    let written = ["mail.test.csr", "mail.test.key", "trust"];
    assert_eq!(files(folder.path()), written);
    assert_eq!(mode(&folder.path().join("mail.test.key")), 0o600);
    let key = key_pem(folder.path(), "mail.test");
    assert_eq!(store.export("mail.test", Part::Key).unwrap(), key);

    // Whatever its order, and whatever stands around it.
    let signed = answer(&authority, &store, "mail.test", &[]);
    let imported = take(&store, &format!("{}{signed}", authority.pem())).unwrap();
    assert_eq!(
        (imported.name.as_str(), imported.problems),
        ("mail.test", vec![])
    );
    assert_eq!(list(&store), ["mail.test*"]);
    let credential = store.get("mail.test").unwrap();
    assert_eq!(credential.standing.kind(at(NOW)), StandingKind::Trusted);
    assert_eq!(
        credential.certified_key().cert[0],
        credential.certificate.der
    );
    assert_eq!(
        files(folder.path()),
        ["mail.test.crt", "mail.test.key", "trust"]
    );
    assert_eq!(
        key_pem(folder.path(), "mail.test"),
        key,
        "the key never moves"
    );
    assert_eq!(
        store.export("mail.test", Part::Certificate).unwrap(),
        signed
    );
}

#[test]
fn a_renewal_keeps_the_key_and_what_is_not_said() {
    let folder = folder();
    let authority = Authority::new();
    let store = open(folder.path());
    let subject = Subject {
        country: Some("DE".to_owned()),
        organization: Some("Old".to_owned()),
        unit: Some("Post".to_owned()),
        ..Subject::default()
    };
    let old = NewCertificate {
        subject,
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..new(&["mail.test", "*.mail.test"])
    };
    store.create(&old, Some("mail")).unwrap();
    let (key, served) = (key_pem(folder.path(), "mail"), sha256(&store, "mail"));

    // Asked for as often as one likes.
    for organization in ["First", "Second"] {
        let asked = NewRequest {
            subject: Subject {
                organization: Some(organization.to_owned()),
                unit: Some(String::new()),
                ..Subject::default()
            },
            ..renewal("mail")
        };
        assert_eq!(store.request(&asked, None).unwrap(), "mail");
        assert_eq!(list(&store), ["mail*", "mail?"]);
        assert_eq!(sha256(&store, "mail"), served, "the old one is served on");
        assert_eq!(key_pem(folder.path(), "mail"), key);
        let request = store.waiting("mail").unwrap();
        let expected = format!("CN=mail.test,O={organization},C=DE");
        assert_eq!(request.subject, expected);
        assert_eq!(request.identity.names, old.names);
        assert_eq!(request.identity.addresses, old.addresses);
    }
    let other = NewRequest {
        names: new(&["other.test"]).names,
        ..renewal("mail")
    };
    store.request(&other, None).unwrap();
    let request = store.waiting("mail").unwrap();
    assert_eq!(request.identity.names, other.names);
    assert!(request.identity.addresses.is_empty());

    // The old certificate has the same key, and is no answer.
    let old = store.export("mail", Part::Chain).unwrap();
    let refused = take(&store, &old).unwrap_err();
    assert!(
        matches!(refused, StoreError::NotAnAnswer { .. }),
        "{refused}"
    );
    assert_eq!(list(&store), ["mail*", "mail?"]);

    let signed = answer(&authority, &store, "mail", &[]);
    take(&store, &signed).unwrap();
    assert_eq!(list(&store), ["mail*"]);
    assert_ne!(sha256(&store, "mail"), served);
    assert_eq!(key_pem(folder.path(), "mail"), key);
}

#[test]
fn a_new_key_waits_beside_the_one_that_is_served() {
    let folder = folder();
    let authority = Authority::new();
    let store = open(folder.path());
    store.create(&new(&["mail.test"]), Some("mail")).unwrap();
    let old = key_pem(folder.path(), "mail");
    store
        .request(&wanted(&["mail.test"]), Some("mail"))
        .unwrap();
    assert_eq!(list(&store), ["mail*", "mail?"]);
    let both = scan::read_keys(folder.path(), "mail").unwrap();
    assert_eq!(both.len(), 2);
    assert_eq!(store.export("mail", Part::Key).unwrap(), old);
    assert_eq!(list(&open(folder.path())), ["mail*", "mail?"]);

    // It is given up, and comes back with another key.
    let first = store.waiting("mail").unwrap();
    store.remove_request("mail").unwrap();
    assert_eq!(list(&store), ["mail*"]);
    assert_eq!(key_pem(folder.path(), "mail"), old);
    store
        .request(&wanted(&["mail.test"]), Some("mail"))
        .unwrap();
    let second = store.waiting("mail").unwrap();
    assert_ne!(first.spki, second.spki);

    let signed = answer(&authority, &store, "mail", &[]);
    take(&store, &signed).unwrap();
    let left = scan::read_keys(folder.path(), "mail").unwrap();
    assert_eq!((left.len(), left[0].spki()), (1, &*second.spki));
    assert_eq!(files(folder.path()), ["mail.crt", "mail.key"]);
}

#[test]
fn the_certificate_goes_and_the_request_stays_with_its_own_key() {
    let folder = folder();
    let store = open(folder.path());
    store.create(&new(&["mail.test"]), Some("mail")).unwrap();
    store
        .request(&wanted(&["mail.test"]), Some("mail"))
        .unwrap();
    store.remove("mail", true).unwrap();
    assert_eq!(list(&store), ["mail?"]);
    assert_eq!(scan::read_keys(folder.path(), "mail").unwrap().len(), 1);
    store.remove("mail", false).unwrap();
    assert_eq!(files(folder.path()), [""; 0]);

    store
        .request(&wanted(&["mail.test"]), Some("mail"))
        .unwrap();
    store.remove_request("mail").unwrap();
    assert_eq!(files(folder.path()), [""; 0]);
    let refused = store.remove_request("mail").unwrap_err().to_string();
    assert_eq!(refused, "no request of \"mail\" waits (waiting: none)");
}

#[test]
fn a_request_that_waits_is_asked_for_again_and_never_lost() {
    let folder = folder();
    let store = open(folder.path());
    let name = store.request(&wanted(&["mail.test"]), None).unwrap();
    let first = store.waiting(&name).unwrap();
    for asked in [
        wanted(&["mail.test", "more.test"]),
        renewal(&name),
        NewRequest {
            key: Some(KeyAlgorithm::EcdsaP256),
            ..wanted(&["mail.test"])
        },
    ] {
        assert_eq!(store.request(&asked, Some(&name)).unwrap(), name);
        assert_eq!(store.waiting(&name).unwrap().spki, first.spki);
    }
    let other = NewRequest {
        key: Some(KeyAlgorithm::Rsa2048),
        ..wanted(&["mail.test"])
    };
    let refused = store.request(&other, Some(&name)).unwrap_err();
    let id = first.key_id();
    assert_eq!(
        refused.to_string(),
        format!(
            "a request of \"mail.test\" waits already, with another key (key id {id}): ask again \
             for that key, choose another NAME, or give the request up with \"gatepost cert remove \
             mail.test --request\""
        )
    );
    // Without a NAME it is another request.
    assert_eq!(store.request(&other, None).unwrap(), "mail.test-2");
    store.create(&new(&["b.test"]), Some("b")).unwrap();
    let refused = store.request(&renewal("b"), Some(&name)).unwrap_err();
    assert!(matches!(refused, StoreError::RequestWaits { .. }));
    assert_eq!(list(&store), ["b*", "mail.test?", "mail.test-2?"]);
}

#[test]
fn an_answer_that_nobody_waits_for_says_what_was_looked_for() {
    let folder = folder();
    let authority = Authority::new();
    let store = open(folder.path());
    let stranger = rcgen::KeyPair::generate().unwrap();
    let signed = authority.issue("mail.test", &stranger);
    let id = |store: &CertStore, name| store.waiting(name).unwrap().key_id();
    let of_stranger = {
        let bundle = crate::cert::read_bundle(signed.as_bytes()).unwrap();
        crate::cert::short_id(&crate::cert::spki_of(&bundle.certificates[0]).unwrap())
    };
    let refused = take(&store, &signed).unwrap_err().to_string();
    let looked = "no request waits for the certificate: looked for key id ";
    assert_eq!(refused, format!("{looked}{of_stranger}; waiting: none"));

    store.request(&wanted(&["a.test"]), None).unwrap();
    store.request(&wanted(&["b.test"]), None).unwrap();
    let waiting = format!(
        "waiting: a.test (key id {}), b.test (key id {})",
        id(&store, "a.test"),
        id(&store, "b.test")
    );
    let refused = take(&store, &signed).unwrap_err().to_string();
    assert_eq!(refused, format!("{looked}{of_stranger}; {waiting}"));
    assert_eq!(store.stats().certificates, 0);

    let signed = answer(&authority, &store, "a.test", &[]);
    take(&store, &signed).unwrap();
    let again = take(&store, &signed).unwrap_err().to_string();
    assert!(
        again.ends_with("; it is the certificate of \"a.test\" already"),
        "{again}"
    );
    let nothing = store.import_signed(Vec::new()).unwrap_err();
    assert!(matches!(nothing, StoreError::NoCertificate));
}

#[test]
fn other_names_than_asked_for_are_taken_with_a_warning() {
    let folder = folder();
    let authority = Authority::new();
    let store = open(folder.path());
    store.request(&wanted(&["a.test", "b.test"]), None).unwrap();
    let signed = answer(&authority, &store, "a.test", &["a.test", "www.a.test"]);
    let imported = take(&store, &signed).unwrap();
    let differ: Vec<_> = imported
        .problems
        .iter()
        .filter(|problem| problem.code == ProblemCode::OtherNames)
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(
        differ,
        [
            "not the names that were asked for: the certificate is not for b.test and is also for www.a.test"
        ]
    );
    assert_eq!(list(&store), ["a.test*"]);
}

#[test]
fn of_two_requests_with_one_key_the_one_for_the_names_is_answered() {
    let folder = folder();
    let authority = Authority::new();
    let store = open(folder.path());
    store.request(&wanted(&["a.test"]), Some("a")).unwrap();
    let second = NewRequest {
        names: new(&["b.test"]).names,
        ..renewal("a")
    };
    assert_eq!(store.request(&second, Some("b")).unwrap(), "b");
    assert_eq!(key_pem(folder.path(), "a"), key_pem(folder.path(), "b"));
    let signed = answer(&authority, &store, "b", &[]);
    assert_eq!(take(&store, &signed).unwrap().name, "b");
    assert_eq!(list(&store), ["a?", "b*"]);
}

#[test]
fn a_request_whose_key_is_another_is_set_aside() {
    let folder = folder();
    let store = open(folder.path());
    store.request(&wanted(&["a.test"]), Some("a")).unwrap();
    store.request(&wanted(&["b.test"]), Some("b")).unwrap();
    fs::copy(folder.path().join("a.key"), folder.path().join("b.key")).unwrap();
    let listed = list(&open(folder.path()));
    assert_eq!(listed[0], "a?");
    let expected = "b: b.csr: the request's key is not the key in b.key (request's key id ";
    assert!(listed[1].starts_with(expected), "{listed:?}");
    let store = open(folder.path());
    let refused = store.request(&wanted(&["b.test"]), Some("b")).unwrap_err();
    assert!(
        matches!(refused, StoreError::RequestInTheWay { .. }),
        "{refused}"
    );
    let refused = store.export("b", Part::Request).unwrap_err().to_string();
    assert!(
        refused.starts_with("\"b\" has no request to give out: b.csr: "),
        "{refused}"
    );
}

#[test]
fn what_there_is_not_is_not_given_out() {
    let folder = folder();
    let store = open(folder.path());
    store.request(&wanted(&["a.test"]), Some("a")).unwrap();
    store.create(&new(&["b.test"]), Some("b")).unwrap();
    put_file(folder.path(), "c.crt", "nothing");
    store.reload(options(folder.path())).unwrap();
    for (name, part, expected) in [
        (
            "a",
            Part::Chain,
            "\"a\" has no chain to give out: it is a request that waits for its certificate",
        ),
        (
            "b",
            Part::Request,
            "\"b\" has no request to give out: no request of it waits",
        ),
        ("c", Part::Key, "\"c\" has no key to give out: c.crt: "),
        ("d", Part::Key, "no certificate \"d\" (known: a, b, c)"),
    ] {
        let refused = store.export(name, part).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
    let path = |file: &str| Some(folder.path().join(file));
    let paths = store.paths("b");
    assert_eq!(
        (paths.certificate, paths.key, paths.request),
        (path("b.crt"), path("b.key"), None)
    );
    let paths = store.paths("a");
    assert_eq!(
        (paths.certificate, paths.key, paths.request),
        (None, path("a.key"), path("a.csr"))
    );
}
