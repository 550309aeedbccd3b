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
use crate::config::resolve::{TRUST, UNKNOWN_NAMES, unlocated};
use crate::config::value::{self, Choice};
use crate::config::{
    Balance, ClientAddress, Config, Encryption, Legacy, Listener, Network, Protocol, Route,
    ServerAddress, Target, TrustSource, Upstream, UpstreamEncryption, Verification,
};

const PROTOCOLS: Choice<Protocol> = Choice {
    words: &[
        ("imap", Protocol::Imap),
        ("pop3", Protocol::Pop3),
        ("smtp", Protocol::Smtp),
        ("submission", Protocol::Submission),
        ("managesieve", Protocol::ManageSieve),
        ("http", Protocol::Http),
        ("tcp", Protocol::Tcp),
    ],
    later: &[],
};
const ENCRYPTIONS: Choice<Encryption> = Choice {
    words: &[
        ("implicit", Encryption::Implicit),
        ("starttls", Encryption::StartTls),
        ("starttls-optional", Encryption::StartTlsOptional),
        ("passthrough", Encryption::Passthrough),
        ("off", Encryption::Off),
    ],
    later: &[],
};
const LEGACY: Choice<bool> = Choice {
    words: &[("refuse", false), ("passthrough", true)],
    later: &[],
};
const UPSTREAM_TLS: Choice<UpstreamEncryption> = Choice {
    words: &[
        ("off", UpstreamEncryption::Off),
        ("implicit", UpstreamEncryption::Implicit),
        ("starttls", UpstreamEncryption::StartTls),
    ],
    later: &[],
};
const CLIENT_ADDRESSES: Choice<ClientAddress> = Choice {
    words: &[
        ("none", ClientAddress::None),
        ("proxy-v1", ClientAddress::ProxyV1),
        ("proxy-v2", ClientAddress::ProxyV2),
        ("xclient", ClientAddress::Xclient),
        ("imap-id", ClientAddress::ImapId),
        ("transparent", ClientAddress::Transparent),
    ],
    later: &[],
};
const BALANCES: Choice<Balance> = Choice {
    words: &[
        ("least-connections", Balance::LeastConnections),
        ("client-address", Balance::ClientAddress),
    ],
    later: &[],
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
    /// Whether clients that are too old are handed over.
    pub(super) legacy: Option<bool>,
    pub(super) legacy_upstream: Option<Spanned<String>>,
    pub(super) mx: bool,
    pub(super) trusted_proxies: Vec<Spanned<Network>>,
    max_body: Option<u64>,
    allow: Vec<Spanned<Network>>,
    deny: Vec<Spanned<Network>>,
}

impl<'a> ListenerTable<'a> {
    pub(super) fn read(table: Table<'a>, unknown_name: UnknownName) -> Self {
        let encryption = if table.has("tls") {
            table.value("tls", |value| ENCRYPTIONS.read(value))
        } else {
            Some(Encryption::Implicit)
        };
        let legacy = if table.has("legacy") {
            table.value("legacy", |value| LEGACY.read(value))
        } else {
            Some(false)
        };
        let networks = |key| {
            let networks = table.list(key, "networks", value::network);
            networks.unwrap_or_default()
        };
        Self {
            name: table.located("name", value::name),
            bind: table
                .full_list("bind", "ADDRESS:PORT", value::bind_address)
                .unwrap_or_default(),
            protocol: table.value("protocol", |value| PROTOCOLS.read(value)),
            encryption,
            hostname: table.value("hostname", value::host_name),
            upstream: table.located("upstream", value::name),
            accept_proxy_from: networks("accept_proxy_from"),
            unknown_name: table
                .value("unknown_name", |value| UNKNOWN_NAMES.read(value))
                .unwrap_or(unknown_name),
            idle_timeout: table.value("idle_timeout", value::time_limit),
            legacy,
            legacy_upstream: table.located("legacy_upstream", value::name),
            mx: table.value("mx", value::boolean).unwrap_or(false),
            trusted_proxies: networks("trusted_proxies"),
            max_body: table.value("max_body", value::size),
            allow: networks("allow"),
            deny: networks("deny"),
            table,
        }
    }

    /// The upstream that its old clients are handed to, if it has one for them alone.
    pub(super) fn hands_over_to(&self) -> Option<&str> {
        let ends_here = self.encryption.is_some_and(Encryption::ends_here);
        let upstream = self.legacy_upstream.as_ref();
        let upstream = upstream.filter(|_| self.legacy == Some(true) && ends_here);
        upstream.map(|name| name.get_ref().as_str())
    }

    fn join(self, upstreams: &Upstreams) -> Option<Listener> {
        let look_up = |name: Option<Spanned<String>>| match name {
            Some(name) => Some(Some(Arc::clone(upstreams.get(name.get_ref())?))),
            None => Some(None),
        };
        let upstream = look_up(self.upstream)?;
        let legacy_upstream = look_up(self.legacy_upstream)?;
        let protocol = self.protocol?;
        Some(Listener {
            name: self.name?.into_inner(),
            bind: unlocated(self.bind),
            protocol,
            encryption: self.encryption?,
            hostname: self.hostname,
            upstream,
            accept_proxy_from: unlocated(self.accept_proxy_from),
            unknown_name: self.unknown_name,
            idle_timeout: self.idle_timeout.unwrap_or_else(|| protocol.idle_timeout()),
            legacy: match self.legacy? {
                true => Legacy::Passthrough(legacy_upstream),
                false => Legacy::Refuse,
            },
            mx: self.mx,
            trusted_proxies: unlocated(self.trusted_proxies),
            max_body: self.max_body,
            allow: unlocated(self.allow),
            deny: unlocated(self.deny),
        })
    }
}

