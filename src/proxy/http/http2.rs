//! A client's connection in HTTP/2.
//!
//! Each request is a task of its own, as hyper has it. What a client can make us keep is bounded:
//! by the windows what it sends, by the send buffers what it does not take, by [`Watch`] for how
//! long.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::causes;
use crate::proxy::SessionError;
use crate::proxy::http::service::Service;
use crate::proxy::http::stream::Stream;
use crate::proxy::http::visitor::Visitor;
use crate::proxy::http::{BLOCK, HttpEnd, KEEP_ALIVE, STALL_TIMEOUT, poll_timer};

/// Requests under way on one connection.
const STREAMS: u32 = 128;

/// Bytes of bodies that may come before they are asked for: of one request, and of all.
const WINDOWS: (u32, u32) = (256 * 1024, 512 * 1024);

/// Streams that a client has reset before we have even looked at them.
const RESET_UNSEEN: usize = 20;

/// Streams that were reset for the client's faults and are still remembered.
const RESET_BY_US: usize = 128;

/// How long a client may take to go that was told to.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a client until its connection ends.
pub(super) async fn drive(stream: Stream, visitor: Arc<Visitor>) -> Result<(), SessionError> {
    let mut retired = pin!(visitor.active.retired.wait());
    let service = Service {
        visitor: Arc::clone(&visitor),
    };
    let connection = Builder::new(Tasks)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BLOCK as u32)
        .max_pending_accept_reset_streams(RESET_UNSEEN)
        .max_local_error_reset_streams(RESET_BY_US)
        .max_send_buf_size(BLOCK)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // The session ticket goes out with the settings, which come first.
    let mut timer = pin!(sleep_until(Instant::now() + KEEP_ALIVE));
    let mut told: Option<Instant> = None;
    poll_fn(|cx| {
        if told.is_none() && retired.as_mut().poll(cx).is_ready() {
            told = Some(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
        loop {
            match connection.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(explained(&error))),
                Poll::Pending => {}
            }
            if visitor.pulse.is_flooded() {
                return Poll::Ready(Err(SessionError::Http(HttpEnd::Flood)));
            }
            match poll_moment(cx, &visitor, timer.as_mut(), told) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Moment::Stalled) => {
                    return Poll::Ready(Err(SessionError::Http(HttpEnd::Stalled)));
                }
                Poll::Ready(Moment::Left) => return Poll::Ready(Ok(())),
                Poll::Ready(Moment::Silent) => {
                    told = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    })
    .await
}

enum Moment {
    /// Nothing was asked for long enough: the client is told to go.
    Silent,
    /// It was told, and has had its time.
    Left,
    Stalled,
}

/// One timer serves all limits of a connection. The clock is only read when it rings: a deadline
/// that is past already lets it ring at once.
fn poll_moment(
    cx: &mut Context<'_>,
    visitor: &Visitor,
    mut timer: Pin<&mut Sleep>,
    told: Option<Instant>,
) -> Poll<Moment> {
    let pulse = &visitor.pulse;
    loop {
        let (deadline, moment) = match (pulse.blocked_since(), told) {
            (Some(since), _) => (since + STALL_TIMEOUT, Moment::Stalled),
            _ if !pulse.is_idle() => {
                // What is asked has its own limits; nobody says when it is over.
                ready!(timer.as_mut().poll(cx));
                timer.as_mut().reset(Instant::now() + STALL_TIMEOUT);
                continue;
            }
            (None, Some(told)) => (told.max(pulse.idle_since()) + FAREWELL, Moment::Left),
            (None, None) => (pulse.idle_since() + KEEP_ALIVE, Moment::Silent),
        };
        ready!(poll_timer(cx, timer.as_mut(), deadline));
        if deadline <= Instant::now() {
            return Poll::Ready(moment);
        }
    }
}

/// What hyper says of an end, in our words.
fn explained(error: &hyper::Error) -> SessionError {
    tracing::debug!(error = causes::in_one_line(error), "HTTP/2 ends");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return SessionError::Downstream(io::Error::from(error.kind()).into());
        }
        cause = error.source();
    }
    SessionError::Http(HttpEnd::Malformed)
}

thread_local! {
    /// The watch of the request whose task comes next: hyper makes it right behind the call of
    /// the service, on the same thread.
    static NEXT: Cell<Option<Arc<Watch>>> = const { Cell::new(None) };
}

/// Whether a client takes the answer to a request: for how long hyper has kept a piece of it
/// without asking for the next.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    /// Milliseconds after `begun`, plus one; 0: it has asked.
    kept_since: AtomicU64,
    over: AtomicBool,
}

impl Watch {
    /// Of the request that comes now.
    pub(super) fn begin() -> Arc<Self> {
        let watch = Arc::new(Self {
            begun: Instant::now(),
            kept_since: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        NEXT.set(Some(Arc::clone(&watch)));
        watch
    }

    /// The next piece is asked for.
    pub(super) fn asked(&self) {
        self.kept_since.store(0, Relaxed);
    }

    /// A piece is handed over.
    pub(super) fn gave(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.kept_since.store(elapsed.saturating_add(1), Relaxed);
    }

    fn kept_since(&self) -> Option<Instant> {
        match self.kept_since.load(Relaxed) {
            0 => None,
            millis => Some(self.begun + Duration::from_millis(millis - 1)),
        }
    }

    /// Whether the request was given up for it.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

/// Runs requests in tasks, and ends those whose client takes nothing.
#[derive(Clone, Copy, Debug)]
struct Tasks;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, request: F) {
        match NEXT.take() {
            None => drop(tokio::spawn(request)),
            Some(watch) => drop(tokio::spawn(watched(request, watch))),
        }
    }
}

async fn watched(request: impl Future<Output = ()>, watch: Arc<Watch>) {
    let mut request = pin!(request);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if request.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Some(since) = watch.kept_since() {
            let deadline = since + STALL_TIMEOUT;
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if deadline <= Instant::now() {
                watch.over.store(true, Relaxed);
                return Poll::Ready(());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await;
}
