//! From a configuration to listeners at work, in two steps: everything that can fail, and
//! the change itself.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cert::LiveIndex;
use crate::config::{self, Config, Encryption, Legacy, Listener, Protocol, Route, Target};
use crate::metrics::Metrics;
use crate::proxy::{
    Acceptor, Active, ClientLimit, ConnectionLimit, Ending, HttpAction, HttpRoutes, RouteTable,
    Upstream, bind,
};
use crate::server::inherit::Inherited;
use crate::server::{Parts, StartError};
use crate::time::Clock;
use crate::tls::{ClientTls, Provider, ServerTls, Ticketer};

/// What all listeners share, and what outlives a reload.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) live: LiveIndex,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limit: Arc<ConnectionLimit>,
    pub(super) client_limit: Arc<ClientLimit>,
    pub(super) ending: Arc<Ending>,
    pub(super) parts: Parts,
    pub(super) host: String,
}

/// Listeners and upstreams at work.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    sockets: HashMap<Key, Running>,
    /// In the order of the configuration.
    pub(super) upstreams: Vec<Arc<Upstream>>,
    tickets: HashMap<String, Arc<Ticketer>>,
    /// Ends the health checks.
    watching: CancellationToken,
    /// Everybody who accepts, to the last connection in the queue of a socket that goes.
    accepting: TaskTracker,
}

/// What a socket is known by. Several listeners, and one of them several times, may ask the
/// system for a port (0); any other address is one socket, whichever listener has it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    address: SocketAddr,
    /// Whose, and which of its addresses, where the port is the system's choice.
    listener: Option<(String, usize)>,
}

#[derive(Debug)]
struct Running {
    bound: SocketAddr,
    active: Arc<ArcSwap<Active>>,
    stop: CancellationToken,
}

impl Running {
    /// Stops accepting, and tells those who are connected to come no more.
    fn retire(&self) {
        self.stop.cancel();
        self.active.load().retired.end();
    }
}

/// A change that can no longer fail.
#[derive(Debug)]
pub(super) struct Plan {
    listeners: Vec<(Arc<Active>, Vec<Key>)>,
    fresh: Vec<(Key, Arc<Active>, TcpListener)>,
    upstreams: Vec<Arc<Upstream>>,
    /// Upstreams that stay, and the TLS that they go on with: what their `trust` names was read
    /// again.
    renewed: Vec<(Arc<Upstream>, Option<Arc<ClientTls>>)>,
    tickets: HashMap<String, Arc<Ticketer>>,
}

impl Listeners {
    /// Builds and binds everything that `config` has and we have not. Nothing changes yet.
    pub(super) fn plan(
        &self,
        config: &Config,
        shared: &Shared,
        inherited: &mut Inherited,
    ) -> Result<Plan, StartError> {
        let provider = Provider::new(&config.tls);
        let mut renewed = Vec::new();
        let upstreams: Vec<_> = config
            .upstreams
            .iter()
            .map(|upstream| self.upstream(upstream, shared, &mut renewed))
            .collect::<Result<_, _>>()?;
        let mut plan = Plan {
            listeners: Vec::new(),
            fresh: Vec::new(),
            upstreams,
            renewed,
            tickets: HashMap::new(),
        };
        for listener in &config.listeners {
            let ticketer = self.ticketer(listener, shared, &mut plan.tickets)?;
            let active = Arc::new(activate(
                config,
                listener,
                &plan.upstreams,
                shared,
                &provider,
                ticketer,
            )?);
            let mut keys = Vec::new();
            for (n, &address) in listener.bind.iter().enumerate() {
                let key = Key {
                    address,
                    listener: (address.port() == 0).then(|| (listener.name.clone(), n)),
                };
                if !self.sockets.contains_key(&key) {
                    let socket = match inherited.take(address) {
                        Some(socket) => socket,
                        None => bind(address).map_err(|source| StartError::Bind {
                            listener: listener.name.clone(),
                            address,
                            source,
                        })?,
                    };
                    plan.fresh.push((key.clone(), Arc::clone(&active), socket));
                }
                keys.push(key);
            }
            plan.listeners.push((active, keys));
        }
        Ok(plan)
    }

    /// An upstream that did not change keeps its counts.
    fn upstream(
        &self,
        config: &Arc<config::Upstream>,
        shared: &Shared,
        renewed: &mut Vec<(Arc<Upstream>, Option<Arc<ClientTls>>)>,
    ) -> Result<Arc<Upstream>, StartError> {
        let failed = |source| StartError::UpstreamTls {
            upstream: config.name.clone(),
            source,
        };
        let clock = shared.clock.clone();
        let same = self.upstreams.iter().find(|old| old.config() == config);
        if let Some(upstream) = same {
            let tls = upstream.renewed_tls(clock).map_err(failed)?;
            renewed.push((Arc::clone(upstream), tls));
            return Ok(Arc::clone(upstream));
        }
        Upstream::new(Arc::clone(config), &shared.metrics, clock).map_err(failed)
    }

