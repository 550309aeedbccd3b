//! The TLS of one connection: bytes in, bytes out, no socket.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion};

use crate::tls::resolver::ConnectionResolver;
use crate::tls::{Buffer, Chosen};
use crate::wire::client_hello;

/// Bytes of handshake answers, alerts and key updates that may wait to be sent. A handshake
/// flight with a long chain fits; a peer that asks for key updates without end does not.
const CONTROL_LIMIT: usize = 256 * 1024;

/// Why TLS ended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What rustls says of it.
    #[error("TLS failed")]
    Rustls(#[from] rustls::Error),
    /// No certificate has a key whose signatures this client can verify.
    #[error("no certificate has a key that this client can verify")]
    NoUsableKey,
    /// The peer made us answer more than anybody needs.
    #[error("more than {CONTROL_LIMIT} bytes of answers to the peer's TLS messages are waiting")]
    ControlFlood,
}

/// What one call of [`Session::open`] did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opened {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Whether the peer has said close_notify.
    pub closed: bool,
}

/// What was negotiated.
#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    /// `1.2` or `1.3`
    pub version: &'static str,
    /// The suite by its OpenSSL name, as servers behind log it.
    pub suite: &'static str,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// The ALPN protocol agreed on, where it is the registered name of a protocol that we
    /// know.
    pub alpn: Option<&'static [u8]>,
}

/// The server's side of one TLS connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// Given up when the handshake is over.
    resolver: Option<Arc<ConnectionResolver>>,
    /// Whether TLS failed: nothing more is said then, the alert was the last.
    failed: bool,
}

