//! What listeners, routes and upstreams of http say, and what only they can.

use crate::config::checks::{can_match, listener};
use crate::config::tables::{ListenerTable, RouteTable, Tables};
use crate::config::{Encryption, Protocol};

/// Reports what makes no sense of a web server, or only of one.
pub(super) fn check(tables: &Tables<'_>) {
    for route in &tables.routes {
        target(route);
        listeners(route, &tables.listeners);
    }
    for listener in &tables.listeners {
        in_clear(listener, &tables.routes);
        without_effect(listener);
        trusted(listener);
    }
    for upstream in &tables.upstreams {
        let name = upstream.name.as_ref().map(|name| name.get_ref());
        let leads = |written: &Option<toml::Spanned<String>>| {
            name.is_some() && written.as_ref().map(|written| written.get_ref()) == name
        };
        let used = tables.listeners.iter().any(|listener| {
            listener.protocol.is_none_or(|it| it == Protocol::Http)
                && (leads(&listener.upstream)
                    || tables
                        .routes
                        .iter()
                        .any(|route| leads(&route.upstream) && can_match(route, listener)))
        });
        for key in ["host", "health_path"] {
            if !used && upstream.table.has(key) {
                let message =
                    format_args!("`{key}` has no effect: no listener of protocol http uses it");
                let table = &upstream.table;
                table.warning(table.at_value(key), message);
            }
        }
    }
}

const TARGETS: [&str; 3] = ["upstream", "redirect", "respond"];

/// A route does one thing.
fn target(route: &RouteTable<'_>) {
    let table = &route.table;
    let written: Vec<_> = TARGETS.into_iter().filter(|key| table.has(key)).collect();
    match written.as_slice() {
        [] => {
            let message = format_args!(
                "{}: `upstream` is missing; expected it, or for listeners of protocol http \
                 `redirect` or `respond`",
                table.title()
            );
            table.unlabelled_error(table.at(), message);
        }
        [_] => {}
        [first, second, ..] => {
            let message = format_args!(
                "`{second}` stands beside `{first}`; expected one of upstream, redirect, respond"
            );
            table.error(table.at_value(second), message);
        }
    }
}

/// What only web servers make something of, on a listener of something else.
fn listeners(route: &RouteTable<'_>, listeners: &[ListenerTable<'_>]) {
    let Some(key) = route.for_http() else { return };
    for name in route.listeners.iter().flatten() {
        let named = |listener: &&ListenerTable<'_>| {
            let own = listener.name.as_ref().map(|name| name.get_ref());
            own == Some(name.get_ref())
        };
        let listener = listeners.iter().find(named);
        let protocol = listener.and_then(|listener| listener.protocol);
        if let Some(other) = protocol.filter(|protocol| *protocol != Protocol::Http) {
            let message = format_args!(
                "`{key}` is for listeners of protocol http, and \"{}\" has protocol {}",
                name.get_ref(),
                other.as_str()
            );
            route.table.error(name.span().start, message);
        }
    }
}

/// Passwords that cross a network in clear; a redirect lets none come so far.
fn in_clear(listener: &ListenerTable<'_>, routes: &[RouteTable<'_>]) {
    if listener.protocol != Some(Protocol::Http) || listener.encryption != Some(Encryption::Off) {
        return;
    }
    let mut routes = routes.iter().filter(|route| can_match(route, listener));
    if listener.upstream.is_some() || routes.any(|route| route.upstream.is_some()) {
        listener::open_to_others(listener);
    }
}

fn without_effect(listener: &ListenerTable<'_>) {
    let Some(protocol) = listener.protocol.filter(|it| *it != Protocol::Http) else {
        return;
    };
    let table = &listener.table;
    let written = [
        ("trusted_proxies", !listener.trusted_proxies.is_empty()),
        ("max_body", table.has("max_body")),
    ];
    for (key, _) in written.into_iter().filter(|(_, written)| *written) {
        let message = format_args!(
            "`{key}` has no effect with protocol {}: it is about requests of HTTP",
            protocol.as_str()
        );
        table.warning(table.at_value(key), message);
    }
}

fn trusted(listener: &ListenerTable<'_>) {
    if listener.protocol.is_some_and(|it| it != Protocol::Http) {
        return;
    }
    for network in &listener.trusted_proxies {
        if network.get_ref().is_everything() {
            let message = format_args!(
                "`trusted_proxies` holds \"{}\": anybody can claim any client address",
                network.get_ref()
            );
            listener.table.warning(network.span().start, message);
        }
    }
}
