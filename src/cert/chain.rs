//! PEM in, PEM out: the pile of certificates and keys that a file holds.
//!
//! Reads blocks and their order; what the certificates say, and which key fits, is for others.

use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::cert::{KeyError, PrivateKey};

/// Largest PEM text that is read, in bytes.
const MAX_TEXT: usize = 1024 * 1024;

/// What a PEM text holds.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Certificates in the order of the text: end-entity first, its intermediates below.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Keys in the order of the text.
    pub keys: Vec<PrivateKey>,
}

/// Why a PEM text cannot be used. Never quotes the text: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// Nothing but white space.
    #[error("empty: a PEM block was expected (-----BEGIN CERTIFICATE----- or a private key)")]
    Empty,
    /// Larger than any chain.
    #[error("{found} bytes of PEM text, at most {MAX_TEXT} are read")]
    TooLarge {
        /// Size of the text.
        found: usize,
    },
    /// No block at all.
    #[error(
        "no PEM block found{}, expected -----BEGIN CERTIFICATE----- or a private key",
        looks_like(.hint)
    )]
    NoBlock {
        /// What the bytes look like instead, if it can be told.
        hint: Option<&'static str>,
    },
    /// Blocks, but none of use.
    #[error("no certificate and no private key found, only {}", .labels.join(", "))]
    NothingUsable {
        /// Labels of the blocks found.
        labels: Vec<String>,
    },
    /// `-----BEGIN …` without its `-----END …`.
    #[error("PEM block {block} has no end: -----END {label}----- was expected")]
    NoEnd {
        /// Position of the block among certificates and keys, from 1.
        block: usize,
        /// Its label.
        label: String,
    },
    /// A first line that does not end as it must.
    #[error("PEM block {block} has a damaged first line, expected -----BEGIN LABEL-----")]
    DamagedBegin {
        /// Position of the block among certificates and keys, from 1.
        block: usize,
    },
    /// Base64 that is none.
    #[error("PEM block {block} is not base64")]
    NotBase64 {
        /// Position of the block among certificates and keys, from 1.
        block: usize,
    },
    /// A private key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn looks_like(hint: &Option<&'static str>) -> String {
    hint.map_or_else(String::new, |hint| format!(": the file looks like {hint}"))
}

/// Reads PEM text: certificates and keys (PKCS#8, PKCS#1, SEC1), in any mixture, with any
/// text around the blocks. An encrypted key is refused by name, other blocks are passed over.
pub fn read_bundle(pem: &[u8]) -> Result<Bundle, ChainError> {
    if pem.len() > MAX_TEXT {
        return Err(ChainError::TooLarge { found: pem.len() });
    }
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
    refuse_encrypted(pem)?;
    let mut bundle = Bundle::default();
    for (at, block) in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).enumerate() {
        let (kind, der) = block.map_err(|error| damaged(at + 1, &error))?;
        if kind == SectionKind::Certificate {
            bundle.certificates.push(der.into());
        } else if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            bundle.keys.push(PrivateKey::from_der(key)?);
        }
    }
    if bundle.certificates.is_empty() && bundle.keys.is_empty() {
        return Err(nothing_found(pem));
    }
    Ok(bundle)
}

/// PEM text of certificates, one after the other.
pub fn chain_pem(chain: &[CertificateDer<'_>]) -> String {
    chain
        .iter()
        .map(|der| pem_text("CERTIFICATE", der))
        .collect()
}

/// One PEM block with line feeds.
pub(super) fn pem_text(label: &str, der: &[u8]) -> String {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    ::pem::encode_config(&::pem::Pem::new(label, der), config)
}

fn lines(pem: &[u8]) -> impl Iterator<Item = &[u8]> {
    pem.split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter(|line| !line.is_empty())
}

/// Names what would otherwise be passed over (`ENCRYPTED PRIVATE KEY`) or be taken for
/// damaged base64 (the headers of RFC 1421).
fn refuse_encrypted(pem: &[u8]) -> Result<(), KeyError> {
    let mut after_begin = false;
    for line in lines(pem) {
        if line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            let form = "ENCRYPTED PRIVATE KEY";
            return Err(KeyError::Encrypted { form });
        }
        if after_begin && line.starts_with(b"Proc-Type: 4,ENCRYPTED") {
            let form = "Proc-Type: 4,ENCRYPTED";
            return Err(KeyError::Encrypted { form });
        }
        after_begin = line.starts_with(b"-----BEGIN ");
    }
    Ok(())
}

/// Our own words for the reader's errors, which quote lines that may hold a key.
fn damaged(block: usize, error: &pem::Error) -> ChainError {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => ChainError::NoEnd {
            block,
            label: label_text(end_marker),
        },
        pem::Error::IllegalSectionStart { .. } => ChainError::DamagedBegin { block },
        _ => ChainError::NotBase64 { block },
    }
}

/// A label, if it looks like one and not like a key that lost its line feeds.
fn label_text(label: &[u8]) -> String {
    const LONGEST: usize = 40;
    let plain = label.len() <= LONGEST
        && label
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ');
    match str::from_utf8(label) {
        Ok(label) if plain => label.to_owned(),
        _ => "(damaged label)".to_owned(),
    }
}

