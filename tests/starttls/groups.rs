//! Several servers for one upstream, and the health of each.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::process::Signal;

use super::words::log_in;
use super::{Front, NAME, certificate, listener, own_tls};
use crate::common::ca::TestCa;
use crate::common::client::Client;
use crate::common::dovecot::{Believes, Dovecot, OwnTls};
use crate::common::exim::Exim;
use crate::common::postfix::{Postfix, Service};
use crate::common::process::Server;
use crate::common::wait;

/// The name in the certificate of a server.
const BEHIND: &str = "dovecot.example.org";

/// An upstream of several servers, with more keys.
fn members(name: &str, servers: &[SocketAddr], way: &str, more: &str) -> String {
    let servers: Vec<_> = servers
        .iter()
        .map(|server| format!("\"{server}\""))
        .collect();
    let servers = servers.join(", ");
    format!(
        "
[[upstream]]
name = \"{name}\"
servers = [{servers}]
client_address = \"{way}\"
{more}
"
    )
}

/// A listener PROTOCOL-implicit before such an upstream.
fn group(protocol: &str, servers: &[SocketAddr], way: &str, more: &str) -> String {
    listener(
        &format!("{protocol}-implicit"),
        protocol,
        "implicit",
        protocol,
    ) + &members(protocol, servers, way, more)
}

/// Whether the proxy takes a server for up; `None` if it has not looked yet.
fn up(front: &Front, upstream: &str, server: SocketAddr) -> Option<f64> {
    let labels = format!("server=\"{server}\",upstream=\"{upstream}\"");
    front
        .gatepost
        .metric(&format!("gatepost_upstream_up{{{labels}}}"))
}

/// Ends a server.
fn end(server: &mut Server) {
    server.signal(Signal::TERM);
    server.end();
}

#[test]
fn where_one_of_two_servers_is_down_the_other_serves() {
    let (mut first, second) = (Dovecot::start(), Dovecot::start());
    let servers = [first.at("imap"), second.at("imap")];
    let front = Front::start(&group(
        "imap",
        &servers,
        "proxy-v2",
        "health_interval = \"0s\"",
    ));
    end(&mut first.server);
    for number in 0..4 {
        let mut client = front.over_tls("imap-implicit", "imap");
        log_in(&mut client, "imap", &format!("user{number}"));
        second.server.logged(&[&format!("user=<user{number}>")]);
    }
    first.again();
}

#[test]
fn a_server_that_goes_and_comes_back_is_seen_to() {
    let (mut first, second) = (Dovecot::start(), Dovecot::start());
    let servers = [first.at("imap"), second.at("imap")];
    let often = "health_interval = \"200ms\"";
    let front = Front::start(&group("imap", &servers, "proxy-v2", often));
    let [at_first, at_second] = servers;
    let seen = |server: SocketAddr, state: f64| {
        let what = format!("{server} to be {state}");
        wait::until(&what, || up(&front, "imap", server) == Some(state));
    };
    seen(at_first, 1.0);
    seen(at_second, 1.0);

    end(&mut first.server);
    seen(at_first, 0.0);
    assert_eq!(up(&front, "imap", at_second), Some(1.0));
    log_in(
        &mut front.over_tls("imap-implicit", "imap"),
        "imap",
        "meanwhile",
    );
    second.server.logged(&["Login", "user=<meanwhile>"]);

    first.again();
    seen(at_first, 1.0);
}

