//! How the tables fit together: names that lead somewhere, addresses and routes that do not
//! compete, and what is allowed and probably not meant.

mod http;
mod legacy;
mod listener;
mod upstream;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use crate::cert::NamePattern;
use crate::config::file::{Report, Table};
use crate::config::nearest::nearest;
use crate::config::tables::{ListenerTable, RouteTable, Tables, UpstreamTable};
use crate::config::value::quoted;
use crate::config::{Encryption, Protocol};

/// Reports everything that no table can tell by itself.
pub(super) fn check(tables: &Tables<'_>, report: &Report<'_>) {
    unique(
        tables
            .listeners
            .iter()
            .map(|listener| (&listener.table, &listener.name)),
    );
    unique(
        tables
            .upstreams
            .iter()
            .map(|upstream| (&upstream.table, &upstream.name)),
    );
    addresses(tables);
    references(tables);
    competing_routes(&tables.routes);
    tables.listeners.iter().for_each(listener::check);
    http::check(tables);
    fit(tables);
    // What is misspelt leads nowhere and is not used by anyone: once is enough to say so.
    if !report.has_errors() {
        idle_parts(tables, report);
    }
}

/// Whether upstreams fit the listeners before them.
fn fit(tables: &Tables<'_>) {
    let reached = reached(tables);
    for upstream in &tables.upstreams {
        let name = upstream.name.as_ref().map(|name| name.get_ref().as_str());
        let listeners = name.and_then(|name| reached.get(name));
        let listeners = listeners.map_or(&[][..], Vec::as_slice);
        upstream::check(upstream, listeners);
        for listener in listeners {
            legacy::check_shared(upstream, listener);
        }
        let handing_over = tables.listeners.iter();
        let handing_over: Vec<_> = handing_over
            .filter(|listener| name.is_some() && listener.hands_over_to() == name)
            .collect();
        for listener in &handing_over {
            legacy::check_own(upstream, listener);
        }
        upstream::relay(upstream, listeners.iter().chain(&handing_over).copied());
    }
}

/// Two tables of one kind with one name.
fn unique<'a>(tables: impl Iterator<Item = (&'a Table<'a>, &'a Option<Spanned<String>>)>) {
    let mut taken = HashMap::new();
    for (table, name) in tables {
        let Some(name) = name else { continue };
        let at = name.span().start;
        if let Some(first) = taken.get(name.get_ref().as_str()) {
            let first = table.line(*first);
            table.error(
                at,
                format_args!("the name is taken already, in line {first}"),
            );
        } else {
            taken.insert(name.get_ref().as_str(), at);
        }
    }
}

/// An address to bind, and whose it is.
struct Bound<'t> {
    at: usize,
    address: SocketAddr,
    owner: &'t Table<'t>,
}

/// An address bound twice. A wildcard address takes the port on every address, and `[::]` on
/// those of IPv4 as well.
fn addresses(tables: &Tables<'_>) {
    let metrics = &tables.metrics;
    let mut bound = vec![Bound {
        at: metrics.table.at_value("listen"),
        address: metrics.listen,
        owner: &metrics.table,
    }];
    for listener in &tables.listeners {
        bound.extend(listener.bind.iter().map(|bind| Bound {
            at: bind.span().start,
            address: *bind.get_ref(),
            owner: &listener.table,
        }));
    }
    bound.retain(|bound| bound.address.port() > 0);
    bound.sort_by_key(|bound| bound.at);
    let mut by_port: HashMap<u16, Vec<Bound<'_>>> = HashMap::new();
    for bound in bound {
        let others = by_port.entry(bound.address.port()).or_default();
        let overlaps = |other: &&Bound<'_>| overlap(bound.address, other.address);
        if let Some(first) = others.iter().find(overlaps) {
            bound.taken_by(first);
        }
        others.push(bound);
    }
}

