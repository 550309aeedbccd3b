//! HTTP/1.1 for a few trusted clients: how many at once, how long they may take, how it ends.
//!
//! What is asked and answered is for `server` and `scrape`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a client may take to send a request's head, and to send its body.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long answers under way may take when the process ends.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept (too many open files): trying at once would only fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// The connections of one endpoint.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    lifetime: Duration,
}

impl Connections {
    /// At most `limit` at once, each for at most `lifetime`, until `shutdown`.
    pub(super) fn new(limit: usize, lifetime: Duration, shutdown: CancellationToken) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit)),
            tasks: TaskTracker::new(),
            shutdown,
            lifetime,
        }
    }

    /// Waits for a free place; none when it is time to end.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            // The semaphore is never closed.
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
        }
    }

    /// One try to accept; none if it failed, or when it is time to end.
    pub(super) async fn accept<T>(&self, accept: impl Future<Output = io::Result<T>>) -> Option<T> {
        let accepted = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            accepted = accept => accepted,
        };
        match accepted {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a management connection; trying again");
                sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    /// Serves a connection in a task of its own.
    pub(super) fn serve<S, H, F>(&self, place: OwnedSemaphorePermit, stream: S, handler: H)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        H: Fn(Request<Incoming>) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let lifetime = self.lifetime;
        self.tasks.spawn(async move {
            let _place = place;
            let ended = timeout(lifetime, drive(stream, handler, shutdown)).await;
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "management connection failed"),
                Err(_) => tracing::debug!("management connection took too long"),
            }
        });
    }

    /// Waits until the answers under way are written.
    pub(super) async fn finish(self) {
        self.tasks.close();
        if timeout(FINISH_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::debug!("management connections left open");
        }
    }
}

async fn drive<S, H, F>(stream: S, handler: H, shutdown: CancellationToken) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// An answer with a body.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// Adds the methods that a resource knows to a 405 (RFC 9110 section 15.5.6).
pub(super) fn allow(mut answer: Answer, methods: &[Method]) -> Answer {
    let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
    let methods = HeaderValue::try_from(methods.join(", ")).expect("methods are tokens");
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn serve(connections: &Connections) -> DuplexStream {
        let (near, far) = duplex(1024);
        let place = connections.place().await.unwrap();
        connections.serve(place, far, async |_| {
            answer(StatusCode::OK, "text/plain", b"yes".to_vec())
        });
        near
    }

    #[tokio::test]
    async fn there_is_no_place_beyond_the_limit() {
        let connections = Connections::new(2, LONG, CancellationToken::new());
        let first = serve(&connections).await;
        let mut second = serve(&connections).await;
        let now = timeout(Duration::ZERO, connections.place()).await;
        assert!(now.is_err(), "a third place among two");
        drop(first);
        let place = connections.place().await.unwrap();
        second.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        second.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("yes"), "{text}");
        drop(place);
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_lifetime() {
        let lifetime = Duration::from_millis(20);
        let connections = Connections::new(1, lifetime, CancellationToken::new());
        let mut stream = serve(&connections).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(connections.place().await.is_some());
    }

    #[tokio::test]
    async fn nothing_begins_after_the_end() {
        let shutdown = CancellationToken::new();
        let connections = Connections::new(1, LONG, shutdown.clone());
        let mut idle = serve(&connections).await;
        shutdown.cancel();
        assert!(connections.place().await.is_none());
        let accepted = connections.accept(std::future::ready(Ok(()))).await;
        assert!(accepted.is_none());
        connections.finish().await;
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_failed_accept_is_not_the_end() {
        let connections = Connections::new(1, LONG, CancellationToken::new());
        let failed = Err::<(), _>(io::Error::other("too many open files"));
        let accepted = connections.accept(std::future::ready(failed)).await;
        assert!(accepted.is_none());
        assert!(connections.place().await.is_some());
    }
}
