//! What a process leaves behind that dies in the middle of a change.

use super::*;

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

/// What is left is no problem for those either who may not tidy up.
fn seen_by_readers(folder: &Path, case: &str) {
    let clock = Clock::manual(at(NOW));
    let store = CertStore::inspect(options(folder), empty_index(), clock).unwrap();
    assert_eq!(store.stats().set_aside, 0, "{case}: {:?}", list(&store));
}

/// Calls `check` with 0, 1 … steps done until it says that this is all of them.
fn at_every_step(mut check: impl FnMut(usize) -> usize) -> usize {
    (0..)
        .find(|done| check(*done) == *done)
        .expect("a change has an end")
}

/// A folder with these files, and the certificate served from it.
fn folder_with(before: &[(&'static str, String)]) -> (TempDir, Option<[u8; 32]>) {
    let folder = folder();
    for (file, contents) in before {
        put_file(folder.path(), file, contents);
    }
    let served = sha256(&open(folder.path()), "mail");
    (folder, served)
}

#[test]
fn a_replacement_fits_at_every_step() {
    for (what, before) in befores() {
        let steps = at_every_step(|done| {
            let (folder, old) = folder_with(&before);
            let new = made(&new(&["mail.test"]), at(NOW)).unwrap();
            let steps = die_after(folder.path(), done, |state, listing| {
                let there = (listing.files("mail"), state.slot("mail"));
                change::replace(folder.path(), "mail", &new.chain, &new.key, there).unwrap()
            });
            let case = format!("{what}, {done} of {steps}");
            seen_by_readers(folder.path(), &case);
            let store = open(folder.path());
            let (found, left) = (sha256(&store, "mail"), files(folder.path()));
            let is_new = found == Some(new.certificate.sha256);
            assert!(found == old || is_new, "{case}");
            assert_eq!(store.stats().set_aside, 0, "{case}");
            assert!(!left.iter().any(|file| file.starts_with('.')), "{case}");
            if what == "nothing" && found.is_none() {
                assert_eq!(left, [""; 0], "{case}");
            }
            if done == steps {
                assert!(is_new, "{case}");
                assert_eq!(left, ["mail.crt", "mail.key"], "{case}");
                let keys = scan::read_keys(folder.path(), "mail").unwrap();
                let kept = if what == "a lone key" { 2 } else { 1 };
                assert_eq!(keys.len(), kept, "{case}");
            }
            steps
        });
        assert!(steps >= 2, "{what}: {steps} steps");
    }
}

#[test]
fn a_removal_leaves_all_or_nothing() {
    for (what, mut before) in befores().into_iter().skip(2) {
        before.push(("default", "mail\n".to_owned()));
        at_every_step(|done| {
            let (folder, old) = folder_with(&before);
            assert!(old.is_some());
            let steps = die_after(folder.path(), done, |state, listing| {
                let slot = state.slot("mail");
                change::remove(folder.path(), "mail", listing.files("mail"), slot, true)
            });
            let case = format!("{what}, {done} of {steps}");
            seen_by_readers(folder.path(), &case);
            let found = sha256(&open(folder.path()), "mail");
            assert!(found == old || found.is_none(), "{case}");
            let left = files(folder.path());
            assert!(!left.iter().any(|file| file.starts_with('.')), "{case}");
            if found.is_none() {
                assert_eq!(left, [""; 0], "{case}");
            }
            steps
        });
    }
}

#[test]
fn the_first_certificate_is_finished_by_the_next_start() {
    let steps = at_every_step(|done| {
        let folder = tempfile::tempdir().unwrap();
        let steps = die_after(folder.path(), done, |_, listing| {
            let clock = Clock::manual(at(NOW));
            let planned = first_certificate::plan(folder.path(), listing, &clock).unwrap();
            planned.unwrap()
        });
        let case = format!("{done} of {steps}");
        seen_by_readers(folder.path(), &case);
        assert_eq!(list(&open(folder.path())), ["server*"], "{case}");
        let left = files(folder.path());
        assert_eq!(left, ["default", "server.crt", "server.key"], "{case}");
        let default = fs::read_to_string(folder.path().join("default")).unwrap();
        assert_eq!(default, "server\n", "{case}");
        steps
    });
    assert_eq!(steps, 5, "note, choice, key, certificate, no note");
}

#[test]
fn a_request_and_its_answer_leave_all_or_nothing() {
    let authority = Authority::new();
    let asked = NewRequest {
        names: new(&["mail.test"]).names,
        ..NewRequest::default()
    };
    for (what, before) in befores()
        .into_iter()
        .filter(|(what, _)| *what != "a lone key")
    {
        let (folder, served) = folder_with(&before);
        let lines = list(&open(folder.path()));
        let waits = |lines: &[String]| lines.contains(&"mail?".to_owned());
        at_every_step(|done| {
            let (folder, _) = folder_with(&before);
            let steps = die_after(folder.path(), done, |state, listing| {
                let key = crate::cert::new_key(KeyAlgorithm::default()).unwrap();
                requests::plan(state, listing, &asked, Some("mail"), Some(key))
                    .unwrap()
                    .0
            });
            let case = format!("request, {what}, {done} of {steps}");
            seen_by_readers(folder.path(), &case);
            let keys_before = before
                .iter()
                .filter(|(file, _)| *file == "mail.key")
                .count();
            let store = open(folder.path());
            assert_eq!(sha256(&store, "mail"), served, "{case}");
            let found = list(&store);
            if !waits(&found) {
                assert_eq!(found, lines, "{case}");
                let keys = scan::read_keys(folder.path(), "mail").map_or(0, |keys| keys.len());
                let left = if what == "both" { 2 } else { keys_before };
                assert_eq!(keys, left, "{case}");
            }
            assert_eq!(waits(&found), done + 1 >= steps, "{case}");
            steps
        });
        at_every_step(|done| {
            let (folder, _) = folder_with(&before);
            let store = open(folder.path());
            store.request(&asked, Some("mail")).unwrap();
            let request = store.export("mail", Part::Request).unwrap();
            let signed = rcgen::CertificateSigningRequestParams::from_pem(&request).unwrap();
            let signed = signed.signed_by(&authority.0).unwrap();
            let key = requests::read(
                folder.path(),
                "mail",
                Listing::files_of(folder.path(), "mail"),
            );
            let key = key.ok().unwrap().key;
            let steps = die_after(folder.path(), done, |state, listing| {
                let there = (listing.files("mail"), state.slot("mail"));
                let chain = [signed.der().clone()];
                change::answer(folder.path(), "mail", (&chain, &key), there).unwrap()
            });
            let case = format!("answer, {what}, {done} of {steps}");
            seen_by_readers(folder.path(), &case);
            let clock = Clock::manual(at(NOW));
            let reader = CertStore::inspect(options(folder.path()), empty_index(), clock).unwrap();
            let store = open(folder.path());
            let found = sha256(&store, "mail");
            assert_eq!(found, sha256(&reader, "mail"), "{case}");
            let answered = found == Some(crate::cert::sha256(signed.der()));
            assert!(answered || found == served, "{case}");
            for store in [&reader, &store] {
                assert_eq!(waits(&list(store)), !answered, "{case}");
            }
            let left = files(folder.path());
            assert!(!left.iter().any(|file| file.starts_with('.')), "{case}");
            if answered {
                assert_eq!(left, ["mail.crt", "mail.key"], "{case}");
            }
            steps
        });
    }
}
