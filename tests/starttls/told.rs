//! The server's log shows the client's own address, for each way of telling it, and a server that
//! can be told knows that the client is on TLS.

use super::words::{log_in, send, send_unintroduced, take_leave};
use super::{Front, HELO, NAME, both, listener, upstream};
use crate::common::dovecot::{Believes, Dovecot, OwnTls};
use crate::common::exim::Exim;
use crate::common::postfix::{DOMAIN, Postfix, Service};
use crate::common::wait;

/// What logs in to Dovecot.
const LOGINS: [&str; 4] = ["imap", "pop3", "managesieve", "submission"];

/// Logs in by STARTTLS and by implicit TLS, and expects a line about it with the client's address
/// and all of `more`.
fn logged_in(front: &Front, dovecot: &Dovecot, protocol: &str, more: &[&str]) {
    for tls in ["starttls", "implicit"] {
        let mut client = front.over_tls(&format!("{protocol}-{tls}"), protocol);
        log_in(&mut client, protocol, tls);
        let (name, user) = (format!("{protocol}-login"), format!("user=<{tls}>"));
        let line = [&name, "Login", &user, "rip=127.0.0.2"];
        dovecot.server.logged(&[&line[..], more].concat());
    }
}

#[test]
fn dovecot_learns_the_address_and_that_it_is_secured_from_a_header_of_version_2() {
    let dovecot = Dovecot::start();
    let services = LOGINS.map(|protocol| both(protocol, dovecot.at(protocol), "proxy-v2"));
    let front = Front::start(&services.concat());
    for protocol in LOGINS {
        logged_in(&front, &dovecot, protocol, &["secured"]);
    }
}

#[test]
fn dovecot_learns_the_address_alone_from_a_header_of_version_1() {
    let dovecot = Dovecot::start();
    let services = LOGINS.map(|protocol| both(protocol, dovecot.at(protocol), "proxy-v1"));
    let front = Front::start(&services.concat());
    for protocol in LOGINS {
        // It cannot know of TLS, and takes no password; it tells the client so.
        for tls in ["starttls", "implicit"] {
            let mut client = front.over_tls(&format!("{protocol}-{tls}"), protocol);
            if protocol == "imap" {
                client.say("c CAPABILITY");
                let capabilities = client.until("c OK");
                assert!(capabilities.contains("LOGINDISABLED"), "{capabilities}");
                assert!(!capabilities.contains("STARTTLS"), "{capabilities}");
            }
            take_leave(&mut client, protocol);
        }
        let name = format!("{protocol}-login");
        dovecot.server.logged(&[&name, "rip=127.0.0.2"]);
    }
    assert!(!dovecot.server.log().contains("secured"));
}

#[test]
fn dovecot_learns_the_address_by_xclient() {
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let protocols = ["pop3", "managesieve", "submission"];
    let services = protocols.map(|protocol| both(protocol, dovecot.at(protocol), "xclient"));
    let front = Front::start(&services.concat());
    for protocol in protocols {
        logged_in(&front, &dovecot, protocol, &[]);
    }
}

#[test]
fn dovecot_learns_the_address_by_imap_id() {
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let front = Front::start(&both("imap", dovecot.at("imap"), "imap-id"));
    logged_in(&front, &dovecot, "imap", &[]);
}

#[test]
fn postfix_learns_the_address_by_header_and_by_xclient_and_by_the_connection_itself() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let ways = [
        ("proxy-v1", Service::Mx),
        ("proxy-v2", Service::Mx),
        ("xclient", Service::MxXclient),
        ("transparent", Service::MxPlain),
    ];
    let services = ways.map(|(way, service)| {
        ["starttls", "implicit"]
            .map(|tls| listener(&format!("{way}-{tls}"), "smtp", tls, way))
            .concat()
            + &upstream(way, postfix.at(service), way)
    });
    let front = Front::start(&services.concat());
    for (way, service) in ways {
        for tls in ["starttls", "implicit"] {
            let listener = format!("{way}-{tls}");
            send(&mut front.over_tls(&listener, "smtp"), &listener);
            let received = dovecot.delivered(&listener);
            let from = format!("from {HELO} (unknown [127.0.0.2])");
            assert!(received.contains(&from), "{listener}: {received}");
            postfix
                .server
                .logged(&[service.name(), "client=unknown[127.0.0.2]"]);
        }
    }
    assert!(!postfix.server.log().contains("client=localhost[127.0.0.1]"));
    assert!(!postfix.server.log().contains("client=unknown[127.0.0.1]"));
}

