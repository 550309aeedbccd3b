//! A request's way to a server, and its answer's way back.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Body, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::{Version, response};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};

use bytes::Bytes;

use crate::cert::DnsName;
use crate::proxy::Upstream;
use crate::proxy::http::access::Entry;
use crate::proxy::http::download::{Borrowed, Download, IdleTimer, Streaming};
use crate::proxy::http::tunnel::{self, Handshake, Tunnel};
use crate::proxy::http::upload::{Source, Upload, UploadFault};
use crate::proxy::http::visitor::Visitor;
use crate::proxy::http::{interim, respond};
use crate::proxy::upstream::{Asking, Purpose, Request as Connect};
use crate::wire::http::{
    Asked, Sender, connection_based, for_client, for_server, is_upgrade, origin_form,
    server_upgrades,
};
use crate::wire::proxy_protocol::{Announcement, SslInfo};

/// A request that goes to a server.
pub(super) struct Forward<'a> {
    pub(super) visitor: &'a Arc<Visitor>,
    pub(super) parts: &'a Parts,
    pub(super) asked: &'a Asked<'a>,
    pub(super) upstream: &'a Arc<Upstream>,
    /// Whether it is a WebSocket by HTTP/2.
    pub(super) websocket: bool,
}

/// What came of asking one server.
enum Outcome {
    Answered(Box<(Response<Incoming>, Borrowed)>),
    /// Nothing came for too long.
    Late,
    /// The connection failed. `untouched`: nothing of the request can have been processed.
    Failed {
        untouched: bool,
    },
}

/// Asks a server, and once more on a fresh connection where that is safe.
pub(super) async fn forward(
    request: Forward<'_>,
    source: Arc<Source>,
    upgrade: Option<OnUpgrade>,
    mut entry: Box<Entry>,
) -> Response<Download> {
    if request.asked.expects_continue {
        source.wait_for_go_ahead();
    }
    let handshake = request.websocket.then(Handshake::new);
    entry.asks(request.upstream);
    let mut again = false;
    loop {
        // In a box of its own, which is gone while the answer is waited for: that may take an hour.
        let borrowed = match Box::pin(request.borrow(again)).await {
            Ok(borrowed) => borrowed,
            Err(status) => return respond::error(status, entry),
        };
        entry.asks_server(borrowed.server());
        match request
            .ask(borrowed, &source, handshake.as_ref(), &entry.id)
            .await
        {
            Outcome::Answered(answered) => {
                let (response, borrowed) = *answered;
                let taken = Taken {
                    source,
                    handshake,
                    upgrade,
                };
                return request.answered(response, borrowed, taken, entry).await;
            }
            Outcome::Failed { untouched: true } if !again => again = true,
            Outcome::Late => return respond::last_error(StatusCode::GATEWAY_TIMEOUT, entry),
            Outcome::Failed { .. } => {
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
    source: Arc<Source>,
    handshake: Option<Handshake>,
    upgrade: Option<OnUpgrade>,
}

impl Forward<'_> {
    /// A connection to a server; the status for the client if there is none.
    async fn borrow(&self, fresh: bool) -> Result<Borrowed, StatusCode> {
        let Self {
            visitor, upstream, ..
        } = self;
        let own = if fresh {
            None
        } else {
            visitor.take_own(upstream)
        };
        if let Some(mut link) = own
            && poll_fn(|cx| Poll::Ready(link.is_ready(cx))).await
        {
            let lease = upstream.lease_of(link.server);
            return Ok(Borrowed::new(link, lease, upstream, visitor));
        }
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
        let (mut link, lease) = upstream
            .ask(&connect, asking)
            .await
            .map_err(|unreachable| {
                StatusCode::from_u16(unreachable.status()).unwrap_or(StatusCode::BAD_GATEWAY)
            })?;
        link.bound |= bound;
        Ok(Borrowed::new(link, lease, upstream, visitor))
    }

    /// Sends the request, and waits for the beginning of the answer.
    async fn ask(
        &self,
        mut borrowed: Borrowed,
        source: &Arc<Source>,
        handshake: Option<&Handshake>,
        id: &str,
    ) -> Outcome {
        let mut request = self.request(source, handshake, id, borrowed.server());
        let passes = !self.visitor.http2 && self.parts.version == Version::HTTP_11;
        if passes || self.asked.expects_continue {
            interim::listen(&mut request, source, self.visitor, passes);
        }
        let Some(link) = borrowed.link() else {
            return Outcome::Failed { untouched: true };
        };
        let reused = link.reused;
        let mut answer = pin!(link.send(request));
        let mut timer = IdleTimer::new(self.visitor.active.config.idle_timeout);
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            let over = borrowed.poll(cx).is_ready();
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            match over || timer.poll(cx, source.moved()).is_ready() {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await;
        match answered {
            Some(Ok(response)) => Outcome::Answered(Box::new((response, borrowed))),
            None if !borrowed.is_over() => Outcome::Late,
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::debug!(id, %error, "the server gave no answer");
                }
                let silent = !borrowed.has_answered() && source.is_whole();
                let untouched = silent && (reused || self.parts.method.is_idempotent());
                Outcome::Failed { untouched }
            }
        }
    }

    /// The request as it goes to the server.
    fn request(
        &self,
        source: &Arc<Source>,
        handshake: Option<&Handshake>,
        id: &str,
        server: usize,
    ) -> Request<Upload> {
        let visitor = self.visitor;
        let assumed = visitor.active.config.hostname.as_ref();
        let sender = Sender {
            address: visitor.client.ip(),
            trusted: visitor.trusted,
            https: visitor.https(),
            http2: visitor.http2,
            host: match self.asked.host {
                // HTTP/1.0 knows no Host.
                "" => assumed.map_or("", DnsName::as_str),
                host => host,
            },
            port: visitor.local.port(),
            id,
        };
        let nobody = sender.host.is_empty();
        let own = self.upstream.config().host.is_some() || nobody;
        let own = own.then(|| self.upstream.host_of(server));
        let mut fields = for_server(&self.parts.headers, &sender, own.as_deref());
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
    async fn answered(
        &self,
        response: Response<Incoming>,
        mut borrowed: Borrowed,
        taken: Taken,
        mut entry: Box<Entry>,
    ) -> Response<Download> {
        let (mut head, incoming) = response.into_parts();
        entry.answered(head.status.as_u16());
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
            poll_fn(|cx| {
                borrowed.give_back(cx);
                Poll::Ready(())
            })
            .await;
            return Response::from_parts(head, Download::Own(Bytes::new(), entry));
        }
        let streaming = Streaming {
            incoming,
            link: borrowed,
            source: taken.source,
            timer: IdleTimer::new(self.visitor.active.config.idle_timeout),
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
    // hyper has found them to agree.
    let length = head.headers.remove(CONTENT_LENGTH).filter(|_| !coded);
    if let Some(length) = length {
        head.headers.insert(CONTENT_LENGTH, length);
    }
    head.version = Version::HTTP_11;
}
