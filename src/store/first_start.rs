//! The first certificate, so that a fresh machine can be tried at once.

use std::fs;
use std::io;
use std::path::Path;

use crate::cert::{DnsName, KeyAlgorithm, NamePattern, NewCertificate, Subject};
use crate::store::atomic::{Step, apply};
use crate::store::import::{Pair, made};
use crate::store::layout::{DEFAULT, FIRST_START, Files, Listing, SERVER, check_name};
use crate::store::{StoreError, change};
use crate::time::Clock;

/// Makes the first certificate in a folder that never had one, and no other time.
pub(super) fn first_start(
    directory: &Path,
    listing: Listing,
    clock: &Clock,
) -> Result<Listing, StoreError> {
    let Some((name, steps)) = plan(directory, &listing, clock)? else {
        return Ok(listing);
    };
    apply(directory, &steps)?;
    tracing::info!(name, "self-signed certificate made for the first start");
    Listing::read(directory)
}

/// NAME and steps, or `None` if this is not the first start.
pub(super) fn plan(
    directory: &Path,
    listing: &Listing,
    clock: &Clock,
) -> Result<Option<(String, Vec<Step>)>, StoreError> {
    let mark = directory.join(FIRST_START);
    let has_default = directory.join(DEFAULT).symlink_metadata().is_ok();
    let name = match fs::read_to_string(&mark) {
        // Under way when a process died, or (empty) done long ago.
        Ok(text) => Some(text.trim().to_owned()).filter(|name| check_name(name).is_ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let new = !has_default && !listing.names.values().any(|files| files.certificate());
            new.then(|| listing.free_name(SERVER))
        }
        Err(error) => return Err(StoreError::io(&mark, "cannot read", error)),
    };
    let Some(name) = name else { return Ok(None) };
    let mut steps = Vec::new();
    let files = listing.files(&name);
    if !files.certificate() {
        steps = first_certificate(directory, &name, files, clock)?;
    }
    Ok(Some((
        name.clone(),
        change::first_start(&name, steps, !has_default),
    )))
}

fn first_certificate(
    directory: &Path,
    name: &str,
    files: Files,
    clock: &Clock,
) -> Result<Vec<Step>, StoreError> {
    let Pair { chain, key, .. } = made(&for_this_host(), clock.now())?;
    change::replace(directory, name, &chain, &key, (files, None))
}

/// A certificate for this host's name, if it has one that a certificate can carry, and `localhost`.
fn for_this_host() -> NewCertificate {
    let host = rustix::system::uname();
    let host = host
        .nodename()
        .to_str()
        .ok()
        .and_then(|name| DnsName::parse(name).ok());
    let localhost = DnsName::parse("localhost").expect("localhost is a name");
    let mut names: Vec<DnsName> = host.into_iter().collect();
    if !names.contains(&localhost) {
        names.push(localhost);
    }
    NewCertificate {
        names: names.into_iter().map(NamePattern::Exact).collect(),
        addresses: Vec::new(),
        subject: Subject::default(),
        days: 730,
        key: KeyAlgorithm::EcdsaP256,
    }
}
