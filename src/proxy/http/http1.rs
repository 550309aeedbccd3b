//! A client's connection in HTTP/1.1.
//!
//! It is hyper's only while something is asked: a connection that is silent for a moment is taken
//! back from it, and with it go its buffers. What is left of a silent client is its TLS.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::server::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::proxy::SessionError;
use crate::proxy::downstream::{Downstream, DownstreamError};
use crate::proxy::http::access::Entry;
use crate::proxy::http::service::Service;
use crate::proxy::http::stream::Stream;
use crate::proxy::http::visitor::Visitor;
use crate::proxy::http::{
    BLOCK, HEADER_TIMEOUT, HttpEnd, KEEP_ALIVE, STALL_TIMEOUT, TICKET_PATIENCE, poll_timer, respond,
};
use crate::proxy::listener::Ending;

/// How long a connection stays hyper's on which nothing is asked.
const PARK: Duration = Duration::from_millis(500);

/// How long a client that was accepted in the middle of a drain may take to say something.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// How long a client may take to hear the last answer of its connection.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What came of serving a connection for a while.
enum Served {
    /// Nothing is asked at the moment.
    Silent(Stream),
    /// It is over, by the client's wish or ours.
    Over(Stream),
    Failed(Stream, SessionError),
}

/// What ends the serving, but for the end of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    Silent,
    HeaderTimeout,
    Stalled,
}

/// Serves a client until its connection ends, or becomes something else's.
pub(super) async fn drive(
    mut stream: Stream,
    visitor: Arc<Visitor>,
    ending: &Ending,
) -> Result<(), SessionError> {
    let _end = End(&visitor);
    let mut retired = pin!(visitor.active.retired.wait());
    loop {
        let retired_already = visitor.active.retired.has_come();
        let patience = match (retired_already, visitor.pulse.requests()) {
            (false, _) => KEEP_ALIVE,
            // It may have waited to be accepted while others were told to go.
            (true, 0) => FIRST_WORD,
            (true, _) => Duration::ZERO,
        };
        let readable = tokio::select! {
            biased;
            readable = wait(&mut stream, patience) => readable?,
            () = &mut retired, if !retired_already => continue,
        };
        if !readable {
            return part(stream.into_parts().0).await;
        }
        match Box::pin(serve(stream, &visitor, retired.as_mut())).await {
            Served::Silent(silent) => stream = silent,
            Served::Over(stream) => return Box::pin(over(stream, &visitor, ending)).await,
            Served::Failed(stream, error) => {
                let (downstream, _) = stream.into_parts();
                return Err(Box::pin(failed(downstream, &visitor, error)).await);
            }
        }
    }
}

/// The end of a connection, however it comes. A tunnel that was to follow holds on to the
/// visitor, who holds on to it: without this neither would ever go.
struct End<'v>(&'v Visitor);

impl Drop for End<'_> {
    fn drop(&mut self) {
        drop(self.0.take_tunnel());
    }
}

/// Waits for a silent client, without a buffer: whether it says something.
async fn wait(stream: &mut Stream, patience: Duration) -> Result<bool, SessionError> {
    let until = Instant::now() + patience;
    let first = match stream.is_holding() {
        true => until.min(Instant::now() + TICKET_PATIENCE),
        false => until,
    };
    let mut timer = pin!(sleep_until(first));
    poll_fn(|cx| {
        match stream.poll_readable(cx) {
            Poll::Ready(Ok(readable)) => return Poll::Ready(Ok(readable)),
            // A client that resets a connection on which nothing is asked only closes it.
            Poll::Ready(Err(DownstreamError::Io(_))) => return Poll::Ready(Ok(false)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(SessionError::Downstream(error))),
            Poll::Pending => {}
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(Ok(false));
            }
            let released = stream.poll_release(cx);
            released.map_err(|error| SessionError::Downstream(error.into()))?;
            timer.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await
}

type Running = Connection<TokioIo<Stream>, Service>;

/// Lets hyper have the connection until nothing more is asked.
async fn serve(
    stream: Stream,
    visitor: &Arc<Visitor>,
    mut retired: Pin<&mut impl Future<Output = ()>>,
) -> Served {
    let service = Service {
        visitor: Arc::clone(visitor),
    };
    let mut connection = Builder::new()
        .max_buf_size(BLOCK)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut timer = pin!(sleep_until(Instant::now() + PARK));
    let mut is_retired = false;
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
            return Poll::Ready(Ok(ended));
        }
        // Only now: what was said already is answered.
        let ending = &visitor.active.retired;
        if !is_retired && (ending.has_come() || retired.as_mut().poll(cx).is_ready()) {
            is_retired = true;
            Pin::new(&mut connection).graceful_shutdown();
            if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Ok(ended));
            }
        }
        poll_moment(cx, visitor, timer.as_mut()).map(Err)
    })
    .await;
    let stream = taken_back(connection, visitor);
    let ended = match outcome {
        Ok(ended) => ended,
        Err(Moment::Silent) if is_retired => return Served::Over(stream),
        Err(Moment::Silent) => return Served::Silent(stream),
        Err(moment) => {
            let end = match moment {
                Moment::Stalled => HttpEnd::Stalled,
                _ => HttpEnd::HeaderTimeout,
            };
            return Served::Failed(stream, SessionError::Http(end));
        }
    };
    match ended {
        Ok(()) => Served::Over(stream),
        Err(error) => Served::Failed(stream, explained(&error)),
    }
}

