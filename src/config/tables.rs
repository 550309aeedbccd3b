//! The tables that repeat or refer to each other: listeners, routes and upstreams, read one by
//! one, and joined when `checks` has found no fault with them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use crate::cert::{DnsName, NamePattern, UnknownName};
use crate::config::file::Table;
use crate::config::resolve::{UNKNOWN_NAMES, unlocated};
use crate::config::value::{self, Choice};
use crate::config::{
    Balance, ClientAddress, Config, Encryption, Legacy, Listener, Network, Protocol, Route,
    ServerAddress, TrustSource, Upstream, UpstreamEncryption, Verification,
};

const PROTOCOLS: Choice<Protocol> = Choice {
    words: &[
        ("imap", Protocol::Imap),
        ("pop3", Protocol::Pop3),
        ("smtp", Protocol::Smtp),
        ("submission", Protocol::Submission),
        ("tcp", Protocol::Tcp),
    ],
    later: &["managesieve", "http"],
};
const ENCRYPTIONS: Choice<Encryption> = Choice {
    words: &[
        ("implicit", Encryption::Implicit),
        ("passthrough", Encryption::Passthrough),
        ("off", Encryption::Off),
    ],
    later: &["starttls", "starttls-optional"],
};
const UPSTREAM_TLS: Choice<()> = Choice {
    words: &[("off", ())],
    later: &["implicit", "starttls"],
};
const CLIENT_ADDRESSES: Choice<ClientAddress> = Choice {
    words: &[
        ("none", ClientAddress::None),
        ("proxy-v1", ClientAddress::ProxyV1),
        ("proxy-v2", ClientAddress::ProxyV2),
    ],
    later: &["xclient", "imap-id", "transparent"],
};
const BALANCES: Choice<()> = Choice {
    words: &[("least-connections", ())],
    later: &["client-address"],
};

/// The tables that refer to each other or compete for something, before they are joined. What
/// was wrong and is reported is `None`.
#[derive(Debug)]
pub(super) struct Tables<'a> {
    pub(super) metrics: MetricsTable<'a>,
    pub(super) listeners: Vec<ListenerTable<'a>>,
    pub(super) routes: Vec<RouteTable<'a>>,
    pub(super) upstreams: Vec<UpstreamTable<'a>>,
}

/// `[metrics]`
#[derive(Debug)]
pub(super) struct MetricsTable<'a> {
    pub(super) table: Table<'a>,
    pub(super) listen: SocketAddr,
}

/// One `[[listener]]`.
#[derive(Debug)]
pub(super) struct ListenerTable<'a> {
    pub(super) table: Table<'a>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) bind: Vec<Spanned<SocketAddr>>,
    pub(super) protocol: Option<Protocol>,
    pub(super) encryption: Option<Encryption>,
    pub(super) hostname: Option<DnsName>,
    pub(super) upstream: Option<Spanned<String>>,
    pub(super) accept_proxy_from: Vec<Spanned<Network>>,
    unknown_name: UnknownName,
    pub(super) idle_timeout: Option<Duration>,
}

impl<'a> ListenerTable<'a> {
    pub(super) fn read(table: Table<'a>, unknown_name: UnknownName) -> Self {
        let encryption = if table.has("tls") {
            table.value("tls", |value| ENCRYPTIONS.read(value))
        } else {
            Some(Encryption::Implicit)
        };
        let networks = table.list("accept_proxy_from", "networks", value::network);
        Self {
            name: table.located("name", value::name),
            bind: table
                .full_list("bind", "ADDRESS:PORT", value::bind_address)
                .unwrap_or_default(),
            protocol: table.value("protocol", |value| PROTOCOLS.read(value)),
            encryption,
            hostname: table.value("hostname", value::host_name),
            upstream: table.located("upstream", value::name),
            accept_proxy_from: networks.unwrap_or_default(),
            unknown_name: table
                .value("unknown_name", |value| UNKNOWN_NAMES.read(value))
                .unwrap_or(unknown_name),
            idle_timeout: table.value("idle_timeout", value::time_limit),
            table,
        }
    }

