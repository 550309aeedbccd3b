//! Where plaintext ends and TLS begins.
//!
//! A client's end has just [`Arrived`] first, is then either in [`Clear`] or [`Ciphertext`], and
//! nothing else in this program holds a client's socket before the relay. Only a handshake takes
//! [`Ciphertext`], and a [`Clear`] end becomes that with empty hands alone: not one byte read in
//! clear can reach TLS (CVE-2011-0411, CVE-2021-33515). What was learnt in clear does not cross
//! either: all that is handed over is this value.

use std::io;
use std::marker::PhantomData;

use crate::proxy::inbound::Inbound;
use crate::proxy::socket::Socket;

/// A client's end before the relay, and what was received from it and not yet used.
#[derive(Debug)]
pub(super) struct Client<Phase> {
    socket: Socket,
    inbound: Inbound,
    phase: PhantomData<Phase>,
}

/// Nothing is known yet of the bytes, but for a PROXY header that is read off them.
#[derive(Debug)]
pub(super) enum Arrived {}

/// The protocol is spoken in clear.
#[derive(Debug)]
pub(super) enum Clear {}

/// Everything unread and everything to come is TLS by definition.
#[derive(Debug)]
pub(super) enum Ciphertext {}

/// Bytes were received in clear behind STARTTLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Injection;

impl Client<Arrived> {
    pub(super) fn new(socket: Socket) -> Self {
        Self::with(socket, Inbound::default())
    }

    /// The protocol begins in clear.
    pub(super) fn in_clear(self) -> Client<Clear> {
        Client::with(self.socket, self.inbound)
    }

    /// The protocol begins with TLS.
    pub(super) fn in_tls(self) -> Client<Ciphertext> {
        Client::with(self.socket, self.inbound)
    }
}

impl Client<Clear> {
    /// An end that a relay has had, and what it has left unused.
    pub(super) fn with_unread(socket: Socket, inbound: Inbound) -> Self {
        Self::with(socket, inbound)
    }

    /// TLS begins with the next byte: the client was told to go ahead with STARTTLS. Whatever
    /// was read already was sent in clear, before it was told, and ends the connection.
    pub(super) fn start_tls(self) -> Result<Client<Ciphertext>, Injection> {
        match self.inbound.filled() {
            [] => Ok(Client::with(self.socket, Inbound::default())),
            _ => Err(Injection),
        }
    }
}

impl Client<Ciphertext> {
    /// What was received and not yet used, for decryption in place.
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        self.inbound.filled_mut()
    }
}

impl<Phase> Client<Phase> {
    fn with(socket: Socket, inbound: Inbound) -> Self {
        Self {
            socket,
            inbound,
            phase: PhantomData,
        }
    }

    /// What was received and not yet used.
    pub(super) fn unread(&self) -> &[u8] {
        self.inbound.filled()
    }

    /// Drops `n` bytes of it from the front.
    pub(super) fn consume(&mut self, n: usize) {
        self.inbound.consume(n);
    }

    /// Waits for more; the number of bytes received, 0 at the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.inbound.fill(&mut self.socket).await
    }

    /// Sends as it is.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes).await
    }

    /// Ends a connection whose client has got its last word.
    pub(super) async fn linger(&mut self) {
        self.socket.linger().await;
    }

    /// Its parts, for the relay.
    pub(super) fn into_parts(self) -> (Socket, Inbound) {
        (self.socket, self.inbound)
    }
}