impl Bound<'_> {
    fn taken_by(&self, first: &Self) {
        let Self { address, owner, .. } = self;
        let (other, by) = (first.address, first.owner.title());
        let line = match first.owner.has("listen") || first.owner.has("bind") {
            true => format!(", in line {}", owner.line(first.at)),
            false => String::new(),
        };
        let message = format_args!("\"{address}\" is taken already: {by} binds \"{other}\"{line}");
        owner.error(self.at, message);
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| match a {
        IpAddr::V6(v6) => v6.is_unspecified(),
        IpAddr::V4(v4) => v4.is_unspecified() && b.is_ipv4(),
    };
    let (a, b) = (a.ip(), b.ip());
    a == b || covers(a, b) || covers(b, a)
}

/// Names of listeners and upstreams that do not exist.
fn references(tables: &Tables<'_>) {
    let listeners = tables.listeners.iter();
    let listeners = Names::new(
        "listener",
        listeners.filter_map(|table| table.name.as_ref()),
    );
    let upstreams = tables.upstreams.iter();
    let upstreams = Names::new(
        "upstream",
        upstreams.filter_map(|table| table.name.as_ref()),
    );
    for listener in &tables.listeners {
        let named = [&listener.upstream, &listener.legacy_upstream];
        upstreams.check(&listener.table, named.into_iter().flatten());
    }
    for route in &tables.routes {
        listeners.check(&route.table, route.listeners.iter().flatten());
        upstreams.check(&route.table, route.upstream.as_ref());
    }
}

/// The names there are of one kind.
struct Names<'a> {
    kind: &'static str,
    known: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn new(kind: &'static str, names: impl Iterator<Item = &'a Spanned<String>>) -> Self {
        Self {
            kind,
            known: names.map(|name| name.get_ref().as_str()).collect(),
        }
    }

    fn check<'n>(&self, table: &Table<'_>, names: impl IntoIterator<Item = &'n Spanned<String>>) {
        for name in names {
            if !self.known.contains(name.get_ref().as_str()) {
                table.error(name.span().start, self.unknown(name.get_ref()));
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        const SHOWN: usize = 12;
        let mut message = format!("unknown {} {}", self.kind, quoted(name));
        if let Some(meant) = nearest(name, self.known.iter().copied()) {
            let _ = write!(message, ", did you mean {}?", quoted(meant));
        }
        let known: Vec<_> = self
            .known
            .iter()
            .take(SHOWN)
            .map(|name| quoted(name))
            .collect();
        let more = if self.known.len() > SHOWN {
            ", …"
        } else {
            ""
        };
        let _ = match known.as_slice() {
            [] => write!(message, " (there is no [[{}]])", self.kind),
            known => write!(message, " (known: {}{more})", known.join(", ")),
        };
        message
    }
}

