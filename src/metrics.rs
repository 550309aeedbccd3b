//! Every metric: its name, its help and its labels, in one file.
//!
//! Knows no other module; callers pass plain labels. Values of labels that are chosen by code
//! are `&'static str`, so that nothing a client sends can become one. `docs/metrics.md` is the
//! promise, a test compares the two.

mod route;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use rustls_pki_types::UnixTime;

pub use route::RouteMetrics;

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Half a millisecond (a resumed handshake on the local net) to ten seconds (the default of
/// `handshake_timeout`; connects end earlier).
const LATENCY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A request may wait an hour for its answer: clients of ActiveSync and EWS do.
const REQUEST_BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3600.0,
];

/// Values of the label `rank`: what was served, or that nothing was.
const RANKS: [&str; 10] = ["none", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// All metrics of one process. Handles for a listener or an upstream are taken once, at
/// start or reload, so that the live path touches atomics only.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Vec<Family>,
    vectors: Vectors,
    index_names: IntGauge,
    index_updates: IntCounter,
    set_aside: IntGauge,
    last_reload_success: IntGauge,
    listeners: Mutex<HashMap<String, Arc<ListenerMetrics>>>,
    upstreams: Mutex<HashMap<String, Arc<UpstreamMetrics>>>,
    routes: Mutex<HashMap<(String, String), Arc<RouteMetrics>>>,
    /// Held while the certificate metrics change or are read, so that a scrape sees one state.
    scrape: Mutex<()>,
}

/// What a metric is called, what it is and which labels it has.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Family {
    /// Full name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: Vec<String>,
}

/// What is shown of one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateSample {
    /// NAME.
    pub name: String,
    /// Last second of its validity period, if it could be read.
    pub not_after: Option<i64>,
    /// What it is today.
    pub standing: &'static str,
    /// Whether it is the default certificate.
    pub default: bool,
}

/// Metrics that have labels.
#[derive(Clone, Debug)]
struct Vectors {
    active: IntGaugeVec,
    connections: IntCounterVec,
    ended: IntCounterVec,
    refused: IntCounterVec,
    handshakes: IntCounterVec,
    handshake_failures: IntCounterVec,
    handshake_seconds: HistogramVec,
    selections: IntCounterVec,
    starttls: IntCounterVec,
    starttls_injections: IntCounterVec,
    logins_disabled: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    not_after: IntGaugeVec,
    certificate: IntGaugeVec,
    up: IntGaugeVec,
    connect_seconds: HistogramVec,
    upstream_errors: IntCounterVec,
    http_requests: IntCounterVec,
    http_request_seconds: HistogramVec,
    reloads: IntCounterVec,
}

/// Handles of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    /// Connections open now.
    pub active: IntGauge,
    /// Connections accepted.
    pub connections: IntCounter,
    /// Bytes read from clients.
    pub received_downstream: IntCounter,
    /// Bytes written to clients.
    pub sent_downstream: IntCounter,
    /// Bytes read from upstreams.
    pub received_upstream: IntCounter,
    /// Bytes written to upstreams.
    pub sent_upstream: IntCounter,
    /// Sessions whose server takes no password.
    pub logins_disabled: IntCounter,
    name: String,
    vectors: Vectors,
    /// TLS 1.2 full, 1.2 resumed, 1.3 full, 1.3 resumed.
    handshakes: [IntCounter; 4],
    handshake_seconds: Histogram,
    selections: [IntCounter; RANKS.len()],
    removed: AtomicBool,
}

/// Handles of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// How long connects took that succeeded.
    pub connect_seconds: Histogram,
    name: String,
    vectors: Vectors,
    removed: AtomicBool,
    /// Servers of the configuration in use; `None` until it says.
    servers: Mutex<Option<Vec<String>>>,
}