#[test]
fn postfix_learns_by_xclient_who_logs_in() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let server = postfix.at(Service::SubmissionXclient);
    let front = Front::start(&both("submission", server, "xclient"));
    for tls in ["starttls", "implicit"] {
        let listener = format!("submission-{tls}");
        front.python("smtp.py", &listener, tls, &["login"]).ok();
        let user = format!("sasl_username={tls}");
        postfix
            .server
            .logged(&["submission-xclient", "[127.0.0.2]", &user]);
    }
}

#[test]
fn the_address_can_be_one_of_ipv6_and_come_from_a_proxy_before_us() {
    const CLIENT: &str = "2001:db8::9";
    let dovecot = Dovecot::start();
    let trusting = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let postfix = Postfix::start(&dovecot);
    let logins = [
        ("imap", dovecot.at("imap"), "proxy-v1"),
        ("pop3", dovecot.at("pop3"), "proxy-v2"),
        ("imap", trusting.at("imap"), "imap-id"),
        ("pop3", trusting.at("pop3"), "xclient"),
        ("managesieve", trusting.at("managesieve"), "xclient"),
        ("submission", trusting.at("submission"), "xclient"),
        ("smtp", postfix.at(Service::Mx), "proxy-v1"),
        ("smtp", postfix.at(Service::Mx), "proxy-v2"),
        ("smtp", postfix.at(Service::MxXclient), "xclient"),
    ];
    let services = logins.map(|(protocol, server, way)| {
        let name = format!("{protocol}-{way}");
        listener(&name, protocol, "starttls", &name)
            + "accept_proxy_from = [\"127.0.0.2\"]\n"
            + &upstream(&name, server, way)
    });
    let front = Front::start(&services.concat());
    for (protocol, _, way) in logins {
        let mut client = front.plain(&format!("{protocol}-{way}"));
        client.say(&format!("PROXY TCP6 {CLIENT} 2001:db8::1 4444 143"));
        let mut client = front.secure(client, protocol, NAME);
        if protocol == "smtp" {
            send_unintroduced(&mut client, way);
            let received = dovecot.delivered(way);
            let from = format!("(unknown [IPv6:{CLIENT}])");
            assert!(received.contains(&from), "{way}: {received}");
            continue;
        }
        take_leave(&mut client, protocol);
        let name = format!("{protocol}-login");
        let server = if way.starts_with("proxy") {
            &dovecot
        } else {
            &trusting
        };
        server.server.logged(&[&name, &format!("rip={CLIENT},")]);
    }
}

#[test]
fn exim_learns_the_address_from_headers_of_both_versions() {
    let exim = Exim::start();
    let ways = ["proxy-v1", "proxy-v2"];
    let services = ways.map(|way| {
        listener(&format!("{way}-starttls"), "smtp", "starttls", way)
            + &upstream(way, exim.at(), way)
    });
    let front = Front::start(&services.concat());
    for way in ways {
        send(&mut front.over_tls(&format!("{way}-starttls"), "smtp"), way);
        let sender = format!("<= {way}@{DOMAIN}");
        exim.server
            .logged(&[&sender, &format!("({HELO}) [127.0.0.2]"), "PRX=127.0.0.1"]);
    }
}

#[test]
fn a_server_sees_a_connection_from_the_clients_own_address() {
    let dovecot = Dovecot::with(Believes::Nobody, OwnTls::None);
    let services = LOGINS.map(|protocol| both(protocol, dovecot.at(protocol), "transparent"));
    let front = Front::start(&services.concat());
    for protocol in LOGINS {
        for tls in ["starttls", "implicit"] {
            let mut client = front.over_tls(&format!("{protocol}-{tls}"), protocol);
            take_leave(&mut client, protocol);
        }
        let name = format!("{protocol}-login");
        wait::until("both sessions to be logged", || {
            let log = dovecot.server.log();
            let lines = log.lines().filter(|line| line.contains(&name));
            lines.filter(|line| line.contains("rip=127.0.0.2")).count() == 2
        });
    }
}
