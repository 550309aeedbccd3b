//! What others do in the folders, taken up piece by piece.

use std::path::PathBuf;

use super::*;
use crate::store::refresh::Patience;

/// A watched store that believes what is worse at once, or never.
fn watched(options: Options, patience: Duration) -> CertStore {
    let clock = Clock::manual(at(NOW));
    let store = CertStore::open_watched(options, empty_index(), clock).unwrap();
    store.write().patience = Patience(patience);
    store
}

const NEVER: Duration = Duration::from_secs(24 * 3600);

fn also(directory: &Path, folders: &[PathBuf]) -> Options {
    Options {
        also: folders.to_vec(),
        ..options(directory)
    }
}

/// [`list`], whichever stands in as the default.
fn names(store: &CertStore) -> Vec<String> {
    let lines = list(store).into_iter();
    lines.map(|line| line.replace('*', "")).collect()
}

/// Carries out a change and looks at the folders; what is logged meanwhile.
fn seen(store: &CertStore, change: impl FnOnce()) -> String {
    change();
    logged(|| {
        store.refresh();
    })
}

#[test]
fn what_is_dropped_changed_renamed_and_removed_is_taken_up() {
    let folder = folder();
    let path = folder.path();
    let store = watched(options(path), Duration::ZERO);
    let (old, new) = (pair("mail.test"), pair("mail.test"));
    let said = seen(&store, || put_pair(path, "mail", &old));
    assert_eq!(said.matches("certificate effective").count(), 1, "{said}");
    let first = sha256(&store, "mail");
    assert!(first.is_some());
    let live = store.live.load();
    assert_eq!(live.default_at(at(NOW)).map(|it| &*it.name), Some("mail"));

    seen(&store, || put_pair(path, "mail", &new));
    assert!(first != sha256(&store, "mail"));
    let said = seen(&store, || {
        for ending in ["crt", "key"] {
            let (from, to) = (format!("mail.{ending}"), format!("post.{ending}"));
            fs::rename(path.join(from), path.join(to)).unwrap();
        }
    });
    assert_eq!(list(&store), ["post*"]);
    assert!(said.contains("certificate gone name=mail"), "{said}");
    seen(&store, || put_file(path, "default", "post\n"));
    assert_eq!(store.state.load().default.as_deref(), Some("post"));
    seen(&store, || fs::remove_file(path.join("post.crt")).unwrap());
    assert_eq!(
        list(&store),
        ["default: default: there is no certificate \"post\""]
    );
    assert_eq!(store.stats().set_aside, 1);
    let updates = store.stats().updates;
    assert_eq!(seen(&store, || put_file(path, "notes", "nothing")), "");
    assert_eq!(store.stats().updates, updates, "nothing to publish");
}

#[test]
fn half_of_a_change_costs_nobody_a_certificate_and_no_line_of_the_log() {
    let folder = folder();
    let path = folder.path();
    let (old, new) = (pair("mail.test"), pair("mail.test"));
    put_pair(path, "mail", &old);
    put_file(path, "default", "mail\n");
    put_file(path, "trust/own.pem", &old.0);
    let store = watched(options(path), NEVER);
    let before = sha256(&store, "mail");
    let halves: [&dyn Fn(); 6] = [
        &|| put_file(path, "mail.crt", &new.0),
        &|| put_file(path, "mail.crt", &new.0[..300]),
        &|| fs::remove_file(path.join("mail.crt")).unwrap(),
        &|| put_file(path, "default", "ma"),
        &|| put_file(path, "trust/own.pem", "half"),
        &|| put_file(path, "other.crt", &new.0),
    ];
    for half in halves {
        assert_eq!(seen(&store, half), "");
        assert_eq!(
            (list(&store), store.stats().set_aside),
            (vec!["mail*".to_owned()], 0)
        );
        assert_eq!(sha256(&store, "mail"), before);
        assert!(
            store.refresh() < Duration::from_secs(1),
            "it comes back soon"
        );
    }
    let said = seen(&store, || {
        put_pair(path, "mail", &new);
        put_file(path, "other.key", &new.1);
        put_file(path, "default", "other\n");
        put_file(path, "trust/own.pem", &new.0);
    });
    assert!(!said.contains("set aside"), "{said}");
    assert_eq!(list(&store), ["mail", "other*"]);
    assert!(before != sha256(&store, "mail"));

    // What stays half is believed in the end.
    store.write().patience = Patience(Duration::ZERO);
    let said = seen(&store, || put_file(path, "mail.crt", &old.0));
    assert!(
        said.contains("certificate set aside name=\"mail\""),
        "{said}"
    );
    assert_eq!(list(&store), ["mail!", "other*"]);
}

