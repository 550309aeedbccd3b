//! What an upstream says of itself, and what it has to be for the listeners before it.

use std::net::IpAddr;

use crate::cert::DnsName;
use crate::config::tables::{ListenerTable, UpstreamTable};
use crate::config::{ClientAddress, Encryption, Protocol, ServerAddress, UpstreamEncryption};

/// Reports what makes no sense by itself, and what does not fit the listeners whose connections
/// can come to it.
pub(super) fn check(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    verification(upstream);
    transparent(upstream);
    ports(upstream, listeners);
    shared_ports(upstream, listeners);
    encryption(upstream, listeners);
    in_the_protocol(upstream, listeners);
}

const UNSEEN: &str = "has no effect with `tls = \"off\"`: no certificate is seen";
const BESIDE_PIN: &str = "has no effect beside `pin`: only the key counts";
const NAME_BESIDE_PIN: &str =
    "is sent to the server, but not verified beside `pin`: only the key counts";

/// What is said about a certificate that is not seen, or not looked at.
fn verification(upstream: &UpstreamTable<'_>) {
    let table = &upstream.table;
    let verification = &upstream.verification;
    let keys: &[_] = match upstream.encryption {
        None => return,
        Some(UpstreamEncryption::Off) => &[
            ("verify", UNSEEN),
            ("trust", UNSEEN),
            ("server_name", UNSEEN),
            ("pin", UNSEEN),
        ],
        Some(_) if verification.pin.is_some() => &[
            ("verify", BESIDE_PIN),
            ("trust", BESIDE_PIN),
            ("server_name", NAME_BESIDE_PIN),
        ],
        Some(_) if !verification.verify => {
            let message = "with `verify = false` anybody on the way can pose as the server; \
                           `pin` accepts one certificate and no other";
            table.warning(table.at_value("verify"), message);
            &[("trust", "has no effect with `verify = false`")]
        }
        Some(_) => {
            nameless(upstream);
            &[]
        }
    };
    for (key, message) in keys.iter().filter(|(key, _)| table.has(key)) {
        table.warning(table.at_value(key), format_args!("`{key}` {message}"));
    }
}

/// Servers whose certificate would have to be for a name that no certificate can have.
fn nameless(upstream: &UpstreamTable<'_>) {
    if upstream.table.has("server_name") {
        return;
    }
    for server in &upstream.servers {
        let (at, server) = (server.span().start, server.get_ref());
        let has_name = match server {
            ServerAddress::Tcp { host, .. } => {
                host.parse::<IpAddr>().is_ok() || DnsName::parse(host).is_ok()
            }
            ServerAddress::Unix(_) => false,
        };
        if !has_name {
            let message = format_args!(
                "server \"{server}\" has no host name that a certificate could be for; expected \
                 `server_name`"
            );
            upstream.table.error(at, message);
        }
    }
}

/// A Unix socket knows no addresses to connect from.
fn transparent(upstream: &UpstreamTable<'_>) {
    if upstream.client_address != Some(ClientAddress::Transparent) {
        return;
    }
    let servers = upstream.servers.iter();
    for server in servers.filter(|server| matches!(server.get_ref(), ServerAddress::Unix(_))) {
        let message = format_args!(
            "server \"{}\" cannot be connected to from the client's address, as `client_address = \
             \"transparent\"` asks; expected HOST or HOST:PORT",
            server.get_ref()
        );
        upstream.table.error(server.span().start, message);
    }
}

