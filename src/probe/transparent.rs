//! What a host has to be set to for `client_address = "transparent"`, and what of it is missing.
//!
//! Connections then come from the clients' own addresses: it takes the right to use them, and
//! a way for the servers' answers, which are for addresses that this host does not have, to get
//! into it. Only IPv4 is looked at; the kernel shows no other table of routes by number.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{ClientAddress, Config, ServerAddress, Upstream};
use crate::probe::report::{Finding, Place, Remedy};

/// What it is about.
const SUBJECT: &str = "transparent";

/// What this host lacks for the upstreams that want it.
pub fn host_lacks(config: &Config) -> Vec<Finding> {
    let transparent =
        |one: &&std::sync::Arc<Upstream>| one.client_address == ClientAddress::Transparent;
    let upstreams: Vec<_> = config.upstreams.iter().filter(transparent).collect();
    if upstreams.is_empty() {
        return Vec::new();
    }
    let mut findings: Vec<_> = right().into_iter().collect();
    for upstream in &upstreams {
        let here = upstream.servers.iter().filter(|server| is_here(server));
        findings.extend(here.map(|server| {
            let text = format!(
                "upstream {:?}: clients from elsewhere cannot connect to server {server}, which \
                 is reached from this host only; expected another of its addresses",
                upstream.name
            );
            Finding::warning(SUBJECT, text)
        }));
    }
    let mut servers = upstreams.iter().flat_map(|upstream| &upstream.servers);
    if servers.any(|server| !is_here(server)) {
        findings.extend(way_back(Path::new("/proc")));
    }
    findings
}

/// Whether a server has an address that is of no use elsewhere.
fn is_here(server: &ServerAddress) -> bool {
    match server {
        ServerAddress::Tcp { host, .. } => {
            let address = host.parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        ServerAddress::Unix(_) => true,
    }
}

/// Whether this process may use addresses that are not ours.
fn right() -> Option<Finding> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
    let tried = socket.and_then(|socket| socket.set_ip_transparent_v4(true));
    let error = tried.err()?;
    let text = format!(
        "this process may not use the clients' addresses ({error}): the capability CAP_NET_ADMIN, \
         or CAP_NET_RAW, is missing"
    );
    Some(Finding::warning(SUBJECT, text).with(capability()))
}

/// What gives the proxy the right to use addresses that are not ours.
pub(super) fn capability() -> Vec<Remedy> {
    let lines = [
        "AmbientCapabilities=CAP_NET_ADMIN",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
    ];
    vec![Remedy::one(Place::Unit, lines)]
}