impl Metrics {
    /// Registers every metric; `version` is the product's.
    pub fn new(version: &str) -> Arc<Self> {
        let mut registrar = Registrar::default();
        let build = registrar.gauges(
            "build_info",
            "The version that runs; always 1.",
            &["version"],
        );
        build.with_label_values(&[version]).set(1);
        let vectors = Vectors::new(&mut registrar);
        for outcome in ["ok", "error"] {
            vectors.reloads.with_label_values(&[outcome]);
        }
        let set_aside = registrar.gauge(
            "certificates_set_aside",
            "Files of the certificate folder that cannot be used.",
        );
        let index_names = registrar.gauge(
            "certificate_index_names",
            "Distinct names that certificates can be chosen by.",
        );
        let index_updates = registrar.counter(
            "certificate_index_updates_total",
            "How often a new certificate index was taken into use.",
        );
        let last_reload_success = registrar.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read, in seconds since 1970.",
        );
        registrar.process();
        Arc::new(Self {
            registry: registrar.registry,
            families: registrar.families,
            vectors,
            index_names,
            index_updates,
            set_aside,
            last_reload_success,
            listeners: Mutex::default(),
            upstreams: Mutex::default(),
            routes: Mutex::default(),
            scrape: Mutex::default(),
        })
    }

    /// The handles of a listener; always the same ones until it is removed.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        lock(&self.listeners)
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(ListenerMetrics::new(name, &self.vectors)))
            .clone()
    }

    /// The handles of an upstream; always the same ones until it is removed.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        lock(&self.upstreams)
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(UpstreamMetrics::new(name, &self.vectors)))
            .clone()
    }

    /// The handles of a route on a listener; always the same ones until it is removed.
    pub fn route(&self, listener: &str, route: &str) -> Arc<RouteMetrics> {
        let Vectors {
            http_requests,
            http_request_seconds,
            ..
        } = &self.vectors;
        lock(&self.routes)
            .entry((listener.to_owned(), route.to_owned()))
            .or_insert_with(|| {
                let route = RouteMetrics::new(listener, route, http_requests, http_request_seconds);
                Arc::new(route)
            })
            .clone()
    }

    /// Drops the series of every other route; each of `kept` is a listener and a route.
    pub fn retain_routes(&self, kept: &[(String, String)]) {
        lock(&self.routes).retain(|key, route| {
            let keep = kept.contains(key);
            if !keep {
                route.remove();
            }
            keep
        });
        let label =
            |labels: &HashMap<&str, &str>, name| labels.get(name).map(|it| (*it).to_owned());
        retain(&self.vectors.http_requests, |labels| {
            let key = label(labels, "listener").zip(label(labels, "route"));
            key.is_some_and(|key| kept.contains(&key))
        });
        retain(&self.vectors.http_request_seconds, |labels| {
            let route = labels.get("route");
            route.is_some_and(|route| kept.iter().any(|(_, kept)| kept == route))
        });
    }

    /// Drops the series of every other listener. Connections that still run on a removed
    /// one go on counting into handles that nobody sees.
    pub fn retain_listeners(&self, kept: &[&str]) {
        lock(&self.listeners).retain(|name, listener| {
            let keep = kept.contains(&name.as_str());
            listener.removed.store(!keep, Ordering::Relaxed);
            keep
        });
        self.vectors
            .retain_listeners(|listener| kept.contains(&listener));
    }

    /// Drops the series of every other upstream, and of every other server of those kept: a
    /// server that is no longer configured must not be shown as down for ever.
    pub fn retain_upstreams(&self, kept: &[(&str, Vec<String>)]) {
        let servers_of = |name: &str| kept.iter().find(|(kept, _)| *kept == name);
        lock(&self.upstreams).retain(|name, upstream| {
            let servers = servers_of(name).map(|(_, servers)| servers.clone());
            upstream.removed.store(servers.is_none(), Ordering::Relaxed);
            let keep = servers.is_some();
            *lock(&upstream.servers) = servers;
            keep
        });
        self.vectors.retain_upstreams(|upstream, server| {
            servers_of(upstream)
                .is_some_and(|(_, servers)| server.is_none_or(|s| servers.iter().any(|k| k == s)))
        });
    }

    /// Notes that the configuration now in use was read at `now`.
    pub fn configured(&self, now: UnixTime) {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.last_reload_success.set(seconds);
    }

    /// Counts a reload of the configuration.
    pub fn reload(&self, ok: bool, now: UnixTime) {
        let outcome = if ok { "ok" } else { "error" };
        self.vectors.reloads.with_label_values(&[outcome]).inc();
        if ok {
            self.configured(now);
        }
    }

    /// Shows these certificates and no others; called at scrape time. `updates` is how often
    /// the index was taken into use since the process started.
    pub fn certificates(
        &self,
        list: &[CertificateSample],
        set_aside: usize,
        names: usize,
        updates: u64,
    ) {
        let _one_at_a_time = lock(&self.scrape);
        self.vectors.not_after.reset();
        self.vectors.certificate.reset();
        for sample in list {
            let default = if sample.default { "true" } else { "false" };
            if let Some(not_after) = sample.not_after {
                self.vectors
                    .not_after
                    .with_label_values(&[&sample.name])
                    .set(not_after);
            }
            self.vectors
                .certificate
                .with_label_values(&[sample.name.as_str(), sample.standing, default])
                .set(1);
        }
        self.set_aside.set(gauge_value(set_aside));
        self.index_names.set(gauge_value(names));
        let counted = self.index_updates.get();
        self.index_updates.inc_by(updates.saturating_sub(counted));
    }

    /// Everything, in the text format 0.0.4.
    pub fn render(&self) -> String {
        let families = {
            let _one_at_a_time = lock(&self.scrape);
            self.registry.gather()
        };
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("the registry holds no metric without a name")
    }

    /// Every metric that there is, whether or not it has a series yet.
    pub fn families(&self) -> &[Family] {
        &self.families
    }
}

