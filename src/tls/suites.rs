//! The suites of TLS 1.3, for connections of which most are silent.
//!
//! What a cipher computes from its key before it can work (round keys, a table for the
//! authentication: 600 bytes) the library keeps for both directions of every connection. Here a
//! direction keeps the key alone. What is computed from it has a place that other directions
//! use too: those that are at work find it there, one that was silent for long computes it anew
//! (half a microsecond). The ciphers themselves are the library's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

/// How many directions may have their key expanded; 160 KB at the most, in the whole process.
const PLACES: usize = 256;

static EXPANDED: [Mutex<Option<(u64, LessSafeKey)>>; PLACES] = [const { Mutex::new(None) }; PLACES];

static TLS13: LazyLock<Box<[Tls13CipherSuite]>> = LazyLock::new(|| {
    let theirs = DEFAULT_CIPHER_SUITES.iter();
    theirs.filter_map(|suite| ours(suite.tls13()?)).collect()
});

static AES_128: Aead = Aead(&AES_128_GCM);
static AES_256: Aead = Aead(&AES_256_GCM);
static CHACHA20: Aead = Aead(&CHACHA20_POLY1305);

/// All suites that are offered, the best first.
pub(super) fn suites() -> Vec<SupportedCipherSuite> {
    let tls13 = TLS13.iter().map(SupportedCipherSuite::Tls13);
    let tls12 = DEFAULT_CIPHER_SUITES.iter().copied();
    tls13
        .chain(tls12.filter(|suite| suite.tls13().is_none()))
        .collect()
}

/// The library's suite with our way to keep keys.
fn ours(theirs: &'static Tls13CipherSuite) -> Option<Tls13CipherSuite> {
    let aead = match theirs.common.suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &AES_128,
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &AES_256,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &CHACHA20,
        _ => return None,
    };
    Some(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: theirs.common.suite,
            hash_provider: theirs.common.hash_provider,
            confidentiality_limit: theirs.common.confidentiality_limit,
        },
        hkdf_provider: theirs.hkdf_provider,
        aead_alg: aead,
        quic: None,
    })
}

struct Aead(&'static Algorithm);

impl Aead {
    fn direction(&self, key: AeadKey, iv: Iv) -> Box<Direction> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Box::new(Direction {
            algorithm: self.0,
            key,
            iv,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }
}

impl Tls13AeadAlgorithm for Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.direction(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.direction(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        _: AeadKey,
        _: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        // For TLS in the kernel and the like; keys do not leave here.
        Err(UnsupportedOperationError)
    }
}

/// The key of one direction of one connection.
struct Direction {
    algorithm: &'static Algorithm,
    key: AeadKey,
    iv: Iv,
    /// No other direction has, or had, the same.
    number: u64,
}

impl Direction {
    fn place(&self) -> &'static Mutex<Option<(u64, LessSafeKey)>> {
        &EXPANDED[(self.number % PLACES as u64) as usize]
    }

    fn expand(&self) -> LessSafeKey {
        let key = UnboundKey::new(self.algorithm, self.key.as_ref());
        LessSafeKey::new(key.expect("rustls derives keys of the length we named"))
    }

    /// Lets `work` use the expanded key.
    fn with<T>(&self, work: impl FnOnce(&LessSafeKey) -> T) -> T {
        let Ok(mut place) = self.place().try_lock() else {
            // Another thread is at work there: there is nothing to wait for.
            return work(&self.expand());
        };
        let expanded = match place.take() {
            Some(expanded) if expanded.0 == self.number => expanded,
            _ => (self.number, self.expand()),
        };
        work(&place.insert(expanded).1)
    }

    fn nonce(&self, seq: u64) -> Nonce {
        Nonce::assume_unique_for_key(rustls::crypto::cipher::Nonce::new(&self.iv, seq).0)
    }
}

impl Drop for Direction {
    /// The expanded key does not outlive the key.
    fn drop(&mut self) {
        let place = self.place().lock();
        let mut place = place.unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|(n, _)| *n == self.number) {
            *place = None;
        }
    }
}

impl MessageEncrypter for Direction {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let (nonce, aad) = (self.nonce(seq), Aad::from(make_tls13_aad(length)));
        self.with(|key| key.seal_in_place_append_tag(nonce, aad, &mut payload))
            .map_err(|_| Error::EncryptError)?;
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            // On the wire TLS 1.3 calls itself 1.2 (RFC 8446 section 5.2).
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + self.algorithm.tag_len()
    }
}

