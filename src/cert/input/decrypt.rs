//! Encryption by pass phrase: what the schemes are called, how much work one file may ask for,
//! and how they are undone.
//!
//! Knows the schemes of RFC 8018 and RFC 7292 appendix C; what is encrypted is for others. SHA
//! and PBKDF2 are those of aws-lc-rs, which has no MD5 and no scrypt.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};
use md5::Digest as _;
use zeroize::Zeroizing;

use crate::cert::input::asn1::Fields;
use crate::cert::input::cipher::{Cipher, Secret};
use crate::cert::input::passphrase::Passphrase;
use crate::cert::input::pkcs12_kdf;

/// Rounds of key derivation that one file may ask for in all: about ten times what the most
/// careful programs ask for, and a few seconds of work.
const MOST_ROUNDS: u64 = 10_000_000;

/// Memory that scrypt may ask for, in bytes. OpenSSL asks for 16 MiB.
const MOST_MEMORY: u64 = 64 * 1024 * 1024;

/// Why something encrypted was not opened. Says nothing of what is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecryptError {
    /// There is none.
    #[error("encrypted ({scheme}), and no pass phrase was given")]
    NoPassphrase {
        /// How it is encrypted.
        scheme: String,
    },
    /// There is one, and it is another.
    #[error("the pass phrase is wrong (encrypted with {scheme})")]
    WrongPassphrase {
        /// How it is encrypted.
        scheme: String,
    },
    /// A scheme that is not known here.
    #[error(
        "encrypted with {scheme}, which is not supported, expected PBES2 with AES or 3DES, or one of \
         the older schemes with 3DES, DES or RC2"
    )]
    Unsupported {
        /// Its name, or its object identifier.
        scheme: String,
    },
    /// A file made to keep a processor busy.
    #[error(
        "the file asks for {found} rounds of key derivation, at most {MOST_ROUNDS} are made for one file"
    )]
    TooMuchWork {
        /// How many it asks for, those included that were made already.
        found: u64,
    },
    /// A file made to fill the memory.
    #[error("the file asks for {found} bytes of memory (scrypt), at most {MOST_MEMORY} are used")]
    TooMuchMemory {
        /// How many it asks for.
        found: u64,
    },
    /// Parameters that make no sense.
    #[error("the parameters of the encryption cannot be read")]
    Damaged,
}

/// What one file has cost so far.
#[derive(Debug, Default)]
pub(super) struct Work {
    rounds: u64,
}

impl Work {
    /// Allows so many rounds more, or refuses before the first of them.
    pub(super) fn begin(&mut self, rounds: u64) -> Result<(), DecryptError> {
        self.rounds = self.rounds.saturating_add(rounds);
        match self.rounds {
            found if found > MOST_ROUNDS => Err(DecryptError::TooMuchWork { found }),
            _ => Ok(()),
        }
    }
}

/// A scheme with its parameters: an AlgorithmIdentifier that says how a pass phrase encrypts.
pub(super) struct Scheme {
    /// As it is called in messages.
    pub(super) name: String,
    derivation: Derivation,
    cipher: Cipher,
}

enum Derivation {
    /// RFC 8018 section 5.1, key and initialisation vector in one.
    Pbkdf1 {
        md5: bool,
        salt: Vec<u8>,
        rounds: u32,
    },
    /// RFC 7292 appendix B.
    Pkcs12 { salt: Vec<u8>, rounds: u32 },
    /// RFC 8018 section 5.2.
    Pbkdf2 {
        hash: pbkdf2::Algorithm,
        hash_length: u64,
        salt: Vec<u8>,
        rounds: NonZeroU32,
        iv: Vec<u8>,
    },
    /// RFC 7914.
    Scrypt {
        salt: Vec<u8>,
        log_n: u8,
        r: u32,
        p: u32,
        iv: Vec<u8>,
    },
}

