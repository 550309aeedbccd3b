//! The client's end of a connection: a socket, with TLS on it or without.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use crate::proxy::boundary::{Ciphertext, Clear, Client};
use crate::proxy::inbound::Inbound;
use crate::proxy::socket::Socket;
use crate::tls::{Buffer, Session, TlsError};

/// What can go wrong on the client's end.
#[derive(Debug, thiserror::Error)]
pub enum DownstreamError {
    /// Its socket failed.
    #[error("the client's connection failed")]
    Io(#[from] io::Error),
    /// Its TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The client's end, its handshake done.
#[derive(Debug)]
pub(super) struct Downstream {
    socket: Socket,
    tls: Option<Box<Session>>,
    /// Received and not yet opened.
    inbound: Inbound,
    /// Whether `inbound` holds something that was not passed on yet. Never so in TLS: there
    /// it holds the beginning of a record or message at most.
    unread: bool,
    /// Whether the client said that nothing more comes.
    closed: bool,
    /// Sealed, and not yet written.
    outbound: Option<Buffer>,
    /// TLS's own messages, younger than `outbound`.
    control: Vec<u8>,
    /// Whether `control` is a session ticket that waits for company.
    holding: bool,
}

/// Largest session ticket that is put in front of data; it fits beside a whole buffer of it.
const TICKET_ROOM: usize = Buffer::SPARE;

impl Downstream {
    /// A client in clear, or one whose TLS passes through.
    pub(super) fn plain<Phase>(client: Client<Phase>) -> Self {
        let (socket, inbound) = client.into_parts();
        Self::new(socket, None, inbound, Vec::new())
    }

    /// A client whose TLS ends here. In TLS 1.3 the server's last message is the session
    /// ticket, for which nobody waits: it is held back, to be sent with the first data.
    /// `closed` is whether the client has said close_notify already.
    pub(super) fn tls(
        client: Client<Ciphertext>,
        session: Box<Session>,
        ticket: Vec<u8>,
        closed: bool,
    ) -> Self {
        let (socket, inbound) = client.into_parts();
        Self {
            closed,
            ..Self::new(socket, Some(session), inbound, ticket)
        }
    }

    fn new(socket: Socket, tls: Option<Box<Session>>, inbound: Inbound, control: Vec<u8>) -> Self {
        Self {
            socket,
            unread: tls.is_none() && !inbound.filled().is_empty(),
            tls,
            inbound,
            closed: false,
            outbound: None,
            holding: !control.is_empty() && control.len() <= TICKET_ROOM,
            control,
        }
    }

    /// The connection of a client in clear, for TLS to begin on it. What the relay has read is
    /// its to account for: nothing is kept here but what was never looked at.
    pub(super) fn into_client(self) -> Client<Clear> {
        debug_assert!(self.tls.is_none(), "TLS is begun once");
        Client::with_unread(self.socket, self.inbound)
    }

    /// Whether a session ticket is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.holding
    }

    /// Lets go of a ticket that was held back long enough.
    pub(super) fn release(&mut self) {
        self.holding = false;
    }

    /// Receives plaintext into `plain`, which is empty before, and after it at the end of
    /// what the client says.
    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut Buffer,
    ) -> Poll<Result<(), DownstreamError>> {
        let Some(tls) = &mut self.tls else {
            return self.poll_recv_plain(cx, plain).map_err(Into::into);
        };
        while !self.closed && plain.is_empty() {
            // A TCP end without close_notify is an end all the same: mail clients do that.
            if ready!(self.inbound.poll_fill(cx, &mut self.socket))? == 0 {
                self.closed = true;
                break;
            }
            plain.make_room(self.inbound.filled().len());
            let opened = tls.open(self.inbound.filled(), plain, &mut self.control)?;
            self.inbound.consume(opened.consumed);
            self.closed = opened.closed;
            if self.closed {
                self.inbound.park();
            }
            // What else TLS has to say now is not to wait with the ticket.
            self.holding &= self.control.len() <= TICKET_ROOM;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for plaintext; empty at the end of what the client says. No buffer is held while
    /// it is waited for.
    pub(super) async fn recv(&mut self) -> Result<Buffer, DownstreamError> {
        poll_fn(|cx| {
            let mut plain = Buffer::take();
            let received = ready!(self.poll_recv(cx, &mut plain));
            Poll::Ready(received.map(|()| plain))
        })
        .await
    }

    fn poll_recv_plain(
        &mut self,
        cx: &mut Context<'_>,
        plain: &mut Buffer,
    ) -> Poll<io::Result<()>> {
        if self.unread {
            plain.make_room(self.inbound.filled().len());
            let n = plain.append(self.inbound.filled());
            self.inbound.consume(n);
            self.unread = !self.inbound.filled().is_empty();
            return Poll::Ready(Ok(()));
        }
        let n = ready!(self.socket.poll_read(cx, plain.plaintext_room()))?;
        plain.advance(n);
        Poll::Ready(Ok(()))
    }

    /// Receives what a client in clear says straight into `room`.
    pub(super) fn poll_recv_in_clear(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        debug_assert!(self.tls.is_none(), "nothing is opened here");
        if !self.unread {
            return self.socket.poll_read_buf(cx, room);
        }
        let unread = self.inbound.filled();
        let n = unread.len().min(room.remaining());
        room.put_slice(unread.get(..n).unwrap_or_default());
        self.unread = n < unread.len();
        self.inbound.consume(n);
        Poll::Ready(Ok(()))
    }

    /// Whether TLS of ours is on it.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends plaintext: everything taken before goes out first, then as much of `slices` as fits
    /// into one buffer is taken, and written as far as the socket takes it. The number of bytes
    /// taken.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, DownstreamError>> {
        ready!(self.poll_flush(cx))?;
        if self.tls.is_none() {
            let written = ready!(self.socket.poll_write_vectored(cx, slices))?;
            if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            return Poll::Ready(Ok(written));
        }
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let taken = match (filled.next(), filled.next()) {
            (None, _) => return Poll::Ready(Ok(0)),
            (Some(slice), None) => self.seal_some(slice)?,
            // Small pieces share a record.
            (Some(_), Some(_)) => {
                let mut plain = Buffer::take();
                for slice in slices {
                    plain.append_plaintext(slice);
                }
                self.seal_some(plain.filled())?
            }
        };
        // What the socket does not take now goes first the next time.
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error.into()));
        }
        Poll::Ready(Ok(taken))
    }

    /// Takes plaintext to be sent. Everything taken before must have been flushed.
    pub(super) fn queue(&mut self, plain: Buffer) -> Result<(), TlsError> {
        if self.tls.is_none() {
            self.outbound = Some(plain);
            return Ok(());
        }
        // Never, as long as plaintext is read into the room for it; and then nothing is lost.
        match self.seal_some(plain.filled())? == plain.filled().len() {
            true => Ok(()),
            false => Err(rustls::Error::EncryptError.into()),
        }
    }

    /// Seals plaintext behind what TLS itself has to say, as much as fits into one buffer; how
    /// much that was.
    fn seal_some(&mut self, plain: &[u8]) -> Result<usize, TlsError> {
        let Some(tls) = &mut self.tls else {
            return Ok(0);
        };
        let mut wire = Buffer::with_room(plain.len());
        wire.append(&self.control);
        self.control = Vec::new();
        self.holding = false;
        let taken = tls.seal(plain, &mut wire)?;
        self.outbound = Some(wire);
        Ok(taken)
    }

    /// Writes what was taken; only a ticket that is held back may be left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(wire) = &mut self.outbound {
            while !wire.is_empty() {
                let n = ready!(self.socket.poll_write(cx, wire.filled()))?;
                wire.consume(n);
            }
            self.outbound = None;
        }
        if self.holding || self.control.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.control.is_empty() {
            let n = ready!(self.socket.poll_write(cx, &self.control))?;
            self.control.drain(..n);
        }
        self.control = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes; to be flushed.
    pub(super) fn close(&mut self) -> Result<(), TlsError> {
        self.holding = false;
        match &mut self.tls {
            Some(tls) => tls.close(&mut self.control),
            None => Ok(()),
        }
    }

    /// Shuts the socket for writing.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown(cx)
    }

    /// Passes a reset of the other end on.
    pub(super) fn reset_on_close(&self) {
        self.socket.reset_on_close();
    }

    /// Sends a last word of our own (none: no text), and ends as TLS ends.
    pub(super) async fn say_last(&mut self, text: &[u8]) -> Result<(), DownstreamError> {
        if !text.is_empty() {
            let mut plain = Buffer::take();
            plain.append(text);
            self.queue(plain)?;
            poll_fn(|cx| self.poll_flush(cx)).await?;
        }
        self.part().await
    }

    /// Ends a connection whose client has got its last word, as TLS ends.
    pub(super) async fn part(&mut self) -> Result<(), DownstreamError> {
        self.close()?;
        poll_fn(|cx| self.poll_flush(cx)).await?;
        self.socket.linger().await;
        Ok(())
    }
}
