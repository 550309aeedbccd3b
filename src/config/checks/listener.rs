//! What a listener says of itself, and what it cannot mean.

use std::time::Duration;

use crate::config::tables::ListenerTable;
use crate::config::{Encryption, Protocol};

/// Reports what one listener by itself makes a fault of, or no sense.
pub(super) fn check(listener: &ListenerTable<'_>) {
    starttls(listener);
    in_clear(listener);
    without_effect(listener);
    idle_limit(listener);
    for network in &listener.accept_proxy_from {
        if network.get_ref().is_everything() {
            let message = format_args!(
                "`accept_proxy_from` holds \"{}\": anybody can claim any client address",
                network.get_ref()
            );
            listener.table.warning(network.span().start, message);
        }
    }
}

/// STARTTLS of a protocol that has none, and the wrong kind of it.
fn starttls(listener: &ListenerTable<'_>) {
    let (Some(protocol), Some(encryption)) = (listener.protocol, listener.encryption) else {
        return;
    };
    let (table, tls) = (&listener.table, encryption.as_str());
    let at = table.at_value("tls");
    let in_clear = matches!(protocol, Protocol::Smtp | Protocol::Submission);
    if protocol == Protocol::Http {
        let instead = match encryption {
            Encryption::Implicit | Encryption::Off => return,
            Encryption::Passthrough => " (TLS that passes through is `protocol = \"tcp\"`)",
            Encryption::StartTls | Encryption::StartTlsOptional => "",
        };
        let message = format_args!(
            "`tls = \"{tls}\"` is not possible with protocol http; expected one of implicit, \
             off{instead}"
        );
        table.error(at, message);
    } else if encryption.is_starttls() && protocol == Protocol::Tcp {
        let message = format_args!(
            "`tls = \"{tls}\"` is not possible with protocol tcp, which has no STARTTLS; \
             expected one of implicit, passthrough, off"
        );
        table.error(at, message);
    } else if encryption == Encryption::StartTlsOptional && !in_clear {
        let protocol = protocol.as_str();
        let message = format_args!(
            "with `tls = \"{tls}\"` and protocol {protocol} logins in clear are refused all the \
             same: `tls = \"starttls\"` says it better"
        );
        table.warning(at, message);
    }
}

/// Passwords that cross a network in clear.
fn in_clear(listener: &ListenerTable<'_>) {
    // Of web servers that depends on the routes: `http` knows.
    if listener.encryption != Some(Encryption::Off) || listener.protocol == Some(Protocol::Http) {
        return;
    }
    open_to_others(listener);
}

/// Warns where a listener in clear can be reached from other hosts.
pub(super) fn open_to_others(listener: &ListenerTable<'_>) {
    let mut bind = listener.bind.iter();
    if let Some(open) = bind.find(|bind| !bind.get_ref().ip().is_loopback()) {
        let message = format_args!(
            "\"{}\" can be reached from other hosts, and with `tls = \"off\"` passwords cross the \
             network in clear",
            open.get_ref()
        );
        listener.table.warning(open.span().start, message);
    }
}

/// Keys that say something about TLS where none is ended, or about what is not so.
fn without_effect(listener: &ListenerTable<'_>) {
    let table = &listener.table;
    if let Some(other) = listener.encryption.filter(|tls| !tls.ends_here()) {
        let tls = other.as_str();
        let keys = [
            ("unknown_name", table.has("unknown_name")),
            ("legacy", listener.legacy == Some(true)),
            ("mx", listener.mx),
        ];
        for (key, _) in keys.into_iter().filter(|(_, written)| *written) {
            let why = match key {
                "legacy" => "no TLS is ended here",
                _ => "no certificate is served",
            };
            let message = format_args!("`{key}` has no effect with `tls = \"{tls}\"`: {why}");
            table.warning(table.at_value(key), message);
        }
    } else if listener.mx
        && let Some(other) = listener.protocol.filter(|other| *other != Protocol::Smtp)
    {
        let message = format_args!(
            "`mx` has no effect with protocol {}: MX records name SMTP servers",
            other.as_str()
        );
        table.warning(table.at_value("mx"), message);
    }
    if listener.legacy == Some(false) && listener.legacy_upstream.is_some() {
        let message = "`legacy_upstream` has no effect without `legacy = \"passthrough\"`";
        table.warning(table.at_value("legacy_upstream"), message);
    }
}

/// What the protocol lets a client count on: RFC 9051 section 5.4, RFC 1939 section 3,
/// RFC 5321 section 4.5.3.2.6.
fn idle_limit(listener: &ListenerTable<'_>) {
    let (Some(protocol), Some(limit)) = (listener.protocol, listener.idle_timeout) else {
        return;
    };
    let minutes = match protocol {
        Protocol::Imap | Protocol::ManageSieve => 30,
        Protocol::Pop3 | Protocol::Smtp | Protocol::Submission => 10,
        Protocol::Http | Protocol::Tcp => return,
    };
    if limit < Duration::from_secs(minutes * 60) {
        let message = format_args!(
            "`idle_timeout` is below the {minutes} minutes that {} clients may be silent for",
            protocol.as_str()
        );
        let table = &listener.table;
        table.warning(table.at_value("idle_timeout"), message);
    }
}