/// Object identifiers of schemes that are one algorithm as a whole; RFC 8018 appendix A.3 and
/// RFC 7292 appendix C.
const OLD_SCHEMES: [(&str, &str, Old); 8] = [
    (
        "1.2.840.113549.1.5.3",
        "pbeWithMD5AndDES-CBC",
        Old::Pbes1(true, Cipher::Des),
    ),
    (
        "1.2.840.113549.1.5.6",
        "pbeWithMD5AndRC2-CBC",
        Old::Pbes1(true, Cipher::Rc2(8)),
    ),
    (
        "1.2.840.113549.1.5.10",
        "pbeWithSHA1AndDES-CBC",
        Old::Pbes1(false, Cipher::Des),
    ),
    (
        "1.2.840.113549.1.5.11",
        "pbeWithSHA1AndRC2-CBC",
        Old::Pbes1(false, Cipher::Rc2(8)),
    ),
    (
        "1.2.840.113549.1.12.1.3",
        "pbeWithSHAAnd3-KeyTripleDES-CBC",
        Old::Pkcs12(Cipher::TripleDes),
    ),
    (
        "1.2.840.113549.1.12.1.4",
        "pbeWithSHAAnd2-KeyTripleDES-CBC",
        Old::Pkcs12(Cipher::TripleDesTwoKeys),
    ),
    (
        "1.2.840.113549.1.12.1.5",
        "pbeWithSHAAnd128BitRC2-CBC",
        Old::Pkcs12(Cipher::Rc2(16)),
    ),
    (
        "1.2.840.113549.1.12.1.6",
        "pbeWithSHAAnd40BitRC2-CBC",
        Old::Pkcs12(Cipher::Rc2(5)),
    ),
];

#[derive(Clone, Copy)]
enum Old {
    /// Whether by MD5, else by SHA-1.
    Pbes1(bool, Cipher),
    Pkcs12(Cipher),
}

/// What is known by name and not opened.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("1.2.840.113549.1.5.1", "pbeWithMD2AndDES-CBC"),
    ("1.2.840.113549.1.5.4", "pbeWithMD2AndRC2-CBC"),
    ("1.2.840.113549.1.12.1.1", "pbeWithSHAAnd128BitRC4"),
    ("1.2.840.113549.1.12.1.2", "pbeWithSHAAnd40BitRC4"),
];

const PBES2: &str = "1.2.840.113549.1.5.13";
const PBKDF2: &str = "1.2.840.113549.1.5.12";
const SCRYPT: &str = "1.3.6.1.4.1.11591.4.11";
const HMAC_SHA1: &str = "1.2.840.113549.2.7";

/// Ciphers of PBES2.
const CIPHERS: [(&str, &str, Cipher); 5] = [
    ("2.16.840.1.101.3.4.1.2", "AES-128-CBC", Cipher::Aes128),
    ("2.16.840.1.101.3.4.1.22", "AES-192-CBC", Cipher::Aes192),
    ("2.16.840.1.101.3.4.1.42", "AES-256-CBC", Cipher::Aes256),
    ("1.2.840.113549.3.7", "DES-EDE3-CBC", Cipher::TripleDes),
    ("1.3.14.3.2.7", "DES-CBC", Cipher::Des),
];

/// The functions below PBKDF2, with the length of what they return.
const HASHES: [(&str, &pbkdf2::Algorithm, u64); 4] = [
    (HMAC_SHA1, &pbkdf2::PBKDF2_HMAC_SHA1, 20),
    ("1.2.840.113549.2.9", &pbkdf2::PBKDF2_HMAC_SHA256, 32),
    ("1.2.840.113549.2.10", &pbkdf2::PBKDF2_HMAC_SHA384, 48),
    ("1.2.840.113549.2.11", &pbkdf2::PBKDF2_HMAC_SHA512, 64),
];

impl Scheme {
    /// Reads the elements of an AlgorithmIdentifier.
    pub(super) fn read(mut algorithm: Fields<'_>) -> Result<Self, DecryptError> {
        let oid = algorithm.oid().ok_or(DecryptError::Damaged)?;
        if oid == PBES2 {
            let parameters = algorithm.sequence().ok_or(DecryptError::Damaged)?;
            return Self::read_pbes2(parameters);
        }
        let Some((_, name, old)) = OLD_SCHEMES.iter().find(|(known, _, _)| *known == oid) else {
            return Err(unsupported(&oid));
        };
        let (salt, rounds) = algorithm
            .sequence()
            .and_then(|mut parameters| salt_and_rounds(&mut parameters))
            .ok_or(DecryptError::Damaged)?;
        let (derivation, cipher) = match *old {
            Old::Pbes1(md5, cipher) => (Derivation::Pbkdf1 { md5, salt, rounds }, cipher),
            Old::Pkcs12(cipher) => (Derivation::Pkcs12 { salt, rounds }, cipher),
        };
        Ok(Self {
            name: (*name).to_owned(),
            derivation,
            cipher,
        })
    }