/// Whether answers to addresses that are not ours get in.
fn way_back(proc: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let tables = fs::read_to_string(proc.join("net/fib_trie")).unwrap_or_default();
    if !takes_everything_in(&tables) {
        let text = "no table of routes takes in what servers answer to the clients' addresses";
        let lines = [
            "iptables -t mangle -A PREROUTING -p tcp -m socket --transparent -j MARK --set-mark 1",
            "ip rule add fwmark 1 lookup 100",
            "ip route add local 0.0.0.0/0 dev lo table 100",
        ];
        let remedy = Remedy::one(Place::Shell, lines);
        findings.push(Finding::warning(SUBJECT, text).with(vec![remedy]));
    }
    let strict = strict_interfaces(&proc.join("sys/net/ipv4/conf"));
    if !strict.is_empty() {
        let text = format!(
            "rp_filter is strict on {}: answers that come another way than they would go are \
             dropped",
            strict.join(", ")
        );
        let lines = strict
            .iter()
            .map(|name| format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2"));
        let remedy = Remedy::one(Place::Shell, lines);
        findings.push(Finding::warning(SUBJECT, text).with(vec![remedy]));
    }
    findings
}

/// Whether a table other than those that every host has takes every address for our own:
/// `/proc/net/fib_trie` names a table at the beginning of a line, then its prefixes, and below
/// each what it is.
fn takes_everything_in(tables: &str) -> bool {
    let (mut own, mut any) = (false, false);
    for line in tables.lines() {
        match line.trim_start() {
            name if name.len() == line.len() => own = !matches!(name, "Main:" | "Local:"),
            leaf if leaf.starts_with("|--") => any = leaf == "|-- 0.0.0.0",
            kind if own && any && kind.starts_with("/0 ") && kind.ends_with(" LOCAL") => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// The interfaces, other than loopback, on which the reverse path is checked strictly: the
/// larger of an interface's own number and that of `all` counts, and 2 is loose.
fn strict_interfaces(folder: &Path) -> Vec<String> {
    let number = |name: &str| {
        let text = fs::read_to_string(folder.join(name).join("rp_filter"));
        text.ok()?.trim().parse::<u8>().ok()
    };
    let all = number("all").unwrap_or_default();
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    let is_strict = |name: &String| {
        let ours = !matches!(name.as_str(), "all" | "default" | "lo");
        ours && number(name).is_some_and(|number| number.max(all) == 1)
    };
    let mut strict: Vec<_> = names.filter(is_strict).collect();
    strict.sort_unstable();
    strict
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY_HOST: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 127.0.0.1
        /32 host LOCAL
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.0
        /8 host LOCAL
";

    #[test]
    fn a_table_of_ones_own_that_takes_everything_in() {
        let table = |name: &str, prefix: &str, kind: &str| {
            format!(
                "{EVERY_HOST}{name}:\n  +-- 0.0.0.0/0 1 0 0\n     |-- {prefix}\n        {kind}\n"
            )
        };
        let cases = [
            (EVERY_HOST.to_owned(), false),
            (table("Id 100", "0.0.0.0", "/0 host LOCAL"), true),
            (table("Id 100", "0.0.0.0", "/0 universe UNICAST"), false),
            (table("Id 100", "0.0.0.0", "/8 host LOCAL"), false),
            (table("Id 100", "10.0.0.0", "/0 host LOCAL"), false),
            (table("Local", "0.0.0.0", "/0 host LOCAL"), false),
            (String::new(), false),
        ];
        for (tables, expected) in cases {
            assert_eq!(takes_everything_in(&tables), expected, "{tables}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("net/fib_trie", EVERY_HOST);
        for (name, number) in [
            ("all", "0\n"),
            ("lo", "1\n"),
            ("eth0", "1\n"),
            ("eth1", "2\n"),
        ] {
            write(&format!("sys/net/ipv4/conf/{name}/rp_filter"), number);
        }
        let lines = |findings: Vec<Finding>| {
            let remedies = findings.into_iter().flat_map(|finding| finding.remedies);
            let changes = remedies.flat_map(|remedy| remedy.0);
            changes.flat_map(|change| change.lines).collect::<Vec<_>>()
        };
        assert_eq!(
            lines(way_back(folder.path())),
            [
                "iptables -t mangle -A PREROUTING -p tcp -m socket --transparent -j MARK --set-mark 1",
                "ip rule add fwmark 1 lookup 100",
                "ip route add local 0.0.0.0/0 dev lo table 100",
                "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
            ]
        );
        let with_table = format!("{EVERY_HOST}Id 7:\n     |-- 0.0.0.0\n        /0 host LOCAL\n");
        write("net/fib_trie", &with_table);
        write("sys/net/ipv4/conf/all/rp_filter", "2\n");
        assert_eq!(lines(way_back(folder.path())), [""; 0]);
    }

    #[test]
    fn servers_that_are_reached_from_this_host_only() {
        let tcp = |host: &str| ServerAddress::Tcp {
            host: host.to_owned(),
            port: None,
        };
        for (server, expected) in [
            (tcp("127.0.0.1"), true),
            (tcp("::1"), true),
            (tcp("localhost"), true),
            (tcp("10.0.0.5"), false),
            (tcp("mail.example.com"), false),
            (ServerAddress::Unix("/run/mail".into()), true),
        ] {
            assert_eq!(is_here(&server), expected, "{server}");
        }
    }
}
