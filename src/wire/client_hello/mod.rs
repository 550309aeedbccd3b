//! A look at a TLS ClientHello before anybody answers it (RFC 8446 section 4.1.2, RFC 6066).
//!
//! Owns what can be known from the bytes alone: the name asked for, the versions, suites, groups,
//! signature schemes and protocols offered. It judges nothing that the TLS library judges
//! afterwards, so a client too old for the library is still read here. Nothing but the values
//! handed out is copied, unless the client has spread its ClientHello over several records.

mod hello;
mod offered;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use hello::ClientHello;
pub use offered::suite_name;

/// The most that may be received, record headers included, before a ClientHello is whole;
/// [`peek`] never asks for more bytes than this.
pub const MAX_RECEIVED: usize = 64 * 1024;

/// Nobody spreads a ClientHello over so many records, and each costs a step at every look.
const MAX_RECORDS: usize = 1024;
/// The largest plaintext record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Why bytes are not the beginning of TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HelloError {
    /// The first record is not a handshake record.
    #[error("not a TLS record")]
    NotTls,
    /// The record or the message contradicts itself.
    #[error("malformed ClientHello")]
    Malformed,
    /// Larger, or in more pieces, than anyone needs.
    #[error("ClientHello larger than 64 KiB or in more than 1024 records")]
    TooLarge,
}

/// Looks at the bytes received so far: `None` if more are needed, which is never so once there
/// are [`MAX_RECEIVED`] of them. A ClientHello may be spread over several records.
pub fn peek(bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    match message(bytes)? {
        Some(body) => ClientHello::read(&body)
            .map(Some)
            .ok_or(HelloError::Malformed),
        None if bytes.len() >= MAX_RECEIVED => Err(HelloError::TooLarge),
        None => Ok(None),
    }
}

/// The body of the handshake message that `bytes` begin with, once it is whole.
fn message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloError> {
    let mut header = [0; 4];
    let mut received = 0;
    for (n, fragment) in Fragments(bytes).enumerate() {
        let fragment = fragment?;
        for (to, from) in header.iter_mut().skip(received).zip(fragment) {
            *to = *from;
        }
        received += fragment.len();
        if n >= MAX_RECORDS {
            return Err(HelloError::TooLarge);
        }
        let Some(end) = message_end(header, received)? else {
            continue;
        };
        if received < end {
            continue;
        }
        return match fragment.get(header.len()..end) {
            Some(body) if n == 0 => Ok(Some(Cow::Borrowed(body))),
            _ => joined(Fragments(bytes).take(n + 1), end).map(Some),
        };
    }
    Ok(None)
}

/// The length of the message with its header, once that is whole; an error if the header, as
/// far as it has been received, is not that of a ClientHello.
fn message_end(header: [u8; 4], received: usize) -> Result<Option<usize>, HelloError> {
    let [kind, high, middle, low] = header;
    if received > 0 && kind != CLIENT_HELLO {
        return Err(HelloError::Malformed);
    }
    if received < header.len() {
        return Ok(None);
    }
    let end = header.len() + usize_from([high, middle, low]);
    if end > MAX_RECEIVED {
        return Err(HelloError::TooLarge);
    }
    Ok(Some(end))
}

/// The body of a message of `end` bytes that is spread over `fragments`.
fn joined<'a>(
    fragments: impl Iterator<Item = Result<&'a [u8], HelloError>>,
    end: usize,
) -> Result<Cow<'a, [u8]>, HelloError> {
    let mut body = Vec::with_capacity(end);
    for fragment in fragments {
        let missing = end - body.len();
        body.extend(fragment?.iter().take(missing));
    }
    body.drain(..4);
    Ok(Cow::Owned(body))
}

/// The payloads of the records at hand, of the last one as much as there is.
struct Fragments<'a>(&'a [u8]);

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<&'a [u8], HelloError>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = match record_length(self.0) {
            Ok(Some(length)) => length,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let payload = self.0.get(5..)?;
        let (fragment, rest) = payload.split_at(length.min(payload.len()));
        self.0 = rest;
        Some(Ok(fragment))
    }
}

/// The length in a record header, once it is whole; an error at the first byte that cannot
/// belong to a handshake record.
fn record_length(bytes: &[u8]) -> Result<Option<usize>, HelloError> {
    if bytes.first().is_some_and(|&kind| kind != HANDSHAKE)
        || bytes.get(1).is_some_and(|&major| major != 3)
    {
        return Err(HelloError::NotTls);
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    match usize_from([high, low]) {
        // An empty handshake record is forbidden (RFC 8446 section 5.1).
        length @ 1..=MAX_RECORD => Ok(Some(length)),
        _ => Err(HelloError::Malformed),
    }
}

/// A big-endian number of few enough bytes.
fn usize_from<const N: usize>(bytes: [u8; N]) -> usize {
    const { assert!(N <= 3, "fits into every usize") };
    bytes.iter().fold(0, |n, &byte| n << 8 | usize::from(byte))
}