    /// PBES2-params (RFC 8018 appendix A.4): how the key is derived, and what it is for.
    fn read_pbes2(mut parameters: Fields<'_>) -> Result<Self, DecryptError> {
        let (derivation, encryption) = (parameters.sequence(), parameters.sequence());
        let mut derivation = derivation.ok_or(DecryptError::Damaged)?;
        let mut encryption = encryption.ok_or(DecryptError::Damaged)?;
        let oid = encryption.oid().ok_or(DecryptError::Damaged)?;
        let Some((_, name, cipher)) = CIPHERS.iter().find(|(known, _, _)| *known == oid) else {
            return Err(unsupported(&oid));
        };
        let iv = encryption
            .octets()
            .ok_or(DecryptError::Damaged)?
            .into_owned();
        let by = derivation.oid().ok_or(DecryptError::Damaged)?;
        let function = derivation.sequence().ok_or(DecryptError::Damaged)?;
        let (derivation, by) = match by.as_str() {
            PBKDF2 => (read_pbkdf2(function, iv)?, "PBKDF2"),
            SCRYPT => (read_scrypt(function, iv)?, "scrypt"),
            other => return Err(unsupported(other)),
        };
        Ok(Self {
            name: format!("PBES2, {by}, {name}"),
            derivation,
            cipher: *cipher,
        })
    }

    /// Undoes it. That the pass phrase is wrong is noticed most of the time, not always: what
    /// comes out has to make sense too.
    pub(super) fn decrypt(
        &self,
        data: &[u8],
        passphrase: &Passphrase,
        work: &mut Work,
    ) -> Result<Secret, DecryptError> {
        let bmp = passphrase.bmp();
        self.decrypt_with(data, passphrase.bytes(), &bmp, work)
    }

    /// The same with the pass phrase in both encodings.
    pub(super) fn decrypt_with(
        &self,
        data: &[u8],
        passphrase: &[u8],
        bmp: &[u8],
        work: &mut Work,
    ) -> Result<Secret, DecryptError> {
        let mut key = Zeroizing::new(vec![0; self.cipher.key_length()]);
        let mut iv = vec![0; self.cipher.iv_length()];
        match &self.derivation {
            Derivation::Pbkdf1 { md5, salt, rounds } => {
                work.begin(u64::from(*rounds))?;
                let derived = pbkdf1(*md5, passphrase, salt, *rounds);
                let (first, second) = derived.split_at(8);
                key.copy_from_slice(first);
                iv.copy_from_slice(second.get(..8).ok_or(DecryptError::Damaged)?);
            }
            Derivation::Pkcs12 { salt, rounds } => {
                let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
                let derive = pkcs12_kdf::Derive {
                    hash,
                    bmp,
                    salt,
                    rounds: *rounds,
                };
                derive.fill(pkcs12_kdf::KEY, &mut key, work)?;
                derive.fill(pkcs12_kdf::IV, &mut iv, work)?;
            }
            Derivation::Pbkdf2 {
                hash,
                hash_length,
                salt,
                rounds,
                iv: own,
            } => {
                let blocks = (key.len() as u64).div_ceil(*hash_length);
                work.begin(u64::from(rounds.get()).saturating_mul(blocks))?;
                pbkdf2::derive(*hash, *rounds, salt, passphrase, &mut key);
                iv.clone_from(own);
            }
            Derivation::Scrypt {
                salt,
                log_n,
                r,
                p,
                iv: own,
            } => {
                work.begin(scrypt_rounds(*log_n, *r, *p))?;
                let parameters = scrypt::Params::new(*log_n, *r, *p);
                let parameters = parameters.map_err(|_| DecryptError::Damaged)?;
                scrypt::scrypt(passphrase, salt, &parameters, &mut key)
                    .map_err(|_| DecryptError::Damaged)?;
                iv.clone_from(own);
            }
        }
        let plain = self.cipher.decrypt(&key, &iv, data);
        plain.ok_or_else(|| self.wrong_passphrase())
    }

