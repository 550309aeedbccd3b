//! Listening sockets: bind, accept, never give up, stop.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::metrics::ListenerMetrics;
use crate::proxy::limits::{ConnectionLimit, Place};
use crate::proxy::session::{Active, Endpoints, serve};

/// How long a connection is silent before TCP asks whether the peer is still there.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(120);

/// Connections that may wait to be accepted; the kernel takes less if `somaxconn` is lower.
const BACKLOG: i32 = 4096;

/// First and longest pause after an accept that failed for want of something.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Binds a listening socket. `[::]` takes IPv4 too; on a host without IPv6 it is `0.0.0.0`.
///
/// # Errors
/// What the operating system says.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    match listen(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            listen(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                address.port(),
            ))
        }
        outcome => outcome,
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// EAFNOSUPPORT where the kernel has no IPv6, EADDRNOTAVAIL where it is switched off.
fn no_ipv6(error: &io::Error) -> bool {
    let codes = [
        rustix::io::Errno::AFNOSUPPORT,
        rustix::io::Errno::ADDRNOTAVAIL,
    ];
    codes
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}

/// The end of all connections, when a drain has waited long enough.
#[derive(Debug, Default)]
pub struct Ending {
    ended: AtomicBool,
    /// Several, so that connections that begin and end at once do not meet at one.
    waiting: [Notify; 16],
    next: AtomicUsize,
}

impl Ending {
    /// Ends every connection that waits for it, and every later one.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.waiting.iter().for_each(Notify::notify_waiters);
    }

    /// Whether it has come.
    pub(super) fn has_come(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns when connections have to end.
    pub(super) async fn wait(&self) {
        let n = self.next.fetch_add(1, Ordering::Relaxed) % self.waiting.len();
        let ended = self.waiting[n].notified();
        tokio::pin!(ended);
        // Registered before the flag is read: an end in between is not missed.
        ended.as_mut().enable();
        if !self.ended.load(Ordering::SeqCst) {
            ended.await;
        }
    }
}

/// Accepts the connections of one listening socket.
#[derive(Debug)]
pub struct Acceptor {
    socket: TcpListener,
    address: SocketAddr,
    active: Arc<ArcSwap<Active>>,
    limit: Arc<ConnectionLimit>,
    ending: Arc<Ending>,
}

impl Acceptor {
    /// Takes over a bound socket.
    ///
    /// # Errors
    /// If the socket cannot be used as a listening one.
    pub fn new(
        socket: std::net::TcpListener,
        active: Arc<ArcSwap<Active>>,
        limit: Arc<ConnectionLimit>,
        ending: Arc<Ending>,
    ) -> io::Result<Self> {
        // Accepted sockets inherit both.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            active,
            limit,
            ending,
        })
    }

    /// Accepts until `stop`, then what already waits in the queue, for the close of a
    /// listening socket resets that.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = PAUSE.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = PAUSE.0;
                    // Another listener may have taken the last place in the meantime.
                    let place = self.limit.enter().await;
                    self.spawn(place, stream, peer);
                }
                Err(error) if of_the_connection(&error) => {}
                Err(error) => {
                    self.failed(&error, pause);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
        while let Some((stream, peer)) = self.accept_waiting().await {
            let place = self.limit.enter().await;
            self.spawn(place, stream, peer);
        }
    }

    /// What cannot be served stays in the kernel's queue.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.limit.room().await;
        self.socket.accept().await
    }

    /// A connection that waits in the queue now, if there is one.
    async fn accept_waiting(&self) -> Option<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|cx| match self.socket.poll_accept(cx) {
            Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn failed(&self, error: &io::Error, pause: Duration) {
        let active = self.active.load();
        active.metrics.refused("accept");
        // Once for each burst: the first pause is the shortest.
        if pause == PAUSE.0 {
            tracing::error!(listener = active.config.name, %error, "cannot accept; trying again");
        }
    }

    fn spawn(&self, place: Place, stream: TcpStream, peer: SocketAddr) {
        let active = self.active.load_full();
        let endpoints = Endpoints {
            client: canonical(peer),
            local: canonical(self.local(&stream)),
        };
        let ending = Arc::clone(&self.ending);
        let span = tracing::debug_span!(
            "connection",
            listener = active.config.name,
            client.addr = %endpoints.client,
            server.addr = %endpoints.local,
        );
        let open = Open::new(&active.metrics, place);
        let stream = Box::new(stream);
        let connection = async move {
            serve(&active, stream, &endpoints, &ending).await;
            drop(open);
        };
        tokio::spawn(connection.instrument(span));
    }

    /// The address that the client connected to. Only a socket bound to all addresses has to
    /// ask the kernel for it.
    fn local(&self, stream: &TcpStream) -> SocketAddr {
        match self.address.ip().is_unspecified() {
            true => stream.local_addr().unwrap_or(self.address),
            false => self.address,
        }
    }
}

/// One open connection in the counts, until it is dropped: however it ends.
#[derive(Debug)]
struct Open {
    metrics: Arc<ListenerMetrics>,
    _place: Place,
}

impl Open {
    fn new(metrics: &Arc<ListenerMetrics>, place: Place) -> Self {
        metrics.connections.inc();
        metrics.active.inc();
        Self {
            metrics: Arc::clone(metrics),
            _place: place,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.active.dec();
    }
}

/// An IPv4 address in IPv6 form is an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the one connection failed, not accepting as such (accept(2)).
fn of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
