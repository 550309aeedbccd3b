//! A request's way to its answer.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{CONTENT_LENGTH, STRICT_TRANSPORT_SECURITY};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};

use crate::cert::DnsName;
use crate::proxy::http::access::Entry;
use crate::proxy::http::download::Download;
use crate::proxy::http::forward::{Forward, forward};
use crate::proxy::http::http2::Watch;
use crate::proxy::http::respond;
use crate::proxy::http::routes::Action;
use crate::proxy::http::upload::Source;
use crate::proxy::http::visitor::Visitor;
use crate::wire::http::{examine, normal_path};

/// Answers the requests of one client.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) visitor: Arc<Visitor>,
}

type Answer = Result<Response<Download>, Infallible>;

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let visitor = Arc::clone(&self.visitor);
        visitor.pulse.request();
        let mut request = request;
        let connects = visitor.http2 && *request.method() == Method::CONNECT;
        let upgrade = connects.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let parts = Box::new(parts);
        // From here on the request is over when this is dropped, wherever it is then.
        let mut entry = Entry::new(&visitor, &parts);
        let source = Source::new(body, visitor.active.config.max_body, entry.started);
        entry.source = Some(source.clone());
        if visitor.http2 {
            entry.watch = Some(Watch::begin());
        }
        Box::pin(async move { Ok(answer(visitor, entry, parts, source, upgrade).await) })
    }
}

/// Whether it is a CONNECT that asks for a WebSocket (RFC 8441 section 5).
fn is_websocket(request: &Parts) -> bool {
    let protocol = request.extensions.get::<Protocol>();
    request.method == Method::CONNECT && protocol.is_some_and(|it| it.as_str() == "websocket")
}

async fn answer(
    visitor: Arc<Visitor>,
    mut entry: Box<Entry>,
    parts: Box<Parts>,
    source: Source,
    upgrade: Option<OnUpgrade>,
) -> Response<Download> {
    let websocket = is_websocket(&parts);
    if parts.extensions.get::<Protocol>().is_some() && !websocket {
        return respond::last_error(StatusCode::NOT_IMPLEMENTED, entry);
    }
    let asked = match examine(&parts, websocket) {
        Ok(asked) => asked,
        Err(fault) => {
            entry.fault = Some("ambiguous");
            tracing::debug!(id = entry.id(), "{fault}");
            return respond::last_error(status(fault.status()), entry);
        }
    };
    if !visitor.allowed {
        return respond::last_error(StatusCode::FORBIDDEN, entry);
    }
    let host = asked.authority.and_then(|it| visitor.name(it.host));
    let host = host.as_deref();
    if asked.authority.is_some() && !visitor.covers(host) {
        return respond::error(StatusCode::MISDIRECTED_REQUEST, entry);
    }
    let path = match parts.uri.path() {
        "*" => Some(Cow::Borrowed("/")),
        path => normal_path(path),
    };
    let Some(path) = path else {
        return respond::last_error(StatusCode::BAD_REQUEST, entry);
    };
    let assumed = visitor.active.config.hostname.as_ref();
    let name = match asked.authority {
        Some(_) => host,
        None => assumed,
    };
    let routes = visitor.active.web.as_ref();
    let Some(route) = routes.and_then(|routes| routes.find(name, &path)) else {
        let status = match visitor.https() {
            true => StatusCode::MISDIRECTED_REQUEST,
            false => StatusCode::NOT_FOUND,
        };
        return respond::error(status, entry);
    };
    entry.route = Some(Arc::clone(&route.metrics));
    let mut response = match &route.action {
        Action::Respond(status) => respond::error(*status, entry),
        Action::Redirect(port) => {
            let host = asked.authority.map(|authority| authority.host);
            let host = host.or_else(|| assumed.map(DnsName::as_str));
            respond::redirect(host.unwrap_or_default(), *port, &parts.uri, entry)
        }
        Action::Upstream(_) if is_too_long(&visitor, &parts) => {
            respond::last_error(StatusCode::PAYLOAD_TOO_LARGE, entry)
        }
        Action::Upstream(upstream) => {
            let request = Forward {
                visitor: &visitor,
                parts: &parts,
                asked: &asked,
                upstream,
                websocket,
            };
            forward(request, source, upgrade, entry).await
        }
    };
    if let Some(hsts) = route.hsts.as_ref().filter(|_| visitor.https()) {
        let fields = response.headers_mut();
        fields
            .entry(STRICT_TRANSPORT_SECURITY)
            .or_insert_with(|| hsts.clone());
    }
    response
}

fn is_too_long(visitor: &Visitor, request: &Parts) -> bool {
    let length = request.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let limit = visitor.active.config.max_body;
    length
        .zip(limit)
        .is_some_and(|(length, limit)| length > limit)
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}
