//! What a listener says of itself, and what it cannot mean.

use std::time::Duration;

use crate::config::tables::ListenerTable;
use crate::config::{Encryption, Protocol};

/// Reports what one listener by itself makes a fault of, or no sense.
pub(super) fn check(listener: &ListenerTable<'_>) {
    let table = &listener.table;
    let encryption = listener.encryption;
    if encryption == Some(Encryption::Off) {
        let mut bind = listener.bind.iter();
        if let Some(open) = bind.find(|bind| !bind.get_ref().ip().is_loopback()) {
            let message = format_args!(
                "\"{}\" can be reached from other hosts, and with `tls = \"off\"` passwords \
                 cross the network in clear",
                open.get_ref()
            );
            table.warning(open.span().start, message);
        }
    }
    if let Some(other) = encryption.filter(|tls| !tls.ends_here())
        && table.has("unknown_name")
    {
        let tls = other.as_str();
        let message = format_args!(
            "`unknown_name` has no effect with `tls = \"{tls}\"`: no certificate is served"
        );
        table.warning(table.at_value("unknown_name"), message);
    }
    idle_limit(listener);
    for network in &listener.accept_proxy_from {
        if network.get_ref().is_everything() {
            let message = format_args!(
                "`accept_proxy_from` holds \"{}\": anybody can claim any client address",
                network.get_ref()
            );
            table.warning(network.span().start, message);
        }
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
        Protocol::Tcp => return,
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