impl Vectors {
    fn new(registrar: &mut Registrar) -> Self {
        let (http_requests, http_request_seconds) = registrar.http();
        Self {
            active: registrar.gauges("connections_active", "Connections open now.", &["listener"]),
            connections: registrar.counters(
                "connections_total",
                "Connections accepted.",
                &["listener"],
            ),
            ended: registrar.counters(
                "connections_ended_total",
                "Connections ended, by how far they came, whose doing it was and why.",
                &["listener", "stage", "party", "reason"],
            ),
            refused: registrar.counters(
                "connections_refused_total",
                "Connections turned away, by reason.",
                &["listener", "reason"],
            ),
            handshakes: registrar.counters(
                "tls_handshakes_total",
                "TLS handshakes completed with clients.",
                &["listener", "version", "resumed"],
            ),
            handshake_failures: registrar.counters(
                "tls_handshake_failures_total",
                "TLS handshakes with clients that failed.",
                &["listener", "reason"],
            ),
            handshake_seconds: registrar.histograms(
                "tls_handshake_seconds",
                "How long TLS handshakes with clients took that were completed.",
                &["listener"],
            ),
            selections: registrar.counters(
                "certificate_selections_total",
                "Certificates chosen, by line of the selection table.",
                &["listener", "rank"],
            ),
            starttls: registrar.counters(
                "starttls_total",
                "Connections of listeners with STARTTLS, by what came of it.",
                &["listener", "outcome"],
            ),
            starttls_injections: registrar.counters(
                "starttls_injections_total",
                "Connections ended because bytes in clear came behind STARTTLS.",
                &["listener"],
            ),
            logins_disabled: registrar.counters(
                "logins_disabled_total",
                "IMAP sessions whose server announced LOGINDISABLED to a client.",
                &["listener"],
            ),
            received: registrar.counters(
                "received_bytes_total",
                "Bytes of the relayed stream read, by side.",
                &["listener", "side"],
            ),
            sent: registrar.counters(
                "sent_bytes_total",
                "Bytes of the relayed stream written, by side.",
                &["listener", "side"],
            ),
            not_after: registrar.gauges(
                "certificate_not_after_timestamp_seconds",
                "Last second of the certificate's validity period, since 1970.",
                &["name"],
            ),
            certificate: registrar.gauges(
                "certificate_info",
                "What the certificate is today; always 1.",
                &["name", "standing", "default"],
            ),
            up: registrar.gauges(
                "upstream_up",
                "Whether the server answered last time.",
                &["upstream", "server"],
            ),
            connect_seconds: registrar.histograms(
                "upstream_connect_seconds",
                "How long it took until it was the client's turn.",
                &["upstream"],
            ),
            upstream_errors: registrar.counters(
                "upstream_errors_total",
                "Servers of the upstream that could not be used.",
                &["upstream", "reason"],
            ),
            http_requests,
            http_request_seconds,
            reloads: registrar.counters(
                "config_reloads_total",
                "Reloads of the configuration, by outcome.",
                &["outcome"],
            ),
        }
    }

