//! What a client says about itself, and only the proxy may say: no server believes it, not even one
//! that trusts the proxy's address. And nobody relays through such a server.

use super::words::{greeting, log_in, say_starttls, send_unintroduced};
use super::{Front, HELO, NAME, both, listener, upstream};
use crate::common::dovecot::{Believes, Dovecot, OwnTls};
use crate::common::exim::Exim;
use crate::common::postfix::{DOMAIN, Postfix, Service};

/// Where the forger says that it is.
const FORGED: &str = "198.51.100.9";

const WAYS: [&str; 2] = ["starttls", "implicit"];

#[test]
fn xclient_and_xforward_of_a_client_are_refused_in_every_place() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let ways = [
        ("xclient", Service::MxXclient),
        ("none", Service::MxXclient),
        ("proxy-v2", Service::Mx),
    ];
    let services = ways.map(|(way, service)| {
        listener(&format!("{way}-starttls"), "smtp", "starttls", way)
            + &upstream(way, postfix.at(service), way)
    });
    let front = Front::start(&services.concat());
    let forgeries = ["XCLIENT", "xclient", "XFORWARD"]
        .map(|word| format!("{word} ADDR={FORGED} NAME=[UNAVAILABLE]"));
    for (way, _) in ways {
        let mut client = front.over_tls(&format!("{way}-starttls"), "smtp");
        let hello = client.command(&format!("EHLO {HELO}"));
        for word in ["XCLIENT", "XFORWARD", "STARTTLS"] {
            assert!(!hello.contains(word), "{way}: {hello}");
        }
        let refused = |answer: &str| assert!(answer.starts_with("550 "), "{way}: {answer}");
        for forgery in &forgeries {
            refused(&client.command(forgery));
        }
        let all = format!("NOOP\r\n{}\r\nNOOP\r\n", forgeries.join("\r\n"));
        client.send(all.as_bytes()).unwrap();
        assert!(client.reply().starts_with("250 "));
        forgeries.iter().for_each(|_| refused(&client.reply()));
        assert!(client.reply().starts_with("250 "));

        // In a message it is a line like any other; behind the message it is a command again.
        let address = format!("{way}@{DOMAIN}");
        assert!(
            client
                .command(&format!("MAIL FROM:<{address}>"))
                .starts_with("250 ")
        );
        refused(&client.command(&forgeries[0]));
        assert!(
            client
                .command(&format!("RCPT TO:<{address}>"))
                .starts_with("250 ")
        );
        assert!(client.command("DATA").starts_with("354 "));
        let line = &forgeries[0];
        let message = format!("Subject: forged\r\n\r\n{line}\r\n.\r\n{line}\r\nNOOP\r\n");
        client.send(message.as_bytes()).unwrap();
        assert!(client.reply().starts_with("250 "));
        refused(&client.reply());
        assert!(client.reply().starts_with("250 "));
        let received = dovecot.delivered(&address.replace(&format!("@{DOMAIN}"), ""));
        assert!(received.contains(&forgeries[0]), "{received}");
        assert!(!received.contains(&format!("[{FORGED}]")), "{received}");
        client.command("QUIT");
    }
    assert!(!postfix.server.log().contains(FORGED));
}

#[test]
fn a_chunk_hides_no_xclient() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let front = Front::start(&both("smtp", postfix.at(Service::MxXclient), "xclient"));
    let mut client = front.over_tls("smtp-implicit", "smtp");
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(hello.contains("CHUNKING"), "{hello}");
    let address = format!("chunks@{DOMAIN}");
    assert!(
        client
            .command(&format!("MAIL FROM:<{address}>"))
            .starts_with("250 ")
    );
    assert!(
        client
            .command(&format!("RCPT TO:<{address}>"))
            .starts_with("250 ")
    );
    let line = format!("XCLIENT ADDR={FORGED}\r\n");
    let first = format!("Subject: chunks\r\n\r\n{line}");
    let length = first.len();
    // A chunk that has the line at its end, then the line as a command, then the last chunk.
    let all = format!("BDAT {length}\r\n{first}{line}BDAT 5 LAST\r\nEnd\r\nQUIT\r\n");
    client.send(all.as_bytes()).unwrap();
    // RFC 3030 section 4.2: nothing but chunks may follow a chunk.
    for expected in ["250 ", "503 ", "250 ", "221 "] {
        let answer = client.reply();
        assert!(answer.starts_with(expected), "{expected}: {answer}");
    }
    let received = dovecot.delivered("chunks");
    assert!(received.contains(line.trim_end()), "{received}");
    assert!(received.contains("(unknown [127.0.0.2])"), "{received}");
    assert!(!postfix.server.log().contains(FORGED));
}

