//! The task that owns what changes: it starts the parts, and carries out commands.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::api::{
    Drained, ListenerStatus, Reloaded, ServerStatus, Status, Timestamp, UpstreamStatus,
};
use crate::admin::{self, Command, Context, SocketGuard};
use crate::causes;
use crate::cert::{CertIndex, LiveIndex};
use crate::config::{self, Config, Limits};
use crate::log::LogHandle;
use crate::metrics::Metrics;
use crate::proxy::{self, ClientLimit, ConnectionLimit, Ending, Upstream};
use crate::server::certificates;
use crate::server::inherit::Inherited;
use crate::server::listeners::{Listeners, Plan, Shared};
use crate::server::{
    Bound, Handle, Options, Parts, Server, StartError, descriptors, listeners, store_options,
};
use crate::store::CertStore;

/// The version that is shown and scraped.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commands that may wait for the one before.
const COMMANDS: usize = 16;

/// How long sessions that were told to end at the drain's deadline may take to do it.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

struct Control {
    shared: Shared,
    listeners: Listeners,
    config: Arc<ArcSwap<Config>>,
    bound: Arc<ArcSwap<Bound>>,
    store: Arc<CertStore>,
    log: Option<LogHandle>,
    admin: AdminPart,
    scrape: CancellationToken,
    commands: mpsc::Sender<Command>,
    ready: watch::Sender<bool>,
    draining: bool,
    stopped: watch::Sender<bool>,
    started: Timestamp,
    /// Connections that the descriptor limit allows.
    allowed: usize,
}

struct AdminPart {
    stop: CancellationToken,
    /// Serves the socket until the last answer is written.
    serving: TaskTracker,
    socket: SocketGuard,
}

impl AdminPart {
    fn new(socket: SocketGuard) -> Self {
        Self {
            stop: CancellationToken::new(),
            serving: TaskTracker::new(),
            socket,
        }
    }
}

/// What a reload changes, ready to be put in place.
struct Change {
    listeners: Plan,
    scrape: Option<TcpListener>,
    admin: Option<(UnixListener, SocketGuard)>,
}

/// Starts everything; see [`Server::start`].
pub(super) async fn start(config: Config, options: Options) -> Result<Server, StartError> {
    let allowed = descriptors::raise();
    let clock = options.clock;
    let live = LiveIndex::new(CertIndex::new(Vec::new(), None, config.certificates.order));
    // The admin socket comes first: it is what tells a second instance to stay away.
    let (admin_socket, guard) =
        admin::bind(&config.admin.socket, config.admin.mode).map_err(StartError::Admin)?;
    // Nothing is served yet that this could hold up. What another thread allocates lies in a heap of
    // its own, which grows by a few pages at a time.
    let options_of_store = store_options(&config.certificates);
    let store = CertStore::open_watched(options_of_store, live.clone(), clock.clone())?;
    let store = Arc::new(store);
    let shared = Shared {
        metrics: Metrics::new(VERSION),
        limit: ConnectionLimit::new(descriptors::connections(config.limits.connections, allowed)),
        client_limit: ClientLimit::new(config.limits.connections_per_client),
        ending: Arc::new(Ending::default()),
        parts: Parts::new(),
        host: host_name(),
        live: live.clone(),
        clock,
    };
    let mut inherited = match options.inherit_sockets {
        true => Inherited::from_environment(),
        false => Inherited::default(),
    };
    let mut listeners = Listeners::default();
    let plan = listeners.plan(&config, &shared, &mut inherited)?;
    inherited.report_unused();
    let scrape_socket = bind_scrape(config.metrics).await?;
    listeners.apply(plan, &shared);

    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (ready, _) = watch::channel(true);
    let (stopped, stopping) = watch::channel(false);
    let started = Timestamp::from(shared.clock.now());
    shared.metrics.configured(shared.clock.now());
    let config = Arc::new(ArcSwap::from_pointee(config));
    let control = Control {
        listeners,
        bound: Arc::default(),
        store: Arc::clone(&store),
        log: options.log,
        admin: AdminPart::new(guard),
        scrape: CancellationToken::new(),
        commands: commands.clone(),
        ready,
        draining: false,
        stopped,
        started,
        allowed,
        config,
        shared,
    };
    control.serve_admin(admin_socket);
    control.serve_scrape(scrape_socket);
    control.publish_bound();
    for warning in control.context().mx_warnings() {
        tracing::warn!("{warning}");
    }
    let server = Server {
        handle: Handle(commands),
        bound: Arc::clone(&control.bound),
        live,
        store,
        parts: control.shared.parts.clone(),
        stopped: stopping,
    };
    let parts = control.shared.parts.clone();
    let watch = certificates::watch(Arc::clone(&server.store));
    parts.spawn("watch over certificates", CancellationToken::new(), watch);
    parts.spawn("control", CancellationToken::new(), control.run(inbox));
    Ok(server)
}

