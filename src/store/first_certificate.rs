//! The certificate of a folder that has none to serve, so that a fresh machine can be tried at once.

use std::path::Path;

use crate::cert::{DnsName, KeyAlgorithm, NamePattern, NewCertificate, Subject};
use crate::store::atomic::Step;
use crate::store::import::{Pair, made};
use crate::store::layout::{DEFAULT, Files, Listing, SERVER};
use crate::store::{StoreError, change};
use crate::time::Clock;

/// Makes `server`; what the folder holds then, or `None` if something of that NAME is in the way.
pub(super) fn make(
    directory: &Path,
    listing: &Listing,
    clock: &Clock,
) -> Result<Option<Listing>, StoreError> {
    let Some(steps) = plan(directory, listing, clock)? else {
        return Ok(None);
    };
    change::carry_out(directory, &steps)?;
    tracing::info!(
        name = SERVER,
        "self-signed certificate made: there was none to serve"
    );
    Listing::read(directory).map(Some)
}

/// The steps, or `None` if something is in the way.
pub(super) fn plan(
    directory: &Path,
    listing: &Listing,
    clock: &Clock,
) -> Result<Option<Vec<Step>>, StoreError> {
    if listing.names.contains_key(SERVER) {
        return Ok(None);
    }
    let Pair { chain, key, .. } = made(&for_this_host(), clock.now())?;
    let nothing = (Files::default(), None);
    let chosen = directory.join(DEFAULT).symlink_metadata().is_ok();
    let steps = match chosen {
        true => change::replace(directory, SERVER, &chain, &key, nothing)?,
        false => change::first(SERVER, &chain, &key),
    };
    Ok(Some(steps))
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
