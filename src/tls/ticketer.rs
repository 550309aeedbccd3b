//! Session tickets whose keys outlive a reload (RFC 5077, RFC 8446 section 4.6.1).
//!
//! A ticket is `key name (16) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag`. Keys live in
//! memory only. One [`Ticketer`] serves one protocol: a session of one is nothing to another
//! (RFC 9325 section 3.4, and the ALPACA attack).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use rustls_pki_types::UnixTime;

use crate::time::Clock;

/// Seconds for which new tickets are sealed under one key, and for which they are taken
/// afterwards at least.
const LIFETIME: u32 = 12 * 60 * 60;

const NAME_LEN: usize = 16;

/// Makes and reads session tickets.
pub struct Ticketer {
    keys: ArcSwap<Keys>,
    clock: Clock,
}

struct Keys {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
}

struct Key {
    name: [u8; NAME_LEN],
    aead: RandomizedNonceKey,
    since: UnixTime,
}

impl Ticketer {
    /// A ticketer with a fresh key. `None` if the system has no randomness to give.
    pub fn new(clock: Clock) -> Option<Arc<Self>> {
        let keys = Keys {
            current: Arc::new(Key::generate(clock.now())?),
            previous: None,
        };
        Some(Arc::new(Self {
            keys: ArcSwap::from_pointee(keys),
            clock,
        }))
    }

    /// The key for new tickets, after a rotation if one is due.
    fn current(&self) -> Option<Arc<Key>> {
        let keys = self.keys.load();
        let now = self.clock.now();
        if keys.current.age(now) < u64::from(LIFETIME) {
            return Some(Arc::clone(&keys.current));
        }
        let next = Keys {
            current: Arc::new(Key::generate(now)?),
            previous: Some(Arc::clone(&keys.current)),
        };
        // Of several threads that rotate at once, the first wins, and all use its key.
        self.keys.compare_and_swap(&*keys, Arc::new(next));
        Some(Arc::clone(&self.keys.load().current))
    }
}

impl Key {
    fn generate(since: UnixTime) -> Option<Self> {
        let mut name = [0; NAME_LEN];
        let mut secret = [0; 32];
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Some(Self {
            name,
            aead: RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()?,
            since,
        })
    }

    /// Seconds since it was made.
    fn age(&self, now: UnixTime) -> u64 {
        now.as_secs().saturating_sub(self.since.as_secs())
    }

    /// What the ticket holds, if it was sealed under this key, and this key is not too old.
    fn open(&self, ticket: &[u8], now: UnixTime) -> Option<Vec<u8>> {
        if self.age(now) >= 2 * u64::from(LIFETIME) {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        if name != self.name {
            return None;
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self
            .aead
            .open_in_place(nonce, Aad::from(&self.name), &mut sealed);
        let len = plain.ok()?.len();
        sealed.truncate(len);
        Some(sealed)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.current()?;
        let mut sealed = Vec::with_capacity(NAME_LEN + NONCE_LEN + plain.len() + 16);
        sealed.extend_from_slice(plain);
        let nonce = key
            .aead
            .seal_in_place_append_tag(Aad::from(&key.name), &mut sealed)
            .ok()?;
        sealed.splice(0..0, key.name.iter().chain(nonce.as_ref()).copied());
        Some(sealed)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let now = self.clock.now();
        if let Some(plain) = keys.current.open(ticket, now) {
            return Some(plain);
        }
        keys.previous.as_ref()?.open(ticket, now)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer(secret)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn a_ticket_is_read_until_its_key_is_two_lifetimes_old() {
        let clock = Clock::manual(at(1_000_000));
        let ticketer = Ticketer::new(clock.clone()).unwrap();
        let ticket = ticketer.encrypt(b"session").unwrap();
        assert_eq!(ticketer.decrypt(&ticket).unwrap(), b"session");

        clock.set(at(1_000_000 + u64::from(LIFETIME)));
        let newer = ticketer.encrypt(b"session").unwrap();
        assert_ne!(newer[..NAME_LEN], ticket[..NAME_LEN], "the key was rotated");
        assert_eq!(ticketer.decrypt(&ticket).unwrap(), b"session");

        clock.set(at(1_000_000 + 2 * u64::from(LIFETIME)));
        assert_eq!(ticketer.decrypt(&ticket), None);
        assert_eq!(ticketer.decrypt(&newer).unwrap(), b"session");
    }

    #[test]
    fn a_key_that_nobody_had_reason_to_rotate_ages_all_the_same() {
        let clock = Clock::manual(at(1_000_000));
        let ticketer = Ticketer::new(clock.clone()).unwrap();
        let ticket = ticketer.encrypt(b"session").unwrap();
        clock.set(at(1_000_000 + 2 * u64::from(LIFETIME)));
        assert_eq!(ticketer.decrypt(&ticket), None);
    }

    #[test]
    fn nothing_but_our_own_tickets_is_read() {
        let clock = Clock::manual(at(1_000_000));
        let ticketer = Ticketer::new(clock.clone()).unwrap();
        let other = Ticketer::new(clock).unwrap();
        let ticket = ticketer.encrypt(b"session").unwrap();
        assert_eq!(other.decrypt(&ticket), None);
        for n in 0..ticket.len() {
            assert_eq!(ticketer.decrypt(&ticket[..n]), None, "cut at {n}");
            let mut changed = ticket.clone();
            changed[n] ^= 1;
            assert_eq!(ticketer.decrypt(&changed), None, "changed at {n}");
        }
    }
}
