//! The records of one connection whose handshake is over: bytes in, bytes out, no socket.
//!
//! rustls makes the keys. What comes under them is ours: application data, the end, alerts, and
//! new keys (TLS 1.3, RFC 8446 section 4.6.3). So a silent connection keeps two keys, and bytes
//! are encrypted from one buffer into another, with no copy between.

use std::fmt;

use rustls::{
    AlertDescription, Error, ExtractedSecrets, HandshakeType, InvalidMessage, PeerMisbehaved,
    SupportedCipherSuite, Tls13CipherSuite,
};

use crate::tls::Buffer;
use crate::tls::direction::{APPLICATION_DATA, Direction, FRAGMENT, HEADER, TrafficSecret};
use crate::tls::error::{CONTROL_LIMIT, TlsError};

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;

/// Levels of an alert.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// Messages of a handshake.
const CLIENT_HELLO: u8 = 1;
const KEY_UPDATE: u8 = 24;

/// A KeyUpdate that asks for none in return.
const NEW_KEY: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// Ciphertext of a record beyond that of its content, at the most (RFC 5246 section 6.2.3).
const ALLOWANCE: usize = 2048;

/// KeyUpdates between two records of data, and alerts that are warnings, at the most; the same
/// number as BoringSSL's and rustls'.
const KEY_UPDATES: u8 = 32;
const WARNINGS: u8 = 4;

/// What one call of [`Session::open`], or of a handshake, did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opened {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Whether the peer has said close_notify.
    pub closed: bool,
}

/// The traffic secrets of TLS 1.3, from which later keys are derived.
pub struct Traffic {
    pub(super) received: TrafficSecret,
    pub(super) sent: TrafficSecret,
}

impl Traffic {
    /// The peer's secret and ours; `None` if one is longer than 48 bytes.
    pub fn new(received: &[u8], sent: &[u8]) -> Option<Self> {
        Some(Self {
            received: TrafficSecret::new(received)?,
            sent: TrafficSecret::new(sent)?,
        })
    }
}

/// The server's side of one TLS connection, its handshake done.
pub struct Session {
    received: Direction,
    sent: Direction,
    /// There is one in TLS 1.3.
    suite: Option<&'static Tls13CipherSuite>,
    /// Records that may be sealed with one key.
    limit: u64,
    /// The beginning of a KeyUpdate whose rest is still to come.
    partial: Partial,
    /// How many more of each are taken.
    key_updates: u8,
    warnings: u8,
    renegotiations: u8,
    voice: Voice,
}

/// What may still be said to the peer.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Voice {
    Everything,
    /// close_notify was the last word, and the socket may be shut: the peer is only listened to.
    Ended,
    /// TLS failed: the alert was the last word, and nothing more is taken either.
    Failed,
}

#[derive(Clone, Copy, Default)]
struct Partial {
    bytes: [u8; NEW_KEY.len()],
    length: usize,
}

/// Why nothing more is taken from the peer, and what it is told.
struct Fault(Option<AlertDescription>, Error);

impl Session {
    /// `secrets` come from a handshake, and in TLS 1.3 `traffic` does.
    ///
    /// # Errors
    /// If there is no `traffic` in TLS 1.3, or the cipher is not one of ours.
    pub fn new(
        suite: SupportedCipherSuite,
        secrets: ExtractedSecrets,
        traffic: Option<Traffic>,
    ) -> Result<Self, TlsError> {
        let (common, suite) = match suite {
            SupportedCipherSuite::Tls13(suite) => (&suite.common, Some(suite)),
            SupportedCipherSuite::Tls12(suite) => (&suite.common, None),
        };
        let traffic = match (suite, traffic) {
            (Some(_), None) => return Err(Error::HandshakeNotComplete.into()),
            (Some(_), Some(traffic)) => Some(traffic),
            (None, _) => None,
        };
        let (received, sent) = traffic.map(|t| (t.received, t.sent)).unzip();
        Ok(Self {
            received: Direction::new(secrets.rx, received)?,
            sent: Direction::new(secrets.tx, sent)?,
            suite,
            limit: common.confidentiality_limit,
            partial: Partial::default(),
            key_updates: KEY_UPDATES,
            warnings: WARNINGS,
            renegotiations: 1,
            voice: Voice::Everything,
        })
    }

