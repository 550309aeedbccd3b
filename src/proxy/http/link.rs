//! A connection to a web server, and those that wait for their next request.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::proxy::http::upload::Upload;
use crate::proxy::http::{BLOCK, poll_timer};
use crate::proxy::socket::Socket;

/// How long a connection waits for its next request.
const KEPT: Duration = Duration::from_secs(60);

/// How many wait at each server.
const WAITING: usize = 256;

/// A connection to a server. It does nothing unless it is polled.
pub(in crate::proxy) struct Link {
    sender: SendRequest<Upload>,
    connection: Box<Connection<TokioIo<Wire>, Upload>>,
    /// Whether there is nothing more to poll.
    over: bool,
    traffic: Arc<Traffic>,
    bell: Arc<Bell>,
    /// `bell`, as it is handed to those who ring it.
    waker: Waker,
    /// Rings when nothing has moved for too long. It stays from one request to the next, and is
    /// not moved with every one of them.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whose it is, by its place in the upstream.
    pub(in crate::proxy) server: usize,
    /// Whether it belongs to one client: it has told the server who that is, or the client has.
    pub(super) bound: bool,
    /// Whether it has had a request before.
    pub(super) reused: bool,
}

/// Wakes the task that waits for a connection. hyper would wake it as well for what the task
/// itself has done to the connection, which it knows already: so it is only rung while the task
/// waits.
#[derive(Debug, Default)]
struct Bell {
    awaited: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Bell {
    /// From now on it is waited for. To be called before the poll that makes it ring: then
    /// whatever happens in between is seen by that poll.
    fn wait(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(task),
            None => *known = Some(task.clone()),
        }
        drop(known);
        self.awaited.store(true, Release);
    }

    /// Nobody waits: whoever was woken looks after everything himself.
    fn hush(&self) {
        self.awaited.store(false, Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.awaited.load(Acquire) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.iter().for_each(Waker::wake_by_ref);
        }
    }
}

/// Bytes on a connection to a server.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}

impl Traffic {
    /// Only the connection itself adds to it.
    fn add(count: &AtomicU64, n: usize) {
        count.store(count.load(Relaxed) + n as u64, Relaxed);
    }
}

/// The socket under a [`Link`].
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    traffic: Arc<Traffic>,
}

impl Wire {
    /// Over a socket, with the count of what passes.
    pub(super) fn new(socket: Socket) -> (Self, Arc<Traffic>) {
        let traffic = Arc::new(Traffic::default());
        let wire = Self {
            socket,
            traffic: Arc::clone(&traffic),
        };
        (wire, traffic)
    }
}

impl Link {
    /// Over a connection that is a server's turn to be asked on.
    pub(in crate::proxy) async fn new(
        socket: Socket,
        server: usize,
        bound: bool,
    ) -> hyper::Result<Self> {
        let (wire, traffic) = Wire::new(socket);
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BLOCK)
            .handshake(TokioIo::new(wire))
            .await?;
        let bell = Arc::<Bell>::default();
        Ok(Self {
            sender,
            connection: Box::new(connection),
            over: false,
            traffic,
            waker: Arc::clone(&bell).into(),
            bell,
            timer: None,
            server,
            bound,
            reused: false,
        })
    }

    /// Hands a request over, to be sent as the connection is polled.
    pub(super) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.sender.send_request(request)
    }

    /// Moves what there is to move; ready when nothing more will.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<hyper::Result<()>> {
        self.bell.wait(cx.waker());
        self.poll_connection()
    }

    /// Nobody waits until the next [`Self::poll`]: what is done with the connection until then
    /// wakes nobody.
    pub(super) fn hush(&self) {
        self.bell.hush();
    }

    fn poll_connection(&mut self) -> Poll<hyper::Result<()>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        let mut cx = Context::from_waker(&self.waker);
        let ended = ready!(self.connection.poll_without_shutdown(&mut cx));
        self.over = true;
        Poll::Ready(ended)
    }

    /// Waits until nothing has moved for as long as may be; ready, too, when that is only known
    /// for an earlier deadline. Whoever [`Self::poll`]s is woken by it.
    pub(super) fn poll_timer(&mut self, deadline: Instant) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        poll_timer(
            &mut Context::from_waker(&self.waker),
            timer.as_mut(),
            deadline,
        )
    }

    /// Whether nothing more will move.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it can take a request now.
    pub(in crate::proxy) fn is_ready(&mut self) -> bool {
        self.hush();
        self.poll_connection().is_pending() && self.sender.is_ready()
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The socket, after a change of the protocol, and what the server has said in the new one.
    pub(super) fn into_parts(self) -> (Socket, Bytes) {
        let parts = self.connection.into_parts();
        (parts.io.into_inner().socket, parts.read_buf)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.server)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        ready!(self.socket.poll_read_buf(cx, room))?;
        let n = room.filled().len() - before;
        Traffic::add(&self.traffic.received, n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
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
        // To send from one place is less work for the kernel.
        let n = match slices {
            [slice] => ready!(self.socket.poll_write(cx, slice)),
            slices => ready!(self.socket.poll_write_vectored(cx, slices)),
        }?;
        Traffic::add(&self.traffic.sent, n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown(cx)
    }
}

/// A server's connections that wait for their next request, the youngest last.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Idle {
    links: Mutex<VecDeque<(Link, Instant)>>,
    is_swept: AtomicBool,
}

impl Idle {
    /// The one that waits for the shortest time, if any.
    pub(in crate::proxy) fn take(&self) -> Option<Link> {
        self.links().pop_back().map(|(link, _)| link)
    }

    /// Lets a connection wait for its next request. True: somebody is to [`Self::sweep`].
    #[must_use]
    pub(in crate::proxy) fn put(&self, link: Link) -> bool {
        let mut links = self.links();
        let oldest = if links.len() >= WAITING {
            links.pop_front()
        } else {
            None
        };
        links.push_back((link, Instant::now() + KEPT));
        drop(links);
        // Not under the lock: a close is a call to the system.
        drop(oldest);
        !self.is_swept.swap(true, Relaxed)
    }

    /// Closes what has waited for too long, until nothing waits.
    pub(in crate::proxy) async fn sweep(&self) {
        loop {
            let next = self.links().front().map(|(_, until)| *until);
            let Some(until) = next else {
                self.is_swept.store(false, Relaxed);
                // One that came in between has found it still being swept.
                let came = !self.links().is_empty();
                if came && !self.is_swept.swap(true, Relaxed) {
                    continue;
                }
                return;
            };
            sleep_until(until).await;
            let now = Instant::now();
            let mut links = self.links();
            let late = links.partition_point(|(_, until)| *until <= now);
            let late: Vec<_> = links.drain(..late).collect();
            drop(links);
            drop(late);
        }
    }

    fn links(&self) -> MutexGuard<'_, VecDeque<(Link, Instant)>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