#[test]
fn a_change_of_one_name_leaves_the_others_unread() {
    let folder = folder();
    let path = folder.path();
    let two = pair("two.test");
    put_pair(path, "one", &pair("one.test"));
    put_pair(path, "two", &two);
    let store = watched(options(path), Duration::ZERO);
    let one = store.get("one").unwrap();
    // Only whoever reads it again can know.
    put_file(path, "one.crt", "nothing");
    drop(store.write().watch.as_mut().unwrap().told());
    store.create(&new(&["three.test"]), Some("three")).unwrap();
    store.import(two.0.as_bytes(), None, Some("two")).unwrap();
    store.remove("two", true).unwrap();
    seen(&store, || put_pair(path, "four", &two));
    assert_eq!(names(&store), ["four", "one", "three"]);
    assert!(Arc::ptr_eq(&one, &store.get("one").unwrap()));
    store.reload(options(path)).unwrap();
    assert_eq!(names(&store), ["four", "one!", "three"]);
}

#[test]
fn our_own_changes_are_not_read_twice() {
    let folder = folder();
    let store = watched(options(folder.path()), Duration::ZERO);
    store.create(&new(&["mail.test"]), Some("mail")).unwrap();
    store.set_default("mail").unwrap();
    let (slots, updates) = (store.state.load().slots.clone(), store.stats().updates);
    assert_eq!(seen(&store, || {}), "");
    assert!(slots.is(&store.state.load().slots));
    assert_eq!(store.stats().updates, updates);
}

#[test]
fn a_folder_that_is_another_one_now_is_read_and_watched() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sslcert");
    fs::create_dir(&folder).unwrap();
    put_pair(&folder, "old", &pair("old.test"));
    let store = watched(options(&folder), Duration::ZERO);
    fs::rename(&folder, parent.path().join("away")).unwrap();
    let said = seen(&store, || {});
    assert!(said.contains("cannot list the folder"), "{said}");
    assert_eq!(list(&store), ["old*"], "served on");
    assert_eq!(seen(&store, || {}), "", "said once");
    fs::create_dir(&folder).unwrap();
    put_pair(&folder, "new", &pair("new.test"));
    seen(&store, || {});
    assert_eq!(list(&store), ["new*"]);
    seen(&store, || put_pair(&folder, "more", &pair("more.test")));
    assert_eq!(list(&store).len(), 2);
    // One that is a symbolic link and leads elsewhere from now on.
    let link = parent.path().join("link");
    symlink("away", &link).unwrap();
    store.reload(options(&link)).unwrap();
    assert_eq!(list(&store), ["old*"]);
    fs::remove_file(&link).unwrap();
    seen(&store, || symlink("sslcert", &link).unwrap());
    assert_eq!(list(&store).len(), 2);
}

/// As certbot lays it out: `live/NAME` holds links into `archive/NAME`.
fn certbot(base: &Path, name: &str, number: u32, (certificate, key): &(String, String)) {
    let (archive, live) = (
        base.join("archive").join(name),
        base.join("live").join(name),
    );
    fs::create_dir_all(&live).unwrap();
    for (file, contents) in [("fullchain", certificate), ("privkey", key)] {
        put_file(&archive, &format!("{file}{number}.pem"), contents);
        let link = live.join(format!("{file}.pem"));
        let _ = fs::remove_file(&link);
        symlink(format!("../../archive/{name}/{file}{number}.pem"), link).unwrap();
    }
}

