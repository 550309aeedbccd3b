//! The certificates below end-entity ones. Few of them stand below many: each list is kept once,
//! read once, and its signatures are verified once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aws_lc_rs::digest;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};
use webpki::ALL_VERIFICATION_ALGS;

use crate::cert::path::Step;
use crate::cert::{CertificateError, Validity};

type Digest = [u8; 32];

/// Certificates below an end-entity certificate, in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Intermediates {
    pub(super) certificates: Box<[CertificateDer<'static>]>,
    /// Each as a step of a path, in the same order.
    pub(super) steps: Box<[Step]>,
    /// The dates of each, in the same order.
    pub(super) periods: Box<[Option<Validity>]>,
    pub(super) signatures: Signatures,
}

impl Intermediates {
    /// Reads a list; the error comes with the place in it, from 0.
    fn read(certificates: Vec<CertificateDer<'static>>) -> Result<Self, (usize, CertificateError)> {
        let read = |(at, der): (usize, &CertificateDer<'_>)| {
            Step::from_der(der).map_err(|error| (at, error))
        };
        let steps: Box<[Step]> = certificates
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            periods: steps.iter().map(|step| Some(step.validity)).collect(),
            steps,
            certificates: certificates.into(),
            signatures: Signatures::default(),
        })
    }
}

/// The lists that are in use.
#[derive(Debug, Default)]
pub(super) struct SharedIntermediates(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    lists: HashMap<Digest, Weak<Intermediates>>,
    /// How many there may be before those are forgotten that nobody uses any more.
    most: usize,
}

impl SharedIntermediates {
    /// This list, shared with all who use the same one.
    pub(super) fn share(
        &self,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<Intermediates>, (usize, CertificateError)> {
        let digest = digest_of(certificates.iter().map(AsRef::as_ref));
        let known = lock(&self.0).lists.get(&digest).and_then(Weak::upgrade);
        if let Some(known) = known {
            return Ok(known);
        }
        let read = Arc::new(Intermediates::read(certificates)?);
        let mut shared = lock(&self.0);
        if let Some(known) = shared.lists.get(&digest).and_then(Weak::upgrade) {
            return Ok(known);
        }
        if shared.lists.len() >= shared.most {
            shared.lists.retain(|_, list| list.strong_count() > 0);
            shared.most = 2 * shared.lists.len() + 16;
        }
        shared.lists.insert(digest, Arc::downgrade(&read));
        Ok(read)
    }
}

/// What is known of the signatures on some certificates.
#[derive(Debug, Default)]
pub(super) struct Signatures(Mutex<HashMap<Digest, bool>>);

impl Signatures {
    /// The algorithms of webpki, which verify each signature on one of `certificates` only once.
    pub(super) fn algorithms<'s>(
        &'s self,
        certificates: &'s [CertificateDer<'static>],
    ) -> Vec<Remembering<'s>> {
        let remembering = |algorithm: &&'static dyn SignatureVerificationAlgorithm| Remembering {
            algorithm: *algorithm,
            known: self,
            certificates,
        };
        ALL_VERIFICATION_ALGS.iter().map(remembering).collect()
    }
}

/// A signature algorithm that remembers.
pub(super) struct Remembering<'s> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    known: &'s Signatures,
    certificates: &'s [CertificateDer<'static>],
}

impl fmt::Debug for Remembering<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm.fmt(f)
    }
}

impl Remembering<'_> {
    /// webpki hands over parts of the certificates themselves, so the place tells.
    fn is_part_of_one(&self, message: &[u8]) -> bool {
        let place = message.as_ptr();
        let mut certificates = self.certificates.iter();
        certificates.any(|certificate| certificate.as_ptr_range().contains(&place))
    }
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let verify = || {
            self.algorithm
                .verify_signature(public_key, message, signature)
        };
        if !self.is_part_of_one(message) {
            return verify();
        }
        let (key, by) = (self.public_key_alg_id(), self.signature_alg_id());
        let parts = [&*key, &*by, public_key, message, signature];
        let digest = digest_of(parts.into_iter());
        let known = lock(&self.known.0).get(&digest).copied();
        match known {
            Some(true) => Ok(()),
            Some(false) => Err(InvalidSignature),
            None => {
                let verified = verify();
                lock(&self.known.0).insert(digest, verified.is_ok());
                verified
            }
        }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// SHA-256 over parts, no part of which runs into the next.
fn digest_of<'p>(parts: impl Iterator<Item = &'p [u8]>) -> Digest {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

/// Every change under these locks is whole, so a panic leaves nothing half-done behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cert::testing::{days, intermediate, new_key, root};

    #[test]
    fn a_list_is_kept_once_and_as_long_as_it_is_used() {
        let top = root("Root", days(-10, 100));
        let list = |name: &str| {
            let middle = intermediate(name, days(-10, 100), new_key(), &top);
            vec![middle.der().clone(), top.der().clone()]
        };
        let shared = SharedIntermediates::default();
        let one = list("One");
        let first = shared.share(one.clone()).unwrap();
        assert!(Arc::ptr_eq(&first, &shared.share(one.clone()).unwrap()));
        let mut reversed = one.clone();
        reversed.reverse();
        assert!(!Arc::ptr_eq(&first, &shared.share(reversed).unwrap()));
        assert_eq!(*first.certificates, *one);
        for _ in 0..100 {
            shared.share(list("Short-lived")).unwrap();
        }
        assert!(lock(&shared.0).lists.len() < 50);
        assert!(Arc::ptr_eq(&first, &shared.share(one).unwrap()));
        let damaged = vec![list("Two").remove(0), b"garbage".to_vec().into()];
        assert_eq!(shared.share(damaged).unwrap_err().0, 1);
    }

    /// An algorithm that takes the signature "right" for right.
    #[derive(Debug)]
    struct Plain;

    impl SignatureVerificationAlgorithm for Plain {
        fn verify_signature(
            &self,
            _: &[u8],
            _: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            match signature {
                b"right" => Ok(()),
                _ => Err(InvalidSignature),
            }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            rustls_pki_types::alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            rustls_pki_types::alg_id::ECDSA_SHA256
        }
    }

    #[test]
    fn signatures_are_remembered_for_what_they_are_and_for_these_certificates_only() {
        let certificates = [CertificateDer::from(b"of this list".to_vec())];
        let known = Signatures::default();
        let remembering = Remembering {
            algorithm: &Plain,
            known: &known,
            certificates: &certificates,
        };
        let own = &certificates[0][..4];
        for _ in 0..2 {
            for (key, message, signature, right) in [
                (&b"key"[..], own, &b"right"[..], true),
                (b"key", own, b"wrong", false),
                (b"yek", own, b"wrong", false),
                (b"key", b"of t", b"right", true),
            ] {
                let verified = remembering.verify_signature(key, message, signature);
                assert_eq!(verified.is_ok(), right);
            }
        }
        assert_eq!(lock(&known.0).len(), 3);
    }
}
