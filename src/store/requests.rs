//! Requests that wait for their certificate: made, found again by their keys, answered, given up.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;

use crate::causes;
use crate::cert::{
    Certificate, Chain, Credential, Identity, KeyAlgorithm, NamePattern, PrivateKey, Problem,
    ProblemCode, Request, Subject, new_key, request, short_id,
};
use crate::store::atomic::{Step, read_regular};
use crate::store::import::best_chain;
use crate::store::layout::{Files, Listing, check_name, name_for, valid_name};
use crate::store::scan::{fitting, read_keys};
use crate::store::state::State;
use crate::store::{CertStore, Imported, StoreError, change, unknown};

/// What a new request is to say. What is not said is taken from the certificate or request
/// that it follows.
#[derive(Clone, Debug, Default)]
pub struct NewRequest {
    /// DNS names.
    pub names: Vec<NamePattern>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The rest of the distinguished name.
    pub subject: Subject,
    /// Which key to make; not with `from`.
    pub key: Option<KeyAlgorithm>,
    /// NAME whose key is kept.
    pub from: Option<String>,
}

/// A request and its key.
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) key: PrivateKey,
}

/// Reads `NAME.csr` and the key in `NAME.key` that is its own; why it is set aside else.
pub(super) fn read(directory: &Path, name: &str, files: Files) -> Result<Waiting, String> {
    let file = format!("{name}.csr");
    let contents =
        read_regular(&directory.join(&file)).map_err(|error| format!("{file}: {error}"))?;
    let request = Request::from_pem(&contents.bytes)
        .map_err(|error| format!("{file}: {}", causes::in_one_line(&error)))?;
    if !files.key {
        return Err(format!("{file}: no key, {name}.key is missing"));
    }
    let keys = read_keys(directory, name)?;
    match fitting(&keys, &request.spki) {
        Some(key) => Ok(Waiting {
            key: key.clone(),
            request,
        }),
        None => Err(format!(
            "{file}: the request's key is not the key in {name}.key (request's key id {}, key's key id {})",
            request.key_id(),
            keys.iter()
                .map(|key| short_id(key.spki()))
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

/// All that wait and can be read, in the order of NAME.
fn all<'l>(
    directory: &'l Path,
    listing: &'l Listing,
) -> impl Iterator<Item = (&'l str, Waiting)> + use<'l> {
    let with_request = listing.names.iter().filter(|(_, files)| files.csr);
    with_request
        .filter_map(|(name, files)| Some((name.as_str(), read(directory, name, *files).ok()?)))
}

/// "mail (key id …), other (key id …)", or "none".
fn list(directory: &Path, listing: &Listing) -> String {
    let waiting: Vec<_> = all(directory, listing)
        .map(|(name, waiting)| format!("{name} (key id {})", waiting.request.key_id()))
        .collect();
    match waiting.is_empty() {
        true => "none".to_owned(),
        false => waiting.join(", "),
    }
}

impl CertStore {
    /// Makes a certificate request, and its key unless one is kept; its NAME. A request that
    /// waits is replaced only by one with the same key.
    pub fn request(&self, new: &NewRequest, name: Option<&str>) -> Result<String, StoreError> {
        let name = name.map(valid_name).transpose()?;
        let there = |name: &str| self.directory().join(format!("{name}.csr")).exists();
        let keeps_key = new.from.is_some() || name.is_some_and(there);
        // Before the lock is taken: RSA keys take seconds.
        let fresh = match keeps_key {
            true => None,
            false => {
                own_identity(new).check()?;
                Some(new_key(new.key.unwrap_or_default())?)
            }
        };
        self.change(|state, listing| plan(state, listing, new, name, fresh))
    }

    /// The request that waits under this NAME.
    pub fn waiting(&self, name: &str) -> Result<Request, StoreError> {
        let directory = self.directory();
        let files = match check_name(name) {
            Ok(()) => Listing::files_of(&directory, name),
            Err(_) => Files::default(),
        };
        if !files.csr {
            return Err(no_request(&directory, &Listing::read(&directory)?, name));
        }
        let waiting = read(&directory, name, files);
        let waiting = waiting.map_err(|reason| StoreError::NothingToExport {
            name: name.to_owned(),
            what: "request",
            reason,
        })?;
        Ok(waiting.request)
    }

    /// Takes a CA's answer: finds the request by its public key among these certificates, in
    /// whatever order they are. The key stays where it is.
    pub fn import_signed(
        &self,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Imported, StoreError> {
        let answer = Answer::read(certificates)?;
        self.change(|state, listing| {
            let (name, waiting, at) = answer.request(state, listing)?;
            let end_entity = &answer.certificates[at];
            let known = state.credential(&name);
            if known.is_some_and(|known| known.certificate.sha256 == end_entity.sha256) {
                return Err(StoreError::NotAnAnswer { name });
            }
            let now = self.clock.now();
            let given: Vec<_> = answer
                .certificates
                .iter()
                .map(|it| it.der.clone())
                .collect();
            let Chain {
                certificates: chain,
                problems: about_chain,
                ..
            } = best_chain(end_entity, &given, state, now);
            let key = std::slice::from_ref(&waiting.key);
            let credential = Credential::new(&name, chain.clone(), key, state.anchors());
            let credential = credential.map_err(|source| StoreError::Unusable {
                name: name.clone(),
                source,
            })?;
            let mut problems = [credential.problems_at(now), about_chain].concat();
            problems.extend(names_differ(&waiting.request.identity, end_entity));
            let there = (listing.files(&name), state.slot(&name));
            let directory = &state.options.directory;
            let steps = change::answer(directory, &name, (&chain, &waiting.key), there)?;
            Ok((steps, Imported { name, problems }))
        })
    }

    /// Gives up the request that waits under this NAME, with its key; a certificate of the same
    /// NAME stays.
    pub fn remove_request(&self, name: &str) -> Result<(), StoreError> {
        self.change(|state, listing| {
            let directory = &state.options.directory;
            let files = listing.files(name);
            if !files.csr {
                return Err(no_request(directory, listing, name));
            }
            let slot = state.slot(name);
            let steps = match files.certificate() {
                true => change::remove_request(directory, name, slot),
                false => change::remove(directory, name, files, slot, false),
            };
            Ok((steps, ()))
        })
    }
}

fn no_request(directory: &Path, listing: &Listing, name: &str) -> StoreError {
    StoreError::NoRequest {
        name: name.to_owned(),
        waiting: list(directory, listing),
    }
}

fn own_identity(new: &NewRequest) -> Identity {
    Identity {
        names: new.names.clone(),
        addresses: new.addresses.clone(),
        subject: new.subject.clone(),
    }
}

/// What is asked for, and the rest from what it follows.
fn identity(new: &NewRequest, followed: Option<&Identity>) -> Identity {
    let mut identity = own_identity(new);
    let Some(followed) = followed else {
        return identity;
    };
    if identity.names.is_empty() && identity.addresses.is_empty() {
        identity.names.clone_from(&followed.names);
        identity.addresses.clone_from(&followed.addresses);
    }
    let (subject, old) = (&mut identity.subject, &followed.subject);
    for (field, old) in [
        (&mut subject.country, &old.country),
        (&mut subject.organization, &old.organization),
        (&mut subject.unit, &old.unit),
        (&mut subject.city, &old.city),
        (&mut subject.state, &old.state),
    ] {
        if field.is_none() {
            field.clone_from(old);
        }
    }
    identity
}

/// The steps of a request, and its NAME.
pub(super) fn plan(
    state: &State,
    listing: &Listing,
    new: &NewRequest,
    name: Option<&str>,
    fresh: Option<PrivateKey>,
) -> Result<(Vec<Step>, String), StoreError> {
    let directory = state.options.directory.as_path();
    let waiting = |name: &str| {
        let files = listing.files(name);
        let read = files.csr.then(|| read(directory, name, files));
        read.and_then(Result::ok)
    };
    let (kept, followed) = match &new.from {
        Some(from) => {
            let (key, followed) = kept_key(state, from, waiting(from))?;
            (Some(key), Some(followed))
        }
        None => (None, None),
    };
    let identity = identity(new, followed.as_ref());
    let name = match (name, &new.from) {
        (Some(name), _) => name.to_owned(),
        (None, Some(from)) if check_name(from).is_ok() => from.clone(),
        (None, _) => listing.free_name(&name_for(&identity.names, &identity.addresses)?),
    };
    let files = listing.files(&name);
    let waiting = files.csr.then(|| read(directory, &name, files));
    let waiting = waiting.transpose().map_err(|reason| {
        let name = name.clone();
        StoreError::RequestInTheWay { name, reason }
    })?;
    let key = match (kept, &waiting) {
        (Some(kept), _) => kept,
        (None, Some(waiting)) => waiting.key.clone(),
        (None, None) => match fresh {
            Some(fresh) => fresh,
            None => new_key(new.key.unwrap_or_default())?,
        },
    };
    if let Some(waiting) = waiting {
        let request = &waiting.request;
        let wanted = new.key.map(|key| key.to_string());
        let other_kind = wanted.is_some_and(|wanted| wanted != request.key_type.to_string());
        if request.spki != key.spki() || other_kind {
            let key_id = request.key_id();
            return Err(StoreError::RequestWaits { name, key_id });
        }
    }
    let request = request(&identity, &key)?;
    let steps = change::request(directory, &name, &request, &key, files)?;
    Ok((steps, name))
}

/// The key of a NAME, and whom its certificate or its request is for.
fn kept_key(
    state: &State,
    from: &str,
    waiting: Option<Waiting>,
) -> Result<(PrivateKey, Identity), StoreError> {
    let slot = state.slot(from).ok_or_else(|| unknown(state, from))?;
    if let Some(loaded) = &slot.loaded {
        let identity = Identity::of_certificate(&loaded.credential.certificate);
        return Ok((loaded.key.clone(), identity));
    }
    if let Some(waiting) = waiting {
        return Ok((waiting.key, waiting.request.identity));
    }
    let request = slot.request.as_ref();
    let problem = slot.problem.as_ref();
    let problem = problem.or_else(|| request.and_then(|request| request.as_ref().err()));
    Err(StoreError::NothingToExport {
        name: from.to_owned(),
        what: "key",
        reason: problem.map_or_else(String::new, |problem| problem.message.clone()),
    })
}

/// What a CA sent.
struct Answer {
    certificates: Vec<Certificate>,
}

impl Answer {
    fn read(chain: Vec<CertificateDer<'static>>) -> Result<Self, StoreError> {
        if chain.is_empty() {
            return Err(StoreError::NoCertificate);
        }
        let parse = |(at, der)| {
            Certificate::from_der(der).map_err(|source| StoreError::BadCertificate {
                position: at + 1,
                source,
            })
        };
        let certificates = chain.into_iter().enumerate().map(parse);
        Ok(Self {
            certificates: certificates.collect::<Result<_, _>>()?,
        })
    }

    /// NAME, request and the place of its certificate. Of several that wait with one key it is the
    /// one for the certificate's names, else the first.
    fn request(
        &self,
        state: &State,
        listing: &Listing,
    ) -> Result<(String, Waiting, usize), StoreError> {
        let directory = state.options.directory.as_path();
        let place = |waiting: &Waiting| {
            let mut certificates = self.certificates.iter();
            certificates.position(|certificate| certificate.spki() == waiting.request.spki)
        };
        let fits = |(name, waiting): (&str, Waiting)| {
            let at = place(&waiting)?;
            let differs = names_differ(&waiting.request.identity, &self.certificates[at]);
            Some((differs.is_some(), (name.to_owned(), waiting, at)))
        };
        let fitting = all(directory, listing).filter_map(fits);
        let best = fitting.min_by_key(|(differs, _)| *differs);
        best.map(|(_, found)| found)
            .ok_or_else(|| self.nobody_waits(state, listing))
    }

    fn nobody_waits(&self, state: &State, listing: &Listing) -> StoreError {
        let sums = || self.certificates.iter().map(|one| one.sha256);
        let mut served = state.credentials();
        let known = served.find(|known| sums().any(|sum| known.certificate.sha256 == sum));
        let hint = known.map(|known| {
            let name = &known.name;
            format!("; it is the certificate of {name:?} already")
        });
        StoreError::NoWaitingRequest {
            key_ids: self
                .certificates
                .iter()
                .map(|c| short_id(c.spki()))
                .collect(),
            waiting: list(&state.options.directory, listing),
            hint: hint.unwrap_or_default(),
        }
    }
}

/// What the certificate covers and was not asked for, and the other way round.
fn names_differ(asked: &Identity, answer: &Certificate) -> Option<Problem> {
    let texts = |names: &[NamePattern], addresses: &[IpAddr]| -> Vec<String> {
        let names = names.iter().map(ToString::to_string);
        names
            .chain(addresses.iter().map(ToString::to_string))
            .collect()
    };
    let asked = texts(&asked.names, &asked.addresses);
    let given = texts(&answer.names, &answer.addresses);
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let only = these.iter().filter(|one| !those.contains(one));
        only.cloned().collect()
    };
    let (missing, more) = (only(&asked, &given), only(&given, &asked));
    let parts = [(missing, "is not for"), (more, "is also for")];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, how)| format!("{how} {}", names.join(", ")))
        .collect();
    (!parts.is_empty()).then(|| Problem {
        code: ProblemCode::OtherNames,
        message: format!(
            "not the names that were asked for: the certificate {}",
            parts.join(" and ")
        ),
    })
}
