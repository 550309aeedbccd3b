//! One web page.

use std::convert::Infallible;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{Client, Stream};

/// What the page says when all went well; the try looks for it.
pub(in crate::demo) const GREETING: &str = "It works.";

pub(super) async fn serve(stream: Stream, client: Client) -> io::Result<()> {
    let answer = service_fn(|request| {
        let response = respond(&request, &client);
        async { Ok::<_, Infallible>(response) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .map_err(io::Error::other)
}

fn respond(request: &Request<Incoming>, client: &Client) -> Response<Full<Bytes>> {
    let (status, text) = if request.method() != Method::GET && request.method() != Method::HEAD {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            "Only GET and HEAD.\n".into(),
        )
    } else if request.uri().path() != "/" {
        (StatusCode::NOT_FOUND, "There is only one page: /\n".into())
    } else {
        (StatusCode::OK, page(client))
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn page(client: &Client) -> String {
    format!(
        "{GREETING}\n\nThis page comes from a web server that knows nothing of TLS.\n\
         Gatepost, in front of it, says who you are: {}.\n",
        client.describe()
    )
}

#[cfg(test)]
mod tests {
    use super::super::Service;
    use super::super::tests::converse;

    #[tokio::test]
    async fn there_is_one_page() {
        let table = [
            ("GET /", "HTTP/1.1 200 ", "192.0.2.7:4711 over TLSv1.3"),
            ("HEAD /", "HTTP/1.1 200 ", "content-length: "),
            ("GET /other", "HTTP/1.1 404 ", "only one page"),
            ("POST /", "HTTP/1.1 405 ", "allow: GET, HEAD"),
        ];
        for (request, status, expected) in table {
            let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = converse(Service::Web, &request).await;
            assert!(answer.starts_with(status), "{request}: {answer}");
            assert!(answer.contains(expected), "{request}: {answer}");
        }
    }
}
