//! A request's way to a server, and its answer's way back.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::{Version, response};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};

use bytes::Bytes;
use tokio::time::Instant;

use crate::cert::DnsName;
use crate::proxy::Upstream;
use crate::proxy::http::access::Entry;
use crate::proxy::http::download::{Borrowed, Download, IdleLimit, Streaming};
use crate::proxy::http::tunnel::{self, Handshake, Tunnel};
use crate::proxy::http::upload::{Source, Upload, UploadFault};
use crate::proxy::http::visitor::Visitor;
use crate::proxy::http::{interim, respond};
use crate::proxy::upstream::{Asking, Purpose, Request as Connect};
use crate::wire::http::{
    Asked, Told, connection_based, for_client, for_server, is_upgrade, origin_form, server_upgrades,
};
use crate::wire::proxy_protocol::{Announcement, SslInfo};

/// The host that nobody has asked for.
static NOBODY: HeaderValue = HeaderValue::from_static("");

/// A request that goes to a server.
pub(super) struct Forward<'a> {
    pub(super) visitor: &'a Arc<Visitor>,
    pub(super) parts: &'a Parts,
    pub(super) asked: &'a Asked<'a>,
    pub(super) upstream: &'a Arc<Upstream>,
    /// Whether it is a WebSocket by HTTP/2.
    pub(super) websocket: bool,
}

/// Why a server gave no answer.
enum Missed {
    /// Nothing came for too long.
    Late,
    /// The connection failed. `untouched`: nothing of the request can have been processed.
    Failed { untouched: bool },
}

/// Asks a server, and once more on a fresh connection where that is safe.
pub(super) async fn forward(
    request: Forward<'_>,
    source: Source,
    upgrade: Option<OnUpgrade>,
    mut entry: Box<Entry>,
) -> Response<Download> {
    if request.asked.expects_continue {
        source.wait_for_go_ahead();
    }
    let handshake = request.websocket.then(Handshake::new);
    let asked = entry.asks(request.upstream);
    let mut again = false;
    loop {
        let waiting = if again { None } else { request.waiting() };
        let mut borrowed = match waiting {
            Some(borrowed) => borrowed,
            // In a box of its own, which is gone while the answer is waited for: that may take an
            // hour.
            None => match Box::pin(request.borrow(again)).await {
                Ok(borrowed) => borrowed,
                Err(status) => return respond::error(status, entry),
            },
        };
        entry.asks_server(borrowed.server());
        match request
            .ask(
                &mut borrowed,
                &source,
                handshake.as_ref(),
                entry.id_field(),
                asked,
            )
            .await
        {
            Ok(response) => {
                let taken = Taken {
                    source,
                    handshake,
                    upgrade,
                };
                return request.answered(response, borrowed, taken, entry);
            }
            Err(Missed::Failed { untouched: true }) if !again => again = true,
            Err(Missed::Late) => return respond::last_error(StatusCode::GATEWAY_TIMEOUT, entry),
            Err(Missed::Failed { .. }) => {
                return match source.fault() {
                    Some(UploadFault::TooLarge) => {
                        respond::last_error(StatusCode::PAYLOAD_TOO_LARGE, entry)
                    }
                    Some(UploadFault::Client) => {
                        respond::last_error(StatusCode::BAD_REQUEST, entry)
                    }
                    None => respond::error(StatusCode::BAD_GATEWAY, entry),
                };
            }
        }
    }
}

/// What belongs to a request until it is answered.
struct Taken {
    source: Source,
    handshake: Option<Handshake>,
    upgrade: Option<OnUpgrade>,
}

