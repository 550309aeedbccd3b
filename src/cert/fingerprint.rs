//! SHA-256 fingerprints and how they are written.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

/// Lower-case hexadecimal, as fingerprints and serial numbers are shown.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// SHA-256 over `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut value = [0; 32];
    value.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    value
}

/// Enough of the SHA-256 over a SubjectPublicKeyInfo to tell keys apart in an error text.
pub fn short_id(spki: &[u8]) -> String {
    let mut id = hex(&sha256(spki));
    id.truncate(16);
    id
}