    /// The session tickets of a listener's protocol: kept over reloads, and never shared
    /// between protocols. A `tcp` listener may carry any, so it has its own.
    fn ticketer(
        &self,
        listener: &Listener,
        shared: &Shared,
        planned: &mut HashMap<String, Arc<Ticketer>>,
    ) -> Result<Arc<Ticketer>, StartError> {
        let scope = match listener.protocol {
            Protocol::Tcp => format!("tcp {}", listener.name),
            protocol => protocol.as_str().to_owned(),
        };
        let known = planned.get(&scope).or_else(|| self.tickets.get(&scope));
        let ticketer = match known {
            Some(ticketer) => Arc::clone(ticketer),
            None => Ticketer::new(shared.clock.clone()).ok_or(StartError::Randomness)?,
        };
        planned.insert(scope, Arc::clone(&ticketer));
        Ok(ticketer)
    }

    /// Carries a plan out: what is there gets its new configuration, what is new begins to
    /// accept, what is gone stops accepting. No connection is touched.
    pub(super) fn apply(&mut self, plan: Plan, shared: &Shared) {
        for (upstream, tls) in plan.renewed {
            upstream.renew(tls);
        }
        for (active, keys) in &plan.listeners {
            for key in keys {
                if let Some(running) = self.sockets.get(key) {
                    running.active.swap(Arc::clone(active)).retired.end();
                }
            }
        }
        let kept = |key: &Key| plan.listeners.iter().any(|(_, keys)| keys.contains(key));
        self.sockets.retain(|key, running| {
            let keep = kept(key);
            if !keep {
                running.retire();
            }
            keep
        });
        for (key, active, socket) in plan.fresh {
            self.open(key, active, socket, shared);
        }
        self.watch(plan.listeners.iter().map(|(active, _)| active), shared);
        self.upstreams = plan.upstreams;
        self.tickets = plan.tickets;
    }

    /// Checks the health of every server, in every protocol that connections come to it in.
    fn watch<'a>(&mut self, listeners: impl Iterator<Item = &'a Arc<Active>>, shared: &Shared) {
        self.watching.cancel();
        self.watching = CancellationToken::new();
        let own_name: Arc<str> = shared.host.as_str().into();
        let mut watched = HashSet::new();
        for active in listeners {
            let protocol = active.config.protocol;
            let untouched = active.config.encryption == Encryption::Passthrough;
            let web = active.web.iter().flat_map(HttpRoutes::upstreams);
            for upstream in active.routes.upstreams().chain(web) {
                let config = upstream.config();
                let first = watched.insert((config.name.clone(), protocol, untouched));
                if !first || config.health_interval.is_none() {
                    continue;
                }
                for server in 0..config.servers.len() {
                    let (upstream, own_name) = (Arc::clone(upstream), Arc::clone(&own_name));
                    let stop = self.watching.clone();
                    let part = upstream.watch(server, protocol, untouched, own_name, stop);
                    let name = format!("health checks of upstream {}", config.name);
                    shared.parts.spawn(&name, self.watching.clone(), part);
                }
            }
        }
    }

    fn open(&mut self, key: Key, active: Arc<Active>, socket: TcpListener, shared: &Shared) {
        let name = format!("listener {}", active.config.name);
        let bound = socket.local_addr().unwrap_or(key.address);
        tracing::info!(listener = active.config.name, address = %bound, "listening");
        let active = Arc::new(ArcSwap::new(active));
        let stop = CancellationToken::new();
        let (limit, ending) = (Arc::clone(&shared.limit), Arc::clone(&shared.ending));
        let running = stop.clone();
        let accepted = Arc::clone(&active);
        let part = async move {
            match Acceptor::new(socket, accepted, limit, ending) {
                Ok(acceptor) => acceptor.run(running).await,
                Err(error) => tracing::error!(%error, "a listening socket cannot be used"),
            }
        };
        let part = self.accepting.track_future(part);
        shared.parts.spawn(&name, stop.clone(), part);
        self.sockets.insert(
            key,
            Running {
                bound,
                active,
                stop,
            },
        );
    }

    /// Stops accepting everywhere. What is returned ends when the last connection that waited
    /// in a queue has its place.
    pub(super) fn stop(&mut self) -> TaskTracker {
        self.watching.cancel();
        for (_, running) in self.sockets.drain() {
            running.retire();
        }
        self.accepting.close();
        self.accepting.clone()
    }

    /// Name and bound addresses of each of `listeners`.
    pub(super) fn bound(&self, listeners: &[Arc<Listener>]) -> Vec<(String, Vec<SocketAddr>)> {
        let addresses = |listener: &Arc<Listener>| {
            let mut addresses: Vec<_> = self
                .sockets
                .values()
                .filter(|running| running.active.load().config.name == listener.name)
                .map(|running| running.bound)
                .collect();
            addresses.sort_unstable();
            (listener.name.clone(), addresses)
        };
        listeners.iter().map(addresses).collect()
    }
}