impl MessageDecrypter for Direction {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        let (nonce, aad) = (self.nonce(seq), Aad::from(make_tls13_aad(payload.len())));
        let opened = self.with(|key| {
            key.open_in_place(nonce, aad, payload)
                .map(|plain| plain.len())
        });
        let length = opened.map_err(|_| Error::DecryptError)?;
        payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::cipher::OutboundChunks;

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const IV: [u8; 12] = [9; 12];

    /// Suites of ours beside the library's. Keys of another length can only be derived.
    fn pairs() -> impl Iterator<Item = (&'static Tls13CipherSuite, &'static Tls13CipherSuite)> {
        let ours = TLS13.iter().map(|ours| {
            let mut theirs = DEFAULT_CIPHER_SUITES.iter().filter_map(|s| s.tls13());
            let theirs = theirs.find(|theirs| theirs.common.suite == ours.common.suite);
            (ours, theirs.unwrap())
        });
        ours.filter(|(ours, _)| ours.aead_alg.key_len() == KEY.len())
    }

    fn sealed(by: &mut dyn MessageEncrypter, text: &[u8], seq: u64) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(text),
        };
        by.encrypt(message, seq).unwrap().encode()
    }

    fn opened(by: &mut dyn MessageDecrypter, record: &mut [u8], seq: u64) -> Option<Vec<u8>> {
        let payload = record.get_mut(5..)?;
        let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        let message = InboundOpaqueMessage::new(typ, version, payload);
        Some(by.decrypt(message, seq).ok()?.payload.to_vec())
    }

    #[test]
    fn all_suites_of_the_library_are_offered_in_its_order() {
        let theirs = DEFAULT_CIPHER_SUITES
            .iter()
            .map(SupportedCipherSuite::suite);
        assert!(suites().iter().map(SupportedCipherSuite::suite).eq(theirs));
    }

    #[test]
    fn records_are_those_of_the_library() {
        for (ours, theirs) in pairs() {
            let mut seal = ours.aead_alg.encrypter(KEY.into(), IV.into());
            let mut open = ours.aead_alg.decrypter(KEY.into(), IV.into());
            let mut their_seal = theirs.aead_alg.encrypter(KEY.into(), IV.into());
            let mut their_open = theirs.aead_alg.decrypter(KEY.into(), IV.into());
            for seq in 0..3 {
                let mut record = sealed(&mut *seal, b"text", seq);
                assert_eq!(record, sealed(&mut *their_seal, b"text", seq));
                let plain = opened(&mut *their_open, &mut record.clone(), seq);
                assert_eq!(plain.unwrap(), b"text");
                let plain = opened(&mut *open, &mut record, seq);
                assert_eq!(plain.unwrap(), b"text");
            }
        }
    }

    #[test]
    fn a_changed_or_short_record_is_not_opened() {
        for (ours, _) in pairs() {
            let mut seal = ours.aead_alg.encrypter(KEY.into(), IV.into());
            let mut open = ours.aead_alg.decrypter(KEY.into(), IV.into());
            let record = sealed(&mut *seal, b"text", 0);
            for n in 5..record.len() {
                let mut changed = record.clone();
                changed[n] ^= 1;
                assert_eq!(opened(&mut *open, &mut changed, 0), None, "changed at {n}");
                assert_eq!(opened(&mut *open, &mut record[..n].to_vec(), 0), None);
            }
            assert_eq!(opened(&mut *open, &mut record.clone(), 1), None, "replayed");
        }
    }

    #[test]
    fn more_directions_than_places_take_turns() {
        let suite = &TLS13[0];
        let direction = || suite.aead_alg.encrypter(KEY.into(), IV.into());
        let mut many: Vec<_> = (0..PLACES + 40).map(|_| direction()).collect();
        for seq in 0..3 {
            let expected = sealed(&mut *direction(), b"text", seq);
            for direction in &mut many {
                assert_eq!(sealed(&mut **direction, b"text", seq), expected);
            }
        }
    }

    #[test]
    fn an_expanded_key_goes_with_its_direction() {
        let mut direction = AES_256.direction(KEY.into(), IV.into());
        let (place, number) = (direction.place(), direction.number);
        let is_there = || matches!(&*place.lock().unwrap(), Some((n, _)) if *n == number);
        sealed(&mut *direction, b"text", 0);
        // Other tests may have taken the place, but not for this number.
        drop(direction);
        assert!(!is_there());
    }
}
