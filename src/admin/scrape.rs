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
            let answer = respond(
                request.method(),
                request.uri().path(),
                &metrics,
                &context,
                &ready,
            );
            std::future::ready(answer)
        });
    }
    connections.finish().await;
}

fn respond(
    method: &Method,
    path: &str,
    metrics: &Metrics,
    context: &Context,
    ready: &watch::Receiver<bool>,
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
        "/metrics" => {
            context.observe(metrics);
            let body = metrics.render().into_bytes();
            answer(StatusCode::OK, metrics::CONTENT_TYPE, body)
        }
        "/readyz" if !*ready.borrow() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n")
        }
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::OK, "alive\n"),
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, TEXT, body.as_bytes().to_vec())
}