impl Control {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.recv().await {
            // Whoever asked may have gone in the meantime: the answer is nobody's then.
            match command {
                Command::Status(reply) => drop(reply.send(self.status())),
                Command::Reload(reply) => drop(reply.send(self.reload().await)),
                Command::Drain(reply) => self.drain(reply, false),
                Command::Stop(reply) => self.drain(reply, true),
            }
        }
    }

    /// Reads the configuration again, and takes it up if nothing is wrong with it.
    async fn reload(&mut self) -> Result<Reloaded, String> {
        let outcome = self.try_reload().await;
        let metrics = &self.shared.metrics;
        metrics.reload(outcome.is_ok(), self.shared.clock.now());
        match &outcome {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!("configuration reloaded");
            }
            Err(errors) => {
                for error in errors.lines() {
                    tracing::error!(error, "configuration not reloaded; nothing changed");
                }
                // What was planned has begun to count.
                self.retain_metrics(&self.config.load_full());
            }
        }
        outcome
    }

    async fn try_reload(&mut self) -> Result<Reloaded, String> {
        if self.draining {
            return Err("draining: nothing is reloaded any more".to_owned());
        }
        let old = self.config.load_full();
        let path = old.path.clone();
        let loaded = spawn_blocking(move || config::load(&path)).await;
        let (config, warnings) = loaded
            .map_err(|error| error.to_string())?
            .map_err(|errors| errors.to_string())?;
        let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        if config.threads != old.threads {
            warnings.push("[runtime] threads takes effect at the next start".to_owned());
        }
        let change = self.prepare(&old, &config).await;
        self.carry_out(change.map_err(|error| causes::in_one_line(&error))?, config);
        warnings.extend(self.context().mx_warnings());
        Ok(Reloaded { warnings })
    }

    /// Everything about a change that can fail.
    async fn prepare(&self, old: &Config, new: &Config) -> Result<Change, StartError> {
        let listeners = self
            .listeners
            .plan(new, &self.shared, &mut Inherited::default())?;
        let scrape = match new.metrics == old.metrics {
            true => None,
            false => Some(bind_scrape(new.metrics).await?),
        };
        let admin = match new.admin.socket == old.admin.socket {
            true => None,
            false => {
                let bound = admin::bind(&new.admin.socket, new.admin.mode);
                Some(bound.map_err(StartError::Admin)?)
            }
        };
        let (store, options) = (Arc::clone(&self.store), store_options(&new.certificates));
        spawn_blocking(move || store.reload(options)).await??;
        Ok(Change {
            listeners,
            scrape,
            admin,
        })
    }

    /// The change itself. What goes wrong from here on is logged and leaves that one thing
    /// as it was.
    fn carry_out(&mut self, change: Change, config: Config) {
        if let Some(log) = &self.log
            && let Err(error) = log.apply(&config.log)
        {
            tracing::error!(
                error = causes::in_one_line(&error),
                "the log stays as it was"
            );
        }
        self.take_limits(&config.limits);
        self.listeners.apply(change.listeners, &self.shared);
        self.retain_metrics(&config);
        let mode = config.admin.mode;
        self.config.store(Arc::new(config));
        match change.admin {
            None => {
                if let Err(error) = self.admin.socket.set_mode(mode) {
                    tracing::error!(
                        error = causes::in_one_line(&error),
                        "the admin socket keeps its mode"
                    );
                }
            }
            Some((listener, socket)) => {
                self.admin.stop.cancel();
                self.admin = AdminPart::new(socket);
                self.serve_admin(listener);
            }
        }
        if let Some(listener) = change.scrape {
            self.scrape.cancel();
            self.scrape = CancellationToken::new();
            self.serve_scrape(listener);
        }
        self.publish_bound();
    }

    fn take_limits(&self, limits: &Limits) {
        let connections = descriptors::connections(limits.connections, self.allowed);
        self.shared.limit.set(connections);
        self.shared.client_limit.set(limits.connections_per_client);
    }

    fn retain_metrics(&self, config: &Config) {
        let listeners: Vec<_> = config.listeners.iter().map(|l| l.name.as_str()).collect();
        self.shared.metrics.retain_listeners(&listeners);
        let servers = |upstream: &Arc<config::Upstream>| {
            upstream.servers.iter().map(ToString::to_string).collect()
        };
        let upstreams: Vec<_> = config
            .upstreams
            .iter()
            .map(|upstream| (upstream.name.as_str(), servers(upstream)))
            .collect();
        self.shared.metrics.retain_upstreams(&upstreams);
        let routes = listeners::counted_routes(config);
        self.shared.metrics.retain_routes(&routes);
    }

    /// Stops accepting and answers when no connection is left, or when those that were left
    /// at the deadline have been ended. With `stop` the server ends after that.
    fn drain(&mut self, reply: oneshot::Sender<Drained>, stop: bool) {
        if !self.draining {
            tracing::info!(connections = self.shared.limit.active(), "draining");
        }
        self.draining = true;
        self.ready.send_replace(false);
        let accepting = self.listeners.stop();
        let patience = self.config.load().limits.drain_timeout;
        let (limit, ending) = (
            Arc::clone(&self.shared.limit),
            Arc::clone(&self.shared.ending),
        );
        let (stopped, admin) = (self.stopped.clone(), self.admin.stop.clone());
        let serving = self.admin.serving.clone();
        tokio::spawn(async move {
            let mut drained = Drained { cut_off: 0 };
            let done = async {
                // What still waits for its place is not counted yet.
                accepting.wait().await;
                limit.idle().await;
            };
            if timeout(patience, done).await.is_err() {
                drained.cut_off = limit.active() as u64;
                tracing::warn!(connections = drained.cut_off, "drain_timeout has passed");
                ending.end();
                // A session that cannot even end within this is ended with the runtime.
                let _ = timeout(LAST_MOMENTS, limit.idle()).await;
            }
            tracing::info!(cut_off = drained.cut_off, "drained");
            // Whoever asked may have gone.
            let _ = reply.send(drained);
            if stop {
                // Whoever asked over the socket gets the answer before the process is gone.
                admin.cancel();
                serving.close();
                serving.wait().await;
                stopped.send_replace(true);
            }
        });
    }

    fn status(&self) -> Status {
        let config = self.config.load();
        Status {
            version: VERSION.to_owned(),
            started: self.started,
            draining: self.draining,
            listeners: self.listener_status(&config),
            upstreams: self
                .listeners
                .upstreams
                .iter()
                .map(upstream_status)
                .collect(),
            default: self.store.default_name(),
            expires_next: self.context().expires_next(),
        }
    }

    fn listener_status(&self, config: &Config) -> Vec<ListenerStatus> {
        let bound = self.listeners.bound(&config.listeners);
        let status = |(name, addresses): (String, Vec<SocketAddr>)| {
            let connections = self.shared.metrics.listener(&name).active.get();
            ListenerStatus {
                bound: addresses.iter().map(ToString::to_string).collect(),
                connections: u64::try_from(connections).unwrap_or_default(),
                name,
            }
        };
        bound.into_iter().map(status).collect()
    }

    fn publish_bound(&self) {
        let bound = self.bound.load();
        self.bound.store(Arc::new(Bound {
            listeners: self.listeners.bound(&self.config.load().listeners),
            metrics: bound.metrics,
        }));
    }

    fn context(&self) -> Context {
        Context {
            store: Arc::clone(&self.store),
            live: self.shared.live.clone(),
            clock: self.shared.clock.clone(),
            config: Arc::clone(&self.config),
        }
    }

    fn serve_admin(&self, listener: UnixListener) {
        let stop = self.admin.stop.clone();
        let serve = admin::serve(
            listener,
            self.context(),
            self.commands.clone(),
            stop.clone(),
        );
        let serve = self.admin.serving.track_future(serve);
        self.shared.parts.spawn("admin socket", stop, serve);
    }

    fn serve_scrape(&self, listener: TcpListener) {
        let address = listener.local_addr().ok();
        self.bound.rcu(|bound| Bound {
            metrics: address,
            ..Bound::clone(bound)
        });
        let stop = self.scrape.clone();
        let serve = admin::serve_metrics(
            listener,
            Arc::clone(&self.shared.metrics),
            self.context(),
            self.ready.subscribe(),
            stop.clone(),
        );
        self.shared.parts.spawn("metrics", stop, serve);
    }
}

fn upstream_status(upstream: &Arc<Upstream>) -> UpstreamStatus {
    let server = |server: proxy::ServerStatus| ServerStatus {
        address: server.address,
        up: server.up,
        connections: server.connections as u64,
    };
    UpstreamStatus {
        name: upstream.config().name.clone(),
        servers: upstream.status().into_iter().map(server).collect(),
    }
}

async fn bind_scrape(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Metrics { address, source })
}

/// This host's name, as its administrator set it.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    match name.is_empty() {
        true => "localhost".to_owned(),
        false => name.into_owned(),
    }
}
