//! The body of a request on its way to the server.
//!
//! Two hold on to it: hyper, which sends it, and the request, which may send it anew as long as
//! nothing of it was taken, and which must know why it ended. Most requests have none.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::proxy::http::with_trailers_by;
use crate::wire::http::trailers_for_server;

/// How long a body waits for the server's go-ahead that its client waits for. Servers older than
/// RFC 2616 never give one.
const GO_AHEAD: Duration = Duration::from_secs(1);

/// How long the rest of a body is read that nobody wants.
const DRAIN: Duration = Duration::from_secs(3);

/// What is sent of a body.
#[derive(Debug)]
pub(super) struct Upload(Source);

/// Where it comes from; `None` if there is no body.
#[derive(Clone, Debug)]
pub(super) struct Source(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    incoming: Option<Incoming>,
    /// How much more may come.
    room: u64,
    bytes: u64,
    /// Whether some of it was taken, so that it cannot be sent anew.
    touched: bool,
    fault: Option<UploadFault>,
    gate: Option<Gate>,
    moved: Instant,
}

/// Holds a body back until the server wants it.
#[derive(Debug)]
struct Gate {
    timer: Pin<Box<Sleep>>,
    waker: Option<Waker>,
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum UploadFault {
    /// It is longer than `max_body`.
    #[error("the body is longer than max_body")]
    TooLarge,
    /// The client went away, or what it sent is no body.
    #[error("the client sent no whole body")]
    Client,
}

impl Source {
    /// `limit`: how long it may be; `begun`: when the request came.
    pub(super) fn new(incoming: Incoming, limit: Option<u64>, begun: Instant) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        Self(Some(Arc::new(Mutex::new(State {
            incoming: Some(incoming),
            room: limit.unwrap_or(u64::MAX),
            bytes: 0,
            touched: false,
            fault: None,
            gate: None,
            moved: begun,
        }))))
    }

    /// Holds it back until the server wants it.
    pub(super) fn wait_for_go_ahead(&self) {
        if let Some(mut state) = self.state() {
            state.gate = Some(Gate {
                timer: Box::pin(sleep(GO_AHEAD)),
                waker: None,
            });
        }
    }

    /// Reads on what nobody wants, for a moment: a client of HTTP/2 that still sends when its
    /// stream is closed may never look at the answer that it has got.
    pub(super) fn drain(&self) {
        let incoming = self.state().and_then(|mut state| state.incoming.take());
        let Some(mut incoming) = incoming.filter(|incoming| !incoming.is_end_stream()) else {
            return;
        };
        let rest = async move {
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {}
        };
        tokio::spawn(timeout(DRAIN, rest));
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.0.as_deref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is to be sent of it.
    pub(super) fn upload(&self) -> Upload {
        Upload(self.clone())
    }

    /// Whether it can be sent from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.state().is_none_or(|state| !state.touched)
    }

    /// Why it ended before its end, if it did.
    pub(super) fn fault(&self) -> Option<UploadFault> {
        self.state()?.fault
    }

    /// Bytes of it that were sent.
    pub(super) fn bytes(&self) -> u64 {
        self.state().map_or(0, |state| state.bytes)
    }

    /// When something of it came last, if there is one.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.state().map(|state| state.moved)
    }

    /// The server wants it.
    pub(super) fn go_ahead(&self) {
        let gate = self.state().and_then(|mut state| state.gate.take());
        if let Some(waker) = gate.and_then(|gate| gate.waker) {
            waker.wake();
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        let Some(mut state) = self.0.state() else {
            return Poll::Ready(None);
        };
        let state = &mut *state;
        if let Some(fault) = state.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        if let Some(gate) = &mut state.gate {
            if gate.timer.as_mut().poll(cx).is_pending() {
                gate.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.gate = None;
        }
        let Some(incoming) = &mut state.incoming else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(incoming).poll_frame(cx)) {
            None => {
                state.incoming = None;
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => with_trailers_by(trailers_for_server, frame),
            Some(Err(_)) => return Poll::Ready(Some(Err(state.fail(UploadFault::Client)))),
        };
        state.touched = true;
        state.moved = Instant::now();
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        state.bytes += length;
        match state.room.checked_sub(length) {
            Some(room) => state.room = room,
            None => return Poll::Ready(Some(Err(state.fail(UploadFault::TooLarge)))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state();
        let incoming = state.as_ref().and_then(|state| state.incoming.as_ref());
        incoming.is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.state();
        let incoming = state.as_ref().and_then(|state| state.incoming.as_ref());
        incoming.map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl State {
    fn fail(&mut self, fault: UploadFault) -> UploadFault {
        self.touched = true;
        self.fault = Some(fault);
        fault
    }
}
