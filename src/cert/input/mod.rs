//! What people bring: certificates and keys in any of the forms in which programs write them.
//!
//! A form is recognised by its content; nothing counts what a file is called. What the
//! certificates say, which key fits, and in which order they are sent is for others.

mod asn1;
mod cipher;
mod decrypt;
mod passphrase;
mod pem;
mod pkcs12;
mod pkcs12_kdf;
mod pkcs7;
mod recognised;
mod traditional;

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use crate::cert::{KeyError, PrivateKey};
use cipher::Secret;
use decrypt::{Scheme, Work};
use pem::Block;
use recognised::{Form, described, looks_like};

pub(super) use asn1::Fields;
pub use decrypt::DecryptError;
pub use passphrase::Passphrase;
pub use pem::chain_pem;
pub(super) use pem::pem_text;

/// Largest file that is read, in bytes.
pub const MAX_INPUT: usize = 1024 * 1024;

/// Most certificates that one file may hold: more than all the roots of the world.
const MAX_CERTIFICATES: usize = 1000;

/// Most keys that one file may hold.
const MAX_KEYS: usize = 100;

/// What was brought.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Certificates in the order in which they were found.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Keys in the order in which they were found.
    pub keys: Vec<PrivateKey>,
}

/// Why something cannot be used. Never quotes it: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Nothing but white space.
    #[error("empty: certificates or a private key were expected")]
    Empty,
    /// Larger than any chain.
    #[error("{found} bytes, at most {MAX_INPUT} are read")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// More than any chain.
    #[error("more than {limit} {what}")]
    TooMany {
        /// "certificates" or "keys".
        what: &'static str,
        /// How many are taken.
        limit: usize,
    },
    /// No block at all, and nothing else that is known.
    #[error(
        "no PEM block found{}, expected -----BEGIN CERTIFICATE----- or a private key",
        .hint.map_or_else(String::new, |hint| format!(": the file looks like {hint}"))
    )]
    NoBlock {
        /// What the bytes look like instead, if it can be told.
        hint: Option<&'static str>,
    },
    /// Blocks or elements, but none of use.
    #[error("no certificate and no private key found, only {}", .found.join(", "))]
    NothingUsable {
        /// What was found, in words.
        found: Vec<String>,
    },
    /// Something else altogether.
    #[error("found {found}, expected a certificate or a private key (PEM, DER, PKCS#7 or PKCS#12)")]
    Foreign {
        /// What it is.
        found: &'static str,
    },
    /// `-----BEGIN …` without its `-----END …`.
    #[error("PEM block {block} has no end: -----END {label}----- was expected")]
    NoEnd {
        /// Position of the block, from 1.
        block: usize,
        /// Its label.
        label: String,
    },
    /// A first line that does not end as it must.
    #[error("PEM block {block} has a damaged first line, expected -----BEGIN LABEL-----")]
    DamagedBegin {
        /// Position of the block, from 1.
        block: usize,
    },
    /// Base64 that is none.
    #[error("PEM block {block} is not base64")]
    NotBase64 {
        /// Position of the block, from 1.
        block: usize,
    },
    /// It begins as what it is, and does not go on so.
    #[error("damaged {form}: its structure cannot be read")]
    Damaged {
        /// What it is.
        form: &'static str,
    },
    /// Encrypted, and not opened.
    #[error("the {what} cannot be opened")]
    Encrypted {
        /// "private key" or "PKCS#12 file".
        what: &'static str,
        /// Why.
        source: DecryptError,
    },
    /// A private key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl BundleError {
    /// Whether a pass phrase is all that was missing.
    pub fn needs_passphrase(&self) -> bool {
        matches!(
            self,
            Self::Encrypted {
                source: DecryptError::NoPassphrase { .. },
                ..
            }
        )
    }
}

/// Reads PEM text as it may lie in the certificate folder: certificates and keys (PKCS#8,
/// PKCS#1, SEC1), in any mixture, with any text around the blocks. An encrypted key is refused
/// by name, other blocks are passed over.
pub fn read_bundle(pem: &[u8]) -> Result<Bundle, BundleError> {
    check_size(pem)?;
    let mut reader = Reader::new(None, true);
    if reader.pem(pem)? == 0 {
        let hint = looks_like(pem);
        return Err(match pem.trim_ascii().is_empty() {
            true => BundleError::Empty,
            false => BundleError::NoBlock { hint },
        });
    }
    reader.finish()
}