/// One listener with everything that its connections need.
fn activate(
    config: &Config,
    listener: &Arc<Listener>,
    upstreams: &[Arc<Upstream>],
    shared: &Shared,
    provider: &Provider,
    ticketer: Arc<Ticketer>,
) -> Result<Active, StartError> {
    let (live, clock) = (shared.live.clone(), shared.clock.clone());
    let tls = match listener.encryption {
        Encryption::Implicit | Encryption::StartTls | Encryption::StartTlsOptional => {
            let tls = ServerTls::new(provider, listener, ticketer, live, clock);
            Some(tls.map_err(|source| StartError::Tls {
                listener: listener.name.clone(),
                source,
            })?)
        }
        Encryption::Passthrough | Encryption::Off => None,
    };
    let hostname = listener.hostname.as_ref().map(ToString::to_string);
    Ok(Active {
        tls,
        routes: routes(config, listener, upstreams),
        web: web(config, listener, upstreams, &shared.metrics),
        retired: Ending::default(),
        metrics: shared.metrics.listener(&listener.name),
        client_limit: Arc::clone(&shared.client_limit),
        legacy: match &listener.legacy {
            Legacy::Passthrough(Some(upstream)) => at_work(upstreams, upstream),
            Legacy::Passthrough(None) | Legacy::Refuse => None,
        },
        preamble_timeout: config.limits.preamble_timeout,
        handshake_timeout: config.limits.handshake_timeout,
        hostname: hostname.unwrap_or_else(|| shared.host.clone()).into(),
        access: config.log.access,
        config: Arc::clone(listener),
    })
}

fn at_work(upstreams: &[Arc<Upstream>], named: &config::Upstream) -> Option<Arc<Upstream>> {
    let found = upstreams.iter().find(|at| at.config().name == named.name);
    found.map(Arc::clone)
}

fn routes(config: &Config, listener: &Listener, upstreams: &[Arc<Upstream>]) -> RouteTable {
    let default = listener.upstream.as_deref();
    let default = default.and_then(|upstream| at_work(upstreams, upstream));
    let mut table = RouteTable::new(default);
    for route in held(config, listener).filter(|route| &*route.path == "/") {
        let upstream = route.upstream();
        if let Some(upstream) = upstream.and_then(|upstream| at_work(upstreams, upstream)) {
            for pattern in &route.names {
                table.add(pattern, &upstream);
            }
        }
    }
    table
}

/// The routes that hold on a listener.
fn held<'a>(config: &'a Config, listener: &'a Listener) -> impl Iterator<Item = &'a Route> {
    config
        .routes
        .iter()
        .filter(|route| route.holds_on(listener))
}

/// Where the requests of a listener of http go.
fn web(
    config: &Config,
    listener: &Listener,
    upstreams: &[Arc<Upstream>],
    metrics: &Metrics,
) -> Option<HttpRoutes> {
    if listener.protocol != Protocol::Http {
        return None;
    }
    let counted = |route: &str| metrics.route(&listener.name, route);
    let default = listener.upstream.as_deref();
    let default = default.and_then(|upstream| at_work(upstreams, upstream));
    let default = default.map(|upstream| (upstream, counted(DEFAULT_ROUTE)));
    let mut routes = HttpRoutes::new(default, counted(NO_ROUTE));
    for route in held(config, listener) {
        let action = match &route.target {
            Target::Upstream(upstream) => match at_work(upstreams, upstream) {
                Some(upstream) => HttpAction::Upstream(upstream),
                None => continue,
            },
            Target::Redirect(port) => HttpAction::Redirect(*port),
            Target::Respond(status) => match (*status).try_into() {
                Ok(status) => HttpAction::Respond(status),
                Err(_) => continue,
            },
        };
        let metrics = counted(&route_label(route));
        routes.add(&route.names, &route.path, &action, route.hsts, &metrics);
    }
    Some(routes)
}

/// Label of the requests that a listener's own upstream takes.
const DEFAULT_ROUTE: &str = "listener";

/// Label of the requests that nothing takes.
const NO_ROUTE: &str = "none";

/// A route as the metrics show it: its first name, and its path if it is for one.
fn route_label(route: &Route) -> String {
    let name = route
        .names
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    match &*route.path {
        "/" => name,
        path => name + path,
    }
}

/// Every listener with every route that its requests are counted by.
pub(super) fn counted_routes(config: &Config) -> Vec<(String, String)> {
    let web = config
        .listeners
        .iter()
        .filter(|it| it.protocol == Protocol::Http);
    web.flat_map(|listener| {
        let own = [DEFAULT_ROUTE, NO_ROUTE].map(str::to_owned);
        let routes = held(config, listener).map(route_label).chain(own);
        routes.map(|route| (listener.name.clone(), route))
    })
    .collect()
}
