//! The certificate that is made where there is none to serve, and where none is made.

use super::*;

#[test]
fn a_certificate_for_this_host_is_made_where_there_is_none() {
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
fn an_emptied_folder_works_again_at_the_next_start_and_not_before() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sslcert");
    let store = open(&folder);
    let first = sha256(&store, "server");
    assert_eq!(
        store.remove("server", false).unwrap_err().to_string(),
        "\"server\" is the default certificate: make another one the default first, or force it"
    );
    store.remove("server", true).unwrap();
    store.reload(options(&folder)).unwrap();
    assert_eq!((store.default_name(), list(&store)), (None, Vec::new()));
    assert_eq!(files(&folder), [""; 0]);

    let inspected = CertStore::inspect(options(&folder), empty_index(), Clock::manual(at(NOW)));
    assert_eq!(list(&inspected.unwrap()), [""; 0]);
    assert_eq!(files(&folder), [""; 0]);

    let again = open(&folder);
    assert_eq!(list(&again), ["server*"]);
    assert!(first.is_some() && sha256(&again, "server") != first);

    // A reload that goes to another folder opens that one.
    let other = parent.path().join("other");
    store.reload(options(&other)).unwrap();
    assert_eq!(list(&store), ["server*"]);
}

#[test]
fn a_certificate_is_made_beside_what_cannot_be_served_and_the_default_is_kept() {
    let lost = ("broken".to_owned(), "broken".to_owned());
    let folder = tempfile::tempdir().unwrap();
    put_pair(folder.path(), "mail", &lost);
    put_file(folder.path(), "default", "mail\n");
    let store = open(folder.path());
    assert_eq!(store.default_name().as_deref(), Some("server"));
    assert_eq!(list(&store).len(), 2);
    let default = fs::read_to_string(folder.path().join("default"));
    assert_eq!(default.unwrap(), "mail\n");

    let folder = tempfile::tempdir().unwrap();
    put_pair(folder.path(), "mail", &pair("mail.test"));
    open(folder.path());
    assert_eq!(files(folder.path()), ["mail.crt", "mail.key"]);
}

#[test]
fn what_is_in_the_way_is_not_touched_and_nothing_is_made() {
    for file in ["server.crt", "server.key", "server.pem", "server.csr"] {
        let folder = tempfile::tempdir().unwrap();
        put_file(folder.path(), file, "-----BEGIN SOMETHING-----");
        let mut stats = None;
        let said = logged(|| stats = Some(open(folder.path()).stats()));
        assert_eq!(stats.unwrap().certificates, 0, "{file}");
        assert_eq!(files(folder.path()), [file]);
        assert!(said.contains("no certificate can be served"), "{said}");
        let found = fs::read(folder.path().join(file)).unwrap();
        assert_eq!(found, b"-----BEGIN SOMETHING-----", "{file}");
    }
}

#[test]
fn a_key_of_unknown_use_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    put_file(folder.path(), "server.key", "-----BEGIN SOMETHING-----");
    let refused = open(folder.path())
        .create(&new(&["mail.test"]), Some("server"))
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::KeyInTheWay { .. }),
        "{refused}"
    );
}