/// Reads whatever somebody brings: PEM with any text around its blocks, and DER; certificates,
/// PKCS#7, PKCS#12, and keys in PKCS#8, PKCS#1 or SEC1, encrypted or not.
///
/// What is encrypted is opened with `passphrase`; its absence and a wrong one are told apart
/// ([`DecryptError`]). The work of that is bounded for each call.
pub fn read_input(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Bundle, BundleError> {
    check_size(bytes)?;
    let mut reader = Reader::new(passphrase, false);
    if reader.pem(bytes)? > 0 {
        return reader.finish();
    }
    if bytes.trim_ascii().is_empty() {
        return Err(BundleError::Empty);
    }
    if Form::of(bytes) == Form::Unknown {
        let found = recognised::foreign(bytes);
        let hint = looks_like(bytes);
        return Err(found.map_or(BundleError::NoBlock { hint }, |found| {
            BundleError::Foreign { found }
        }));
    }
    let mut elements = Fields::new(bytes);
    while !elements.is_empty() {
        let trailing = BundleError::Damaged { form: "DER" };
        let element = elements.next().ok_or(trailing)?;
        reader.der(element.raw)?;
    }
    reader.finish()
}

fn check_size(bytes: &[u8]) -> Result<(), BundleError> {
    match bytes.len() {
        found if found > MAX_INPUT => Err(BundleError::TooLarge { found }),
        _ => Ok(()),
    }
}

/// One reading, and what came of it so far.
struct Reader<'p> {
    passphrase: Option<&'p Passphrase>,
    /// Whether only what may lie in the certificate folder is taken.
    folder: bool,
    work: Work,
    bundle: Bundle,
    /// What was passed over, in words.
    others: Vec<String>,
}

impl<'p> Reader<'p> {
    fn new(passphrase: Option<&'p Passphrase>, folder: bool) -> Self {
        Self {
            passphrase,
            folder,
            work: Work::default(),
            bundle: Bundle::default(),
            others: Vec::new(),
        }
    }

    fn finish(self) -> Result<Bundle, BundleError> {
        let bundle = self.bundle;
        if bundle.certificates.is_empty() && bundle.keys.is_empty() {
            let found = self.others;
            return Err(BundleError::NothingUsable { found });
        }
        Ok(bundle)
    }

