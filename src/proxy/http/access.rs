//! The line and the counts that every request leaves behind.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use hyper::header::{HOST, HeaderName, HeaderValue, REFERER, USER_AGENT};
use hyper::http::Version;
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use tokio::time::Instant;

use crate::metrics::RouteMetrics;
use crate::proxy::Upstream;
use crate::proxy::http::http2::Watch;
use crate::proxy::http::upload::Source;
use crate::proxy::http::visitor::Visitor;
use crate::wire::http::masked;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest number of a trusted sender's own.
const LONGEST_ID: usize = 128;

/// A client that did not wait for the answer, as nginx counts it.
const GONE: u16 = 499;

/// One request, from its header to the end of its answer. Dropping it is that end.
#[derive(Debug)]
pub(super) struct Entry {
    visitor: Arc<Visitor>,
    pub(super) started: Instant,
    id: HeaderValue,
    pub(super) method: Method,
    /// What the line shows of it, if there is to be one.
    shown: Option<Shown>,
    pub(super) status: u16,
    /// Bytes of the body that went to the client.
    pub(super) sent: u64,
    /// Bytes that came from it in another protocol.
    pub(super) received: u64,
    /// The body that came from it.
    pub(super) source: Option<Source>,
    pub(super) route: Option<Arc<RouteMetrics>>,
    served: Option<Served>,
    /// What went wrong, in a bounded word.
    pub(super) fault: Option<&'static str>,
    /// HTTP/2: whether the client takes what it is sent.
    pub(super) watch: Option<Arc<Watch>>,
}

/// What the line of a request shows of its header.
#[derive(Debug)]
struct Shown {
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
}

impl Shown {
    fn of(request: &Parts) -> Self {
        let field = |name| request.headers.get(name).cloned();
        Self {
            uri: request.uri.clone(),
            version: request.version,
            host: field(HOST),
            referer: field(REFERER),
            agent: field(USER_AGENT),
        }
    }
}

/// The server that a request went to.
#[derive(Debug)]
struct Served {
    upstream: Arc<Upstream>,
    server: Option<usize>,
    asked: Instant,
    answered: Option<Duration>,
}

/// A number that no other request has: of this process by the count, of others by the keys.
fn new_id() -> HeaderValue {
    static KEYS: OnceLock<[DefaultHashBuilder; 2]> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let keys = KEYS.get_or_init(|| [DefaultHashBuilder::default(), DefaultHashBuilder::default()]);
    let count = COUNT.fetch_add(1, Relaxed);
    let [high, low] = keys.each_ref().map(|key| u128::from(key.hash_one(count)));
    let (number, mut digits) = (high << 64 | low, [0; 32]);
    for (n, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * n)) as usize % 16];
    }
    HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("-"))
}

impl Entry {
    pub(super) fn new(visitor: &Arc<Visitor>, request: &Parts) -> Box<Self> {
        let theirs = match visitor.trusted {
            true => request.headers.get(X_REQUEST_ID),
            false => None,
        };
        let theirs = theirs.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
        let theirs = theirs.filter(|id| id.to_str().is_ok()).cloned();
        Box::new(Self {
            started: Instant::now(),
            id: theirs.unwrap_or_else(new_id),
            method: request.method.clone(),
            shown: visitor.active.access.then(|| Shown::of(request)),
            status: GONE,
            sent: 0,
            received: 0,
            source: None,
            route: None,
            served: None,
            fault: None,
            watch: None,
            visitor: Arc::clone(visitor),
        })
    }

    /// One of which nothing is known: what came could not be read.
    pub(super) fn unread(visitor: &Arc<Visitor>, status: u16) -> Box<Self> {
        let (parts, ()) = hyper::Request::new(()).into_parts();
        visitor.pulse.request();
        let mut entry = Self::new(visitor, &parts);
        entry.method = Method::default();
        entry.fault = Some("malformed");
        entry.status = status;
        entry
    }

    /// Its number.
    pub(super) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// Its number as a field has it.
    pub(super) fn id_field(&self) -> &HeaderValue {
        &self.id
    }

    pub(super) fn is_http2(&self) -> bool {
        self.visitor.http2
    }

    /// It goes to a server of this upstream, from now on.
    pub(super) fn asks(&mut self, upstream: &Arc<Upstream>) -> Instant {
        let asked = Instant::now();
        self.served = Some(Served {
            upstream: Arc::clone(upstream),
            server: None,
            asked,
            answered: None,
        });
        asked
    }

    /// It goes to this one.
    pub(super) fn asks_server(&mut self, server: usize) {
        if let Some(served) = &mut self.served {
            served.server = Some(server);
        }
    }

    /// The server's answer begins, now.
    pub(super) fn answered(&mut self, status: u16) -> Instant {
        let now = Instant::now();
        self.status = status;
        if let Some(served) = &mut self.served {
            served.answered = Some(now.saturating_duration_since(served.asked));
        }
        now
    }

    fn write(&self, shown: &Shown, seconds: f64) {
        let target = shown.uri.path_and_query();
        let target = target.map_or("*", |target| target.as_str());
        let [referer, agent] = [&shown.referer, &shown.agent].map(text);
        let host = match shown.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => text(&shown.host),
        };
        let (method, path, protocol) = match self.fault {
            Some("malformed") => (None, None, None),
            _ => (
                Some(self.method.as_str()),
                Some(masked(target)),
                Some(protocol(shown.version)),
            ),
        };
        let served = self.served.as_ref();
        let server = served.and_then(|it| Some(it.upstream.label(it.server?)));
        tracing::info!(
            name: "request",
            target: "gatepost::access",
            client = %self.visitor.client,
            listener = self.visitor.active.config.name,
            method,
            host,
            path = path.as_deref(),
            protocol,
            status = self.status,
            bytes = self.sent,
            bytes_up = self.received + self.source.as_ref().map_or(0, Source::bytes),
            seconds,
            upstream = served.map(|served| &*served.upstream.config().name),
            server,
            upstream_seconds = served.and_then(|it| it.answered).map(|it| it.as_secs_f64()),
            id = self.id(),
            sni = self.visitor.server_name.as_deref().map(crate::cert::DnsName::as_str),
            tls = self.visitor.tls.map(|tls| tls.version),
            referer = referer.map(masked).as_deref(),
            agent,
            fault = self.fault,
            "request"
        );
    }
}

/// A field as far as it is text.
fn text(value: &Option<HeaderValue>) -> Option<&str> {
    value.as_ref()?.to_str().ok()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.watch.as_ref().is_some_and(|watch| watch.is_over()) {
            self.fault = Some("stalled");
        }
        let now = Instant::now();
        let seconds = now.saturating_duration_since(self.started).as_secs_f64();
        let active = &self.visitor.active;
        if let Some(routes) = &active.web {
            let route = self.route.as_ref().unwrap_or(&routes.unrouted);
            route.request(self.status, seconds);
        }
        if let Some(shown) = &self.shown {
            self.write(shown, seconds);
        }
        if let Some(source) = &self.source
            && self.visitor.http2
            && self.status != GONE
        {
            source.drain();
        }
        let (http2, answered) = (self.visitor.http2, self.status != GONE);
        self.visitor.pulse.over(http2, answered, now);
    }
}