    /// Takes received bytes: plaintext is appended to `plain`, what must be sent in answer
    /// to `control`.
    ///
    /// As much plaintext comes out at the most as ciphertext went in, so a [`Buffer`] of
    /// ciphertext fits into an empty one of plaintext.
    ///
    /// # Errors
    /// `control` then holds the alert for the peer.
    pub fn open(
        &mut self,
        wire: &[u8],
        plain: &mut Buffer,
        control: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        let mut opened = Opened::default();
        while !opened.closed && self.voice != Voice::Failed {
            let rest = wire.get(opened.consumed..).unwrap_or_default();
            let record = match record_length(rest) {
                Ok(None) => break,
                Ok(Some(length)) => Ok(rest.get(..length).unwrap_or_default()),
                Err(error) => Err(error.into()),
            };
            let taken = record.and_then(|record| {
                opened.consumed += record.len();
                self.take(record, plain, control)
            });
            match taken {
                Ok(false) => {}
                // What stands behind the end does not count.
                Ok(true) => (opened.closed, opened.consumed) = (true, wire.len()),
                Err(Fault(alert, error)) => {
                    let said =
                        alert.map(|alert| self.answer(ALERT, &[FATAL, alert.into()], control));
                    self.voice = Voice::Failed;
                    said.transpose()?;
                    return Err(error.into());
                }
            }
            if control.len() > CONTROL_LIMIT {
                self.voice = Voice::Failed;
                return Err(TlsError::ControlFlood);
            }
        }
        Ok(opened)
    }

    /// Takes one record; whether it is the peer's end.
    fn take(
        &mut self,
        record: &[u8],
        plain: &mut Buffer,
        control: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        let outside = record.first().copied().unwrap_or_default();
        if self.suite.is_some() && outside != APPLICATION_DATA {
            return Err(unexpected(outside));
        }
        let room = plain.room();
        let (typ, length) = self.received.open(record, room)?;
        if length > FRAGMENT {
            return Err(Error::PeerSentOversizedRecord.into());
        }
        if typ != HANDSHAKE && self.partial.length > 0 {
            return Err(unexpected(typ));
        }
        let content = room.get(..length).unwrap_or_default();
        match typ {
            APPLICATION_DATA => {
                self.key_updates = KEY_UPDATES;
                plain.advance(length);
                Ok(false)
            }
            ALERT => self.take_alert(content),
            HANDSHAKE if self.suite.is_some() => self.take_handshake(content, control),
            HANDSHAKE => self.refuse_renegotiation(content, control),
            typ => Err(unexpected(typ)),
        }
    }

    /// RFC 8446 section 6, RFC 5246 section 7.2.
    fn take_alert(&mut self, content: &[u8]) -> Result<bool, Fault> {
        let [level, description] = *content else {
            return Err(InvalidMessage::MessageTooShort.into());
        };
        let error = Error::AlertReceived(description.into());
        match (level, description) {
            (_, CLOSE_NOTIFY) => Ok(true),
            (FATAL, _) => Err(Fault(None, error)),
            (WARNING, _) if self.warnings == 0 => {
                Err(PeerMisbehaved::TooManyWarningAlertsReceived.into())
            }
            // In TLS 1.3 only this one is no error.
            (WARNING, description) if self.suite.is_none() || description == USER_CANCELED => {
                self.warnings -= 1;
                Ok(false)
            }
            (WARNING, _) => Err(Fault(Some(AlertDescription::DecodeError), error)),
            _ => Err(Fault(Some(AlertDescription::IllegalParameter), error)),
        }
    }

