//! What is written for each change, step by step, so that the files of one NAME fit each other
//! at every instant and a process that dies leaves the state before or the state after.

use std::path::Path;

use rustls_pki_types::CertificateDer;

use crate::cert::{PrivateKey, Request, chain_pem};
use crate::store::StoreError;
use crate::store::atomic::{Step, apply, read_regular};
use crate::store::layout::{DEFAULT, Files, Listing};
use crate::store::note::Note;
use crate::store::scan::{Slot, read_keys};

/// Carries a change out. If it fails before the step that decides, what was prepared is taken back.
pub(super) fn carry_out(directory: &Path, steps: &[Step]) -> Result<(), StoreError> {
    let applied = apply(directory, steps);
    if applied.is_err() {
        // Where this fails too, the next writer does it; what is served is not touched by it.
        let listing = Listing::read(directory);
        let _ = listing.and_then(|listing| apply(directory, &leftovers(directory, &listing)));
    }
    applied
}

/// Puts a certificate and its key in the place of whatever has the NAME: both keys, then the
/// certificate, then the new key alone. A key that never had a certificate is kept beside it.
pub(super) fn replace(
    directory: &Path,
    name: &str,
    chain: &[CertificateDer<'_>],
    key: &PrivateKey,
    there: (Files, Option<&Slot>),
) -> Result<Vec<Step>, StoreError> {
    place(directory, name, (chain, key), there, None)
}

/// The same with the answer to the request that waits under this NAME; the request goes.
pub(super) fn answer(
    directory: &Path,
    name: &str,
    pair: (&[CertificateDer<'_>], &PrivateKey),
    there: (Files, Option<&Slot>),
) -> Result<Vec<Step>, StoreError> {
    place(directory, name, pair, there, Some("csr"))
}

/// Puts a pair in its place; `NAME.pem` goes, and what is answered by it.
fn place(
    directory: &Path,
    name: &str,
    (chain, key): (&[CertificateDer<'_>], &PrivateKey),
    (files, slot): (Files, Option<&Slot>),
    answered: Option<&str>,
) -> Result<Vec<Step>, StoreError> {
    let old = old_keys(directory, name, files)?;
    let there = old.iter().any(|old| old.spki() == key.spki());
    let (kept, dropped): (Vec<_>, Vec<_>) = old
        .iter()
        .filter(|old| old.spki() != key.spki())
        .partition(|old| still_needed(old, files, slot));
    let certificate = chain_pem(chain);
    let mut note = Note::default();
    let new = (!there).then_some(key);
    for key in new.into_iter().chain(dropped.iter().copied()) {
        note.key(key.spki());
    }
    let key_file = format!("{name}.key");
    let mut steps = Vec::new();
    if !there {
        let all = std::iter::once(key).chain(&old);
        steps.push(Step::secret(key_file.clone(), text(all)).prepares());
    }
    steps.push(Step::public(format!("{name}.crt"), certificate.clone()));
    if !dropped.is_empty() {
        let left = std::iter::once(key).chain(kept);
        steps.push(Step::secret(key_file, text(left)).tidies());
    }
    for ending in files.pem.then_some("pem").into_iter().chain(answered) {
        let file = format!("{name}.{ending}");
        if let Ok(contents) = read_regular(&directory.join(&file)) {
            note.gone(ending, &contents.bytes, &certificate);
        }
        steps.push(Step::remove(file).tidies());
    }
    Ok(note.around(name, steps))
}

/// Puts a request beside whatever has the NAME, and its key to the keys there.
pub(super) fn request(
    directory: &Path,
    name: &str,
    request: &Request,
    key: &PrivateKey,
    files: Files,
) -> Result<Vec<Step>, StoreError> {
    let old = match files.key {
        true => read_keys(directory, name).map_err(|_| in_the_way(name))?,
        false => Vec::new(),
    };
    let mut note = Note::default();
    let mut steps = Vec::new();
    if !old.iter().any(|old| old.spki() == key.spki()) {
        note.key(key.spki());
        let all = old.iter().chain(std::iter::once(key));
        steps.push(Step::secret(format!("{name}.key"), text(all)).prepares());
    }
    steps.push(Step::public(format!("{name}.csr"), request.to_pem()));
    Ok(note.around(name, steps))
}

/// Removes a certificate with its key, or, if there is none, a request with its key. The key
/// of a request that waits stays, and a key beside a `NAME.pem` that is `served` without it.
pub(super) fn remove(
    directory: &Path,
    name: &str,
    files: Files,
    slot: Option<&Slot>,
    was_default: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    // The one that is not used goes first, or it would be served for an instant.
    if files.pem {
        steps.push(Step::remove(format!("{name}.pem")));
    }
    if files.crt {
        steps.push(Step::remove(format!("{name}.crt")));
    }
    if !files.certificate() {
        steps.push(Step::remove(format!("{name}.csr")));
    }
    let mut note = Note::default();
    if was_default {
        note.choice();
        steps.push(Step::remove(DEFAULT.to_owned()).tidies());
    }
    let loaded = slot.and_then(|slot| slot.loaded.as_ref());
    if files.key && files.csr && files.certificate() {
        let served = loaded.map(|loaded| loaded.key.spki());
        let request = waiting(directory, name);
        let waits = |spki: &[u8]| request.as_ref().is_none_or(|waits| waits.spki == spki);
        if let Some(spki) = served.filter(|spki| !waits(spki)) {
            steps.extend(without_key(directory, name, spki, &mut note));
        }
    } else if files.key && (files.csr || files.crt || loaded.is_none()) {
        match read_keys(directory, name) {
            Ok(keys) => keys.iter().for_each(|key| note.key(key.spki())),
            Err(_) => note.any_key(),
        }
        steps.push(Step::remove(format!("{name}.key")).tidies());
    }
    note.around(name, steps)
}

/// Removes the request of a NAME that has a certificate too; its key goes, unless it is the
/// certificate's.
pub(super) fn remove_request(directory: &Path, name: &str, slot: Option<&Slot>) -> Vec<Step> {
    let mut note = Note::default();
    let mut steps = vec![Step::remove(format!("{name}.csr"))];
    let loaded = slot.and_then(|slot| slot.loaded.as_ref());
    if let (Some(request), Some(loaded)) = (waiting(directory, name), loaded)
        && request.spki != loaded.key.spki()
    {
        steps.extend(without_key(directory, name, &request.spki, &mut note));
    }
    note.around(name, steps)
}

/// Takes one key from those in `NAME.key`.
fn without_key(directory: &Path, name: &str, spki: &[u8], note: &mut Note) -> Option<Step> {
    let keys = read_keys(directory, name).ok()?;
    let left: Vec<_> = keys.iter().filter(|key| key.spki() != spki).collect();
    if left.is_empty() || left.len() == keys.len() {
        return None;
    }
    note.key(spki);
    Some(Step::secret(format!("{name}.key"), text(left.into_iter())).tidies())
}

/// Makes this the default certificate.
pub(super) fn set_default(name: &str) -> Vec<Step> {
    vec![Step::public(DEFAULT.to_owned(), format!("{name}\n"))]
}

/// Puts the first certificate of all into the folder. It is chosen beforehand: once it is there,
/// nobody would come back to do that.
pub(super) fn first(name: &str, chain: &[CertificateDer<'_>], key: &PrivateKey) -> Vec<Step> {
    let mut note = Note::default();
    note.key(key.spki());
    note.choice();
    let steps = vec![
        Step::public(DEFAULT.to_owned(), format!("{name}\n")).prepares(),
        Step::secret(format!("{name}.key"), key.to_pem()).prepares(),
        Step::public(format!("{name}.crt"), chain_pem(chain)),
    ];
    note.around(name, steps)
}

/// Removes what a process that died left behind.
pub(super) fn leftovers(directory: &Path, listing: &Listing) -> Vec<Step> {
    let temporaries = listing.temporaries.iter().cloned().map(Step::remove);
    let notes = listing
        .notes
        .iter()
        .flat_map(|(name, note)| note.settle(directory, name, listing.files(name)));
    temporaries.chain(notes).collect()
}

/// The request of a NAME, if it can be read.
fn waiting(directory: &Path, name: &str) -> Option<Request> {
    let contents = read_regular(&directory.join(format!("{name}.csr"))).ok()?;
    Request::from_pem(&contents.bytes).ok()
}

fn text<'k>(keys: impl Iterator<Item = &'k PrivateKey>) -> String {
    keys.map(PrivateKey::to_pem).collect()
}

/// The keys in `NAME.key`. One that cannot be read is given up only together with the
/// certificate it is replaced with.
fn old_keys(directory: &Path, name: &str, files: Files) -> Result<Vec<PrivateKey>, StoreError> {
    if !files.key {
        return Ok(Vec::new());
    }
    match read_keys(directory, name) {
        Ok(keys) => Ok(keys),
        Err(_) if files.crt && !files.csr => Ok(Vec::new()),
        Err(_) => Err(in_the_way(name)),
    }
}

fn in_the_way(name: &str) -> StoreError {
    StoreError::KeyInTheWay {
        file: format!("{name}.key"),
    }
}

/// Whether a key may belong to something else than the certificate that is replaced.
fn still_needed(key: &PrivateKey, files: Files, slot: Option<&Slot>) -> bool {
    let replaced = slot.and_then(|slot| slot.loaded.as_ref());
    let of_replaced = replaced.is_some_and(|old| old.key.spki() == key.spki());
    (files.csr || !files.crt) && !of_replaced
}
