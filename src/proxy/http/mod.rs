//! HTTP: the path of a request, on connections whose TLS is done.
//!
//! hyper speaks the protocol, over [`stream::Stream`] with the client and over a [`Link`] with
//! the server. `http1` and `http2` drive a client's connection, `service` is a request's way to
//! its answer: `wire::http` says whether it can be read in one way only, `routes` where it goes,
//! `forward` takes it there; `respond` has our own answers, `tunnel` what follows a change of
//! the protocol, `access` the line and the counts that each request leaves.
//!
//! A server's connection is polled by the task of the client whose turn it is. So a request
//! crosses no thread, its bytes wait in nobody's queue, and who reads slowly is sent to slowly.

mod access;
mod download;
mod forward;
mod http1;
mod http2;
mod interim;
mod link;
mod pulse;
mod respond;
mod routes;
mod service;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;
mod upload;
mod visitor;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Frame;
use hyper::header::HeaderMap;
use tokio::time::{Instant, Sleep};

use crate::proxy::SessionError;
use crate::proxy::downstream::Downstream;
use crate::proxy::http::stream::Stream;
use crate::proxy::listener::Ending;
use crate::tls::Buffer;

pub(super) use link::{Idle, Link};
pub use routes::{Action, Routes};
pub(super) use visitor::Visitor;

/// Largest header block in bytes, and what is read of a body or kept of an answer at once.
const BLOCK: usize = 64 * 1024;

/// How long a connection is kept on which nothing is asked.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a request's header may take to come.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may take none of what it is sent.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the session ticket waits for an answer to go with.
const TICKET_PATIENCE: Duration = Duration::from_millis(3);

/// Why a client's connection was ended, where neither side was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpEnd {
    /// What it said is no request.
    Malformed,
    /// A request's header did not come in time.
    HeaderTimeout,
    /// It took nothing of what it was sent.
    Stalled,
    /// It asked for work, and for nothing to come of it.
    Flood,
}

impl HttpEnd {
    /// A bounded word for it; label `reason` of the metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HeaderTimeout => "header-timeout",
            Self::Stalled => "stalled",
            Self::Flood => "flood",
        }
    }
}

/// Waits for `deadline`; ready, too, when the timer rang for an earlier one: it is not moved with
/// every event, but set anew when it rings.
fn poll_timer(cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, deadline: Instant) -> Poll<()> {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    ready!(timer.as_mut().poll(cx));
    timer.reset(deadline.max(Instant::now()));
    Poll::Ready(())
}

/// A frame as it is passed on: of trailers, what `fit` leaves.
fn with_trailers_by(fit: fn(&mut HeaderMap), frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            fit(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

/// Serves a client until its connection ends.
pub(super) async fn serve(
    downstream: Downstream,
    early: Option<Buffer>,
    visitor: Visitor,
    ending: &Ending,
) -> Result<(), SessionError> {
    let visitor = Arc::new(visitor);
    let stream = Stream::new(downstream, early, &visitor);
    match visitor.http2 {
        true => http2::drive(stream, visitor).await,
        false => http1::drive(stream, visitor, ending).await,
    }
}