/// Servers without a port behind listeners whose protocol has none, or another.
fn ports(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    let Some(encryption) = upstream.encryption else {
        return;
    };
    let implicit = encryption == UpstreamEncryption::Implicit;
    for server in &upstream.servers {
        let at = server.span().start;
        let server = server.get_ref();
        if !matches!(server, ServerAddress::Tcp { port: None, .. }) {
            continue;
        }
        let of = |protocol| listeners.iter().find(|l| l.protocol == Some(protocol));
        if let Some(listener) = of(Protocol::Tcp) {
            let message = format_args!(
                "server \"{server}\" has no port, and protocol tcp of {} has no default; \
                 expected \"{server}:PORT\"",
                listener.table.title()
            );
            upstream.table.error(at, message);
        }
        if let Some(listener) = of(Protocol::ManageSieve).filter(|_| implicit) {
            let message = format_args!(
                "server \"{server}\" has no port, and protocol managesieve of {} has none for \
                 `tls = \"implicit\"`; expected \"{server}:PORT\"",
                listener.table.title()
            );
            upstream.table.error(at, message);
        }
        let untouched = listeners.iter().find(|l| passes_through(l));
        if let Some(listener) = untouched.filter(|_| encryption == UpstreamEncryption::Off)
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

/// A port, or a socket, that speaks one protocol, behind listeners of two.
fn shared_ports(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    let spoken = |l: &ListenerTable<'_>| match l.protocol {
        // One language.
        Some(Protocol::Submission) => Some(Protocol::Smtp),
        // Anything.
        Some(Protocol::Tcp) => None,
        protocol => protocol,
    };
    let mut mail = listeners.iter().filter(|l| spoken(l).is_some());
    let Some(first) = mail.next() else { return };
    let Some(other) = mail.find(|l| spoken(l) != spoken(first)) else {
        return;
    };
    let name = |l: &ListenerTable<'_>| {
        let protocol = l.protocol.map_or("", Protocol::as_str);
        format!("{} (protocol {protocol})", l.table.title())
    };
    for server in &upstream.servers {
        if matches!(server.get_ref(), ServerAddress::Tcp { port: None, .. }) {
            continue;
        }
        let message = format_args!(
            "server \"{}\" speaks one protocol, and stands behind {} and {}; expected an upstream \
             for each",
            server.get_ref(),
            name(first),
            name(other),
        );
        upstream.table.warning(server.span().start, message);
    }
}

fn passes_through(listener: &ListenerTable<'_>) -> bool {
    listener.encryption == Some(Encryption::Passthrough)
}

/// STARTTLS that cannot be said.
fn encryption(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    if upstream.encryption != Some(UpstreamEncryption::StartTls) {
        return;
    }
    let table = &upstream.table;
    let at = table.at_value("tls");
    if let Some(listener) = listeners.iter().find(|l| passes_through(l)) {
        let message = format_args!(
            "`tls = \"starttls\"` is not possible behind {}, which passes the client's own TLS on \
             from the first byte; expected one of off, implicit",
            listener.table.title()
        );
        table.error(at, message);
    } else if let Some((listener, protocol)) = listeners.iter().find_map(without_starttls) {
        let message = format_args!(
            "`tls = \"starttls\"` is not possible behind {} (protocol {}), which has no \
             STARTTLS; expected one of off, implicit",
            listener.table.title(),
            protocol.as_str()
        );
        table.error(at, message);
    }
}

fn without_starttls<'t, 'l>(
    listener: &'l &'l ListenerTable<'t>,
) -> Option<(&'l ListenerTable<'t>, Protocol)> {
    let protocol = listener.protocol?;
    protocol.mail().is_none().then_some((*listener, protocol))
}

/// What only some protocols have a word for.
fn in_the_protocol(upstream: &UpstreamTable<'_>, listeners: &[&ListenerTable<'_>]) {
    let Some(written) = upstream.client_address.filter(|way| way.is_in_protocol()) else {
        return;
    };
    let refusals = listeners.iter().filter_map(|l| {
        let protocol = l.protocol.filter(|_| l.encryption.is_some())?;
        Some((l, refusal(written, protocol, passes_through(l))?))
    });
    for (listener, why) in refusals.take(1) {
        let (listener, way) = (listener.table.title(), written.as_str());
        let message =
            format_args!("`client_address = \"{way}\"` is not possible behind {listener}{why}");
        let table = &upstream.table;
        table.error(table.at_value("client_address"), message);
    }
}

/// Why a client's address cannot be told in this way, and what can be done.
fn refusal(way: ClientAddress, protocol: Protocol, untouched: bool) -> Option<String> {
    let (why, own) = match (protocol, way) {
        _ if untouched => {
            let why = ", which passes the client's own TLS on: nothing can be said in it";
            (why.to_owned(), "")
        }
        (Protocol::Http | Protocol::Tcp, _) => (format!(" (protocol {})", protocol.as_str()), ""),
        (Protocol::Imap, ClientAddress::Xclient) => (" (protocol imap)".to_owned(), "imap-id, "),
        (Protocol::Imap, _) | (_, ClientAddress::Xclient) => return None,
        _ => (format!(" (protocol {})", protocol.as_str()), "xclient, "),
    };
    Some(format!(
        "{why}; expected one of none, proxy-v1, proxy-v2, {own}transparent"
    ))
}

/// A mail server that takes every client for this host may relay for all of them.
pub(super) fn relay<'t>(
    upstream: &UpstreamTable<'_>,
    mut listeners: impl Iterator<Item = &'t ListenerTable<'t>>,
) {
    let smtp = |protocol| matches!(protocol, Protocol::Smtp | Protocol::Submission);
    let listener = listeners.find(|l| l.protocol.is_some_and(smtp));
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