    fn retain_listeners(&self, keep: impl Fn(&str) -> bool) {
        let keep = |labels: &HashMap<&str, &str>| labels.get("listener").is_none_or(|l| keep(l));
        retain(&self.active, keep);
        retain(&self.handshake_seconds, keep);
        for vector in [
            &self.connections,
            &self.ended,
            &self.refused,
            &self.handshakes,
            &self.handshake_failures,
            &self.selections,
            &self.starttls,
            &self.starttls_injections,
            &self.logins_disabled,
            &self.http_requests,
            &self.received,
            &self.sent,
        ] {
            retain(vector, keep);
        }
    }

    fn retain_upstreams(&self, keep: impl Fn(&str, Option<&str>) -> bool) {
        let keep = |labels: &HashMap<&str, &str>| {
            let server = labels.get("server").copied();
            labels.get("upstream").is_none_or(|u| keep(u, server))
        };
        retain(&self.up, keep);
        retain(&self.connect_seconds, keep);
        retain(&self.upstream_errors, keep);
    }
}

impl ListenerMetrics {
    fn new(name: &str, vectors: &Vectors) -> Self {
        let side = |vector: &IntCounterVec, side| vector.with_label_values(&[name, side]);
        let handshakes = |version, resumed| {
            vectors
                .handshakes
                .with_label_values(&[name, version, resumed])
        };
        Self {
            active: vectors.active.with_label_values(&[name]),
            connections: vectors.connections.with_label_values(&[name]),
            received_downstream: side(&vectors.received, "downstream"),
            sent_downstream: side(&vectors.sent, "downstream"),
            received_upstream: side(&vectors.received, "upstream"),
            sent_upstream: side(&vectors.sent, "upstream"),
            logins_disabled: vectors.logins_disabled.with_label_values(&[name]),
            name: name.to_owned(),
            vectors: vectors.clone(),
            handshakes: [
                handshakes("1.2", "false"),
                handshakes("1.2", "true"),
                handshakes("1.3", "false"),
                handshakes("1.3", "true"),
            ],
            handshake_seconds: vectors.handshake_seconds.with_label_values(&[name]),
            selections: RANKS.map(|rank| vectors.selections.with_label_values(&[name, rank])),
            removed: AtomicBool::new(false),
        }
    }

    /// Counts a connection that is over: how far it came, whose doing the end was, and why.
    pub fn ended(&self, stage: &'static str, party: &'static str, reason: &'static str) {
        self.rare(&self.vectors.ended, &[&self.name, stage, party, reason]);
    }

    /// Counts a connection that was turned away, or that could not be accepted.
    pub fn refused(&self, reason: &'static str) {
        self.rare(&self.vectors.refused, &[&self.name, reason]);
    }

    /// Counts a completed handshake; `version` is `1.2` or `1.3`.
    pub fn handshake(&self, version: &'static str, resumed: bool, seconds: f64) {
        let [full_12, resumed_12, full_13, resumed_13] = &self.handshakes;
        let counter = match (version, resumed) {
            ("1.2", false) => full_12,
            ("1.2", true) => resumed_12,
            (_, false) => full_13,
            (_, true) => resumed_13,
        };
        counter.inc();
        self.handshake_seconds.observe(seconds);
    }

    /// Counts a handshake that failed.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.rare(&self.vectors.handshake_failures, &[&self.name, reason]);
    }

    /// Counts what came of STARTTLS on a connection.
    pub fn starttls(&self, outcome: &'static str) {
        self.rare(&self.vectors.starttls, &[&self.name, outcome]);
    }

    /// Counts a connection on which bytes in clear came behind STARTTLS.
    pub fn starttls_injection(&self) {
        self.rare(&self.vectors.starttls_injections, &[&self.name]);
    }

    /// Counts a choice of certificate by its rank; 0 where none could be served.
    pub fn selected(&self, rank: u8) {
        if let Some(counter) = self.selections.get(usize::from(rank)) {
            counter.inc();
        }
    }

    /// A label look-up; a removed listener's series must not come back with its last sessions.
    fn rare(&self, vector: &IntCounterVec, labels: &[&str]) {
        if !self.removed.load(Ordering::Relaxed) {
            vector.with_label_values(labels).inc();
        }
    }
}

