//! A stream socket of either family, polled without indirection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::tls::{Buffer, Peer};

/// How long, and for how many reads, a peer is listened to that has got its last word.
const LINGERING: (Duration, usize) = (Duration::from_secs(1), 64);

/// A connected stream.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp {
        stream: TcpStream,
        /// Whether it was connected just now: it takes bytes then, and tokio has not heard of it.
        fresh: bool,
    },
    Unix(UnixStream),
    /// TLS of ours towards a server.
    Tls(Box<TlsStream<Transport>>),
}

/// What TLS towards a server runs on.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// A connection that came to us.
    pub(super) fn accepted(stream: TcpStream) -> Self {
        let fresh = false;
        Self::Tcp { stream, fresh }
    }

    /// A connection that is made just now.
    pub(super) fn connected(stream: TcpStream) -> Self {
        let fresh = true;
        Self::Tcp { stream, fresh }
    }

    /// Reads into `room`; 0 at the end of the stream.
    ///
    /// tokio asks the kernel only when the socket is known to be readable, and takes a read
    /// that did not fill `room` as the last one: no read comes back empty.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        ready!(self.poll_read_buf(cx, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// As [`Self::poll_read`], into room that need not be initialized.
    pub(super) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp { stream, .. } => Pin::new(stream).poll_read(cx, room),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Tls(stream) => match Pin::new(stream).poll_read(cx, room) {
                // Servers end without close_notify; the protocols say when they are done.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }

    /// Writes from several places at once.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp { stream, .. } => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::Tcp { stream, fresh } = self
            && std::mem::take(fresh)
        {
            match rustix::net::send(&*stream, bytes, SendFlags::NOSIGNAL) {
                // tokio knows when it takes more.
                Err(Errno::AGAIN | Errno::INTR) => {}
                sent => return Poll::Ready(sent.map_err(Into::into)),
            }
        }
        let written = ready!(match self {
            Self::Tcp { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        })?;
        if written == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    /// Whether TLS of ours is on it.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Lets everything written go out: TLS may have kept some of it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp { .. } | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says to the peer that nothing more comes from here.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Makes the close that follows a reset, as the other side's end was one.
    pub(super) fn reset_on_close(&self) {
        let Some(stream) = self.tcp() else { return };
        // Without it the peer sees an ordinary end: nothing else can be done about it here.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    /// The TCP connection, unless it is a Unix socket.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp { stream, .. } => Some(stream),
            Self::Tls(stream) => match stream.get_ref().0 {
                Transport::Tcp(stream) => Some(stream),
                Transport::Unix(_) => None,
            },
            Self::Unix(_) => None,
        }
    }

    /// Who is at the other end, if TLS of ours runs with it.
    pub(super) fn peer(&self) -> Option<Peer> {
        match self {
            Self::Tls(stream) => Peer::of(stream),
            Self::Tcp { .. } | Self::Unix(_) => None,
        }
    }

    /// Our own address; a Unix socket has none.
    pub(super) fn own_address(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// The bare stream, for TLS; `None` if this is TLS already.
    pub(super) fn into_transport(self) -> Option<Transport> {
        match self {
            Self::Tcp { stream, .. } => Some(Transport::Tcp(stream)),
            Self::Unix(stream) => Some(Transport::Unix(stream)),
            Self::Tls(_) => None,
        }
    }

    /// Ends a connection whose peer has got its last word: says that nothing more comes, and
    /// takes what the peer still sends for a moment. A close with bytes unread would be a reset,
    /// which makes the peer's system throw the last word away.
    pub(super) async fn linger(&mut self) {
        let ended = async {
            poll_fn(|cx| self.poll_shutdown(cx)).await?;
            for _ in 0..LINGERING.1 {
                // No buffer is held while the peer is waited for: many may linger at once.
                let received = poll_fn(|cx| self.poll_read(cx, Buffer::take().room()));
                if received.await? == 0 {
                    break;
                }
            }
            io::Result::Ok(())
        };
        // However it ends, the connection is closed now.
        let _ = timeout(LINGERING.0, ended).await;
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, room),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
