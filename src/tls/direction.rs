//! One direction of an open TLS connection: its key, and the records under it (RFC 8446 section
//! 5.2, RFC 5246 section 6.2.3.3, RFC 5288, RFC 7905).
//!
//! What a cipher computes from its key before it can work (round keys, a table for the
//! authentication: 600 bytes) would be the largest part of a silent connection. So a direction
//! keeps the key alone. What is computed from it has a place that other directions use too:
//! those that are at work find it there, one that was silent for long computes it anew (half a
//! microsecond).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::crypto::tls13::OkmBlock;
use rustls::{ConnectionTrafficSecrets, Error, PeerMisbehaved, Tls13CipherSuite};
use zeroize::Zeroizing;

/// Length of a record's header: type, version, length.
pub(super) const HEADER: usize = 5;

/// Plaintext of one record at the most (RFC 8446 section 5.1).
pub(super) const FRAGMENT: usize = 16 * 1024;

/// Length of the tag, which all our ciphers share.
const TAG: usize = 16;

/// Length of the part of the nonce that stands in the record, for AES-GCM in TLS 1.2.
const EXPLICIT: usize = 8;

/// Type of all records of TLS 1.3 on the outside, and of application data.
pub(super) const APPLICATION_DATA: u8 = 23;

/// How many directions may have their key expanded; 160 KB at the most, in the whole process.
const PLACES: usize = 256;

static EXPANDED: [Mutex<Option<(u64, LessSafeKey)>>; PLACES] = [const { Mutex::new(None) }; PLACES];

/// What a record looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// The type stands encrypted behind the content, and padding behind that.
    Tls13,
    /// The type stands in the header; a part of the nonce before the ciphertext.
    Tls12Gcm,
    /// The type stands in the header.
    Tls12ChaCha,
}

impl Framing {
    fn explicit(self) -> usize {
        match self {
            Self::Tls12Gcm => EXPLICIT,
            Self::Tls13 | Self::Tls12ChaCha => 0,
        }
    }
}

/// The secret from which keys of TLS 1.3 are derived (RFC 8446 section 7.1), as long as the hash
/// of its suite.
#[derive(Clone)]
pub(super) struct TrafficSecret {
    bytes: Zeroizing<[u8; 48]>,
    length: u8,
}

impl TrafficSecret {
    /// `None` if it is longer than that of any suite.
    pub(super) fn new(secret: &[u8]) -> Option<Self> {
        let mut this = Self {
            bytes: Zeroizing::new([0; 48]),
            length: secret.len() as u8,
        };
        let bytes = this.bytes.get_mut(..secret.len())?;
        bytes.copy_from_slice(secret);
        Some(this)
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// The key of one direction of one connection, and how far it was used.
pub(super) struct Direction {
    algorithm: &'static Algorithm,
    framing: Framing,
    key: Zeroizing<[u8; 32]>,
    iv: [u8; NONCE_LEN],
    /// Number of the next record.
    sequence: u64,
    /// No other key of a direction has, or had, the same.
    number: u64,
    /// There is one in TLS 1.3.
    secret: Option<TrafficSecret>,
}

impl Direction {
    /// # Errors
    /// If it is not a cipher of ours.
    pub(super) fn new(
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
        secret: Option<TrafficSecret>,
    ) -> Result<Self, Error> {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};

        let (algorithm, key, iv) = match &secrets {
            Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("a cipher that we do not know".into())),
        };
        let framing = match secret {
            Some(_) => Framing::Tls13,
            None if *algorithm == CHACHA20_POLY1305 => Framing::Tls12ChaCha,
            None => Framing::Tls12Gcm,
        };
        let mut this = Self {
            algorithm,
            framing,
            key: Zeroizing::new([0; 32]),
            iv: [0; NONCE_LEN],
            sequence,
            number: next_number(),
            secret,
        };
        this.key
            .iter_mut()
            .zip(key.as_ref())
            .for_each(|(to, from)| *to = *from);
        this.iv.copy_from_slice(iv.as_ref());
        Ok(this)
    }