    /// In TLS 1.3 a client has nothing to say but that it takes a new key.
    fn take_handshake(&mut self, content: &[u8], control: &mut Vec<u8>) -> Result<bool, Fault> {
        let Partial { bytes, length } = &mut self.partial;
        let room = bytes.get_mut(*length..).unwrap_or_default();
        // Nothing may stand behind it under the old key, and nothing is no message (RFC 8446
        // section 5.1).
        let fits = !content.is_empty() && content.len() <= room.len();
        room.iter_mut()
            .zip(content)
            .for_each(|(to, from)| *to = *from);
        let filled = *length + content.len();
        let begins = bytes.iter().zip([KEY_UPDATE, 0, 0, 1]).take(filled);
        if !begins.into_iter().all(|(is, should)| *is == should) {
            return Err(Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::KeyUpdate],
                got_type: bytes[0].into(),
            }
            .into());
        }
        if !fits {
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        *length = filled;
        if filled < bytes.len() {
            return Ok(false);
        }
        let asks = match bytes[4] {
            0 => false,
            1 => true,
            _ => {
                let error = InvalidMessage::InvalidKeyUpdate.into();
                return Err(Fault(Some(AlertDescription::IllegalParameter), error));
            }
        };
        self.partial = Partial::default();
        self.key_updates = match self.key_updates.checked_sub(1) {
            Some(left) => left,
            None => return Err(PeerMisbehaved::TooManyKeyUpdateRequests.into()),
        };
        if let Some(suite) = self.suite {
            self.received.renew(suite);
            if asks && self.answer(HANDSHAKE, &NEW_KEY, control)? {
                self.sent.renew(suite);
            }
        }
        Ok(false)
    }

    /// In TLS 1.2 a client may ask for a new handshake, and is told that there is none (RFC 5246
    /// section 7.2.2).
    fn refuse_renegotiation(
        &mut self,
        content: &[u8],
        control: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        match content {
            [CLIENT_HELLO, high, middle, low, body @ ..]
                if body.len() == u32::from_be_bytes([0, *high, *middle, *low]) as usize =>
            {
                if self.renegotiations == 0 {
                    return Err(PeerMisbehaved::TooManyRenegotiationRequests.into());
                }
                self.renegotiations -= 1;
                self.answer(ALERT, &[WARNING, NO_RENEGOTIATION], control)?;
                Ok(false)
            }
            _ => Err(unexpected(HANDSHAKE)),
        }
    }

    /// Encrypts `plain` into the room of `wire`, record by record as far as they fit; how many
    /// bytes of it.
    ///
    /// # Errors
    /// If the keys are exhausted.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Buffer) -> Result<usize, TlsError> {
        if self.voice != Voice::Everything {
            return Err(Error::EncryptError.into());
        }
        let mut sealed = 0;
        for fragment in plain.chunks(FRAGMENT) {
            let room = wire.room();
            let needed =
                self.sent.sealed_length(NEW_KEY.len()) + self.sent.sealed_length(fragment.len());
            if needed > room.len() {
                break;
            }
            if self.sent.sequence() >= self.limit {
                let suite = self.suite.ok_or(Error::EncryptError)?;
                let n = self.sent.seal(HANDSHAKE, &NEW_KEY, room);
                wire.advance(n.ok_or(Error::EncryptError)?);
                self.sent.renew(suite);
            }
            let n = self.sent.seal(APPLICATION_DATA, fragment, wire.room());
            wire.advance(n.ok_or(Error::EncryptError)?);
            sealed += fragment.len();
        }
        Ok(sealed)
    }

    /// Appends a close_notify alert to `control`: nothing more is said on this side.
    ///
    /// # Errors
    /// If the keys are exhausted.
    pub fn close(&mut self, control: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.answer(ALERT, &[WARNING, CLOSE_NOTIFY], control)? {
            self.voice = Voice::Ended;
        }
        Ok(())
    }

    /// Appends a record, unless the last word was said; whether it did.
    fn answer(&mut self, typ: u8, content: &[u8], control: &mut Vec<u8>) -> Result<bool, Error> {
        if self.voice != Voice::Everything {
            return Ok(false);
        }
        self.say(typ, content, control)?;
        Ok(true)
    }

    /// Appends a record of any type to `control`.
    ///
    /// # Errors
    /// If it cannot be encrypted.
    pub fn say(&mut self, typ: u8, content: &[u8], control: &mut Vec<u8>) -> Result<(), Error> {
        let start = control.len();
        control.resize(start + self.sent.sealed_length(content.len()), 0);
        let room = control.get_mut(start..).unwrap_or_default();
        let sealed = self.sent.seal(typ, content, room);
        sealed.map(drop).ok_or(Error::EncryptError)
    }
}

/// Length of the record at the beginning of `wire`, if it is there as a whole.
///
/// # Errors
/// If it begins with what is no record.
pub(super) fn record_length(wire: &[u8]) -> Result<Option<usize>, Error> {
    let Some([typ, major, _, high, low]) = wire.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(typ) {
        return Err(InvalidMessage::InvalidContentType.into());
    }
    if *major != 3 {
        return Err(InvalidMessage::UnknownProtocolVersion.into());
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > FRAGMENT + ALLOWANCE {
        return Err(Error::PeerSentOversizedRecord);
    }
    let length = HEADER + length;
    Ok((length <= wire.len()).then_some(length))
}

/// A message for which there is no place where it came.
fn unexpected(typ: u8) -> Fault {
    let error = Error::InappropriateMessage {
        expect_types: vec![APPLICATION_DATA.into()],
        got_type: typ.into(),
    };
    error.into()
}

impl<T: Into<Error>> From<T> for Fault {
    fn from(error: T) -> Self {
        let error = error.into();
        let alert = match &error {
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            Error::InvalidMessage(error) => (*error).into(),
            Error::EncryptError => AlertDescription::InternalError,
            _ => AlertDescription::UnexpectedMessage,
        };
        Self(Some(alert), error)
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traffic(secret)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(secret)")
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
