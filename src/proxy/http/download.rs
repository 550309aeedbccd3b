//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::proxy::http::access::Entry;
use crate::proxy::http::link::Link;
use crate::proxy::http::upload::Source;
use crate::proxy::http::visitor::Visitor;
use crate::proxy::http::with_trailers_by;
use crate::proxy::upstream::Lease;
use crate::wire::http::for_client;

/// How long what came of an answer has to go out before its fault does.
const BEFORE_A_FAULT: Duration = Duration::from_millis(20);

/// The body of an answer. When it is dropped the request is over, and accounted for.
#[derive(Debug)]
pub(super) enum Download {
    /// Ours, or empty.
    Own(Bytes, Box<Entry>),
    /// None: the connection becomes something else.
    Nothing,
    /// A server's.
    Server(Box<Streaming>),
}

/// A server's answer, and the connection that it comes on.
#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) incoming: Incoming,
    pub(super) link: Borrowed,
    pub(super) source: Source,
    pub(super) idle: IdleLimit,
    /// Why it ends, and when: what came before goes out first.
    pub(super) ending: Option<(DownloadFault, Pin<Box<Sleep>>)>,
    pub(super) entry: Box<Entry>,
}

/// A connection to a server for one request, with what is to become of it.
#[derive(Debug)]
pub(super) struct Borrowed {
    link: Option<Link>,
    visitor: Arc<Visitor>,
    /// Bytes before this request, received and sent.
    before: (u64, u64),
    lease: Option<Lease>,
}

/// Ends what has not moved for the listener's `idle_timeout`, by the timer of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleLimit {
    limit: Duration,
    moved: Instant,
    /// Whether something has moved since, at a time that nobody has asked for yet.
    touched: bool,
}

/// Why an answer ended before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum DownloadFault {
    /// The server's connection failed, or what it sent is no body.
    #[error("the server sent no whole answer")]
    Server,
    /// Nothing came for `idle_timeout`.
    #[error("nothing came for idle_timeout")]
    Idle,
}

impl IdleLimit {
    /// `moved`: when something did last.
    pub(super) fn new(limit: Duration, moved: Instant) -> Self {
        Self {
            limit,
            moved,
            touched: false,
        }
    }

    /// Something has moved.
    fn touch(&mut self) {
        self.touched = true;
    }

    /// Ready if nothing has moved for too long: not here, and not before `elsewhere` either. The
    /// connection wakes whoever has polled it.
    pub(super) fn poll(&mut self, link: &mut Borrowed, elsewhere: Option<Instant>) -> Poll<()> {
        if std::mem::take(&mut self.touched) {
            self.moved = Instant::now();
        }
        let moved = elsewhere.map_or(self.moved, |elsewhere| elsewhere.max(self.moved));
        let deadline = moved + self.limit;
        let Some(link) = &mut link.link else {
            // Nothing would wake anybody any more.
            return Poll::Ready(());
        };
        while link.poll_timer(deadline).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl Borrowed {
    pub(super) fn new(link: Link, lease: Lease, visitor: &Arc<Visitor>) -> Self {
        let traffic = link.traffic();
        Self {
            before: (traffic.received.load(Relaxed), traffic.sent.load(Relaxed)),
            link: Some(link),
            visitor: Arc::clone(visitor),
            lease: Some(lease),
        }
    }

    /// The connection, unless it was given back.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.link.as_mut()
    }

    /// Moves what there is to move; ready when nothing more will.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        match &mut self.link {
            Some(link) => link.poll(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// The server's place in the upstream.
    pub(super) fn server(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.server)
    }

    /// Whether nothing more will move.
    pub(super) fn is_over(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_over)
    }

    /// Whether the server has said something since the request.
    pub(super) fn has_answered(&self) -> bool {
        let received = self
            .link
            .as_ref()
            .map(|link| link.traffic().received.load(Relaxed));
        received.is_none_or(|received| received > self.before.0)
    }