/// One `[[route]]`.
#[derive(Debug)]
pub(super) struct RouteTable<'a> {
    pub(super) table: Table<'a>,
    pub(super) names: Vec<Spanned<NamePattern>>,
    pub(super) listeners: Option<Vec<Spanned<String>>>,
    pub(super) path: Box<str>,
    pub(super) upstream: Option<Spanned<String>>,
    redirect: Option<u16>,
    respond: Option<u16>,
    hsts: Option<Duration>,
}

impl<'a> RouteTable<'a> {
    pub(super) fn read(table: Table<'a>) -> Self {
        Self {
            names: table
                .full_list("names", "host names", value::name_pattern)
                .unwrap_or_default(),
            listeners: table.full_list("listeners", "names of listeners", value::name),
            path: table
                .value("path", value::route_path)
                .unwrap_or_else(|| "/".into()),
            upstream: table.located("upstream", value::name),
            redirect: table.value("redirect", value::redirect),
            respond: table.value("respond", value::status),
            hsts: table.value("hsts", value::memory),
            table,
        }
    }

    /// What only a web server makes something of, the first such key.
    pub(super) fn for_http(&self) -> Option<&'static str> {
        let keys = ["redirect", "respond"].into_iter();
        let keys = keys.filter(|key| self.table.has(key));
        keys.chain((&*self.path != "/").then_some("path")).next()
    }

    fn join(self, upstreams: &Upstreams) -> Option<Route> {
        let target = match (self.upstream, self.redirect, self.respond) {
            (Some(name), ..) => Target::Upstream(Arc::clone(upstreams.get(name.get_ref())?)),
            (None, Some(port), _) => Target::Redirect(port),
            (None, None, status) => Target::Respond(status?),
        };
        Some(Route {
            names: unlocated(self.names),
            listeners: self.listeners.map(unlocated),
            path: self.path,
            target,
            hsts: self.hsts,
        })
    }
}

/// One `[[upstream]]`.
#[derive(Debug)]
pub(super) struct UpstreamTable<'a> {
    pub(super) table: Table<'a>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) servers: Vec<Spanned<ServerAddress>>,
    pub(super) encryption: Option<UpstreamEncryption>,
    pub(super) verification: Verification,
    pub(super) client_address: Option<ClientAddress>,
    connect_timeout: Duration,
    greeting_timeout: Duration,
    balance: Balance,
    health_interval: Option<Duration>,
    host: Option<String>,
    health_path: Option<String>,
}

impl<'a> UpstreamTable<'a> {
    pub(super) fn read(table: Table<'a>, base: &Path) -> Self {
        let encryption = if table.has("tls") {
            table.value("tls", |value| UPSTREAM_TLS.read(value))
        } else {
            Some(UpstreamEncryption::Off)
        };
        Self {
            name: table.located("name", value::name),
            servers: table
                .full_list(
                    "servers",
                    "HOST, HOST:PORT or unix:/PATH",
                    value::server(base),
                )
                .unwrap_or_default(),
            encryption,
            verification: verification(&table, base),
            client_address: table.value("client_address", |value| CLIENT_ADDRESSES.read(value)),
            connect_timeout: table
                .value("connect_timeout", value::time_limit)
                .unwrap_or(Duration::from_secs(5)),
            greeting_timeout: table
                .value("greeting_timeout", value::time_limit)
                .unwrap_or(Duration::from_secs(300)),
            balance: table
                .value("balance", |value| BALANCES.read(value))
                .unwrap_or(Balance::LeastConnections),
            health_interval: table
                .value("health_interval", value::interval)
                .unwrap_or(Some(Duration::from_secs(10))),
            host: table.value("host", value::authority),
            health_path: table.value("health_path", value::request_path),
            table,
        }
    }

    fn join(self) -> Option<Arc<Upstream>> {
        Some(Arc::new(Upstream {
            name: self.name?.into_inner(),
            servers: unlocated(self.servers),
            encryption: self.encryption?,
            verification: self.verification,
            client_address: self.client_address.unwrap_or(ClientAddress::None),
            connect_timeout: self.connect_timeout,
            greeting_timeout: self.greeting_timeout,
            balance: self.balance,
            health_interval: self.health_interval,
            host: self.host,
            health_path: self.health_path,
        }))
    }
}

/// `verify`, `trust`, `server_name` and `pin` of an upstream.
fn verification(table: &Table<'_>, base: &Path) -> Verification {
    let trust = table.full_list("trust", TRUST, value::trust_source(base));
    Verification {
        verify: table.value("verify", value::boolean).unwrap_or(true),
        trust: trust.map_or_else(|| vec![TrustSource::System], unlocated),
        server_name: table.value("server_name", value::host_name),
        pin: table.value("pin", value::pin),
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