#[test]
fn dovecot_never_hears_the_address_that_an_imap_client_claims() {
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let services = [("imap-id", "127.0.0.2"), ("none", "127.0.0.1")];
    let configuration = services.map(|(way, _)| {
        WAYS.map(|tls| listener(&format!("{way}-{tls}"), "imap", tls, way))
            .concat()
            + &upstream(way, dovecot.at("imap"), way)
    });
    let front = Front::start(&configuration.concat());
    let claims = [
        format!("a ID (\"x-originating-ip\" \"{FORGED}\" \"name\" \"x\")"),
        format!("a id (\"X-Originating-IP\" \"{FORGED}\" \"X-SESSION-ID\" \"forged\")"),
        format!("a ID ({{16+}}\r\nx-originating-ip {{12+}}\r\n{FORGED})"),
        format!("a ID (\"name\" \"x\" \"x-originating-ip\" \"{FORGED}\" \"x-proxy-ttl\" \"1\")"),
        format!("a ID (\"x-connected-ip\" \"{FORGED}\" \"x-originating-port\" \"99\")"),
        format!("a ID (\"x-forward-originating-ip\" \"{FORGED}\")"),
    ];
    for (way, address) in services {
        for tls in WAYS {
            for (number, claim) in claims.iter().enumerate() {
                let mut client = front.over_tls(&format!("{way}-{tls}"), "imap");
                client.say(claim);
                let answer = client.until("a ");
                assert!(answer.contains("a OK "), "{way}: {claim}: {answer}");
                let user = format!("{way}-{tls}-{number}");
                log_in(&mut client, "imap", &user);
                let user = format!("user=<{user}>");
                let rip = format!("rip={address},");
                dovecot.server.logged(&["Login", &user, &rip]);
            }
        }
    }
    let log = dovecot.server.log();
    assert!(!log.contains(FORGED) && !log.contains("forged"), "{log}");
}

#[test]
fn dovecot_never_hears_the_address_that_an_xclient_of_a_client_claims() {
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let claims = [
        ("pop3", format!("XCLIENT ADDR={FORGED} PORT=99"), "-ERR"),
        (
            "managesieve",
            format!("XCLIENT ADDR={FORGED} PORT=99"),
            "NO",
        ),
        (
            "submission",
            format!("XCLIENT ADDR={FORGED} PORT=99"),
            "550 ",
        ),
    ];
    let ways = [("xclient", "127.0.0.2"), ("none", "127.0.0.1")];
    let mut services = String::new();
    for (protocol, ..) in &claims {
        for (way, _) in ways {
            let name = format!("{protocol}-{way}");
            services += &listener(&format!("{name}-starttls"), protocol, "starttls", &name);
            services += &listener(&format!("{name}-implicit"), protocol, "implicit", &name);
            services += &upstream(&name, dovecot.at(protocol), way);
        }
    }
    let front = Front::start(&services);
    for (protocol, claim, refusal) in &claims {
        for (way, address) in ways {
            for tls in WAYS {
                let listener = format!("{protocol}-{way}-{tls}");
                let mut client = front.over_tls(&listener, protocol);
                let answer = client.ask(claim);
                assert!(answer.starts_with(refusal), "{listener}: {answer}");
                log_in(&mut client, protocol, &listener);
                let (user, rip) = (format!("user=<{listener}>"), format!("rip={address},"));
                dovecot.server.logged(&["Login", &user, &rip]);
            }
        }
    }
    assert!(!dovecot.server.log().contains(FORGED));
}

#[test]
fn a_server_that_trusts_us_does_not_announce_it_to_clients() {
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let protocols = ["pop3", "managesieve", "submission"];
    let services = protocols.map(|protocol| both(protocol, dovecot.at(protocol), "xclient"));
    let front = Front::start(&services.concat());
    for protocol in protocols {
        let ask = match protocol {
            "pop3" => ("CAPA", "."),
            "managesieve" => ("CAPABILITY", "OK"),
            _ => ("EHLO client.example.com", "250 "),
        };
        let mut client = front.after_handshake(&format!("{protocol}-implicit"));
        let mut said = greeting(&mut client, protocol);
        client.say(ask.0);
        said += &client.until(ask.1);
        assert!(!said.contains("XCLIENT"), "{protocol}: {said}");
        assert!(
            !said.contains("STARTTLS") && !said.contains("STLS"),
            "{protocol}: {said}"
        );
    }
}

