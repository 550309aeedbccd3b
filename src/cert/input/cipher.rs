//! Block ciphers in CBC mode, one way only: nothing is encrypted with them any more.
//!
//! AES is that of aws-lc-rs, which has no DES and no RC2.

use aws_lc_rs::cipher::{
    self, AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use des::{Des, TdesEde3};
use rc2::Rc2;
use zeroize::Zeroizing;

/// Bytes that are wiped when they go.
pub(super) type Secret = Zeroizing<Vec<u8>>;

/// A block cipher in CBC mode.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    /// 24 bytes of key.
    TripleDes,
    /// 16 bytes of key.
    TripleDesTwoKeys,
    Des,
    /// So many bytes of key, all of them effective.
    Rc2(usize),
}

impl Cipher {
    pub(super) fn key_length(self) -> usize {
        match self {
            Self::Aes128 | Self::TripleDesTwoKeys => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
            Self::Des => 8,
            Self::Rc2(length) => length,
        }
    }

    pub(super) fn iv_length(self) -> usize {
        match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
            _ => 8,
        }
    }

    /// Takes the encryption and the padding away; `None` if there is no such padding, which is
    /// what most wrong keys come to.
    pub(super) fn decrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Option<Secret> {
        let mut text = Zeroizing::new(data.to_vec());
        let length = match self {
            Self::Aes128 => aes(&AES_128, key, iv, &mut text),
            Self::Aes192 => aes(&AES_192, key, iv, &mut text),
            Self::Aes256 => aes(&AES_256, key, iv, &mut text),
            Self::TripleDes => cbc(TdesEde3::new_from_slice(key).ok()?, iv, &mut text),
            Self::TripleDesTwoKeys => {
                let three = Zeroizing::new([key, key.get(..8)?].concat());
                cbc(TdesEde3::new_from_slice(&three).ok()?, iv, &mut text)
            }
            Self::Des => cbc(Des::new_from_slice(key).ok()?, iv, &mut text),
            Self::Rc2(length) => {
                let effective_bits = 8 * length;
                let key = key.get(..length)?;
                cbc(
                    Rc2::new_with_eff_key_len(key, effective_bits),
                    iv,
                    &mut text,
                )
            }
        }?;
        text.truncate(length);
        Some(text)
    }
}

fn aes(
    algorithm: &'static cipher::Algorithm,
    key: &[u8],
    iv: &[u8],
    text: &mut [u8],
) -> Option<usize> {
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let iv = FixedLength::from(<[u8; 16]>::try_from(iv).ok()?);
    let plain = key.decrypt(text, DecryptionContext::Iv128(iv)).ok()?;
    Some(plain.len())
}

fn cbc<C: BlockCipherDecrypt>(cipher: C, iv: &[u8], text: &mut [u8]) -> Option<usize> {
    let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher, iv).ok()?;
    let plain = decryptor.decrypt_padded::<Pkcs7>(text).ok()?;
    Some(plain.len())
}