/// The connection again, with what hyper has read and not used.
fn taken_back(connection: Running, visitor: &Visitor) -> Stream {
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    if !parts.read_buf.is_empty() {
        stream.give_back(parts.read_buf);
        // The beginning of a request, whose time runs.
        visitor.pulse.received(0);
    }
    stream
}

/// One timer serves all limits of a connection. The clock is only read when it rings: a deadline
/// that is past already lets it ring at once.
fn poll_moment(
    cx: &mut Context<'_>,
    visitor: &Visitor,
    mut timer: Pin<&mut Sleep>,
) -> Poll<Moment> {
    let pulse = &visitor.pulse;
    loop {
        let (deadline, moment) = if let Some(since) = pulse.blocked_since() {
            (since + STALL_TIMEOUT, Moment::Stalled)
        } else if !pulse.is_idle() {
            // What is asked has its own limits.
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(Instant::now() + STALL_TIMEOUT);
            continue;
        } else if let Some(since) = pulse.header_since() {
            (since + HEADER_TIMEOUT, Moment::HeaderTimeout)
        } else {
            (pulse.idle_since() + PARK, Moment::Silent)
        };
        ready!(poll_timer(cx, timer.as_mut(), deadline));
        if deadline <= Instant::now() {
            return Poll::Ready(moment);
        }
    }
}

/// What hyper says of an end, in our words.
fn explained(error: &hyper::Error) -> SessionError {
    tracing::debug!(error = crate::causes::in_one_line(error), "HTTP/1.1 ends");
    if error.is_parse() {
        return SessionError::Http(HttpEnd::Malformed);
    }
    // Only the answer's body can fail: the server's end of it.
    if error.is_user() {
        return SessionError::Upstream(io::ErrorKind::UnexpectedEof.into());
    }
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
    let kind = cause.map_or(io::ErrorKind::NotConnected, io::Error::kind);
    SessionError::Downstream(io::Error::from(kind).into())
}

/// The connection is hyper's no more: it is something else's, or at its end.
async fn over(stream: Stream, visitor: &Arc<Visitor>, ending: &Ending) -> Result<(), SessionError> {
    let (downstream, unread) = stream.into_parts();
    match visitor.take_tunnel() {
        Some(tunnel) => tunnel.run(downstream, &unread, visitor, ending).await,
        None => {
            drop(unread);
            part(downstream).await
        }
    }
}

/// Ends a connection whose client has got its last answer.
async fn part(mut downstream: Downstream) -> Result<(), SessionError> {
    // The client may be gone, or not read: nothing more can be done for it.
    let _ = Box::pin(timeout(LAST_WORD, downstream.part())).await;
    Ok(())
}

/// Tells a client whose request makes no sense, or does not come, that this is so.
async fn failed(
    mut downstream: Downstream,
    visitor: &Arc<Visitor>,
    error: SessionError,
) -> SessionError {
    let status = match error {
        SessionError::Http(HttpEnd::HeaderTimeout) => Some(408),
        SessionError::Http(HttpEnd::Malformed) => visitor.pulse.refusal().or(Some(400)),
        _ => None,
    };
    if let Some(status) = status.filter(|_| visitor.pulse.is_idle()) {
        let entry = Entry::unread(visitor, status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let page = respond::page(status, entry.id());
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or("Error"),
            page.len()
        );
        let text = [head.as_bytes(), &page].concat();
        let _ = timeout(LAST_WORD, downstream.say_last(&text)).await;
    }
    error
}