fn nothing_found(pem: &[u8]) -> ChainError {
    const SHOWN: usize = 5;
    if pem.trim_ascii().is_empty() {
        return ChainError::Empty;
    }
    let labels: Vec<String> = lines(pem)
        .filter_map(|line| line.strip_prefix(b"-----BEGIN "))
        .map(|rest| label_text(rest.trim_ascii().strip_suffix(b"-----").unwrap_or(rest)))
        .take(SHOWN)
        .collect();
    if !labels.is_empty() {
        return ChainError::NothingUsable { labels };
    }
    let hint = match pem {
        [0x30, ..] => Some("DER"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16 text"),
        _ => None,
    };
    ChainError::NoBlock { hint }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cert::testing::{days, params, self_signed};

    fn error(pem: &[u8]) -> String {
        read_bundle(pem).unwrap_err().to_string()
    }

    #[test]
    fn blocks_are_read_in_their_order_whatever_stands_around_them() {
        let first = self_signed(&params("first", &["a.example"], days(0, 1)));
        let second = self_signed(&params("second", &["b.example"], days(0, 1)));
        let text = format!(
            "\u{feff}subject=/CN=first\r\n{}\nissuer: …\n{}{}{}{}trailing",
            chain_pem(std::slice::from_ref(&first.der)).replace('\n', "\r\n"),
            second.key.serialize_pem(),
            pem_text("DH PARAMETERS", b"whatever"),
            chain_pem(std::slice::from_ref(&second.der)),
            first.key.serialize_pem(),
        );
        let bundle = read_bundle(text.as_bytes()).unwrap();
        assert_eq!(bundle.certificates, [first.der.clone(), second.der.clone()]);
        let spkis: Vec<_> = bundle.keys.iter().map(PrivateKey::spki).collect();
        let [one, two] = [second.private_key(), first.private_key()];
        assert_eq!(spkis, [one.spki(), two.spki()]);
        assert!(!format!("{bundle:?}").contains("Pkcs8"));
    }

    #[test]
    fn what_holds_nothing_says_what_it_holds() {
        let leaf = self_signed(&params("a", &["a.example"], days(0, 1)));
        let expected = ", expected -----BEGIN CERTIFICATE----- or a private key";
        for (pem, text) in [
            (
                b" \r\n\t".to_vec(),
                "empty: a PEM block was expected \
                 (-----BEGIN CERTIFICATE----- or a private key)"
                    .to_owned(),
            ),
            (
                leaf.der.to_vec(),
                format!("no PEM block found: the file looks like DER{expected}"),
            ),
            (
                b"\xff\xfe-\0-\0".to_vec(),
                format!("no PEM block found: the file looks like UTF-16 text{expected}"),
            ),
            (b"hello".to_vec(), format!("no PEM block found{expected}")),
            (
                [
                    pem_text("CERTIFICATE REQUEST", b"x"),
                    pem_text("X509 CRL", b"x"),
                ]
                .concat()
                .into_bytes(),
                "no certificate and no private key found, only CERTIFICATE REQUEST, X509 CRL"
                    .to_owned(),
            ),
            (
                vec![b'x'; MAX_TEXT + 1],
                "1048577 bytes of PEM text, at most 1048576 are read".to_owned(),
            ),
        ] {
            assert_eq!(error(&pem), text);
        }
    }

    #[test]
    fn a_damaged_block_is_named_and_its_content_is_not() {
        let leaf = self_signed(&params("a", &["a.example"], days(0, 1)));
        let good = chain_pem(std::slice::from_ref(&leaf.der));
        let key = leaf.key.serialize_pem();
        let secret = key.lines().nth(1).unwrap();
        let one_line = key.replace('\n', "");
        for (text, expected) in [
            (
                format!("{good}{}", key.replace("-----END", "")),
                "PEM block 2 has no end: -----END PRIVATE KEY----- was expected",
            ),
            (
                format!("{good}{}", key.replacen("KEY-----", "KEY---", 1)),
                "PEM block 2 has a damaged first line, expected -----BEGIN LABEL-----",
            ),
            (
                key.replacen(
                    secret,
                    &secret.replace(|c: char| c.is_ascii_digit(), "!"),
                    1,
                ),
                "PEM block 1 is not base64",
            ),
            (
                one_line.clone(),
                "PEM block 1 has no end: -----END (damaged label)----- was expected",
            ),
            (
                format!("{one_line}\n-----END x"),
                "PEM block 1 has no end: -----END (damaged label)----- was expected",
            ),
        ] {
            let found = read_bundle(text.as_bytes()).unwrap_err();
            assert_eq!(found.to_string(), expected);
            assert!(!format!("{found:?}").contains(&secret[8..24]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut pem in prop::collection::vec(any::<u8>(), 0..200),
            begin: bool,
        ) {
            if begin {
                pem.splice(..0, *b"-----BEGIN CERTIFICATE-----\n");
            }
            if let Ok(bundle) = read_bundle(&pem) {
                prop_assert!(bundle.certificates.len() + bundle.keys.len() > 0);
            }
        }
    }
}