#[test]
fn health_checks_leave_neither_errors_nor_warnings_in_the_logs() {
    let dovecot = Dovecot::start();
    let trusting = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let postfix = Postfix::start(&dovecot);
    let often = "health_interval = \"200ms\"";
    let mut services = String::new();
    for protocol in ["imap", "pop3", "managesieve"] {
        services += &group(protocol, &[dovecot.at(protocol)], "proxy-v2", often);
    }
    for service in [Service::Submission, Service::MxXclient] {
        let way = match service {
            Service::Submission => "proxy-v2",
            _ => "xclient",
        };
        services += &listener(service.name(), "smtp", "starttls", service.name());
        services += &members(service.name(), &[postfix.at(service)], way, often);
    }
    services += &listener("trusting", "pop3", "starttls", "trusting");
    services += &members("trusting", &[trusting.at("pop3")], "xclient", often);
    let ca = TestCa::today();
    let own = certificate(&ca, BEHIND);
    let over_tls = Dovecot::with(Believes::Header, OwnTls::Modern(&own));
    for tls in ["starttls", "implicit"] {
        let more = format!("tls = \"{tls}\"\ntrust = [\"root.pem\"]\nserver_name = \"{BEHIND}\"");
        let server = own_tls(&over_tls, "pop3", tls);
        services += &listener(tls, "pop3", "starttls", tls);
        services += &members(tls, &[server], "proxy-v2", &format!("{often}\n{more}"));
    }
    let exim = Exim::start();
    services += &listener("exim", "smtp", "starttls", "exim");
    services += &members("exim", &[exim.at()], "proxy-v1", often);
    let front = Front::with(ca, &services);

    let checked = |server: &Server, words: &str| {
        let what = format!("several checks: {words}");
        wait::until(&what, || server.log().matches(words).count() >= 4);
    };
    for protocol in ["imap", "pop3", "managesieve"] {
        checked(&dovecot.server, &format!("{protocol}-login: Info: "));
    }
    checked(&trusting.server, "pop3-login: Info: ");
    checked(&over_tls.server, "pop3-login: Info: ");
    checked(&exim.server, "SMTP connection from");
    for service in [Service::Submission, Service::MxXclient] {
        let smtpd = format!("{}/smtpd", service.name());
        let connections = || {
            let log = postfix.server.log();
            let lines = log.lines().filter(|line| line.contains(&smtpd));
            lines
                .filter(|line| line.contains("disconnect from"))
                .count()
        };
        wait::until("several checks of Postfix", || connections() >= 4);
        assert_eq!(up(&front, service.name(), postfix.at(service)), Some(1.0));
    }
    for server in [&dovecot, &trusting, &over_tls].map(|dovecot| &dovecot.server) {
        assert_eq!(worry(server), None);
    }
    assert_eq!(worry(&postfix.server), None);
    assert_eq!(worry(&exim.server), None);
}

/// A line of a log that would worry whoever reads it.
fn worry(server: &Server) -> Option<String> {
    const WORDS: [&str; 6] = [
        "error",
        "warning",
        "fatal",
        "panic",
        "lost connection",
        "unexpected",
    ];
    let log = server.log();
    // Where the tests themselves looked whether it listens.
    let lines = log.lines().filter(|line| !line.contains("mx-plain"));
    let mut lines = lines.map(str::to_lowercase);
    lines.find(|line| WORDS.iter().any(|word| line.contains(word)))
}

#[test]
fn a_client_keeps_its_server() {
    let (mut first, second) = (Dovecot::start(), Dovecot::start());
    let servers = [first.at("imap"), second.at("imap")];
    let sticky = "balance = \"client-address\"\nhealth_interval = \"0s\"";
    let front = Front::start(&group("imap", &servers, "proxy-v2", sticky));
    let address = front.gatepost.address("imap-implicit");
    // So many that they do not all keep the same one by chance.
    let clients = (10..42).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    let log_all_in = |user: &str| {
        for client in clients.clone() {
            let mut session = Client::tls_from(client, address, NAME, &front.ca);
            session.line();
            log_in(&mut session, "imap", user);
        }
    };
    let seen_by = |server: &Dovecot, user: &str| -> BTreeSet<String> {
        let user = format!("user=<{user}>");
        let log = server.server.log();
        let logins = log.lines().filter(|line| line.contains(&user));
        let words =
            logins.flat_map(|line| line.split(", ").filter(|word| word.starts_with("rip=")));
        words.map(str::to_owned).collect()
    };
    log_all_in("once");
    log_all_in("again");
    let all = clients.clone().count();
    wait::until("all logins to be logged", || {
        ["once", "again"]
            .iter()
            .all(|user| seen_by(&first, user).len() + seen_by(&second, user).len() == all)
    });
    assert_eq!(seen_by(&first, "once"), seen_by(&first, "again"));
    assert_eq!(seen_by(&second, "once"), seen_by(&second, "again"));
    assert!(!seen_by(&first, "once").is_empty() && !seen_by(&second, "once").is_empty());

    // Whose server has gone gets the other.
    end(&mut first.server);
    log_all_in("meanwhile");
    wait::until("all to be at the other server", || {
        seen_by(&second, "meanwhile").len() == all
    });
}
