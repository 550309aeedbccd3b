//! Bytes received and not yet used.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use crate::proxy::socket::Socket;
use crate::tls::Buffer;

/// Room for what comes behind something that is held: a record of TLS, with its header.
const RECORD: usize = 5 + 16 * 1024 + 2048;

/// What was read from a socket and is not consumed yet: in a pooled buffer while work goes
/// on, in exactly as much memory as it needs while the peer is waited for.
#[derive(Debug, Default)]
pub(super) struct Inbound(Held);

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Working(Buffer),
    Parked(Box<[u8]>),
}

impl From<Buffer> for Inbound {
    fn from(buffer: Buffer) -> Self {
        Self(Held::Working(buffer))
    }
}

impl Inbound {
    /// Reads more behind what is held; the number of bytes read, 0 at the end of the stream.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<usize>> {
        let buffer = self.working();
        let room = buffer.room();
        if room.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        match socket.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => {
                self.park();
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Ok(n)) => {
                buffer.advance(n);
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.park();
                Poll::Pending
            }
        }
    }

    /// Waits for more bytes.
    pub(super) async fn fill(&mut self, socket: &mut Socket) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, socket)).await
    }

    /// What is held.
    pub(super) fn filled(&self) -> &[u8] {
        match &self.0 {
            Held::Nothing => &[],
            Held::Working(buffer) => buffer.filled(),
            Held::Parked(bytes) => bytes,
        }
    }

    /// What is held, for decryption in place.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Held::Nothing => &mut [],
            Held::Working(buffer) => buffer.filled_mut(),
            Held::Parked(bytes) => bytes,
        }
    }

    /// Drops `n` bytes from the front.
    pub(super) fn consume(&mut self, n: usize) {
        let buffer = self.working();
        buffer.consume(n);
        if buffer.is_empty() {
            self.0 = Held::Nothing;
        }
    }

    fn working(&mut self) -> &mut Buffer {
        if !matches!(self.0, Held::Working(_)) {
            let parked = self.filled();
            let mut buffer = Buffer::with_room(parked.len() + RECORD);
            buffer.append(parked);
            self.0 = Held::Working(buffer);
        }
        match &mut self.0 {
            Held::Working(buffer) => buffer,
            Held::Nothing | Held::Parked(_) => unreachable!("set above"),
        }
    }

    /// What is held, in a buffer; `None` if that is nothing.
    pub(super) fn into_buffer(mut self) -> Option<Buffer> {
        if self.filled().is_empty() {
            return None;
        }
        self.working();
        match self.0 {
            Held::Working(buffer) => Some(buffer),
            Held::Nothing | Held::Parked(_) => unreachable!("a buffer is at work"),
        }
    }

    /// Gives the buffer back; what is left of a record, or of a message, is kept.
    pub(super) fn park(&mut self) {
        if let Held::Working(buffer) = &self.0 {
            self.0 = match buffer.filled() {
                [] => Held::Nothing,
                bytes => Held::Parked(bytes.into()),
            };
        }
    }
}