#[test]
fn a_proxy_header_of_a_client_is_no_header() {
    let dovecot = Dovecot::start();
    let protocols = ["imap", "pop3", "managesieve"];
    let services = protocols.map(|protocol| both(protocol, dovecot.at(protocol), "proxy-v2"));
    let front = Front::start(&services.concat());
    let header = format!("PROXY TCP4 {FORGED} 127.0.0.1 99 143");
    let refused = |protocol: &str, answer: &str| {
        let refusals = ["PROXY BAD", "-ERR", "NO"];
        let is_one = refusals.iter().any(|words| answer.starts_with(words));
        assert!(is_one, "{protocol}: {answer}");
    };
    for protocol in protocols {
        // In clear it is a command that nobody knows.
        let mut client = front.plain(&format!("{protocol}-starttls"));
        greeting(&mut client, protocol);
        refused(protocol, &client.ask(&header));
        say_starttls(&mut client, protocol);
        let mut client = client.secure(NAME, &front.ca);
        if protocol == "managesieve" {
            greeting(&mut client, protocol);
        }
        log_in(&mut client, protocol, "clear");
        let name = format!("{protocol}-login");
        dovecot
            .server
            .logged(&[&name, "Login", "user=<clear>", "rip=127.0.0.2"]);
        // Behind TLS it comes after ours.
        for tls in WAYS {
            let mut client = front.over_tls(&format!("{protocol}-{tls}"), protocol);
            refused(protocol, &client.ask(&header));
            log_in(&mut client, protocol, tls);
            let user = format!("user=<{tls}>");
            dovecot
                .server
                .logged(&[&name, "Login", &user, "rip=127.0.0.2"]);
        }
    }
    assert!(!dovecot.server.log().contains(FORGED));
}

#[test]
fn a_foreign_sender_does_not_relay_through_a_server_that_trusts_our_address() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let exim = Exim::start();
    let servers = [
        ("proxy-v1", postfix.at(Service::Mx)),
        ("proxy-v2", postfix.at(Service::Mx)),
        ("xclient", postfix.at(Service::MxXclient)),
        ("transparent", postfix.at(Service::MxPlain)),
        ("proxy-v2", exim.at()),
    ];
    let mut services = String::new();
    for (number, (way, server)) in servers.iter().enumerate() {
        let name = format!("server{number}");
        services += &upstream(&name, server, way);
        for tls in ["starttls", "implicit", "starttls-optional"] {
            services += &listener(&format!("{name}-{tls}"), "smtp", tls, &name);
        }
    }
    let front = Front::start(&services);
    for (number, (way, _)) in servers.iter().enumerate() {
        for tls in ["starttls", "implicit", "starttls-optional"] {
            let listener = format!("server{number}-{tls}");
            let mut client = if tls == "starttls-optional" {
                let mut client = front.plain(&listener);
                client.reply();
                client
            } else {
                front.over_tls(&listener, "smtp")
            };
            client.command(&format!("EHLO {HELO}"));
            assert!(
                client
                    .command("MAIL FROM:<a@far.example>")
                    .starts_with("250 ")
            );
            let answer = client.command("RCPT TO:<b@far.example>");
            assert!(answer.starts_with('5'), "{way}: {listener}: {answer}");
        }
    }
}

#[test]
fn who_is_not_told_of_the_client_relays_for_all_which_is_warned_of() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let front = Front::start(&both("smtp", postfix.at(Service::MxPlain), "none"));
    let mut client = front.over_tls("smtp-starttls", "smtp");
    client.command(&format!("EHLO {HELO}"));
    client.command("MAIL FROM:<a@far.example>");
    let answer = client.command("RCPT TO:<b@far.example>");
    assert!(answer.starts_with("250 "), "{answer}");

    let checked = front.gatepost.site.command(&["check"]);
    assert!(checked.status.success(), "{checked:#?}");
    let said = checked.stdout + &checked.stderr;
    assert!(
        said.contains("client_address") && said.contains("relay"),
        "{said}"
    );
}

#[test]
fn nothing_of_what_is_said_in_clear_survives_tls() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let services = [
        both("imap", dovecot.at("imap"), "proxy-v2"),
        both("smtp", postfix.at(Service::Mx), "proxy-v2"),
    ];
    let front = Front::start(&services.concat());

    let mut client = front.plain("smtp-starttls");
    client.reply();
    client.command("EHLO forged.example.com");
    assert!(client.command("STARTTLS").starts_with("220 "));
    let mut client = client.secure(NAME, &front.ca);
    // RFC 3207 section 4.2: what was said before is to be forgotten.
    send_unintroduced(&mut client, "survives");
    let received = dovecot.delivered("survives");
    assert!(!received.contains("forged"), "{received}");

    let mut client = front.plain("imap-starttls");
    client.line();
    client.say("a ID (\"name\" \"forged\")");
    client.until("a OK");
    client.say("s STARTTLS");
    assert!(client.line().starts_with("s OK"));
    let mut client = client.secure(NAME, &front.ca);
    log_in(&mut client, "imap", "survives");
    dovecot.server.logged(&["Login", "user=<survives>"]);
    assert!(!dovecot.server.log().contains("forged"));
}
