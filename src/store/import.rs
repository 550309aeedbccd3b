//! What is given to be imported: which certificate is the server's, and which key is its own.

use std::collections::HashSet;
use std::path::Path;

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::cert::{Bundle, Certificate, Chain, NewCertificate, Passphrase, PrivateKey, Problem};
use crate::cert::{read_input, self_signed, short_id};
use crate::store::StoreError;
use crate::store::layout::Listing;
use crate::store::scan::{fitting, read_keys};
use crate::store::state::State;

/// Reads what was given: certificates and keys may stand in any of the `texts` (each with what
/// it is called in messages) and in that of the key, which must hold one.
pub fn read_given(
    texts: &[(&'static str, &[u8])],
    key: Option<&[u8]>,
    passphrase: Option<&Passphrase>,
) -> Result<Bundle, StoreError> {
    let read = |what, bytes: &[u8]| {
        read_input(bytes, passphrase).map_err(|source| StoreError::Input { what, source })
    };
    let mut all = Bundle::default();
    let mut add = |mut bundle: Bundle| {
        all.certificates.append(&mut bundle.certificates);
        all.keys.append(&mut bundle.keys);
    };
    for (what, bytes) in texts {
        add(read(what, bytes)?);
    }
    if let Some(key) = key {
        let bundle = read("key", key)?;
        if bundle.keys.is_empty() {
            return Err(StoreError::NoKeyGiven);
        }
        add(bundle);
    }
    Ok(all)
}

/// Certificates and keys as they were given.
pub(super) struct Given {
    ders: Vec<CertificateDer<'static>>,
    certificates: Vec<Certificate>,
    keys: Vec<PrivateKey>,
}

/// The end-entity certificate, its chain (itself first) and its key.
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKey,
    /// What there is to say about how the chain came to be.
    pub(super) problems: Vec<Problem>,
}

impl Given {
    /// Takes what was given apart.
    pub(super) fn new(bundle: Bundle) -> Result<Self, StoreError> {
        let Bundle {
            certificates: ders,
            keys,
        } = bundle;
        if ders.is_empty() {
            return Err(StoreError::NoCertificate);
        }
        let parse = |(at, der): (usize, &CertificateDer<'static>)| {
            let parsed = Certificate::from_der(der.clone());
            parsed.map_err(|source| StoreError::BadCertificate {
                position: at + 1,
                source,
            })
        };
        let certificates = ders.iter().enumerate().map(parse);
        let certificates = certificates.collect::<Result<_, _>>()?;
        Ok(Self {
            ders,
            certificates,
            keys,
        })
    }

    /// Finds the end-entity certificate by the keys that were given or, if there are none, by
    /// those in the folder, that of `name` first; and the best chain for it.
    pub(super) fn pair(
        self,
        state: &State,
        listing: &Listing,
        name: Option<&str>,
        now: UnixTime,
    ) -> Result<Pair, StoreError> {
        let (certificate, key) = match self.keys.is_empty() {
            false => self.fits(&self.keys).ok_or_else(|| self.mismatch())?,
            true => self
                .key_in_folder(state, listing, name)
                .ok_or_else(|| self.no_key(state))?,
        };
        let found = best_chain(&certificate, &self.ders, state, now);
        Ok(Pair {
            certificate,
            chain: found.certificates,
            key,
            problems: found.problems,
        })
    }

    fn mismatch(&self) -> StoreError {
        StoreError::KeyMismatch {
            keys: ids(self.keys.iter().map(PrivateKey::spki)),
            certificates: self.ids(),
        }
    }

    fn no_key(&self, state: &State) -> StoreError {
        StoreError::NoKey {
            certificates: self.ids(),
            directory: state.options.directory.display().to_string(),
        }
    }

    fn ids(&self) -> Vec<String> {
        ids(self.certificates.iter().map(|it| it.spki()))
    }

    /// The certificate of one of these keys; of several the one that begins last.
    fn fits(&self, keys: &[PrivateKey]) -> Option<(Certificate, PrivateKey)> {
        let pairs = self.certificates.iter().filter_map(|certificate| {
            let key = fitting(keys, certificate.spki())?;
            Some((certificate, key))
        });
        let newest = pairs.rev().max_by_key(|(it, _)| it.validity.not_before);
        newest.map(|(certificate, key)| (certificate.clone(), key.clone()))
    }

    fn key_in_folder(
        &self,
        state: &State,
        listing: &Listing,
        name: Option<&str>,
    ) -> Option<(Certificate, PrivateKey)> {
        let names = name
            .into_iter()
            .chain(listing.names.keys().map(String::as_str));
        let directory = state.options.directory.as_path();
        names
            .into_iter()
            .find_map(|name| self.fits(&keys_of(directory, state, listing, name)))
    }
}

/// The keys of one NAME; those in memory are enough unless its file may hold others too.
fn keys_of(directory: &Path, state: &State, listing: &Listing, name: &str) -> Vec<PrivateKey> {
    let files = listing.files(name);
    let loaded = state.slot(name).and_then(|slot| slot.loaded.as_ref());
    match loaded {
        Some(loaded) if !files.csr => vec![loaded.key.clone()],
        _ if files.key => read_keys(directory, name).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The best chain of what was given, and of what the folder knows if that is not enough.
pub(super) fn best_chain(
    certificate: &Certificate,
    given: &[CertificateDer<'static>],
    state: &State,
    now: UnixTime,
) -> Chain {
    let find = |known: &[_]| Chain::find(certificate, given, known, state.anchors(), now);
    let found = find(&[]);
    match found.complete {
        true => found,
        false => find(&intermediates(state)),
    }
}

/// The intermediates that other certificates in the folder have, each once.
fn intermediates(state: &State) -> Vec<CertificateDer<'static>> {
    /// Far above what all the CAs of the world issue from.
    const MOST: usize = 10_000;
    // Few lists stand below many certificates: each is looked into once.
    let (mut lists, mut seen) = (HashSet::new(), HashSet::new());
    let all = state
        .credentials()
        .map(|it| it.intermediates())
        .filter(|list| lists.insert(list.as_ptr()));
    all.flatten()
        .filter(|der| seen.insert(&***der))
        .take(MOST)
        .cloned()
        .collect()
}

fn ids<'s>(spkis: impl Iterator<Item = &'s [u8]>) -> Vec<String> {
    let mut ids: Vec<String> = spkis.map(short_id).collect();
    ids.dedup();
    ids
}

/// A new key and its self-signed certificate.
pub(super) fn made(new: &NewCertificate, now: UnixTime) -> Result<Pair, StoreError> {
    let (certificate, key) = self_signed(new, now)?;
    let texts = [("certificate", certificate.as_bytes())];
    let given = Given::new(read_given(&texts, Some(key.as_bytes()), None)?)?;
    let (certificate, key) = given.fits(&given.keys).ok_or_else(|| given.mismatch())?;
    Ok(Pair {
        certificate,
        chain: given.ders,
        key,
        problems: Vec::new(),
    })
}
