//! Web servers: which one a request goes to, on a connection that is there or on a new one.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::{ClientAddress, Protocol};
use crate::proxy::http::Link;
use crate::proxy::upstream::health::Asked;
use crate::proxy::upstream::page::host_of;
use crate::proxy::upstream::{Lease, Request, Upstream};

/// How long a server that is held for down may take to show that it is not, where there is no
/// other. Everybody who asks meanwhile waits for it.
const DOUBT: Duration = Duration::from_secs(1);

/// What a request asks of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Asking {
    /// Whether it must have served nobody before.
    pub(in crate::proxy) fresh: bool,
}

/// Why there is no connection to any server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::proxy) struct Unreachable {
    /// A bounded word for why the last one could not be used.
    reason: &'static str,
    /// Whether all of them were held for down before.
    down: bool,
}

impl Unreachable {
    /// The status for the client.
    pub(in crate::proxy) fn status(self) -> u16 {
        match self.reason {
            _ if self.down => 503,
            "timeout" => 504,
            _ => 502,
        }
    }
}

impl Upstream {
    /// A connection that waits for a request at the server that `balance` names, if there is one.
    pub(in crate::proxy) fn waiting(
        self: &Arc<Self>,
        protocol: Protocol,
        client: IpAddr,
    ) -> Option<(Link, Lease)> {
        if self.tells_by_connection() {
            return None;
        }
        let n = match &*self.servers {
            [_] => 0,
            _ => {
                let asked = Asked::Spoken(protocol);
                self.choose(&[], asked, Some(client), self.since.elapsed())?
            }
        };
        self.take_waiting(n)
    }

    /// A connection that waits for a request at a server.
    fn take_waiting(self: &Arc<Self>, n: usize) -> Option<(Link, Lease)> {
        // Counted from here on, so that the next request sees this one.
        let lease = self.lease(n);
        let idle = &self.servers[n].idle;
        let link = std::iter::from_fn(|| idle.take()).find_map(|mut link| {
            let is_ready = link.is_ready();
            is_ready.then_some(link)
        })?;
        Some((link, lease))
    }

    /// A connection to the server that `balance` names, or to the next one if that fails.
    pub(in crate::proxy) async fn ask(
        self: &Arc<Self>,
        request: &Request<'_>,
        asking: Asking,
    ) -> Result<(Link, Lease), Unreachable> {
        let client = request.announcement.map(|client| client.source.ip());
        let asked = request.asked();
        let tls = self.tls.load_full();
        let mut tried = vec![false; self.servers.len()];
        let mut unreachable = Unreachable {
            reason: "no-server",
            down: true,
        };
        while let Some(n) = self.choose(&tried, asked, client, self.since.elapsed()) {
            if let Some(slot) = tried.get_mut(n) {
                *slot = true;
            }
            let server = &self.servers[n];
            if !asking.fresh
                && !self.tells_by_connection()
                && let Some(waiting) = self.take_waiting(n)
            {
                return Ok(waiting);
            }
            let was_down = server.health.is_down(asked);
            let probed = self.config.health_interval.is_some();
            let avoided = server.is_avoided(asked, probed, self.since.elapsed());
            let others = tried.contains(&false);
            let connecting = self.try_server(n, request, (true, others), tls.as_deref());
            let outcome = match avoided {
                false => connecting.await.map_err(|failure| failure.reason()),
                true => match timeout(DOUBT, connecting).await {
                    Ok(outcome) => outcome.map_err(|failure| failure.reason()),
                    Err(_) => Err("timeout"),
                },
            };
            match outcome {
                Ok(connected) => {
                    let bound = self.tells_by_connection();
                    match Link::new(connected.socket, n, bound).await {
                        Ok(link) => return Ok((link, connected.lease)),
                        Err(_) => unreachable.reason = "io",
                    }
                }
                Err(reason) => unreachable.reason = reason,
            }
            unreachable.down &= was_down;
        }
        Err(unreachable)
    }

    /// Whether a server is told of the client by the connection as such, so that no other
    /// client can have it.
    fn tells_by_connection(&self) -> bool {
        matches!(
            self.config.client_address,
            ClientAddress::ProxyV1 | ClientAddress::ProxyV2 | ClientAddress::Transparent
        )
    }

    /// What a server is called where that is not what was asked for.
    pub(in crate::proxy) fn host_of(&self, server: usize) -> Cow<'_, str> {
        let server = self.servers.get(server).map(|server| &server.address);
        server.map_or(Cow::Borrowed(""), |server| host_of(&self.config, server))
    }

    /// One more request at a server that is connected to already.
    pub(in crate::proxy) fn lease_of(self: &Arc<Self>, server: usize) -> Lease {
        self.lease(server)
    }

    /// Keeps a connection for the next request of whoever comes.
    pub(in crate::proxy) fn keep(self: &Arc<Self>, link: Link) {
        let server = link.server;
        let Some(idle) = self.servers.get(server).map(|server| &server.idle) else {
            return;
        };
        if idle.put(link) {
            let upstream = Arc::clone(self);
            tokio::spawn(async move {
                if let Some(server) = upstream.servers.get(server) {
                    server.idle.sweep().await;
                }
            });
        }
    }
}
