//! What is written for each change, step by step, so that the files of one NAME fit each other
//! at every instant and a process that dies leaves the state before or the state after.

use std::path::Path;

use rustls_pki_types::CertificateDer;

use crate::cert::{PrivateKey, chain_pem};
use crate::store::StoreError;
use crate::store::atomic::{Step, read_regular};
use crate::store::layout::{DEFAULT, Files, Listing, UNSETTLED};
use crate::store::scan::{Slot, read_keys};

/// Puts a certificate and its key in the place of whatever has the NAME: both keys, then the
/// certificate, then the new key alone. A key that never had a certificate is kept beside it.
pub(super) fn replace(
    directory: &Path,
    name: &str,
    chain: &[CertificateDer<'_>],
    key: &PrivateKey,
    (files, slot): (Files, Option<&Slot>),
) -> Result<Vec<Step>, StoreError> {
    let old = old_keys(directory, name, files)?;
    let others: Vec<&PrivateKey> = old.iter().filter(|old| old.spki() != key.spki()).collect();
    let kept: Vec<&PrivateKey> = others
        .iter()
        .copied()
        .filter(|key| still_needed(key, files, slot))
        .collect();
    let key_file = format!("{name}.key");
    let keys = |others: &[&PrivateKey]| {
        std::iter::once(&key)
            .chain(others)
            .map(|key| key.to_pem())
            .collect::<String>()
    };
    let mut steps = vec![Step::secret(key_file.clone(), keys(&others))];
    steps.push(Step::public(format!("{name}.crt"), chain_pem(chain)));
    if kept.len() < others.len() {
        steps.push(Step::secret(key_file, keys(&kept)));
    }
    if files.pem {
        steps.push(Step::remove(format!("{name}.pem")));
    }
    Ok(if files.key { steps } else { alone(name, steps) })
}

/// Removes a certificate with its key, or, if there is none, a request with its key. The key
/// of a request that waits stays, and a key beside a `NAME.pem` that is `served` without it.
pub(super) fn remove(name: &str, files: Files, served: bool, was_default: bool) -> Vec<Step> {
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
    if was_default {
        steps.push(Step::remove(DEFAULT.to_owned()));
    }
    let key_goes = files.key
        && if files.csr {
            !files.certificate()
        } else {
            files.crt || !served
        };
    if !key_goes {
        return steps;
    }
    steps.push(Step::remove(format!("{name}.key")));
    alone(name, steps)
}

/// Makes this the default certificate.
pub(super) fn set_default(name: &str) -> Vec<Step> {
    vec![Step::public(DEFAULT.to_owned(), format!("{name}\n"))]
}

/// Removes what a process that died left behind.
pub(super) fn leftovers(directory: &Path, listing: &Listing) -> Vec<Step> {
    let mut steps: Vec<Step> = listing
        .temporaries
        .iter()
        .cloned()
        .map(Step::remove)
        .collect();
    for name in &listing.unsettled {
        let files = listing.files(name);
        if files.key && !files.crt && !files.csr {
            steps.push(Step::remove(format!("{name}.key")));
        }
        if !files.certificate() && chosen_default(directory).as_ref() == Some(name) {
            steps.push(Step::remove(DEFAULT.to_owned()));
        }
        steps.push(Step::remove(format!("{UNSETTLED}{name}")));
    }
    steps
}

fn chosen_default(directory: &Path) -> Option<String> {
    let contents = read_regular(&directory.join(DEFAULT)).ok()?;
    let text = String::from_utf8(contents.bytes).ok()?;
    Some(text.trim().to_owned())
}

/// Notes before and forgets after `steps` that `NAME.key`, found without a certificate, is a
/// leftover of theirs.
fn alone(name: &str, steps: Vec<Step>) -> Vec<Step> {
    let note = format!("{UNSETTLED}{name}");
    let mut all = vec![Step::public(note.clone(), String::new())];
    all.extend(steps);
    all.push(Step::remove(note));
    all
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
        Err(_) => Err(StoreError::KeyInTheWay {
            file: format!("{name}.key"),
        }),
    }
}

/// Whether a key may belong to something else than the certificate that is replaced.
fn still_needed(key: &PrivateKey, files: Files, slot: Option<&Slot>) -> bool {
    let replaced = slot.and_then(|slot| slot.loaded.as_ref());
    let of_replaced = replaced.is_some_and(|old| old.key.spki() == key.spki());
    (files.csr || !files.crt) && !of_replaced
}
