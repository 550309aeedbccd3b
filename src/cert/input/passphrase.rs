//! Pass phrases: kept where they are wiped, in the encodings that the formats ask for.

use std::fmt;

use zeroize::Zeroizing;

/// What protects a key. Wiped from memory when it goes, and never printed.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are; UTF-8 where it is text.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The first line of a text, without its end (LF or CRLF), as pass phrases stand in files.
    pub fn first_line(text: &[u8]) -> Self {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Self::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// BMPString with its terminator (RFC 7292 appendix B.1). What is not UTF-8 is taken as
    /// Latin-1.
    pub(super) fn bmp(&self) -> Zeroizing<Vec<u8>> {
        let mut units = Zeroizing::new(Vec::with_capacity(2 * self.0.len() + 2));
        match str::from_utf8(&self.0) {
            Ok(text) => text
                .encode_utf16()
                .for_each(|unit| units.extend(unit.to_be_bytes())),
            Err(_) => self.0.iter().for_each(|byte| units.extend([0, *byte])),
        }
        units.extend([0, 0]);
        units
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_counts() {
        for (text, expected) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\nmore\n", "secret"),
            (" two words \n", " two words "),
            ("\nsecret", ""),
            ("", ""),
        ] {
            let read = Passphrase::first_line(text.as_bytes());
            assert_eq!(read.bytes(), expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn pkcs12_is_given_utf_16() {
        let bmp = |bytes: &[u8]| Passphrase::new(bytes.to_vec()).bmp().to_vec();
        assert_eq!(bmp("ä€".as_bytes()), [0, 0xe4, 0x20, 0xac, 0, 0]);
        assert_eq!(bmp(b"\xe4"), [0, 0xe4, 0, 0]);
        assert_eq!(bmp(b""), [0, 0]);
    }

    #[test]
    fn it_is_never_printed() {
        let secret = Passphrase::new(b"open sesame".to_vec());
        assert_eq!(format!("{secret:?}"), "Passphrase(secret)");
    }
}
