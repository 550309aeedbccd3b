//! How PKCS#12 makes keys of pass phrases (RFC 7292 appendix B.2).

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::cert::input::decrypt::{DecryptError, Work};

/// What the bytes are for (RFC 7292 appendix B.3).
pub(super) const KEY: u8 = 1;
/// An initialisation vector.
pub(super) const IV: u8 = 2;
/// The key of the MAC.
pub(super) const MAC: u8 = 3;

/// A pass phrase with its salt.
pub(super) struct Derive<'d> {
    pub(super) hash: &'static digest::Algorithm,
    /// BMPString with its terminator, or nothing at all.
    pub(super) bmp: &'d [u8],
    pub(super) salt: &'d [u8],
    pub(super) rounds: u32,
}

impl Derive<'_> {
    pub(super) fn fill(
        &self,
        purpose: u8,
        out: &mut [u8],
        work: &mut Work,
    ) -> Result<(), DecryptError> {
        let block = self.hash.block_len();
        let length = self.hash.output_len();
        let pieces = u64::try_from(out.len().div_ceil(length)).unwrap_or(u64::MAX);
        work.begin(u64::from(self.rounds).saturating_mul(pieces))?;
        let mut input = Zeroizing::new(repeated(self.salt, block));
        input.extend(repeated(self.bmp, block));
        for piece in out.chunks_mut(length) {
            let mut context = digest::Context::new(self.hash);
            context.update(&vec![purpose; block]);
            context.update(&input);
            let mut value = context.finish();
            for _ in 1..self.rounds {
                value = digest::digest(self.hash, value.as_ref());
            }
            let value = Zeroizing::new(value.as_ref().to_vec());
            piece.copy_from_slice(value.get(..piece.len()).unwrap_or_default());
            let addend = Zeroizing::new(cycled(&value, block));
            input
                .chunks_mut(block)
                .for_each(|number| add_and_one(number, &addend));
        }
        Ok(())
    }
}

/// So often that it fills whole blocks; nothing stays nothing.
fn repeated(bytes: &[u8], block: usize) -> Vec<u8> {
    cycled(bytes, bytes.len().div_ceil(block) * block)
}

fn cycled(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

/// Big-endian `number += addend + 1`, what overflows is dropped.
fn add_and_one(number: &mut [u8], addend: &[u8]) {
    let mut carry = 1;
    for (digit, added) in number.iter_mut().zip(addend).rev() {
        let sum = u16::from(*digit) + u16::from(*added) + carry;
        let [high, low] = sum.to_be_bytes();
        (*digit, carry) = (low, u16::from(high));
    }
}