impl UpstreamMetrics {
    fn new(name: &str, vectors: &Vectors) -> Self {
        Self {
            connect_seconds: vectors.connect_seconds.with_label_values(&[name]),
            name: name.to_owned(),
            vectors: vectors.clone(),
            removed: AtomicBool::new(false),
            servers: Mutex::new(None),
        }
    }

    /// Counts a fault of the upstream.
    pub fn error(&self, reason: &'static str) {
        if !self.removed.load(Ordering::Relaxed) {
            let labels = [self.name.as_str(), reason];
            self.vectors
                .upstream_errors
                .with_label_values(&labels)
                .inc();
        }
    }

    /// Shows whether a server can be reached; `server` is as the configuration writes it.
    pub fn up(&self, server: &str, up: bool) {
        let servers = lock(&self.servers);
        let configured = servers
            .as_ref()
            .is_none_or(|servers| servers.iter().any(|s| s == server));
        if configured && !self.removed.load(Ordering::Relaxed) {
            self.vectors
                .up
                .with_label_values(&[self.name.as_str(), server])
                .set(i64::from(up));
        }
    }
}

/// Makes metrics and keeps the list of them.
#[derive(Default)]
struct Registrar {
    registry: Registry,
    families: Vec<Family>,
}

impl Registrar {
    fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        let gauge = IntGauge::with_opts(options(name, help));
        self.add("gauge", gauge.expect("the options are constants"))
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let gauges = IntGaugeVec::new(options(name, help), labels);
        self.add("gauge", gauges.expect("the options are constants"))
    }

    fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        let counter = IntCounter::with_opts(options(name, help));
        self.add("counter", counter.expect("the options are constants"))
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counters = IntCounterVec::new(options(name, help), labels);
        self.add("counter", counters.expect("the options are constants"))
    }

    fn histograms(&mut self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.timings(name, help, labels, &LATENCY_BUCKETS)
    }

    fn timings(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        let histograms = HistogramVec::new(options, labels);
        self.add("histogram", histograms.expect("the options are constants"))
    }

    /// What is counted of requests.
    fn http(&mut self) -> (IntCounterVec, HistogramVec) {
        let requests = self.counters(
            "http_requests_total",
            "Requests answered, by the route that took them.",
            &["listener", "route", "code"],
        );
        let seconds = self.timings(
            "http_request_seconds",
            "How long requests took, from the header to the end of the answer.",
            &["route"],
            &REQUEST_BUCKETS,
        );
        (requests, seconds)
    }

    /// What every client library shows of its process.
    fn process(&mut self) {
        let collector = ProcessCollector::for_self();
        for desc in collector.desc() {
            let counter = desc.fq_name.ends_with("_total");
            self.families.push(Family {
                name: desc.fq_name.clone(),
                kind: if counter { "counter" } else { "gauge" },
                labels: Vec::new(),
            });
        }
        self.register(Box::new(collector));
    }

    fn add<C: Collector + Clone + 'static>(&mut self, kind: &'static str, metric: C) -> C {
        for desc in metric.desc() {
            self.families.push(Family {
                name: desc.fq_name.clone(),
                kind,
                labels: desc.variable_labels.clone(),
            });
        }
        self.register(Box::new(metric.clone()));
        metric
    }

    fn register(&self, collector: Box<dyn Collector>) {
        self.registry
            .register(collector)
            .expect("every name is registered once");
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("gatepost")
}

/// Drops the series whose labels `keep` does not want.
fn retain<B: MetricVecBuilder>(vector: &MetricVec<B>, keep: impl Fn(&HashMap<&str, &str>) -> bool) {
    for family in vector.collect() {
        for metric in family.get_metric() {
            let labels: HashMap<_, _> = metric
                .get_label()
                .iter()
                .map(|label| (label.name(), label.value()))
                .collect();
            if !keep(&labels) {
                // Gone already: then somebody else dropped it in between.
                let _ = vector.remove(&labels);
            }
        }
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What these locks guard holds together whether or not a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
