//! A client's connection as hyper reads and writes it. No buffer is held while the client is
//! waited for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::downstream::{Downstream, DownstreamError};
use crate::proxy::http::visitor::Visitor;
use crate::tls::Buffer;

/// The client's end, its handshake done.
#[derive(Debug)]
pub(super) struct Stream {
    downstream: Downstream,
    /// What hyper has given back unread.
    unread: Bytes,
    /// What came with the handshake, or did not fit.
    held: Option<Buffer>,
    /// Interim responses, not yet written.
    interim: Bytes,
    /// Whether TLS has said that nothing more comes.
    closed: bool,
    visitor: Arc<Visitor>,
}

impl Stream {
    pub(super) fn new(
        downstream: Downstream,
        early: Option<Buffer>,
        visitor: &Arc<Visitor>,
    ) -> Self {
        if let Some(early) = &early {
            visitor.pulse.received(early.filled().len());
        }
        Self {
            downstream,
            unread: Bytes::new(),
            held: early,
            interim: Bytes::new(),
            closed: false,
            visitor: Arc::clone(visitor),
        }
    }

    /// Takes back what was read of it, to be read again.
    pub(super) fn give_back(&mut self, unread: Bytes) {
        debug_assert!(self.unread.is_empty(), "given back once");
        self.unread = unread;
    }

    /// Whether there is something to read at once.
    fn has_unread(&self) -> bool {
        !self.unread.is_empty() || self.held.is_some()
    }

    /// Whether a session ticket is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.downstream.is_holding()
    }

    /// Lets go of a ticket that was held back long enough.
    pub(super) fn poll_release(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.downstream.release();
        // What the socket does not take now goes with the next answer.
        match self.downstream.poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until there is something to read, or nothing more will come: whether there is.
    pub(super) fn poll_readable(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, DownstreamError>> {
        if self.has_unread() {
            return Poll::Ready(Ok(true));
        }
        let mut plain = Buffer::take();
        ready!(self.downstream.poll_recv(cx, &mut plain))?;
        if plain.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.count(plain.filled().len());
        self.held = Some(plain);
        Poll::Ready(Ok(true))
    }

    fn count(&self, n: usize) {
        self.visitor
            .active
            .metrics
            .received_downstream
            .inc_by(n as u64);
        self.visitor.pulse.received(n);
    }

    /// The client's end, and what was received and not read by hyper: without a buffer of the
    /// pool if it is nothing.
    pub(super) fn into_parts(self) -> (Downstream, Bytes) {
        let mut unread = self.unread;
        if let Some(held) = self.held {
            unread = match unread.is_empty() {
                true => Bytes::copy_from_slice(held.filled()),
                false => [&*unread, held.filled()].concat().into(),
            };
        }
        (self.downstream, unread)
    }

    /// Writes interim responses, and all that was taken before.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.interim.is_empty() {
                let slice = [IoSlice::new(&self.interim)];
                let n = ready!(self.downstream.poll_send(cx, &slice)).map_err(as_io)?;
                self.interim.advance(n);
            }
            // Only now: a client that takes nothing has no more of them kept for it.
            match self.visitor.pulse.take_interim() {
                Some(more) => self.interim = more.into(),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// With HTTP/1.1 only hyper's own refusals are written while nothing is asked. They say
    /// nothing but the status; what is said instead follows when hyper is done.
    fn is_refusal(&self, slices: &[IoSlice<'_>]) -> bool {
        if self.visitor.http2 || !self.visitor.pulse.is_idle() {
            return false;
        }
        let head = slices.iter().find(|slice| !slice.is_empty());
        let status = head.and_then(|head| head.get(9..12));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(status) = status {
            self.visitor.pulse.refuse(status);
        }
        true
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            let n = this.unread.len().min(room.remaining());
            room.put_slice(&this.unread.split_to(n));
            return Poll::Ready(Ok(()));
        }
        if this.held.is_none() && !this.downstream.is_tls() {
            let before = room.filled().len();
            ready!(this.downstream.poll_recv_in_clear(cx, room))?;
            this.count(room.filled().len() - before);
            return Poll::Ready(Ok(()));
        }
        let mut plain = match this.held.take() {
            Some(held) => held,
            None => {
                let mut plain = Buffer::take();
                ready!(this.downstream.poll_recv(cx, &mut plain)).map_err(as_io)?;
                this.count(plain.filled().len());
                plain
            }
        };
        let n = plain.filled().len().min(room.remaining());
        room.put_slice(plain.filled().get(..n).unwrap_or_default());
        plain.consume(n);
        this.held = Some(plain).filter(|rest| !rest.is_empty());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.is_refusal(slices) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let sent = match this.poll_interim(cx) {
            Poll::Ready(Ok(())) => this.downstream.poll_send(cx, slices).map_err(as_io),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        this.visitor.pulse.written(sent.is_ready());
        let n = ready!(sent)?;
        this.visitor.active.metrics.sent_downstream.inc_by(n as u64);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = match this.poll_interim(cx) {
            Poll::Ready(Ok(())) => this.downstream.poll_flush(cx),
            other => other,
        };
        this.visitor.pulse.written(flushed.is_ready());
        ready!(flushed)?;
        this.visitor.pulse.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let this = &mut *self;
        if !std::mem::replace(&mut this.closed, true) {
            this.downstream
                .close()
                .map_err(|error| as_io(error.into()))?;
        }
        ready!(this.downstream.poll_flush(cx))?;
        this.downstream.poll_shutdown(cx)
    }
}

fn as_io(error: DownstreamError) -> io::Error {
    match error {
        DownstreamError::Io(error) => error,
        error @ DownstreamError::Tls(_) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
