//! The first start, and every later one.

use super::*;

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