    fn join(self, upstreams: &Upstreams) -> Option<Listener> {
        let upstream = match self.upstream {
            Some(name) => Some(upstreams.get(name.get_ref())?),
            None => None,
        };
        let protocol = self.protocol?;
        Some(Listener {
            name: self.name?.into_inner(),
            bind: unlocated(self.bind),
            protocol,
            encryption: self.encryption?,
            hostname: self.hostname,
            upstream: upstream.cloned(),
            accept_proxy_from: unlocated(self.accept_proxy_from),
            unknown_name: self.unknown_name,
            idle_timeout: self.idle_timeout.unwrap_or_else(|| protocol.idle_timeout()),
            legacy: Legacy::Refuse,
            mx: false,
        })
    }
}

/// One `[[route]]`.
#[derive(Debug)]
pub(super) struct RouteTable<'a> {
    pub(super) table: Table<'a>,
    pub(super) names: Vec<Spanned<NamePattern>>,
    pub(super) listeners: Option<Vec<Spanned<String>>>,
    pub(super) upstream: Option<Spanned<String>>,
}

impl<'a> RouteTable<'a> {
    pub(super) fn read(table: Table<'a>) -> Self {
        Self {
            names: table
                .full_list("names", "host names", value::name_pattern)
                .unwrap_or_default(),
            listeners: table.full_list("listeners", "names of listeners", value::name),
            upstream: table.located("upstream", value::name),
            table,
        }
    }

    fn join(self, upstreams: &Upstreams) -> Option<Route> {
        Some(Route {
            names: unlocated(self.names),
            listeners: self.listeners.map(unlocated),
            upstream: Arc::clone(upstreams.get(self.upstream?.get_ref())?),
        })
    }
}

/// One `[[upstream]]`.
#[derive(Debug)]
pub(super) struct UpstreamTable<'a> {
    pub(super) table: Table<'a>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) servers: Vec<Spanned<ServerAddress>>,
    pub(super) client_address: Option<ClientAddress>,
    connect_timeout: Duration,
}

impl<'a> UpstreamTable<'a> {
    pub(super) fn read(table: Table<'a>, base: &Path) -> Self {
        table.value("tls", |value| UPSTREAM_TLS.read(value));
        table.value("balance", |value| BALANCES.read(value));
        table.value("health_interval", value::no_health_checks);
        Self {
            name: table.located("name", value::name),
            servers: table
                .full_list(
                    "servers",
                    "HOST, HOST:PORT or unix:/PATH",
                    value::server(base),
                )
                .unwrap_or_default(),
            client_address: table.value("client_address", |value| CLIENT_ADDRESSES.read(value)),
            connect_timeout: table
                .value("connect_timeout", value::time_limit)
                .unwrap_or(Duration::from_secs(5)),
            table,
        }
    }

    fn join(self) -> Option<Arc<Upstream>> {
        Some(Arc::new(Upstream {
            name: self.name?.into_inner(),
            servers: unlocated(self.servers),
            client_address: self.client_address.unwrap_or(ClientAddress::None),
            connect_timeout: self.connect_timeout,
            encryption: UpstreamEncryption::Off,
            verification: Verification {
                verify: true,
                trust: vec![TrustSource::System],
                server_name: None,
                pin: None,
            },
            greeting_timeout: Duration::from_secs(300),
            balance: Balance::LeastConnections,
            health_interval: None,
        }))
    }
}

type Upstreams = HashMap<String, Arc<Upstream>>;

impl Tables<'_> {
    /// Looks every name up; `None` if one leads nowhere.
    pub(super) fn join(self, config: Config) -> Option<Config> {
        let upstreams = self.upstreams.into_iter().map(UpstreamTable::join);
        let upstreams: Vec<_> = upstreams.collect::<Option<_>>()?;
        let by_name = upstreams
            .iter()
            .map(|upstream| (upstream.name.clone(), Arc::clone(upstream)));
        let by_name: Upstreams = by_name.collect();
        let listeners = self.listeners.into_iter();
        let routes = self.routes.into_iter();
        Some(Config {
            listeners: listeners
                .map(|listener| listener.join(&by_name).map(Arc::new))
                .collect::<Option<_>>()?,
            routes: routes
                .map(|route| route.join(&by_name))
                .collect::<Option<_>>()?,
            upstreams,
            ..config
        })
    }
}