    /// Records sealed or opened with this key.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next key of TLS 1.3, from the next secret (RFC 8446 sections 7.2 and 7.3).
    pub(super) fn renew(&mut self, suite: &Tls13CipherSuite) {
        let Some(secret) = &mut self.secret else {
            return;
        };
        let old = secret.clone();
        let next = secret.bytes.get_mut(..usize::from(secret.length));
        derive(suite, &old, "traffic upd", next.unwrap_or_default());
        let key = self.key.get_mut(..self.algorithm.key_len());
        derive(suite, secret, "key", key.unwrap_or_default());
        derive(suite, secret, "iv", &mut self.iv);
        self.sequence = 0;
        forget(self.number);
        self.number = next_number();
    }

    /// Length of the record that holds `n` bytes.
    pub(super) fn sealed_length(&self, n: usize) -> usize {
        let typ = usize::from(self.framing == Framing::Tls13);
        HEADER + self.framing.explicit() + n + typ + TAG
    }

    /// Writes the record of this type that holds `plain` to the beginning of `room`; its length.
    /// `None` if the room is too small.
    pub(super) fn seal(&mut self, typ: u8, plain: &[u8], room: &mut [u8]) -> Option<usize> {
        let length = self.sealed_length(plain.len());
        let (header, body) = room.get_mut(..length)?.split_at_mut_checked(HEADER)?;
        let (outside, inside): (u8, &[u8]) = match self.framing {
            Framing::Tls13 => (APPLICATION_DATA, &[typ]),
            _ => (typ, &[]),
        };
        let [high, low] = u16::try_from(body.len()).ok()?.to_be_bytes();
        // On the wire all versions call themselves 1.2 (RFC 8446 section 5.2).
        header.copy_from_slice(&[outside, 3, 3, high, low]);
        let nonce = self.nonce();
        let (explicit, body) = body.split_at_mut_checked(self.framing.explicit())?;
        if let Framing::Tls12Gcm = self.framing {
            explicit.copy_from_slice(&nonce[NONCE_LEN - EXPLICIT..]);
        }
        let (ciphertext, end) = body.split_at_mut_checked(plain.len())?;
        let aad = self.aad(header, typ, plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.with(|key| key.seal_out_of_place_scatter(nonce, aad, plain, ciphertext, inside, end))
            .ok()?;
        self.sequence += 1;
        Some(length)
    }

    /// Decrypts a whole record to the beginning of `room`: its type, and the length of the
    /// content.
    ///
    /// # Errors
    /// What rustls would say.
    pub(super) fn open(&mut self, record: &[u8], room: &mut [u8]) -> Result<(u8, usize), Error> {
        let header = record.first_chunk::<HEADER>();
        let (header, body) = header
            .zip(record.get(HEADER..))
            .ok_or(Error::DecryptError)?;
        let explicit = body.get(..self.framing.explicit());
        let (ciphertext, tag) = body
            .get(self.framing.explicit()..)
            .and_then(<[u8]>::split_last_chunk::<TAG>)
            .ok_or(Error::DecryptError)?;
        let plain = room
            .get_mut(..ciphertext.len())
            .ok_or(Error::PeerSentOversizedRecord)?;
        let mut nonce = self.nonce();
        if let (Framing::Tls12Gcm, Some(explicit)) = (self.framing, explicit) {
            nonce.copy_from_slice(&self.iv);
            nonce[NONCE_LEN - EXPLICIT..].copy_from_slice(explicit);
        }
        let aad = self.aad(header, header[0], ciphertext.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.with(|key| key.open_separate_gather(nonce, aad, ciphertext, tag, plain))
            .map_err(|_| Error::DecryptError)?;
        self.sequence += 1;
        match self.framing {
            Framing::Tls13 => {
                // The last byte that is not padding is the type (RFC 8446 section 5.4).
                let end = plain.iter().rposition(|byte| *byte != 0);
                let end = end.ok_or(PeerMisbehaved::IllegalTlsInnerPlaintext)?;
                match plain.len() > FRAGMENT + 1 {
                    true => Err(Error::PeerSentOversizedRecord),
                    false => Ok((plain[end], end)),
                }
            }
            _ => Ok((header[0], plain.len())),
        }
    }

    /// The nonce of the next record: its number, laid over the initialization vector.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let number = self.sequence.to_be_bytes();
        let last = nonce.iter_mut().rev().zip(number.iter().rev());
        last.for_each(|(byte, number)| *byte ^= number);
        nonce
    }

    /// What a record's tag covers beside the content.
    fn aad(&self, header: &[u8], typ: u8, length: usize) -> Aad<Covered> {
        let mut bytes = [0; 13];
        if let Framing::Tls13 = self.framing {
            bytes[..HEADER].copy_from_slice(header);
            return Aad::from(Covered {
                bytes,
                length: HEADER,
            });
        }
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        // A fragment is never longer than 16 KiB and an allowance.
        let [high, low] = (length as u16).to_be_bytes();
        bytes[8..].copy_from_slice(&[typ, 3, 3, high, low]);
        let length = bytes.len();
        Aad::from(Covered { bytes, length })
    }

    fn expand(&self) -> LessSafeKey {
        let key = &self.key[..self.algorithm.key_len()];
        let key = UnboundKey::new(self.algorithm, key);
        LessSafeKey::new(key.expect("the key has the length of its algorithm"))
    }

    /// Lets `work` use the expanded key.
    fn with<T>(&self, work: impl FnOnce(&LessSafeKey) -> T) -> T {
        let Ok(mut place) = place(self.number).try_lock() else {
            // Another thread is at work there: there is nothing to wait for.
            return work(&self.expand());
        };
        let expanded = match place.take() {
            Some(expanded) if expanded.0 == self.number => expanded,
            _ => (self.number, self.expand()),
        };
        work(&place.insert(expanded).1)
    }
}

impl Drop for Direction {
    /// The expanded key does not outlive the key.
    fn drop(&mut self) {
        forget(self.number);
    }
}

struct Covered {
    bytes: [u8; 13],
    length: usize,
}

impl AsRef<[u8]> for Covered {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn place(number: u64) -> &'static Mutex<Option<(u64, LessSafeKey)>> {
    &EXPANDED[(number % PLACES as u64) as usize]
}

/// Drops the expanded key of that number, if it is there.
fn forget(number: u64) {
    let place = place(number).lock();
    let mut place = place.unwrap_or_else(PoisonError::into_inner);
    if place.as_ref().is_some_and(|(n, _)| *n == number) {
        *place = None;
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn derive(suite: &Tls13CipherSuite, secret: &TrafficSecret, label: &str, out: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    let length = (out.len() as u16).to_be_bytes();
    let label_length = [(PREFIX.len() + label.len()) as u8];
    let info = [&length[..], &label_length, PREFIX, label.as_bytes(), &[0]];
    let secret = OkmBlock::new(secret.as_slice());
    let expander = suite.hkdf_provider.expander_for_okm(&secret);
    let derived = expander.expand_slice(&info, out);
    derived.expect("keys are shorter than 255 hashes");
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;

    use super::*;

    #[test]
    fn an_expanded_key_goes_with_its_key() {
        let secrets = ConnectionTrafficSecrets::Aes256Gcm {
            key: [7; 32].into(),
            iv: [9; 12].into(),
        };
        let secret = TrafficSecret::new(&[5; 48]);
        let mut direction = Direction::new((0, secrets), secret).unwrap();
        let is_there = |number: u64| {
            let place = place(number).lock().unwrap();
            place.as_ref().is_some_and(|(n, _)| *n == number)
        };
        let suite = TLS13_AES_256_GCM_SHA384.tls13().unwrap();
        for _ in 0..2 {
            // Other tests may take the place, but not for this number.
            let number = direction.number;
            direction.seal(23, b"text", &mut [0; 99]).unwrap();
            direction.renew(suite);
            assert!(!is_there(number));
        }
        let number = direction.number;
        direction.seal(23, b"text", &mut [0; 99]).unwrap();
        drop(direction);
        assert!(!is_there(number));
    }

    #[test]
    fn a_secret_is_as_long_as_the_longest_hash_at_the_most() {
        assert!(TrafficSecret::new(&[0; 48]).is_some());
        assert!(TrafficSecret::new(&[0; 49]).is_none());
        assert!(TrafficSecret::new(&[0; 300]).is_none());
    }
}
