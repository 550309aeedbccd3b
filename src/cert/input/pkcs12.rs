//! PKCS#12 (RFC 7292): keys and certificates in bags, encrypted by pass phrase.
//!
//! Opens what OpenSSL of either generation, GnuTLS, Java, NSS and Windows write, BER included.
//! Attributes of bags are not looked at: which certificate a key belongs to is known by its
//! public half.

use std::borrow::Cow;

use aws_lc_rs::{digest, hmac};
use x509_parser::asn1_rs::Tag;
use zeroize::Zeroizing;

use crate::cert::BundleError;
use crate::cert::input::asn1::Fields;
use crate::cert::input::cipher::Secret;
use crate::cert::input::decrypt::{DecryptError, Scheme, Work};
use crate::cert::input::passphrase::Passphrase;
use crate::cert::input::pkcs12_kdf::{Derive, MAC};

const DATA: &str = "1.2.840.113549.1.7.1";
const ENCRYPTED_DATA: &str = "1.2.840.113549.1.7.6";
const KEY_BAG: &str = "1.2.840.113549.1.12.10.1.1";
const SHROUDED_KEY_BAG: &str = "1.2.840.113549.1.12.10.1.2";
const CERTIFICATE_BAG: &str = "1.2.840.113549.1.12.10.1.3";
const NESTED_BAG: &str = "1.2.840.113549.1.12.10.1.6";
const X509_CERTIFICATE: &str = "1.2.840.113549.1.9.22.1";

/// How deep bags may lie in bags.
const DEEPEST_BAG: usize = 4;

/// What was found in the bags.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) certificates: Vec<Vec<u8>>,
    /// PKCS#8.
    pub(super) keys: Vec<Secret>,
}

/// Opens a file. Without a pass phrase the empty one is tried, as some programs write it.
pub(super) fn open(
    der: &[u8],
    passphrase: Option<&Passphrase>,
    work: &mut Work,
) -> Result<Contents, BundleError> {
    let file = Pfx::read(der).ok_or(DAMAGED)?;
    let mut attempts = match passphrase {
        Some(given) if !given.is_empty() => vec![Attempt::new(given, given.bmp())],
        // Nothing is written as a string with no letters by some, as no string by others.
        _ => {
            let empty = Passphrase::new(Vec::new());
            vec![
                Attempt::new(&empty, empty.bmp()),
                Attempt::new(&empty, Zeroizing::default()),
            ]
        }
    };
    if let Some(mac) = &file.mac {
        let mut fitting = Vec::new();
        for attempt in attempts {
            if mac
                .fits(&file.safes, &attempt.bmp, work)
                .map_err(opened_not)?
            {
                fitting.push(attempt);
            }
        }
        attempts = fitting;
    }
    let mut failure = DecryptError::WrongPassphrase {
        scheme: "PKCS#12".to_owned(),
    };
    for attempt in attempts {
        let mut opener = Opener {
            attempt,
            work,
            contents: Contents::default(),
        };
        match opener.safes(&file.safes) {
            Ok(()) => return Ok(opener.contents),
            Err(BundleError::Encrypted { source, .. }) => failure = source,
            Err(error) => return Err(error),
        }
    }
    Err(opened_not(match failure {
        DecryptError::WrongPassphrase { scheme } if passphrase.is_none() => {
            DecryptError::NoPassphrase { scheme }
        }
        failure => failure,
    }))
}

const DAMAGED: BundleError = BundleError::Damaged { form: "PKCS#12" };

fn opened_not(source: DecryptError) -> BundleError {
    BundleError::Encrypted {
        what: "PKCS#12 file",
        source,
    }
}

/// A pass phrase in its two encodings.
struct Attempt {
    bytes: Passphrase,
    bmp: Secret,
}

impl Attempt {
    fn new(passphrase: &Passphrase, bmp: Secret) -> Self {
        Self {
            bytes: passphrase.clone(),
            bmp,
        }
    }
}

/// The outer structure (RFC 7292 section 4).
struct Pfx<'d> {
    /// The AuthenticatedSafe, which the MAC is over.
    safes: Cow<'d, [u8]>,
    mac: Option<Mac<'d>>,
}

impl<'d> Pfx<'d> {
    fn read(der: &'d [u8]) -> Option<Self> {
        let mut pfx = Fields::new(der).sequence()?;
        pfx.number().filter(|version| *version == 3)?;
        let mut info = pfx.sequence()?;
        info.oid().filter(|kind| kind == DATA)?;
        let safes = info.tagged(0)?.octets()?;
        let mac = match pfx.is_empty() {
            true => None,
            false => Some(pfx.sequence()?),
        };
        let mac = mac.map(Mac::read);
        Some(Self {
            safes,
            mac: match mac {
                Some(mac) => mac?,
                None => None,
            },
        })
    }
}

/// MacData. It keeps errors away, not forgers: its key is made of the pass phrase.
struct Mac<'d> {
    hash: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    value: Cow<'d, [u8]>,
    salt: Cow<'d, [u8]>,
    rounds: u32,
}