    pub(super) fn wrong_passphrase(&self) -> DecryptError {
        let scheme = self.name.clone();
        DecryptError::WrongPassphrase { scheme }
    }

    pub(super) fn no_passphrase(&self) -> DecryptError {
        let scheme = self.name.clone();
        DecryptError::NoPassphrase { scheme }
    }
}

fn unsupported(oid: &str) -> DecryptError {
    let known = UNSUPPORTED.iter().find(|(known, _)| *known == oid);
    let scheme = known.map_or_else(
        || format!("algorithm {oid}"),
        |(_, name)| (*name).to_owned(),
    );
    DecryptError::Unsupported { scheme }
}

/// PBEParameter and pkcs-12PbeParams: salt and iteration count.
fn salt_and_rounds(parameters: &mut Fields<'_>) -> Option<(Vec<u8>, u32)> {
    let salt = parameters.octets()?.into_owned();
    let rounds = u32::try_from(parameters.number()?).ok()?;
    Some((salt, rounds))
}

/// PBKDF2-params (RFC 8018 appendix A.2).
fn read_pbkdf2(mut parameters: Fields<'_>, iv: Vec<u8>) -> Result<Derivation, DecryptError> {
    let (salt, rounds) = salt_and_rounds(&mut parameters).ok_or(DecryptError::Damaged)?;
    let rounds = NonZeroU32::new(rounds).ok_or(DecryptError::Damaged)?;
    // A length of the key may stand here; it is that of the cipher. Then the function.
    let mut function = HMAC_SHA1.to_owned();
    while let Some(field) = parameters.next() {
        if field.number().is_none() {
            let named = field.elements(x509_parser::asn1_rs::Tag::Sequence);
            function = named
                .and_then(|mut named| named.oid())
                .ok_or(DecryptError::Damaged)?;
        }
    }
    let Some((_, hash, hash_length)) = HASHES.iter().find(|(known, _, _)| *known == function)
    else {
        return Err(unsupported(&function));
    };
    Ok(Derivation::Pbkdf2 {
        hash: **hash,
        hash_length: *hash_length,
        salt,
        rounds,
        iv,
    })
}

/// scrypt-params (RFC 7914 section 7).
fn read_scrypt(mut parameters: Fields<'_>, iv: Vec<u8>) -> Result<Derivation, DecryptError> {
    let mut read = || {
        let salt = parameters.octets()?.into_owned();
        let n = parameters
            .number()
            .filter(|n| n.is_power_of_two() && *n > 1)?;
        let r = parameters.number().filter(|r| *r > 0)?;
        let p = parameters.number().filter(|p| *p > 0)?;
        Some((salt, n, r, p))
    };
    let (salt, n, r, p) = read().ok_or(DecryptError::Damaged)?;
    // RFC 7914 section 6: N and p blocks of 128 r bytes.
    let found = n.saturating_add(p).saturating_mul(r).saturating_mul(128);
    let (Ok(log_n), Ok(r), Ok(p)) = (u8::try_from(n.ilog2()), u32::try_from(r), u32::try_from(p))
    else {
        return Err(DecryptError::Damaged);
    };
    if found > MOST_MEMORY {
        return Err(DecryptError::TooMuchMemory { found });
    }
    Ok(Derivation::Scrypt {
        salt,
        log_n,
        r,
        p,
        iv,
    })
}

/// What scrypt costs, in rounds that cost about as much: one for each block mixed.
fn scrypt_rounds(log_n: u8, r: u32, p: u32) -> u64 {
    let n = 1_u64.checked_shl(u32::from(log_n)).unwrap_or(u64::MAX);
    n.saturating_mul(u64::from(r)).saturating_mul(u64::from(p))
}

fn pbkdf1(md5: bool, passphrase: &[u8], salt: &[u8], rounds: u32) -> Secret {
    let hash = |bytes: &[u8]| -> Secret {
        Zeroizing::new(match md5 {
            true => md5::Md5::digest(bytes).to_vec(),
            false => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)
                .as_ref()
                .to_vec(),
        })
    };
    let first = Zeroizing::new([passphrase, salt].concat());
    (1..rounds).fold(hash(&first), |before, _| hash(&before))
}