/// A name, and a path, that two routes take on one listener.
fn competing_routes(routes: &[RouteTable<'_>]) {
    type Taken<'t> = HashMap<(&'t NamePattern, &'t str), Vec<(usize, &'t RouteTable<'t>)>>;
    let mut taken = Taken::new();
    for route in routes {
        for name in &route.names {
            let (at, pattern) = (name.span().start, name.get_ref());
            let others = taken.entry((pattern, &*route.path)).or_default();
            let rival = others
                .iter()
                .find_map(|(first, other)| Some((*first, common_listener(route, other)?)));
            if let Some((first, on)) = rival {
                let line = route.table.line(first);
                let with = match &*route.path {
                    "/" => String::new(),
                    path => format!(" with path \"{path}\""),
                };
                let message = format!("\"{pattern}\"{with} is routed already{on}, in line {line}");
                route.table.error(at, message);
            }
            others.push((at, route));
        }
    }
}

/// Where both routes hold: ` on listener "imaps"`, or nothing to add if that is everywhere.
fn common_listener(a: &RouteTable<'_>, b: &RouteTable<'_>) -> Option<String> {
    let on = |name: &Spanned<String>| format!(" on listener {}", quoted(name.get_ref()));
    match (&a.listeners, &b.listeners) {
        (None, None) => Some(String::new()),
        (Some(names), None) | (None, Some(names)) => names.first().map(on),
        (Some(a), Some(b)) => {
            let b: BTreeSet<_> = b.iter().map(Spanned::get_ref).collect();
            a.iter().find(|name| b.contains(name.get_ref())).map(on)
        }
    }
}

/// Whether a connection to the listener can come to this route.
fn can_match(route: &RouteTable<'_>, listener: &ListenerTable<'_>) -> bool {
    if !holds_on(route, listener) {
        return false;
    }
    // Every request says its name, with TLS or without.
    if listener.protocol == Some(Protocol::Http) {
        return true;
    }
    listener.encryption != Some(Encryption::Off) || takes_the_nameless(route, listener)
}

/// Whether a connection comes to this route on which no name is sent, as always without TLS:
/// then only the listener's own can be assumed.
fn takes_the_nameless(route: &RouteTable<'_>, listener: &ListenerTable<'_>) -> bool {
    let assumed = listener.hostname.as_ref();
    assumed.is_some_and(|name| route.names.iter().any(|p| p.get_ref().matches(name)))
}

fn holds_on(route: &RouteTable<'_>, listener: &ListenerTable<'_>) -> bool {
    let http = listener.protocol.is_none_or(|it| it == Protocol::Http);
    if !http && route.for_http().is_some() {
        return false;
    }
    let Some(names) = &route.listeners else {
        return true;
    };
    let listener = listener.name.as_ref().map(Spanned::get_ref);
    names.iter().any(|name| Some(name.get_ref()) == listener)
}

/// The listeners whose connections can come to each upstream.
fn reached<'t>(tables: &'t Tables<'t>) -> HashMap<&'t str, Vec<&'t ListenerTable<'t>>> {
    let mut reached: HashMap<&str, Vec<&ListenerTable<'_>>> = HashMap::new();
    for listener in &tables.listeners {
        let routes = tables.routes.iter();
        let routes = routes.filter(|route| can_match(route, listener));
        let upstreams = routes.filter_map(|route| route.upstream.as_ref());
        let upstreams = upstreams.chain(&listener.upstream).map(Spanned::get_ref);
        for upstream in upstreams.collect::<BTreeSet<_>>() {
            reached.entry(upstream).or_default().push(listener);
        }
    }
    reached
}

/// Listeners, routes and upstreams that serve nobody.
fn idle_parts(tables: &Tables<'_>, report: &Report<'_>) {
    let Tables {
        listeners, routes, ..
    } = tables;
    if listeners.is_empty() {
        report.warning(None, "there is no [[listener]]: nothing is served");
    }
    for listener in listeners
        .iter()
        .filter(|listener| listener.upstream.is_none())
    {
        let table = &listener.table;
        let mut routes = routes
            .iter()
            .filter(|route| can_match(route, listener))
            .peekable();
        if routes.peek().is_none() {
            let message = "it has no `upstream`, and no route takes its connections: all are \
                           refused";
            table.warning(table.at(), message);
        } else if listener.encryption == Some(Encryption::StartTlsOptional)
            && !routes.any(|route| takes_the_nameless(route, listener))
        {
            let message = "it has no `upstream`, and no route takes its `hostname`: clients that \
                           go on in clear are refused";
            table.warning(table.at(), message);
        }
    }
    for route in routes.iter().filter(|_| !listeners.is_empty()) {
        if !listeners.iter().any(|listener| can_match(route, listener)) {
            let message = match route.for_http() {
                Some(key) => format!(
                    "it can never match: `{key}` is for listeners of protocol http, and there is none"
                ),
                None => {
                    "it can never match: its listeners have `tls = \"off\"`, so that no client \
                         sends a name"
                        .to_owned()
                }
            };
            route.table.warning(route.table.at_value("names"), message);
        }
    }
    unused_upstreams(tables);
}

fn unused_upstreams(tables: &Tables<'_>) {
    let listeners = tables.listeners.iter();
    let listeners = listeners.flat_map(|listener| [&listener.upstream, &listener.legacy_upstream]);
    let routes = tables.routes.iter().map(|route| &route.upstream);
    let used = listeners.chain(routes).flatten().map(Spanned::get_ref);
    let used: BTreeSet<_> = used.collect();
    for UpstreamTable { table, name, .. } in &tables.upstreams {
        if let Some(name) = name.as_ref().filter(|name| !used.contains(name.get_ref())) {
            table.warning(name.span().start, "no listener and no route uses it");
        }
    }
}