impl<'d> Mac<'d> {
    /// `Some(None)` for an algorithm that is not known here: then decryption alone tells whether
    /// the pass phrase is right.
    fn read(mut data: Fields<'d>) -> Option<Option<Self>> {
        let mut info = data.sequence()?;
        let algorithm = info.sequence()?.oid()?;
        let value = info.octets()?;
        let salt = data.octets()?;
        let rounds = match data.is_empty() {
            true => 1,
            false => u32::try_from(data.number()?).ok()?,
        };
        let (hash, hmac) = match algorithm.as_str() {
            "1.3.14.3.2.26" => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            "2.16.840.1.101.3.4.2.1" => (&digest::SHA256, hmac::HMAC_SHA256),
            "2.16.840.1.101.3.4.2.2" => (&digest::SHA384, hmac::HMAC_SHA384),
            "2.16.840.1.101.3.4.2.3" => (&digest::SHA512, hmac::HMAC_SHA512),
            "2.16.840.1.101.3.4.2.4" => (&digest::SHA224, hmac::HMAC_SHA224),
            _ => return Some(None),
        };
        Some(Some(Self {
            hash,
            hmac,
            value,
            salt,
            rounds,
        }))
    }

    fn fits(&self, safes: &[u8], bmp: &[u8], work: &mut Work) -> Result<bool, DecryptError> {
        let mut key = Zeroizing::new(vec![0; self.hash.output_len()]);
        let derive = Derive {
            hash: self.hash,
            bmp,
            salt: &self.salt,
            rounds: self.rounds,
        };
        derive.fill(MAC, &mut key, work)?;
        let key = hmac::Key::new(self.hmac, &key);
        Ok(hmac::verify(&key, safes, &self.value).is_ok())
    }
}

/// Goes through the bags with one pass phrase.
struct Opener<'w> {
    attempt: Attempt,
    work: &'w mut Work,
    contents: Contents,
}

impl Opener<'_> {
    fn safes(&mut self, safes: &[u8]) -> Result<(), BundleError> {
        let mut safes = Fields::new(safes).sequence().ok_or(DAMAGED)?;
        while !safes.is_empty() {
            let mut info = safes.sequence().ok_or(DAMAGED)?;
            let kind = info.oid().ok_or(DAMAGED)?;
            let mut content = info.tagged(0).ok_or(DAMAGED)?;
            match kind.as_str() {
                DATA => {
                    let bags = content.octets().ok_or(DAMAGED)?;
                    self.bags(Fields::new(&bags).sequence().ok_or(DAMAGED)?, DEEPEST_BAG)?;
                }
                ENCRYPTED_DATA => {
                    let bags = self.encrypted(&mut content)?;
                    self.bags(Fields::new(&bags).sequence().ok_or(DAMAGED)?, DEEPEST_BAG)?;
                }
                _ => {
                    let scheme = format!("the public key of its receiver (content type {kind})");
                    return Err(opened_not(DecryptError::Unsupported { scheme }));
                }
            }
        }
        Ok(())
    }

    /// EncryptedData (RFC 5652 section 8).
    fn encrypted(&mut self, content: &mut Fields<'_>) -> Result<Secret, BundleError> {
        let mut data = content.sequence().ok_or(DAMAGED)?;
        data.number().ok_or(DAMAGED)?;
        let mut info = data.sequence().ok_or(DAMAGED)?;
        info.oid().ok_or(DAMAGED)?;
        let algorithm = info.sequence().ok_or(DAMAGED)?;
        let text = info.next().and_then(|field| field.implicit_octets(0));
        self.decrypt(algorithm, &text.ok_or(DAMAGED)?)
    }

    fn decrypt(&mut self, algorithm: Fields<'_>, text: &[u8]) -> Result<Secret, BundleError> {
        let scheme = Scheme::read(algorithm).map_err(opened_not)?;
        let (bytes, bmp) = (&self.attempt.bytes, &self.attempt.bmp);
        let plain = scheme.decrypt_with(text, bytes.bytes(), bmp, self.work);
        let plain = plain.map_err(opened_not)?;
        // What a wrong pass phrase makes of it is no sequence, but once in many thousand times.
        match Fields::new(&plain).sequence() {
            Some(_) => Ok(plain),
            None => Err(opened_not(scheme.wrong_passphrase())),
        }
    }

    fn bags(&mut self, mut bags: Fields<'_>, depth: usize) -> Result<(), BundleError> {
        while !bags.is_empty() {
            let mut bag = bags.sequence().ok_or(DAMAGED)?;
            let kind = bag.oid().ok_or(DAMAGED)?;
            let mut value = bag.tagged(0).ok_or(DAMAGED)?;
            match kind.as_str() {
                KEY_BAG => {
                    let key = value.next().filter(|key| key.is(Tag::Sequence));
                    let key = key.ok_or(DAMAGED)?.raw.to_vec();
                    self.contents.keys.push(Zeroizing::new(key));
                }
                SHROUDED_KEY_BAG => {
                    let mut info = value.sequence().ok_or(DAMAGED)?;
                    let algorithm = info.sequence().ok_or(DAMAGED)?;
                    let text = info.octets().ok_or(DAMAGED)?;
                    let key = self.decrypt(algorithm, &text)?;
                    self.contents.keys.push(key);
                }
                CERTIFICATE_BAG => {
                    let mut certificate = value.sequence().ok_or(DAMAGED)?;
                    if certificate.oid().ok_or(DAMAGED)? == X509_CERTIFICATE {
                        let der = certificate.tagged(0).and_then(|mut der| der.octets());
                        let der = der.ok_or(DAMAGED)?.into_owned();
                        self.contents.certificates.push(der);
                    }
                }
                NESTED_BAG if depth > 0 => {
                    self.bags(value.sequence().ok_or(DAMAGED)?, depth - 1)?;
                }
                NESTED_BAG => return Err(DAMAGED),
                // Revocation lists and secrets.
                _ => {}
            }
        }
        Ok(())
    }
}