impl Forward<'_> {
    /// A connection that waits for a request, without a look for another server: the client's own,
    /// or one that anybody may have.
    fn waiting(&self) -> Option<Borrowed> {
        let Self {
            visitor, upstream, ..
        } = self;
        let (link, lease) = match visitor.take_own(upstream) {
            Some(mut link) => {
                if !link.is_ready() {
                    return None;
                }
                let lease = upstream.lease_of(link.server);
                (link, lease)
            }
            None if connection_based(&self.parts.headers) => return None,
            None => upstream.waiting(visitor.active.config.protocol, visitor.client.ip())?,
        };
        Some(Borrowed::new(link, lease, visitor))
    }

    /// Any connection to a server; the status for the client if there is none.
    async fn borrow(&self, fresh: bool) -> Result<Borrowed, StatusCode> {
        let Self {
            visitor, upstream, ..
        } = self;
        let announcement = Announcement {
            source: visitor.client,
            destination: visitor.local,
            ssl: visitor.tls.as_ref().map(|tls| SslInfo {
                version: match tls.version {
                    "1.2" => "TLSv1.2",
                    _ => "TLSv1.3",
                },
                cipher: tls.suite,
            }),
            authority: visitor.server_name.as_deref().map(DnsName::as_str),
            // What is spoken with the server.
            alpn: visitor
                .tls
                .and_then(|tls| tls.alpn)
                .map(|_| &b"http/1.1"[..]),
        };
        let connect = Connect {
            protocol: visitor.active.config.protocol,
            announcement: Some(&announcement),
            own_name: &visitor.active.hostname,
            purpose: Purpose::Session { hello: None },
        };
        let bound = connection_based(&self.parts.headers);
        let asking = Asking {
            fresh: fresh || bound,
        };
        let found = upstream.ask(&connect, asking).await;
        let (mut link, lease) = found.map_err(|unreachable| {
            StatusCode::from_u16(unreachable.status()).unwrap_or(StatusCode::BAD_GATEWAY)
        })?;
        link.bound |= bound;
        Ok(Borrowed::new(link, lease, visitor))
    }

    /// Sends the request, and waits for the beginning of the answer.
    async fn ask(
        &self,
        borrowed: &mut Borrowed,
        source: &Source,
        handshake: Option<&Handshake>,
        id: &HeaderValue,
        asked_at: Instant,
    ) -> Result<Response<Incoming>, Missed> {
        let mut request = self.request(source, handshake, id, borrowed.server());
        let passes = !self.visitor.http2 && self.parts.version == Version::HTTP_11;
        if passes || self.asked.expects_continue {
            interim::listen(&mut request, source, self.visitor, passes);
        }
        let Some(link) = borrowed.link() else {
            return Err(Missed::Failed { untouched: true });
        };
        let reused = link.reused;
        let mut answer = pin!(link.send(request));
        let idle_timeout = self.visitor.active.config.idle_timeout;
        let mut idle = IdleLimit::new(idle_timeout, asked_at);
        let answered = poll_fn(|cx| {
            let over = borrowed.poll(cx).is_ready();
            // It comes by the poll of the connection, and by nothing else.
            let mut quietly = Context::from_waker(Waker::noop());
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut quietly) {
                return Poll::Ready(Some(answer));
            }
            match over || idle.poll(borrowed, source.moved()).is_ready() {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await;
        match answered {
            Some(Ok(response)) => Ok(response),
            None if !borrowed.is_over() => Err(Missed::Late),
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::debug!(?id, %error, "the server gave no answer");
                }
                let silent = !borrowed.has_answered() && source.is_whole();
                let untouched = silent && (reused || self.parts.method.is_idempotent());
                Err(Missed::Failed { untouched })
            }
        }
    }

    /// The request as it goes to the server.
    fn request(
        &self,
        source: &Source,
        handshake: Option<&Handshake>,
        id: &HeaderValue,
        server: usize,
    ) -> Request<Upload> {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let host = match self.parts.headers.get(HOST) {
            Some(host) => Some(host.clone()),
            None if self.asked.host.is_empty() => {
                // HTTP/1.0 knows no Host.
                let assumed = self.visitor.active.config.hostname.as_ref();
                assumed.and_then(|assumed| value(assumed.as_str()))
            }
            None => value(self.asked.host),
        };
        let own = self.upstream.config().host.is_some() || host.is_none();
        let own = own.then(|| self.upstream.host_of(server));
        let own = own.and_then(|own| value(&own));
        let told = Told {
            host: host.as_ref().unwrap_or(&NOBODY),
            id,
        };
        let mut fields = for_server(&self.parts.headers, &self.visitor.sender, told, own);
        let upload = source.upload();
        frame(&mut fields, &self.parts.method, &upload);
        let mut method = self.parts.method.clone();
        if let Some(handshake) = handshake {
            method = Method::GET;
            handshake.ask(&mut fields);
        }
        let mut request = Request::new(upload);
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = origin_form(&self.parts.uri);
        *request.headers_mut() = fields;
        request
    }

    /// The answer as it goes to the client.
    fn answered(
        &self,
        response: Response<Incoming>,
        mut borrowed: Borrowed,
        taken: Taken,
        mut entry: Box<Entry>,
    ) -> Response<Download> {
        let (mut head, incoming) = response.into_parts();
        let answered_at = entry.answered(head.status.as_u16());
        if connection_based(&head.headers)
            && let Some(link) = borrowed.link()
        {
            link.bound = true;
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switched(head, borrowed, taken, entry);
        }
        if taken.handshake.is_some() && head.status.is_success() {
            // It took the handshake for a page to be fetched: for a WebSocket that is none.
            return respond::error(StatusCode::BAD_GATEWAY, entry);
        }
        unframe(&mut head);
        let whole = incoming.is_end_stream();
        if whole {
            borrowed.give_back();
            return Response::from_parts(head, Download::Own(Bytes::new(), entry));
        }
        let streaming = Streaming {
            incoming,
            link: borrowed,
            source: taken.source,
            idle: IdleLimit::new(self.visitor.active.config.idle_timeout, answered_at),
            ending: None,
            entry,
        };
        Response::from_parts(head, Download::Server(Box::new(streaming)))
    }

    /// The server changes to another protocol, as it was asked to.
    fn switched(
        &self,
        head: response::Parts,
        borrowed: Borrowed,
        taken: Taken,
        entry: Box<Entry>,
    ) -> Response<Download> {
        let asked = &self.parts.headers;
        let fits = match &taken.handshake {
            Some(handshake) => handshake.is_answered(&head.headers),
            None => {
                !self.visitor.http2 && is_upgrade(asked) && server_upgrades(asked, &head.headers)
            }
        };
        let (Some(link), Some(lease)) = borrowed.into_link() else {
            return respond::last_error(StatusCode::BAD_GATEWAY, entry);
        };
        if !fits {
            return respond::last_error(StatusCode::BAD_GATEWAY, entry);
        }
        let (socket, said) = link.into_parts();
        let mut tunnel = Tunnel {
            socket,
            said,
            lease,
            entry,
        };
        let mut response = Response::new(Download::Nothing);
        let mut fields = head.headers;
        let upgrade = fields.get(UPGRADE).cloned();
        for_client(&mut fields);
        match (taken.upgrade, taken.handshake) {
            (Some(upgrade), Some(_)) => {
                // What the client hears (RFC 8441 section 5).
                tunnel.entry.status = response.status().as_u16();
                tunnel::strip_handshake(&mut fields);
                tunnel::spawn(upgrade, tunnel, Arc::clone(self.visitor));
            }
            _ => {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                fields.extend(upgrade.map(|upgrade| (UPGRADE, upgrade)));
                self.visitor.set_tunnel(tunnel);
            }
        }
        *response.headers_mut() = fields;
        response
    }
}

/// Says how long the body is, in the one way that is true.
fn frame(fields: &mut HeaderMap, method: &Method, upload: &Upload) {
    if upload.is_end_stream() {
        fields.remove(EXPECT);
        // Servers may insist on a length where there is a body as a rule.
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            fields.insert(CONTENT_LENGTH, 0.into());
        }
        return;
    }
    match upload.size_hint().exact() {
        Some(length) => drop(fields.insert(CONTENT_LENGTH, length.into())),
        None => {
            let chunked = HeaderValue::from_static("chunked");
            fields.insert(TRANSFER_ENCODING, chunked);
        }
    }
}

/// Takes away what belongs to the server's connection; hyper says how long the body is.
fn unframe(head: &mut response::Parts) {
    let coded = head.headers.contains_key(TRANSFER_ENCODING);
    for_client(&mut head.headers);
    if coded {
        head.headers.remove(CONTENT_LENGTH);
    }
    // hyper has found them to agree.
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        head.headers.insert(CONTENT_LENGTH, length);
    }
    head.version = Version::HTTP_11;
}
