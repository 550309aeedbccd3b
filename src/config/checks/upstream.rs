//! What an upstream has to be for the listeners before it.

use crate::config::tables::{ListenerTable, UpstreamTable};
use crate::config::{ClientAddress, Encryption, Protocol, ServerAddress};

/// Reports what does not fit the listeners whose connections can come to it.
pub(super) fn check(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    ports(upstream, listeners);
    client_address(upstream, listeners);
}

/// Servers without a port behind listeners whose protocol has none, or another.
fn ports(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    for server in &upstream.servers {
        let at = server.span().start;
        let server = server.get_ref();
        if !matches!(server, ServerAddress::Tcp { port: None, .. }) {
            continue;
        }
        if let Some(listener) = listeners.iter().find(|l| l.protocol == Some(Protocol::Tcp)) {
            let message = format_args!(
                "server \"{server}\" has no port, and protocol tcp of {} has no default; \
                 expected \"{server}:PORT\"",
                listener.table.title()
            );
            upstream.table.error(at, message);
        }
        let untouched = |l: &&&ListenerTable<'_>| l.encryption == Some(Encryption::Passthrough);
        if let Some(listener) = listeners.iter().find(untouched)
            && let Some(port) = listener.protocol.and_then(Protocol::plaintext_port)
        {
            let message = format_args!(
                "server \"{server}\" has no port, and {} passes TLS untouched to the plaintext \
                 port {port}; expected \"{server}:PORT\"",
                listener.table.title()
            );
            upstream.table.warning(at, message);
        }
    }
}

/// A mail server that takes every client for this host may relay for all of them.
fn client_address(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    let smtp = |protocol| matches!(protocol, Protocol::Smtp | Protocol::Submission);
    let listener = listeners.iter().find(|l| l.protocol.is_some_and(smtp));
    let Some(listener) = listener else { return };
    let table = &upstream.table;
    let (behind, protocol) = (
        listener.table.title(),
        listener.protocol.map_or("", Protocol::as_str),
    );
    if !table.has("client_address") {
        let message = format_args!(
            "`client_address` must be written out behind {behind} (protocol {protocol}): a server \
             that takes every client for this host may relay for all"
        );
        table.error(table.at(), message);
    } else if upstream.client_address == Some(ClientAddress::None) {
        let message = format_args!(
            "with `client_address = \"none\"` behind {behind} (protocol {protocol}) the server \
             takes every client for this host, and may relay for all"
        );
        table.warning(table.at_value("client_address"), message);
    }
}