/// Looks again until what nobody tells of has been looked at as well.
fn look_elsewhere(store: &CertStore) {
    while !store.write().watch.as_ref().unwrap().is_due() {
        std::thread::yield_now();
    }
    store.refresh();
}

#[test]
fn folders_of_others_are_read_and_never_written() {
    let parent = tempfile::tempdir().unwrap();
    let (own, base) = (parent.path().join("sslcert"), parent.path().join("le"));
    let (live, flat) = (base.join("live"), parent.path().join("flat"));
    let first = pair("mail.test");
    certbot(&base, "mail.test", 1, &first);
    put_file(&live, "README", "do not touch");
    fs::create_dir(live.join("empty")).unwrap();
    put_pair(&flat, "a", &pair("a.test"));
    put_file(&flat, ".tmp-theirs", "");
    put_file(&flat, "b.csr", "theirs");
    put_file(&flat.join("acme.test_ecc"), "fullchain.cer", &first.0);
    put_file(&flat.join("acme.test_ecc"), "acme.test.key", &first.1);
    let gone = parent.path().join("gone");
    let store = watched(
        also(&own, &[live.clone(), flat.clone(), gone.clone()]),
        Duration::ZERO,
    );
    let missing = format!(
        "gone: {}: cannot list the folder: No such file or directory (os error 2)",
        gone.display()
    );
    let all = ["flat/a", "flat/acme.test_ecc", &missing, "live/mail.test"];
    assert_eq!(names(&store), all);

    // Renewed, then another one made, then one taken away.
    let second = pair("mail.test");
    certbot(&base, "mail.test", 2, &second);
    look_elsewhere(&store);
    let served = store.get("live/mail.test").unwrap();
    assert_eq!(chain_of(&served), second.0);
    certbot(&base, "other.test", 1, &pair("other.test"));
    put_pair(&live.join("empty"), "not-looked-at", &first);
    put_file(&flat, "b.pem", format!("{}{}", first.0, first.1));
    look_elsewhere(&store);
    fs::remove_dir_all(flat.join("acme.test_ecc")).unwrap();
    put_file(&gone, "late.crt", "nothing");
    look_elsewhere(&store);
    let all = ["flat/a", "flat/b", "live/mail.test", "live/other.test"];
    assert!(
        !own.join("server.crt").exists(),
        "there is something to serve"
    );
    let without_late: Vec<_> = names(&store)
        .into_iter()
        .filter(|line| !line.starts_with("gone/late: gone/late.crt: "))
        .collect();
    assert_eq!(
        (list(&store).len(), without_late.as_slice()),
        (5, &all.map(str::to_owned)[..])
    );

    let paths = store.paths("live/mail.test");
    let at = |file: &str| Some(live.join("mail.test").join(file));
    assert_eq!(
        (paths.certificate, paths.key),
        (at("fullchain.pem"), at("privkey.pem"))
    );

    // They are chosen as the default, and neither removed nor replaced.
    store.set_default("live/mail.test").unwrap();
    assert_eq!(store.default_name().as_deref(), Some("live/mail.test"));
    let refused = store
        .remove("live/mail.test", true)
        .unwrap_err()
        .to_string();
    let file = live.join("mail.test/fullchain.pem");
    let expected = format!(
        "\"live/mail.test\" cannot be removed: {} belongs to another program",
        file.display()
    );
    assert!(refused.starts_with(&expected), "{refused}");
    let refused = store
        .import(
            first.0.as_bytes(),
            Some(first.1.as_bytes()),
            Some("live/mail.test"),
        )
        .unwrap_err();
    assert!(matches!(refused, StoreError::BadName { .. }), "{refused}");
    assert!(flat.join(".tmp-theirs").exists() && !flat.join(LOCK).exists());
    assert_eq!(chain_of(&store.get("live/mail.test").unwrap()), second.0);

    // A folder that goes away, as an unmounted one does, is served on; one that is not asked for
    // any more is not.
    fs::rename(&flat, parent.path().join("unmounted")).unwrap();
    store.refresh();
    assert!(store.get("flat/a").is_some());
    store.reload(also(&own, &[live])).unwrap();
    assert!(store.get("flat/a").is_none() && store.get("live/mail.test").is_some());
}

