//! PEM as OpenSSL encrypted it before PKCS#8: headers of RFC 1421, and a key made of the pass
//! phrase with MD5.

use md5::Digest as _;
use zeroize::Zeroizing;

use crate::cert::input::asn1::Fields;
use crate::cert::input::cipher::{Cipher, Secret};
use crate::cert::input::decrypt::DecryptError;
use crate::cert::input::passphrase::Passphrase;

/// Opens the key below a header `DEK-Info: AES-256-CBC,IV`.
pub(super) fn decrypt(
    dek_info: &str,
    data: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Secret, DecryptError> {
    let (name, iv) = dek_info.split_once(',').ok_or(DecryptError::Damaged)?;
    let scheme = name.trim().to_owned();
    let cipher = match scheme.as_str() {
        "AES-128-CBC" => Cipher::Aes128,
        "AES-192-CBC" => Cipher::Aes192,
        "AES-256-CBC" => Cipher::Aes256,
        "DES-EDE3-CBC" => Cipher::TripleDes,
        "DES-CBC" => Cipher::Des,
        _ => return Err(DecryptError::Unsupported { scheme }),
    };
    let iv = data_encoding::HEXLOWER_PERMISSIVE.decode(iv.trim().as_bytes());
    let iv = iv.map_err(|_| DecryptError::Damaged)?;
    let salt = match iv.get(..8) {
        Some(salt) if iv.len() == cipher.iv_length() => salt,
        _ => return Err(DecryptError::Damaged),
    };
    let Some(passphrase) = passphrase else {
        return Err(DecryptError::NoPassphrase { scheme });
    };
    let key = bytes_to_key(passphrase.bytes(), salt, cipher.key_length());
    // A wrong pass phrase may come out as something padded well.
    let is_key = |plain: &Secret| Fields::new(plain).sequence().is_some();
    let plain = cipher.decrypt(&key, &iv, data).filter(is_key);
    plain.ok_or(DecryptError::WrongPassphrase { scheme })
}

/// EVP_BytesToKey of OpenSSL, with MD5 and one round.
fn bytes_to_key(passphrase: &[u8], salt: &[u8], length: usize) -> Secret {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut last: Secret = Zeroizing::default();
    while key.len() < length {
        let next = Zeroizing::new([&last, passphrase, salt].concat());
        last = Zeroizing::new(md5::Md5::digest(next.as_slice()).to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}
