//! Where clients that are too old for our TLS are handed to: a server that takes their own.

use toml::Spanned;

use crate::config::tables::{ListenerTable, UpstreamTable};
use crate::config::value::quoted;
use crate::config::{Encryption, Protocol, ServerAddress, UpstreamEncryption};

/// Reports a `legacy_upstream`, which is there for nothing else, that cannot take them.
pub(super) fn check_own(upstream: &UpstreamTable<'_>, listener: &ListenerTable<'_>) {
    let table = &listener.table;
    let at = table.at_value("legacy_upstream");
    let title = upstream.table.title();
    if let Some(way) = upstream.client_address.filter(|way| way.is_in_protocol()) {
        let way = way.as_str();
        let message = format_args!(
            "`legacy_upstream` gets the client's own TLS, in which `client_address = \"{way}\"` of \
             {title} cannot be said; expected one of none, proxy-v1, proxy-v2, transparent"
        );
        table.error(at, message);
    }
    match (listener.encryption, upstream.encryption) {
        (Some(Encryption::Implicit), Some(UpstreamEncryption::StartTls)) => {
            let message = format_args!(
                "`legacy_upstream` gets TLS from the first byte, and {title} has \
                 `tls = \"starttls\"`; expected one of off, implicit"
            );
            table.error(at, message);
        }
        (Some(Encryption::Implicit), Some(_)) => without_port(upstream, listener),
        (Some(_), Some(UpstreamEncryption::Implicit)) => {
            let message = format_args!(
                "`legacy_upstream` is told STARTTLS in clear, and {title} has \
                 `tls = \"implicit\"`; expected one of off, starttls"
            );
            table.error(at, message);
        }
        _ => {}
    }
}

/// Servers without a port where the protocol has none for TLS from the first byte.
fn without_port(upstream: &UpstreamTable<'_>, listener: &ListenerTable<'_>) {
    let Some(protocol) = listener.protocol.filter(|p| p.tls_port().is_none()) else {
        return;
    };
    for server in &upstream.servers {
        let (at, server) = (server.span().start, server.get_ref());
        if matches!(server, ServerAddress::Tcp { port: None, .. }) {
            let (listener, protocol) = (listener.table.title(), protocol.as_str());
            let message = format_args!(
                "server \"{server}\" has no port, and protocol {protocol} of {listener} has none \
                 for the TLS of old clients; expected \"{server}:PORT\""
            );
            upstream.table.error(at, message);
        }
    }
}

/// Reports an upstream of all clients of the listener whose own TLS cannot be found for the old
/// ones among them.
pub(super) fn check_shared(upstream: &UpstreamTable<'_>, listener: &ListenerTable<'_>) {
    let table = &listener.table;
    if listener.legacy != Some(true) || table.has("legacy_upstream") {
        return;
    }
    let (Some(protocol), Some(encryption)) = (listener.protocol, upstream.encryption) else {
        return;
    };
    let nowhere = match (listener.encryption, encryption) {
        (Some(Encryption::Implicit), UpstreamEncryption::Implicit) => None,
        (Some(Encryption::Implicit), _) => no_tls_port(upstream, protocol),
        (
            Some(Encryption::StartTls | Encryption::StartTlsOptional),
            UpstreamEncryption::Implicit,
        ) => Some("with `tls = \"implicit\"` it cannot be told STARTTLS".to_owned()),
        (Some(Encryption::StartTls | Encryption::StartTlsOptional), _) => None,
        _ => return,
    };
    if let Some(why) = nowhere.or_else(|| believed(upstream)) {
        let title = upstream.table.title();
        let message = format_args!(
            "`legacy = \"passthrough\"` hands old clients to the TLS of {title}, but {why}; \
             expected a `legacy_upstream`"
        );
        table.error(table.at_value("legacy"), message);
    }
}

/// A server that is told of clients in its protocol believes this host. To it an old client is
/// this host: nothing was said of the client, and nobody sees what it says of itself.
fn believed(upstream: &UpstreamTable<'_>) -> Option<String> {
    let way = upstream.client_address.filter(|way| way.is_in_protocol())?;
    Some(format!(
        "`client_address = \"{}\"` cannot be said in their own TLS, and what they say in it of \
         themselves would be believed",
        way.as_str()
    ))
}

/// Why the port for TLS from the first byte is not known of a server that is used in clear.
fn no_tls_port(upstream: &UpstreamTable<'_>, protocol: Protocol) -> Option<String> {
    if protocol.tls_port().is_none() {
        let protocol = protocol.as_str();
        return Some(format!(
            "protocol {protocol} has no port for TLS from the first byte"
        ));
    }
    let mut servers = upstream.servers.iter().map(Spanned::get_ref);
    let written = servers.find(|server| match server {
        ServerAddress::Tcp { port, .. } => port.is_some(),
        ServerAddress::Unix(_) => true,
    })?;
    let written = quoted(&written.to_string());
    Some(format!("server {written} is spoken to in clear"))
}