    /// How many blocks there were.
    fn pem(&mut self, text: &[u8]) -> Result<usize, BundleError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut number = 0;
        for block in pem::blocks(text) {
            let block = block?;
            number = block.number;
            self.block(&block)?;
        }
        Ok(number)
    }

    fn block(&mut self, block: &Block<'_>) -> Result<(), BundleError> {
        match block.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => self.certificate(block.public_der()?),
            "TRUSTED CERTIFICATE" => {
                // OpenSSL's own: what it says of trust follows the certificate.
                let der = block.der()?;
                let certificate = Fields::new(&der).next().map_or(&der[..], |first| first.raw);
                self.certificate(certificate.to_vec())
            }
            "PRIVATE KEY" => self.key(pkcs8(block.der()?)),
            "RSA PRIVATE KEY" => {
                let der = self.traditional(block)?;
                self.key(PrivatePkcs1KeyDer::from(der.to_vec()).into())
            }
            "EC PRIVATE KEY" => {
                let der = self.traditional(block)?;
                self.key(PrivateSec1KeyDer::from(der.to_vec()).into())
            }
            "ENCRYPTED PRIVATE KEY" if self.folder => Err(KeyError::Encrypted {
                form: "ENCRYPTED PRIVATE KEY",
            }
            .into()),
            "ENCRYPTED PRIVATE KEY" => self.encrypted_key(&block.der()?),
            "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" if !self.folder => self.pkcs7(&block.der()?),
            "PKCS12" if !self.folder => self.pkcs12(&block.der()?),
            label => {
                self.pass_over(described(label));
                Ok(())
            }
        }
    }

    /// The key in a block that may have the headers of RFC 1421.
    fn traditional(&self, block: &Block<'_>) -> Result<Secret, BundleError> {
        let der = block.der()?;
        let encrypted = block
            .header("Proc-Type")
            .is_some_and(|kind| kind.replace(' ', "") == "4,ENCRYPTED");
        if !encrypted {
            return Ok(der);
        }
        if self.folder {
            let form = "Proc-Type: 4,ENCRYPTED";
            return Err(KeyError::Encrypted { form }.into());
        }
        let info = block.header("DEK-Info").unwrap_or_default();
        traditional::decrypt(info, &der, self.passphrase).map_err(key_not_opened)
    }

    fn der(&mut self, der: &[u8]) -> Result<(), BundleError> {
        let secret = || Zeroizing::new(der.to_vec());
        match Form::of(der) {
            Form::Certificate => self.certificate(der.to_vec()),
            Form::Pkcs7 => self.pkcs7(der),
            Form::Pkcs12 => self.pkcs12(der),
            Form::Pkcs8 => self.key(pkcs8(secret())),
            Form::EncryptedPkcs8 => self.encrypted_key(der),
            Form::Pkcs1 => self.key(PrivatePkcs1KeyDer::from(der.to_vec()).into()),
            Form::Sec1 => self.key(PrivateSec1KeyDer::from(der.to_vec()).into()),
            Form::Other(found) => {
                self.pass_over(found.to_owned());
                Ok(())
            }
            Form::Unknown => Err(BundleError::Damaged { form: "DER" }),
        }
    }

    fn pkcs7(&mut self, der: &[u8]) -> Result<(), BundleError> {
        let certificates = pkcs7::certificates(der)?;
        if certificates.is_empty() {
            self.pass_over("a PKCS#7 message with no certificate in it".to_owned());
        }
        certificates
            .into_iter()
            .try_for_each(|der| self.certificate(der.to_vec()))
    }

    fn pkcs12(&mut self, der: &[u8]) -> Result<(), BundleError> {
        let contents = pkcs12::open(der, self.passphrase, &mut self.work)?;
        if contents.certificates.is_empty() && contents.keys.is_empty() {
            self.pass_over(
                "a PKCS#12 file with no certificate and no private key in it".to_owned(),
            );
        }
        contents
            .certificates
            .into_iter()
            .try_for_each(|der| self.certificate(der))?;
        contents
            .keys
            .into_iter()
            .try_for_each(|key| self.key(pkcs8(key)))
    }

    /// EncryptedPrivateKeyInfo (RFC 5958 section 3).
    fn encrypted_key(&mut self, der: &[u8]) -> Result<(), BundleError> {
        let damaged = || BundleError::Damaged {
            form: "encrypted PKCS#8 key",
        };
        let mut info = Fields::new(der).sequence().ok_or_else(damaged)?;
        let algorithm = info.sequence().ok_or_else(damaged)?;
        let text = info.octets().ok_or_else(damaged)?;
        let scheme = Scheme::read(algorithm).map_err(key_not_opened)?;
        let Some(passphrase) = self.passphrase else {
            return Err(key_not_opened(scheme.no_passphrase()));
        };
        let plain = scheme.decrypt(&text, passphrase, &mut self.work);
        let plain = plain.map_err(key_not_opened)?;
        match Form::of(&plain) {
            Form::Pkcs8 => self.key(pkcs8(plain)),
            _ => Err(key_not_opened(scheme.wrong_passphrase())),
        }
    }

    fn certificate(&mut self, der: Vec<u8>) -> Result<(), BundleError> {
        let certificates = &mut self.bundle.certificates;
        if certificates.len() == MAX_CERTIFICATES {
            return Err(BundleError::TooMany {
                what: "certificates",
                limit: MAX_CERTIFICATES,
            });
        }
        certificates.push(der.into());
        Ok(())
    }

    fn key(&mut self, der: PrivateKeyDer<'static>) -> Result<(), BundleError> {
        let keys = &mut self.bundle.keys;
        if keys.len() == MAX_KEYS {
            return Err(BundleError::TooMany {
                what: "keys",
                limit: MAX_KEYS,
            });
        }
        keys.push(PrivateKey::from_der(der)?);
        Ok(())
    }

    fn pass_over(&mut self, found: String) {
        const MOST_SHOWN: usize = 5;
        if self.others.len() < MOST_SHOWN && !self.others.contains(&found) {
            self.others.push(found);
        }
    }
}

fn pkcs8(der: Secret) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(der.to_vec()).into()
}

fn key_not_opened(source: DecryptError) -> BundleError {
    BundleError::Encrypted {
        what: "private key",
        source,
    }
}

#[cfg(test)]
mod tests;
