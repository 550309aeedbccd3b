//! What is given to be imported: which certificate is the server's, and which key is its own.

use std::path::Path;

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::cert::{Bundle, Certificate, NewCertificate, PrivateKey, read_bundle, self_signed};
use crate::store::StoreError;
use crate::store::layout::Listing;
use crate::store::scan::{fitting, read_keys};
use crate::store::state::State;

/// Certificates and keys as they were given.
pub(super) struct Given {
    chain: Vec<CertificateDer<'static>>,
    certificates: Vec<Certificate>,
    keys: Vec<PrivateKey>,
}

/// The end-entity certificate, its chain (itself first) and its key.
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKey,
}

impl Given {
    /// Reads PEM; certificates and keys may stand in either text.
    pub(super) fn read(certificate: &[u8], key: Option<&[u8]>) -> Result<Self, StoreError> {
        let Bundle {
            certificates: mut chain,
            mut keys,
        } = read("certificate", certificate)?;
        if let Some(key) = key {
            let mut more = read("key", key)?;
            keys.append(&mut more.keys);
            chain.append(&mut more.certificates);
            if keys.is_empty() {
                return Err(StoreError::NoKeyGiven);
            }
        }
        if chain.is_empty() {
            return Err(StoreError::NoCertificate);
        }
        let parse = |(at, der): (usize, &CertificateDer<'static>)| {
            let parsed = Certificate::from_der(der.clone());
            parsed.map_err(|source| StoreError::BadCertificate {
                position: at + 1,
                source,
            })
        };
        let certificates = chain
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            chain,
            certificates,
            keys,
        })
    }

    /// Finds the end-entity certificate by the keys that were given.
    pub(super) fn with_own_key(self) -> Result<Pair, StoreError> {
        match self.fits(&self.keys) {
            Some((at, key)) => Ok(self.arranged(at, key)),
            None => Err(StoreError::KeyMismatch {
                count: self.chain.len(),
            }),
        }
    }

    /// Finds the end-entity certificate by the keys that were given or, if there are none, by
    /// those in the folder, that of `name` first.
    pub(super) fn pair(
        self,
        state: &State,
        listing: &Listing,
        name: Option<&str>,
    ) -> Result<Pair, StoreError> {
        if !self.keys.is_empty() {
            return self.with_own_key();
        }
        match self.key_in_folder(state, listing, name) {
            Some((at, key)) => Ok(self.arranged(at, key)),
            None => Err(StoreError::NoKey {
                directory: state.options.directory.display().to_string(),
            }),
        }
    }

    /// The end-entity certificate comes to stand first, the others stay as they were given.
    fn arranged(mut self, at: usize, key: PrivateKey) -> Pair {
        let end_entity = self.chain.remove(at);
        self.chain.insert(0, end_entity);
        Pair {
            certificate: self.certificates.swap_remove(at),
            chain: self.chain,
            key,
        }
    }

    fn fits(&self, keys: &[PrivateKey]) -> Option<(usize, PrivateKey)> {
        let mut certificates = self.certificates.iter().enumerate();
        certificates.find_map(|(at, c)| Some((at, fitting(keys, &c.spki)?.clone())))
    }

    fn key_in_folder(
        &self,
        state: &State,
        listing: &Listing,
        name: Option<&str>,
    ) -> Option<(usize, PrivateKey)> {
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
    let loaded = state.slots.get(name).and_then(|slot| slot.loaded.as_ref());
    match loaded {
        Some(loaded) if !files.csr => vec![loaded.key.clone()],
        _ if files.key => read_keys(directory, name).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// A new key and its self-signed certificate.
pub(super) fn made(new: &NewCertificate, now: UnixTime) -> Result<Pair, StoreError> {
    let (certificate, key) = self_signed(new, now)?;
    Given::read(certificate.as_bytes(), Some(key.as_bytes()))?.with_own_key()
}

fn read(what: &'static str, pem: &[u8]) -> Result<Bundle, StoreError> {
    read_bundle(pem).map_err(|source| StoreError::Input { what, source })
}
