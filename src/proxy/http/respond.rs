//! Answers of our own: short pages that say what is wrong and by which number it is in the log.

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use hyper::{Method, Response, StatusCode, Uri};

use crate::proxy::http::access::Entry;
use crate::proxy::http::download::Download;

/// How long a client is to wait for servers that are all down.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("10");

/// What is said beside the status.
fn words(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "This is no request, or one that could be read in more than one way.",
        403 => "This client is not served here.",
        404 => "There is nothing here under this address.",
        405 => "This method is not for web servers.",
        408 => "The request did not come in time.",
        413 => "The request is longer than it may be here.",
        414 => "The address is longer than it may be.",
        417 => "The request expects what cannot be done here.",
        421 => "This connection is not for this host.",
        431 => "The header of the request is longer than it may be.",
        501 => "The request needs what cannot be done here.",
        502 => "The server behind this address did not answer as it should.",
        503 => "No server behind this address can be reached at the moment.",
        504 => "The server behind this address did not answer in time.",
        _ => "",
    }
}

/// The page of a status.
pub(super) fn page(status: StatusCode, id: &str) -> Bytes {
    let reason = status.canonical_reason().unwrap_or("Error");
    let (status, words) = (status.as_str(), words(status));
    let text = format!(
        "<!doctype html>\n<title>{status} {reason}</title>\n<h1>{reason}</h1>\n<p>{words}</p>\n\
         <p>Request {id}</p>\n"
    );
    text.into()
}

/// Answers with a status and its page.
pub(super) fn error(status: StatusCode, entry: Box<Entry>) -> Response<Download> {
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    let page = match is_bodiless {
        true => Bytes::new(),
        false => page(status, entry.id()),
    };
    let mut response = whole(status, page, entry);
    let fields = response.headers_mut();
    if !is_bodiless {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        fields.insert(CONTENT_TYPE, html);
    }
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::SERVICE_UNAVAILABLE => drop(fields.insert(RETRY_AFTER, RETRY_SECONDS)),
        StatusCode::METHOD_NOT_ALLOWED => {
            let methods = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";
            fields.insert(ALLOW, HeaderValue::from_static(methods));
        }
        _ => {}
    }
    response
}

/// As [`error`], as the last answer on this connection.
pub(super) fn last_error(status: StatusCode, entry: Box<Entry>) -> Response<Download> {
    let http2 = entry.is_http2();
    let mut response = error(status, entry);
    if !http2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Sends the client to the same place by TLS.
pub(super) fn redirect(host: &str, port: u16, uri: &Uri, entry: Box<Entry>) -> Response<Download> {
    // Other methods must come again as they are, with their bodies.
    let status = match entry.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let port = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let location = HeaderValue::try_from(format!("https://{host}{port}{path}"));
    let Ok(location) = location else {
        return last_error(StatusCode::BAD_REQUEST, entry);
    };
    let mut response = error(status, entry);
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().remove(CACHE_CONTROL);
    response
}

/// A whole answer; of a HEAD request only its length.
fn whole(status: StatusCode, body: Bytes, mut entry: Box<Entry>) -> Response<Download> {
    entry.status = status.as_u16();
    let length = body.len();
    let body = match entry.method {
        Method::HEAD => Bytes::new(),
        _ => body,
    };
    let mut response = Response::new(Download::Own(body, entry));
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}