fn chain_of(credential: &Credential) -> String {
    crate::cert::chain_pem(&credential.chain().cloned().collect::<Vec<_>>())
}

#[test]
fn what_lies_behind_links_is_looked_at() {
    let folder = folder();
    let path = folder.path();
    let base = path.join("le");
    let first = pair("mail.test");
    certbot(&base, "mail.test", 1, &first);
    for (file, link) in [("fullchain", "mail.crt"), ("privkey", "mail.key")] {
        symlink(format!("le/live/mail.test/{file}.pem"), path.join(link)).unwrap();
    }
    let store = watched(options(path), Duration::ZERO);
    assert_eq!(list(&store), ["mail*"]);
    let second = pair("mail.test");
    certbot(&base, "mail.test", 2, &second);
    look_elsewhere(&store);
    assert_eq!(chain_of(&store.get("mail").unwrap()), second.0);
    // A folder on the way that is a link, as Kubernetes makes them.
    fs::rename(&base, path.join("v1")).unwrap();
    let third = pair("mail.test");
    certbot(&path.join("v2"), "mail.test", 1, &third);
    symlink("v2", &base).unwrap();
    look_elsewhere(&store);
    assert_eq!(chain_of(&store.get("mail").unwrap()), third.0);
}

#[test]
fn without_notification_the_folder_is_looked_at() {
    let folder = folder();
    let path = folder.path();
    let store = watched(options(path), Duration::ZERO);
    store.write().watch.as_mut().unwrap().deafen();
    put_pair(path, "mail", &pair("mail.test"));
    look_elsewhere(&store);
    assert_eq!(list(&store), ["mail*"]);
    // A change of ours knows of what others did, without waiting for the next look.
    put_pair(path, "other", &pair("other.test"));
    store.set_default("other").unwrap();
    assert_eq!(list(&store), ["mail", "other*"]);
}

#[test]
fn a_certificate_that_cannot_be_used_is_not_lost_sight_of() {
    let folder = folder();
    put_file(folder.path(), "mail.crt", &pair("mail.test").0);
    put_file(folder.path(), "bad.pem", "nothing");
    let store = open(folder.path());
    let known: Vec<_> = store
        .unusable()
        .into_iter()
        .map(|(name, certificate)| (name, certificate.map(|it| it.validity.not_after)))
        .collect();
    let end = i64::try_from(NOW).unwrap() + 90 * 86_400;
    assert_eq!(known.len(), 2);
    assert_eq!(known[0], ("bad".to_owned(), None));
    assert!((known[1].1.unwrap() - end).abs() <= 86_400, "{known:?}");
}

#[test]
fn time_is_told_in_the_log_whichever_way_it_goes() {
    let folder = folder();
    let path = folder.path();
    put_pair(path, "old", &pair("mail.test"));
    let clock = Clock::manual(at(NOW));
    let store = CertStore::open(options(path), empty_index(), clock.clone()).unwrap();
    let tell = |now: u64| {
        clock.set(at(now));
        logged(|| {
            if store.time_has_come() {
                store.tell_time();
            }
        })
    };
    let later = NOW + 60 * 86_400;
    assert_eq!(tell(later), "");
    let next = self_signed(&new(&["mail.test"]), at(later)).unwrap();
    put_pair(path, "next", &next);
    store.reload(options(path)).unwrap();
    let end = NOW + 90 * 86_400;
    assert_eq!(tell(end), "", "its last second");
    let said = tell(end + 1);
    assert!(
        said.contains("certificate expired name=\"old\" was=\"self-signed\" instead=\"next\""),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(tell(end + 2), "");
    let back = tell(NOW - 1);
    assert!(
        back.contains("certificate changed its standing name=\"old\" was=\"expired\" standing=\"not-yet-valid\""),
        "{back}"
    );
    // Both are over at last, and with them the default.
    let said = tell(later + 91 * 86_400);
    assert_eq!(said.matches("certificate expired").count(), 2, "{said}");
    assert!(
        said.contains("the default certificate has expired"),
        "{said}"
    );
}
