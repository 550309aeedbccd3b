//! PEM: the blocks in a text, whatever stands around them (RFC 7468, and the headers of
//! RFC 1421), and text of blocks.
//!
//! What is in a block is for others; it is decoded only when they ask.

use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::cert::BundleError;
use crate::cert::input::cipher::Secret;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// The blocks of a text, in its order; it ends at the first that is damaged.
pub(super) struct Blocks<'t> {
    rest: &'t [u8],
    number: usize,
}

/// One block, not yet decoded.
pub(super) struct Block<'t> {
    /// Position in the text, from 1.
    pub(super) number: usize,
    pub(super) label: String,
    /// Between first and last line.
    content: &'t [u8],
}

/// The blocks of a text.
pub(super) fn blocks(text: &[u8]) -> Blocks<'_> {
    Blocks {
        rest: text,
        number: 0,
    }
}

impl<'t> Iterator for Blocks<'t> {
    type Item = Result<Block<'t>, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        let begin = loop {
            let line = self.line()?;
            if let Some(label) = line.strip_prefix(BEGIN) {
                break label;
            }
        };
        self.number += 1;
        let block = self.block(begin);
        if block.is_err() {
            self.rest = &[];
        }
        Some(block)
    }
}

impl<'t> Blocks<'t> {
    /// The next line without the white space around it.
    fn line(&mut self) -> Option<&'t [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        let line_end = if rest.starts_with(b"\r\n") { 2 } else { 1 };
        self.rest = rest.get(line_end..).unwrap_or_default();
        Some(line.trim_ascii())
    }

    fn block(&mut self, begin: &[u8]) -> Result<Block<'t>, BundleError> {
        let number = self.number;
        let Some(label) = begin.strip_suffix(DASHES) else {
            return Err(BundleError::DamagedBegin { block: number });
        };
        let content = self.rest;
        let mut length = 0;
        while let Some(line) = self.line() {
            if line.starts_with(BEGIN) {
                break;
            }
            let ended = line
                .strip_prefix(END)
                .and_then(|line| line.strip_suffix(DASHES));
            if ended == Some(label) {
                return Ok(Block {
                    number,
                    label: label_text(label),
                    content: &content[..length],
                });
            }
            length = content.len() - self.rest.len();
        }
        Err(BundleError::NoEnd {
            block: number,
            label: label_text(label),
        })
    }
}

impl Block<'_> {
    /// The value of a header, if there is such a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let (headers, _) = self.parts();
        let lines = headers.split(|byte| matches!(byte, b'\n' | b'\r'));
        let mut lines = lines.filter_map(|line| str::from_utf8(line).ok());
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == name).then(|| value.trim())
        })
    }

    /// What the base64 stands for.
    pub(super) fn der(&self) -> Result<Secret, BundleError> {
        let mut digits = Zeroizing::new(Vec::new());
        self.decoded(&mut digits).map(Zeroizing::new)
    }

    /// The same of what is no secret, and need not be wiped.
    pub(super) fn public_der(&self) -> Result<Vec<u8>, BundleError> {
        self.decoded(&mut Vec::new())
    }

    fn decoded(&self, digits: &mut Vec<u8>) -> Result<Vec<u8>, BundleError> {
        let (_, base64) = self.parts();
        digits.reserve_exact(base64.len());
        for run in base64.split(u8::is_ascii_whitespace) {
            digits.extend_from_slice(run);
        }
        let der = BASE64.decode(digits);
        der.map_err(|_| BundleError::NotBase64 { block: self.number })
    }

    /// Headers and base64; what divides them is an empty line.
    fn parts(&self) -> (&[u8], &[u8]) {
        let mut lines = Blocks {
            rest: self.content,
            number: 0,
        };
        if lines.line().is_none_or(|first| !first.contains(&b':')) {
            return (&[], self.content);
        }
        while lines.line().is_some_and(|line| !line.is_empty()) {}
        (
            &self.content[..self.content.len() - lines.rest.len()],
            lines.rest,
        )
    }
}

/// A label, if it looks like one and not like a key that lost its line feeds.
pub(super) fn label_text(label: &[u8]) -> String {
    const LONGEST: usize = 40;
    let plain = label.len() <= LONGEST
        && label
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" #".contains(byte));
    match str::from_utf8(label) {
        Ok(label) if plain => label.to_owned(),
        _ => "(damaged label)".to_owned(),
    }
}

/// PEM text of certificates, one after the other.
pub fn chain_pem(chain: &[CertificateDer<'_>]) -> String {
    chain
        .iter()
        .map(|der| pem_text("CERTIFICATE", der))
        .collect()
}

/// One PEM block with line feeds.
pub(in crate::cert) fn pem_text(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        let blocks = blocks(text.as_bytes());
        blocks.map(|block| block.unwrap().label).collect()
    }

    #[test]
    fn blocks_are_found_among_whatever_stands_around_them() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "one\n-----BEGIN A-----\nYQ==\n-----END A-----\n  -----BEGIN B-----\n  Yg\n  ==\n  -----END B-----";
            let text = text.replace('\n', end);
            assert_eq!(labels(&text), ["A", "B"]);
            let der: Vec<_> = blocks(text.as_bytes())
                .map(|block| block.unwrap().der().unwrap().to_vec())
                .collect();
            assert_eq!(der, [b"a", b"b"]);
        }
        assert_eq!(labels("-----END A-----\n----BEGIN A-----\n"), [""; 0]);
    }

    #[test]
    fn headers_are_read_and_are_no_base64() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-CBC,01\n\nYQ==\n-----END A-----\n";
            let text = text.replace('\n', end);
            let block = blocks(text.as_bytes()).next().unwrap().unwrap();
            assert_eq!(block.header("Proc-Type"), Some("4,ENCRYPTED"));
            assert_eq!(block.header("DEK-Info"), Some("DES-CBC,01"));
            assert_eq!(block.header("Other"), None);
            assert_eq!(block.der().unwrap().as_slice(), b"a");
        }
    }
}