    /// Nobody waits for the connection until it is polled.
    pub(super) fn hush(&self) {
        self.link.iter().for_each(Link::hush);
    }

    /// The answer is whole: lets the connection serve another request, if it can.
    pub(super) fn give_back(&mut self) {
        let is_ready = self.link.as_mut().is_some_and(Link::is_ready);
        self.count();
        let (Some(mut link), Some(lease)) = (self.link.take(), self.lease.take()) else {
            return;
        };
        if !is_ready {
            return;
        }
        link.reused = true;
        match link.bound {
            true => self.visitor.keep_own(lease.upstream(), link),
            false => lease.upstream().keep(link),
        }
    }

    /// The connection itself, for another protocol.
    pub(super) fn into_link(mut self) -> (Option<Link>, Option<Lease>) {
        self.count();
        (self.link.take(), self.lease.take())
    }

    fn count(&mut self) {
        if let Some(link) = &self.link {
            let traffic = link.traffic();
            let now = (traffic.received.load(Relaxed), traffic.sent.load(Relaxed));
            let metrics = &self.visitor.active.metrics;
            metrics
                .received_upstream
                .inc_by(now.0.saturating_sub(self.before.0));
            metrics
                .sent_upstream
                .inc_by(now.1.saturating_sub(self.before.1));
            self.before = now;
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.count();
    }
}

impl Streaming {
    /// As [`Self::poll_frame`], with a note of what waits for the client.
    fn poll_watched(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        if let Some(watch) = &self.entry.watch {
            watch.asked();
        }
        let frame = self.poll_frame(cx);
        if let (Some(watch), Poll::Ready(_)) = (&self.entry.watch, &frame) {
            watch.gave();
        }
        frame
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        if let Some((fault, timer)) = &mut self.ending {
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(*fault)));
        }
        self.link.hush();
        // Nothing comes but by the poll of the connection below.
        let mut quietly = Context::from_waker(Waker::noop());
        let mut polled = false;
        loop {
            match Pin::new(&mut self.incoming).poll_frame(&mut quietly) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.touch();
                    self.entry.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if self.incoming.is_end_stream() {
                        self.link.give_back();
                    }
                    return Poll::Ready(Some(Ok(with_trailers_by(for_client, frame))));
                }
                Poll::Ready(Some(Err(_))) => return self.fail(cx, DownloadFault::Server),
                Poll::Ready(None) => {
                    self.link.give_back();
                    return Poll::Ready(None);
                }
                // What came with the last poll was taken; what comes next wakes us.
                Poll::Pending if polled => break,
                Poll::Pending => {}
            }
            // Even if nothing more will move, the last of it may have come just now.
            let _ = self.link.poll(cx);
            polled = true;
        }
        ready!(self.idle.poll(&mut self.link, self.source.moved()));
        self.fail(cx, DownloadFault::Idle)
    }

    /// hyper throws away what it has not written yet when a body fails.
    fn fail(
        &mut self,
        cx: &mut Context<'_>,
        fault: DownloadFault,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        self.entry.fault = Some(match fault {
            DownloadFault::Server => "truncated",
            DownloadFault::Idle => "idle",
        });
        let (_, timer) = self.ending.insert((fault, Box::pin(sleep(BEFORE_A_FAULT))));
        timer.as_mut().poll(cx).map(|()| Some(Err(fault)))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadFault>>> {
        match &mut *self {
            Self::Own(bytes, entry) => {
                let bytes = std::mem::take(bytes);
                entry.sent += bytes.len() as u64;
                let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
                Poll::Ready(frame)
            }
            Self::Nothing => Poll::Ready(None),
            Self::Server(streaming) => streaming.poll_watched(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes, _) => bytes.is_empty(),
            Self::Nothing => true,
            Self::Server(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Self::Nothing => SizeHint::with_exact(0),
            Self::Server(streaming) => streaming.incoming.size_hint(),
        }
    }
}
