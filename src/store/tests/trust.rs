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

#[test]
fn only_what_changed_is_logged_as_effective() {
    let folder = folder();
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let issued = (authority.issue("mail.test", &key), key.serialize_pem());
    put_pair(folder.path(), "mail", &issued);
    put_pair(folder.path(), "other", &pair("other.test"));
    let store = open(folder.path());
    let effective = |trust: &[RootSource]| {
        let options = Options {
            trust: trust.to_vec(),
            ..options(folder.path())
        };
        let said = logged(|| store.reload(options).unwrap());
        let lines = said
            .lines()
            .filter(|line| line.contains("certificate effective"));
        ["mail", "other"].map(|name| {
            let field = format!(" name={name} ");
            lines.clone().filter(|line| line.contains(&field)).count()
        })
    };
    let company = folder.path().join("company-roots");
    fs::write(&company, authority.pem()).unwrap();
    let company = RootSource::File(company);
    assert_eq!(effective(&[RootSource::Mozilla]), [0, 0]);
    assert_eq!(effective(std::slice::from_ref(&company)), [1, 0]);
    assert_eq!(effective(&[company.clone(), RootSource::Mozilla]), [0, 0]);
    put_pair(folder.path(), "other", &pair("other.test"));
    assert_eq!(effective(&[company]), [0, 1]);
}