impl Session {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        resolver: Arc<ConnectionResolver>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            resolver: Some(resolver),
            failed: false,
        })
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What was negotiated; `None` before it is.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let version = version_name(self.connection.protocol_version()?);
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        Some(Negotiated {
            version,
            suite: suite_name(suite),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: match self.connection.alpn_protocol() {
                Some(b"imap") => Some(b"imap"),
                Some(b"pop3") => Some(b"pop3"),
                Some(b"managesieve") => Some(b"managesieve"),
                Some(b"h2") => Some(b"h2"),
                Some(b"http/1.1") => Some(b"http/1.1"),
                _ => None,
            },
        })
    }

    /// Whether our last message is the session ticket, for which no client waits. In TLS 1.2
    /// the ticket stands before our Finished, for which every client does.
    pub fn ends_with_ticket(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Takes out which certificate was chosen, once the handshake is over.
    pub fn take_chosen(&mut self) -> Option<Chosen> {
        self.resolver.take()?.chosen.get().cloned()
    }

    /// Takes received bytes: plaintext is appended to `plain`, what must be sent in answer
    /// to `control`. `wire` is decrypted in place and must be consumed as reported.
    ///
    /// As much plaintext comes out at the most as ciphertext went in, so a [`Buffer`] of
    /// ciphertext fits into an empty one of plaintext.
    ///
    /// # Errors
    /// `control` then holds the alert for the peer.
    pub fn open(
        &mut self,
        wire: &mut [u8],
        plain: &mut Buffer,
        control: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        let mut opened = Opened::default();
        let mut failed = None;
        let before = control.len();
        // After a failure only what is to be sent is asked for, the alert for the peer being
        // the last of it: rustls would look at the same bytes again, and fail again.
        while failed.is_none() || self.connection.wants_write() {
            let rest = wire.get_mut(opened.consumed..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            opened.consumed += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        opened.consumed += record.discard;
                        let taken = plain.append(record.payload);
                        debug_assert_eq!(taken, record.payload.len(), "plaintext fits");
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(control, |room| match data.encode(room) {
                        Err(EncodeError::InsufficientSize(error)) => Err(error),
                        // Encoded already: there is nothing left to write.
                        Err(EncodeError::AlreadyEncoded) => Ok(0),
                        Ok(n) => Ok(n),
                    });
                }
                // Whatever was encoded is in `control`, which is sent in order.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => opened.closed = true,
                Err(error) => failed = Some(error),
                Ok(_) => break,
            }
            if control.len() > CONTROL_LIMIT {
                self.failed = true;
                return Err(TlsError::ControlFlood);
            }
        }
        match failed {
            None => Ok(opened),
            Some(error) => {
                self.failed = true;
                let error = self.explain(error);
                if let TlsError::NoUsableKey = error {
                    // rustls says access_denied, which is about client certificates (RFC 8446
                    // section 6.2).
                    control.truncate(before);
                    control.extend(Alert::HandshakeFailure.record());
                }
                Err(error)
            }
        }
    }

    /// Encrypts `plain` into the room of `wire`.
    ///
    /// `held` is what [`Self::open`] did not consume: rustls keeps the beginning of a message
    /// that comes in several records in there, and remembers how much of it there is.
    ///
    /// # Errors
    /// If the keys are exhausted, or the room is too small.
    pub fn seal(
        &mut self,
        held: &mut [u8],
        plain: &[u8],
        wire: &mut Buffer,
    ) -> Result<(), TlsError> {
        if self.failed {
            return Err(rustls::Error::HandshakeNotComplete.into());
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(held);
        let ConnectionState::WriteTraffic(mut traffic) = state? else {
            return Err(rustls::Error::HandshakeNotComplete.into());
        };
        let n = traffic
            .encrypt(plain, wire.room())
            .map_err(|_| rustls::Error::EncryptError)?;
        wire.advance(n);
        Ok(())
    }

    /// Appends a close_notify alert to `control`: nothing more is said on this side. `held`
    /// is as in [`Self::seal`].
    ///
    /// # Errors
    /// If the keys are exhausted.
    pub fn close(&mut self, held: &mut [u8], control: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.failed {
            return Ok(());
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(held);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let mut alert = [0; 64];
            let n = traffic
                .queue_close_notify(&mut alert)
                .map_err(|_| rustls::Error::EncryptError)?;
            control.extend_from_slice(alert.get(..n).unwrap_or_default());
        }
        Ok(())
    }

    /// rustls knows only that the resolver had nothing to give.
    fn explain(&self, error: rustls::Error) -> TlsError {
        let unresolved = self
            .resolver
            .as_ref()
            .is_some_and(|resolver| resolver.chosen.get().is_none());
        match error {
            rustls::Error::General(_) if unresolved => TlsError::NoUsableKey,
            error => TlsError::Rustls(error),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(secret)")
    }
}

/// Appends to `out` what `write` wants to write, in room of the size that it asks for.
fn append(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, InsufficientSizeError>,
) {
    let start = out.len();
    if let Err(InsufficientSizeError { required_size }) = write(&mut []) {
        out.resize(start + required_size, 0);
        let n = write(&mut out[start..]).unwrap_or_default();
        out.truncate(start + n);
    }
}

/// Alerts that are written here because rustls has none, or another one, for the case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alert {
    /// handshake_failure
    HandshakeFailure,
    /// protocol_version
    ProtocolVersion,
    /// decode_error
    DecodeError,
    /// internal_error: TLS is not to be had now, through no fault of the client's.
    InternalError,
    /// unrecognized_name
    UnrecognizedName,
}

impl Alert {
    /// A fatal one, in a record of its own: in clear, so before the keys are there only.
    pub fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        // RFC 8446 section 6.
        let description = match self {
            Self::HandshakeFailure => 40,
            Self::DecodeError => 50,
            Self::ProtocolVersion => 70,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        };
        [ALERT, 3, 3, 0, 2, FATAL, description]
    }
}

/// The version that was negotiated, of which there are two.
pub(super) fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "1.3",
        _ => "1.2",
    }
}

/// The OpenSSL name of a suite.
pub(super) fn suite_name(suite: rustls::CipherSuite) -> &'static str {
    let name = client_hello::suite_name(suite.into());
    name.or_else(|| suite.as_str()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests;
