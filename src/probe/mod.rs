//! What every upstream server says when it is spoken to as the proxy will speak to it, and the
//! line to change where that will not do.
//!
//! Connections are made by the proxy's own code, with its PROXY header, its TLS and its words
//! about the client; what is asked after that is what clients ask first. Nobody logs in, no
//! mail is sent, and each conversation ends with a farewell. Findings are values: nothing in
//! here prints.

mod advice;
mod certificate;
mod examine;
mod login;
mod relay;
mod report;
mod software;
mod transparent;
mod visit;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;

pub use report::{Change, Finding, Manner, Pace, Place, Remedy, Report, ServerReport, Severity};
pub use transparent::host_lacks;

use crate::config::{self, Config, Encryption, Legacy, Listener, ServerAddress, Upstream};
use crate::probe::examine::Examination;
use crate::probe::visit::Destination;
use crate::time::Clock;

/// Speaks to every server of every upstream that clients can come to, all at once. `host` is
/// our name where a listener has none.
pub async fn run(config: &Config, host: &str, clock: &Clock) -> Report {
    let mut examinations = JoinSet::new();
    for (n, (listener, upstream, server, manner)) in targets(config).into_iter().enumerate() {
        let (host, clock) = (host.to_owned(), clock.clone());
        examinations.spawn(async move {
            let destination = destination(&listener, &server, manner, host, clock).await;
            let examination = Examination {
                destination,
                upstream,
            };
            (n, examination.report().await)
        });
    }
    let mut reports = examinations.join_all().await;
    reports.sort_by_key(|(n, _)| *n);
    Report {
        servers: reports.into_iter().map(|(_, report)| report).collect(),
    }
}

type Target = (Arc<Listener>, Arc<Upstream>, ServerAddress, Manner);

/// Every server, once for each protocol and each manner in which it is spoken to, in the order
/// of the upstreams.
fn targets(config: &Config) -> Vec<Target> {
    let mut ways: Vec<(&Arc<Upstream>, &Arc<Listener>, Manner)> = Vec::new();
    for listener in &config.listeners {
        for (upstream, manner) in leads_to(config, listener) {
            let known = ways.iter().any(|(other, first, how)| {
                other.name == upstream.name && first.protocol == listener.protocol && *how == manner
            });
            if !known {
                ways.push((upstream, listener, manner));
            }
        }
    }
    let order = |name: &str| config.upstreams.iter().position(|one| one.name == name);
    ways.sort_by_key(|(upstream, ..)| order(&upstream.name));
    let servers = ways.into_iter().flat_map(|(upstream, listener, manner)| {
        upstream.servers.iter().map(move |server| {
            (
                Arc::clone(listener),
                Arc::clone(upstream),
                server.clone(),
                manner,
            )
        })
    });
    servers.collect()
}

/// Where a listener's connections can go, and how they speak there.
fn leads_to<'a>(
    config: &'a Config,
    listener: &'a Listener,
) -> impl Iterator<Item = (&'a Arc<Upstream>, Manner)> {
    let manner = match listener.encryption {
        Encryption::Implicit | Encryption::StartTls | Encryption::StartTlsOptional => {
            Manner::Encrypted
        }
        Encryption::Off => Manner::Clear,
        Encryption::Passthrough => Manner::Untouched,
    };
    let routes = config.routes.iter();
    let routed = routes.filter(|route| route.holds_on(listener));
    let routed = routed.filter_map(config::Route::upstream);
    let ours = routed.chain(&listener.upstream);
    let legacy = match &listener.legacy {
        Legacy::Passthrough(upstream) => upstream.as_ref(),
        Legacy::Refuse => None,
    };
    ours.map(move |upstream| (upstream, manner))
        .chain(legacy.map(|upstream| (upstream, Manner::Untouched)))
}

async fn destination(
    listener: &Listener,
    server: &ServerAddress,
    manner: Manner,
    host: String,
    clock: Clock,
) -> Destination {
    let hostname = listener.hostname.as_ref().map(ToString::to_string);
    Destination {
        server: server.clone(),
        protocol: listener.protocol,
        manner,
        own_name: hostname.clone().unwrap_or(host),
        hostname,
        listener_port: listener.bind.first().map_or(0, SocketAddr::port),
        us: own_address(server).await,
        clock,
    }
}

/// The address that we have for a server: what a socket is bound to that is to send there.
/// Nothing is sent.
async fn own_address(server: &ServerAddress) -> IpAddr {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ServerAddress::Tcp { host, .. } = server else {
        return here;
    };
    let Ok(mut addresses) = lookup_host((host.as_str(), 9)).await else {
        return here;
    };
    let Some(address) = addresses.next() else {
        return here;
    };
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let own = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(address).await?;
        socket.local_addr()
    };
    own.await.map_or(here, |own| own.ip().to_canonical())
}
