//! XCLIENT: the words in which a server that trusts our address is told who the client is.
//!
//! Values are to be written in xtext (RFC 3461 section 4). Numbers, addresses and
//! `[UNAVAILABLE]` have none of the characters that xtext would change.

use std::net::IpAddr;

use crate::wire::opening::Client;
use crate::wire::opening::dialect::begins_with;

/// What makes a server forget the name, or the login, that it has for our own address.
const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// The command for SMTP, of what `listed`, the server's own line, has; `None` if it cannot be
/// told the address.
///
/// It always fits into the 512 bytes of a command line (Postfix, `XCLIENT_README`). The address comes
/// last: the server decides anew who may say XCLIENT when it knows it.
pub(super) fn smtp(client: &Client, listed: &str) -> Option<String> {
    let attributes = [
        ("NAME", UNAVAILABLE.to_owned()),
        ("REVERSE_NAME", UNAVAILABLE.to_owned()),
        ("LOGIN", UNAVAILABLE.to_owned()),
        ("PORT", client.source.port().to_string()),
        ("DESTADDR", address(client.destination.ip())),
        ("DESTPORT", client.destination.port().to_string()),
        ("ADDR", address(client.source.ip())),
    ];
    let is_listed = |name: &str| {
        listed
            .split(' ')
            .skip(1)
            .any(|word| begins_with(word, name))
    };
    if !is_listed("ADDR") {
        return None;
    }
    let mut command = "XCLIENT".to_owned();
    for (name, value) in attributes.iter().filter(|(name, _)| is_listed(name)) {
        command.extend([" ", name, "=", value]);
    }
    Some(command + "\r\n")
}

/// The command of Dovecot's POP3 and ManageSieve, which have it without `IPV6:`.
pub(super) fn login(client: &Client) -> String {
    let address = client.source.ip().to_canonical();
    format!("XCLIENT ADDR={address} PORT={}\r\n", client.source.port())
}

fn address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    }
}
