//! The handshake of one connection, which is rustls': bytes in, bytes out, no socket.

use std::fmt;
use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion};

use crate::tls::error::{Alert, CONTROL_LIMIT, TlsError};
use crate::tls::resolver::ConnectionResolver;
use crate::tls::session::{Session, record_length};
use crate::tls::{Chosen, Opened};
use crate::wire::client_hello;

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

/// What a handshake comes to.
#[derive(Debug)]
pub struct Finished {
    /// The records from here on.
    pub session: Session,
    /// What was negotiated.
    pub negotiated: Negotiated,
    /// Which certificate was chosen; none where a session was resumed.
    pub chosen: Option<Chosen>,
}

/// The server's side of one handshake.
pub struct Handshake {
    connection: UnbufferedServerConnection,
    resolver: Arc<ConnectionResolver>,
    /// Bytes at the beginning of the input that rustls has seen, and keeps there: a message that
    /// comes in several records.
    seen: usize,
}

impl Handshake {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        resolver: Arc<ConnectionResolver>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            resolver,
            seen: 0,
        })
    }

    /// Whether it is over.
    pub fn is_done(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether our last message is the session ticket, for which no client waits. In TLS 1.2
    /// the ticket stands before our Finished, for which every client does.
    pub fn ends_with_ticket(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Takes received bytes; what must be sent in answer is appended to `control`. `wire` is
    /// decrypted in place, must be consumed as reported, and the rest be there the next time.
    ///
    /// rustls is given one record at a time, so that it sees none behind the last of the
    /// handshake: those are the [`Session`]'s.
    ///
    /// # Errors
    /// `control` then holds the alert for the peer.
    pub fn advance(&mut self, wire: &mut [u8], control: &mut Vec<u8>) -> Result<Opened, TlsError> {
        let mut opened = Opened::default();
        let mut failed = None;
        let before = control.len();
        // After a failure only what is to be sent is asked for, the alert for the peer being the
        // last of it: rustls would look at the same bytes again, and fail again.
        let mut goes_on = self.sees_more(wire);
        while goes_on {
            let rest = wire.get_mut(opened.consumed..).unwrap_or_default();
            let seen = rest.get_mut(..self.seen).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(seen);
            opened.consumed += discard;
            self.seen = self.seen.saturating_sub(discard);
            let mut waits = false;
            match state {
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
                Ok(_) => waits = true,
            }
            goes_on = match failed {
                Some(_) => self.connection.wants_write(),
                None if !waits => true,
                None => {
                    !opened.closed
                        && !self.is_done()
                        && self.sees_more(wire.get(opened.consumed..).unwrap_or_default())
                }
            };
            if control.len() > CONTROL_LIMIT {
                return Err(TlsError::ControlFlood);
            }
        }
        match failed {
            None => Ok(opened),
            Some(error) => Err(self.explain(error, before, control)),
        }
    }

    /// Lets rustls see one record more, if `rest`, of which it has seen a part, has a whole one.
    fn sees_more(&mut self, rest: &[u8]) -> bool {
        let unseen = rest.get(self.seen..).unwrap_or_default();
        let length = match record_length(unseen) {
            Ok(Some(length)) => length,
            Ok(None) => return false,
            // It is rustls' to say what is wrong.
            Err(_) => unseen.len(),
        };
        self.seen += length;
        true
    }

    /// What rustls' error means; it knows only that the resolver had nothing to give.
    fn explain(&self, error: rustls::Error, before: usize, control: &mut Vec<u8>) -> TlsError {
        match error {
            rustls::Error::General(_) if self.resolver.chosen.get().is_none() => {
                // rustls says access_denied, which is about client certificates (RFC 8446
                // section 6.2).
                control.truncate(before);
                control.extend(Alert::HandshakeFailure.record());
                TlsError::NoUsableKey
            }
            error => TlsError::Rustls(error),
        }
    }

    /// Ends it, once it is done and all of `control` was taken: rustls is let go of, and with it
    /// most of what a connection keeps.
    ///
    /// # Errors
    /// If it is not done.
    pub fn finish(self: Box<Self>) -> Result<Finished, TlsError> {
        let this = *self;
        let incomplete = rustls::Error::HandshakeNotComplete;
        let (Some(version), Some(suite)) = (
            this.connection.protocol_version(),
            this.connection.negotiated_cipher_suite(),
        ) else {
            return Err(incomplete.into());
        };
        let negotiated = Negotiated {
            version: version_name(version),
            suite: suite_name(suite.suite()),
            resumed: this.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: match this.connection.alpn_protocol() {
                Some(b"imap") => Some(b"imap"),
                Some(b"pop3") => Some(b"pop3"),
                Some(b"managesieve") => Some(b"managesieve"),
                Some(b"h2") => Some(b"h2"),
                Some(b"http/1.1") => Some(b"http/1.1"),
                _ => None,
            },
        };
        let (secrets, _) = this.connection.dangerous_into_kernel_connection()?;
        Ok(Finished {
            session: Session::new(suite, secrets, this.resolver.traffic())?,
            negotiated,
            chosen: this.resolver.chosen.get().cloned(),
        })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake(secret)")
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
