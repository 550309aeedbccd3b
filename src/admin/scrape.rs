//! What monitoring asks for: `/metrics`, `/livez` and `/readyz` on a TCP listener.
//!
//! Answers anybody who can reach the address, so it says nothing secret and bounds everybody.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::Context;
use crate::admin::http::{Answer, Connections, allow, answer};
use crate::metrics::{self, Metrics};

const CONNECTIONS: usize = 64;

/// Longer than any scrape interval: Prometheus keeps its connection.
const LIFETIME: Duration = Duration::from_secs(600);

const TEXT: &str = "text/plain; charset=utf-8";

/// Serves monitoring until `shutdown`. `ready` is true while connections are accepted.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    context: Context,
    ready: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let connections = Connections::new(CONNECTIONS, LIFETIME, shutdown);
    while let Some(place) = connections.place().await {
        let Some((stream, _)) = connections.accept(listener.accept()).await else {
            continue;
        };
        let (metrics, context, ready) = (Arc::clone(&metrics), context.clone(), ready.clone());
        connections.serve(place, stream, move |request| {
            let (metrics, context) = (Arc::clone(&metrics), context.clone());
            let ready = *ready.borrow();
            async move {
                let asked = (request.method(), request.uri().path());
                respond(asked, metrics, context, ready).await
            }
        });
    }
    connections.finish().await;
}

async fn respond(
    (method, path): (&Method, &str),
    metrics: Arc<Metrics>,
    context: Context,
    ready: bool,
) -> Answer {
    let known = ["/metrics", "/livez", "/readyz"].contains(&path);
    if !known {
        return text(StatusCode::NOT_FOUND, "try /metrics, /livez or /readyz\n");
    }
    let methods = [Method::GET, Method::HEAD];
    if !methods.contains(method) {
        let answer = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        return allow(answer, &methods);
    }
    match path {
        "/metrics" => collect(metrics, context).await,
        "/readyz" if !ready => text(StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n"),
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::OK, "alive\n"),
    }
}

/// Goes through all certificates, which is not for a thread that has connections to serve.
async fn collect(metrics: Arc<Metrics>, context: Context) -> Answer {
    let collected = tokio::task::spawn_blocking(move || {
        context.observe(&metrics);
        metrics.render().into_bytes()
    });
    match collected.await {
        Ok(body) => answer(StatusCode::OK, metrics::CONTENT_TYPE, body),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "an internal error occurred\n",
        ),
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, TEXT, body.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::admin::fixture::Fixture;

    async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    #[tokio::test]
    async fn answers_monitoring() {
        let fixture = Fixture::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, is_ready) = watch::channel(false);
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(
            listener,
            Metrics::new("0"),
            fixture.context.clone(),
            is_ready,
            shutdown.clone(),
        ));
        for (accepting, request, expected) in [
            (false, "GET /livez", 200),
            (false, "GET /readyz", 503),
            (true, "GET /readyz", 200),
            (true, "HEAD /readyz", 200),
            (false, "HEAD /readyz", 503),
            (true, "GET /metrics", 200),
            (true, "HEAD /metrics", 200),
            (true, "POST /metrics", 405),
            (true, "GET /", 404),
            (true, "GET /metrics/", 404),
        ] {
            ready.send_replace(accepting);
            let (status, answer) = ask(address, request).await;
            assert_eq!(status, expected, "{request}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(body.is_empty(), request.starts_with("HEAD"), "{answer}");
        }
        let (_, answer) = ask(address, "GET /metrics").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4"));
        assert!(answer.contains("gatepost_certificate_info{default=\"true\",name=\"server\""));
        let (_, answer) = ask(address, "DELETE /livez").await;
        assert!(answer.contains("allow: GET, HEAD"), "{answer}");
        shutdown.cancel();
        server.await.unwrap();
    }

    #[test]
    fn collecting_metrics_keeps_no_other_request_waiting() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (_ready, is_ready) = watch::channel(true);
            let shutdown = CancellationToken::new();
            let context = fixture.context.clone();
            let metrics = Metrics::new("0");
            let server = serve(listener, metrics, context, is_ready, shutdown.clone());
            let server = tokio::spawn(server);
            // The only thread for what blocks is taken.
            let (release, held) = std::sync::mpsc::channel::<()>();
            let holder = tokio::task::spawn_blocking(move || held.recv());
            let scrape = tokio::spawn(async move { ask(address, "GET /metrics").await.0 });
            for _ in 0..10 {
                assert_eq!(ask(address, "GET /livez").await.0, 200);
            }
            assert!(!scrape.is_finished(), "collected on the runtime's thread");
            release.send(()).unwrap();
            holder.await.unwrap().unwrap();
            assert_eq!(scrape.await.unwrap(), 200);
            shutdown.cancel();
            server.await.unwrap();
        });
    }
}
