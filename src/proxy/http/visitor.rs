//! Who is at the other end of a client's connection, and what is kept for it alone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cert::{DnsName, Matched, NamePattern};
use crate::proxy::Upstream;
use crate::proxy::http::link::Link;
use crate::proxy::http::pulse::Pulse;
use crate::proxy::http::tunnel::Tunnel;
use crate::proxy::report::Report;
use crate::proxy::session::Active;
use crate::tls::{Chosen, Negotiated};
use crate::wire::http::{Manner, Sender};

/// Connections to servers that one client may have for itself.
const OWN_LINKS: usize = 16;

/// A client's connection, as its requests see it.
#[derive(Debug)]
pub(in crate::proxy) struct Visitor {
    pub(super) active: Arc<Active>,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) server_name: Option<Arc<DnsName>>,
    pub(super) tls: Option<Negotiated>,
    pub(super) http2: bool,
    /// Whether it is believed about those on whose behalf it asks.
    pub(super) trusted: bool,
    /// What servers are told of it.
    pub(super) sender: Sender,
    /// Whether it is served at all.
    pub(super) allowed: bool,
    chosen: Option<Chosen>,
    pub(super) pulse: Pulse,
    /// Connections to servers that know this client by them, and may never serve another.
    own: Mutex<Vec<(Arc<Upstream>, Link)>>,
    /// What the client's connection becomes after the answer that is being written.
    tunnel: Mutex<Option<Tunnel>>,
}

impl Visitor {
    pub(in crate::proxy) fn new(active: Arc<Active>, report: &Report, local: SocketAddr) -> Self {
        let client = report.client.ip();
        let mut networks = active.config.trusted_proxies.iter();
        let manner = Manner {
            trusted: networks.any(|network| network.contains(client)),
            https: report.negotiated.is_some(),
            http2: report.negotiated.and_then(|tls| tls.alpn) == Some(b"h2"),
        };
        Self {
            trusted: manner.trusted,
            sender: Sender::new(client, local.port(), manner),
            allowed: active.config.allows(client),
            client: report.client,
            local,
            server_name: report.server_name.clone(),
            http2: manner.http2,
            tls: report.negotiated,
            chosen: report.chosen.clone(),
            pulse: Pulse::new(),
            own: Mutex::default(),
            tunnel: Mutex::default(),
            active,
        }
    }

    /// Whether the client came by TLS.
    pub(super) fn https(&self) -> bool {
        self.tls.is_some()
    }

    /// A host as a name, if it is one: as a rule the one that the connection was begun for.
    pub(super) fn name(&self, host: &str) -> Option<Arc<DnsName>> {
        let known = self.server_name.as_ref();
        let known = known.filter(|known| known.as_str().eq_ignore_ascii_case(host));
        let parse = || DnsName::parse(host).ok().map(Arc::new);
        known.cloned().or_else(parse)
    }

    /// Whether a host may be asked for on this connection: one that its certificate is for, as
    /// clients share a connection among such hosts (RFC 9113 section 9.1.1). Where no certificate
    /// matched the name of the connection, that name itself; where there was none, any.
    pub(super) fn covers(&self, host: Option<&DnsName>) -> bool {
        if self.tls.is_none() {
            return true;
        }
        let Some(server_name) = self.server_name.as_deref() else {
            return true;
        };
        let Some(host) = host else { return false };
        let Some(chosen) = &self.chosen else {
            return host == server_name;
        };
        let mut names = chosen.credential.certificate.names.iter();
        (chosen.matched == Matched::Default && host == server_name)
            || names.any(|name: &NamePattern| name.matches(host))
    }

    /// A connection of the client's own to one of the upstream's servers.
    pub(super) fn take_own(&self, upstream: &Arc<Upstream>) -> Option<Link> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let n = own.iter().rposition(|(to, _)| Arc::ptr_eq(to, upstream))?;
        Some(own.remove(n).1)
    }

    /// Keeps a connection for the client's next request.
    pub(super) fn keep_own(&self, upstream: &Arc<Upstream>, link: Link) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= OWN_LINKS {
            own.remove(0);
        }
        own.push((Arc::clone(upstream), link));
    }

    /// HTTP/1.1: what the client's connection becomes after the answer that comes now.
    pub(super) fn set_tunnel(&self, tunnel: Tunnel) {
        let mut next = self.tunnel.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(tunnel);
    }

    /// What the connection has become.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        let mut next = self.tunnel.lock().unwrap_or_else(PoisonError::into_inner);
        next.take()
    }
}
