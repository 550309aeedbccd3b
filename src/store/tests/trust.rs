//! Where trust comes from, and reloads.

use super::*;

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
