//! TLS towards the server, from the first byte and by STARTTLS: its certificate is verified, and a
//! server that falls short is not used.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use super::words::{log_in, unavailable};
use super::{Front, both, certificate, listener, own_tls, upstream};
use crate::common::ca::{DAY, Pair, TestCa};
use crate::common::dovecot::{Believes, Dovecot, OwnTls};
use crate::common::echo;
use crate::common::postfix::{Postfix, Service};
use crate::common::process::run;

/// The name of the server behind.
const BEHIND: &str = "dovecot.example.org";

const LOGINS: [&str; 4] = ["imap", "pop3", "managesieve", "submission"];

/// The further keys of an upstream that is reached over TLS, and verified.
fn over_tls(tls: &str, server_name: &str) -> String {
    format!("tls = \"{tls}\"\ntrust = [\"root.pem\"]\nserver_name = \"{server_name}\"\n")
}

/// What the pin of a certificate is, by the usual command (RFC 7469 appendix A).
fn pin(pair: &Pair, folder: &Path) -> String {
    pair.write(folder, "pinned");
    let file = folder.join("pinned.crt");
    let command = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform der |
            openssl dgst -sha256 -binary | openssl enc -base64",
        file.display()
    );
    run("sh", ["-c", &command], b"").ok().trim().to_owned()
}

#[test]
fn clients_log_in_to_a_server_that_is_reached_over_tls() {
    // ManageSieve has no port with TLS from the first byte; where Dovecot is given one, it does not
    // always see that there is a login to read.
    let ways = [
        ("imap", "starttls"),
        ("imap", "implicit"),
        ("pop3", "starttls"),
        ("pop3", "implicit"),
        ("managesieve", "starttls"),
        ("submission", "starttls"),
        ("submission", "implicit"),
    ];
    let ca = TestCa::today();
    let own = certificate(&ca, BEHIND);
    let dovecot = Dovecot::with(Believes::Header, OwnTls::Modern(&own));
    let services = ways.map(|(protocol, tls)| {
        let name = format!("{protocol}-{tls}");
        listener(&name, protocol, tls, &name)
            + &upstream(&name, own_tls(&dovecot, protocol, tls), "proxy-v2")
            + &over_tls(tls, BEHIND)
    });
    let front = Front::with(ca, &services.concat());
    for (protocol, tls) in ways {
        let mut client = front.over_tls(&format!("{protocol}-{tls}"), protocol);
        log_in(&mut client, protocol, tls);
        let (name, user) = (format!("{protocol}-login"), format!("user=<{tls}>"));
        let line = [&name, "Login", &user, "rip=127.0.0.2", "TLS"];
        dovecot.server.logged(&line);
    }
}

#[test]
fn mail_is_submitted_to_a_postfix_that_is_reached_over_tls() {
    let ca = TestCa::today();
    let own = certificate(&ca, BEHIND);
    let dovecot = Dovecot::start();
    let postfix = Postfix::start_with_tls(&dovecot, &own);
    let ways = [
        ("starttls", Service::SubmissionStartTls),
        ("implicit", Service::SubmissionTls),
    ];
    let services = ways.map(|(tls, service)| {
        listener(&format!("{tls}-starttls"), "submission", "starttls", tls)
            + &upstream(tls, postfix.at(service), "proxy-v2")
            + &over_tls(tls, BEHIND)
    });
    let front = Front::with(ca, &services.concat());
    for (tls, service) in ways {
        front
            .python("smtp.py", &format!("{tls}-starttls"), tls, &["login"])
            .ok();
        let user = format!("sasl_username={tls}");
        postfix
            .server
            .logged(&[service.name(), "[127.0.0.2]", &user]);
        assert!(dovecot.delivered(tls).contains("over starttls"));
    }
}

#[test]
fn a_server_is_told_the_address_inside_tls() {
    let ca = TestCa::today();
    let own = certificate(&ca, BEHIND);
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::Modern(&own));
    let ways = [
        ("imap", "imap-id"),
        ("pop3", "xclient"),
        ("managesieve", "xclient"),
        ("submission", "xclient"),
    ];
    let services = ways.map(|(protocol, way)| {
        both(protocol, dovecot.at(protocol), way) + &over_tls("starttls", BEHIND)
    });
    let front = Front::with(ca, &services.concat());
    for (protocol, _) in ways {
        let listener = format!("{protocol}-starttls");
        log_in(&mut front.over_tls(&listener, protocol), protocol, "inside");
        let name = format!("{protocol}-login");
        let line = [&name, "Login", "user=<inside>", "rip=127.0.0.2", "TLS"];
        dovecot.server.logged(&line);
    }
}

#[test]
fn a_server_with_the_wrong_certificate_is_not_used() {
    let ca = TestCa::today();
    let own = certificate(&ca, BEHIND);
    let stranger = certificate(&TestCa::today(), BEHIND);
    let late = ca.leaf(&[BEHIND]).dates(-10 * DAY, -DAY).issue();
    let start = |pair| Dovecot::with(Believes::Header, OwnTls::Modern(pair));
    let (dovecot, other, expired) = (start(&own), start(&stranger), start(&late));
    let cases = [
        ("name", &dovecot, "other.example.org"),
        ("untrusted", &other, BEHIND),
        ("expired", &expired, BEHIND),
    ];
    let mut services = String::new();
    for (name, server, server_name) in cases {
        for tls in ["starttls", "implicit"] {
            let upstream_name = format!("{name}-{tls}");
            services += &listener(&upstream_name, "imap", "implicit", &upstream_name);
            services += &upstream(&upstream_name, own_tls(server, "imap", tls), "proxy-v2");
            services += &over_tls(tls, server_name);
        }
    }
    let front = Front::with(ca, &services);
    for (name, ..) in cases {
        for tls in ["starttls", "implicit"] {
            let listener = format!("{name}-{tls}");
            let answer = front.after_handshake(&listener).rest().unwrap();
            assert!(
                answer.starts_with(unavailable("imap")),
                "{listener}: {answer}"
            );
            front.upstream_failed(&listener, &format!("tls-{name}"));
        }
    }
}

#[test]
fn a_pinned_key_is_taken_whatever_the_certificate_says_and_no_other() {
    let ca = TestCa::today();
    let own = ca.leaf(&["whatever.invalid"]).self_signed();
    let dovecot = Dovecot::with(Believes::Header, OwnTls::Modern(&own));
    let folder = crate::common::folder();
    let right = pin(&own, folder.path());
    let wrong = pin(&certificate(&ca, BEHIND), folder.path());
    let services = [("right", &right), ("wrong", &wrong)].map(|(name, pin)| {
        listener(&format!("{name}-implicit"), "imap", "implicit", name)
            + &upstream(name, dovecot.at("imap"), "proxy-v2")
            + &format!("tls = \"starttls\"\npin = \"{pin}\"\n")
    });
    let front = Front::with(ca, &services.concat());
    log_in(
        &mut front.over_tls("right-implicit", "imap"),
        "imap",
        "pinned",
    );
    let answer = front.after_handshake("wrong-implicit").rest().unwrap();
    assert!(answer.starts_with(unavailable("imap")), "{answer}");
}

#[test]
fn an_unverified_certificate_is_taken_only_where_that_is_written_out() {
    let ca = TestCa::today();
    let own = ca.leaf(&["whatever.invalid"]).self_signed();
    let dovecot = Dovecot::with(Believes::Header, OwnTls::Modern(&own));
    let services = [("by-default", ""), ("without", "verify = false\n")].map(|(name, more)| {
        listener(&format!("{name}-implicit"), "imap", "implicit", name)
            + &upstream(name, dovecot.at("imap"), "proxy-v2")
            + &format!("tls = \"starttls\"\n{more}")
    });
    let front = Front::with(ca, &services.concat());
    log_in(
        &mut front.over_tls("without-implicit", "imap"),
        "imap",
        "unverified",
    );
    let answer = front.after_handshake("by-default-implicit").rest().unwrap();
    assert!(answer.starts_with(unavailable("imap")), "{answer}");
}

#[test]
fn a_server_that_does_not_offer_starttls_is_not_used_in_clear() {
    let dovecot = Dovecot::start();
    let services = LOGINS.map(|protocol| {
        both(protocol, dovecot.at(protocol), "proxy-v2") + &over_tls("starttls", BEHIND)
    });
    let front = Front::start(&services.concat());
    for protocol in LOGINS {
        let answer = front
            .after_handshake(&format!("{protocol}-implicit"))
            .rest()
            .unwrap();
        assert!(
            answer.starts_with(unavailable(protocol)),
            "{protocol}: {answer}"
        );
        front.upstream_failed(protocol, "starttls-not-offered");
    }
    assert!(!dovecot.server.log().contains("Login"));
}

/// A server that greets, offers STARTTLS, and says one line too many when it is asked for it.
fn talkative(protocol: &'static str) -> SocketAddr {
    let (greeting, answer) = match protocol {
        "imap" => (
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n",
            "OK go\r\n* OK more\r\n",
        ),
        "pop3" => ("+OK hi\r\n", "+OK go\r\n+OK more\r\n"),
        "managesieve" => (
            "\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"\"\r\n\"STARTTLS\"\r\nOK\r\n",
            "OK\r\nOK more\r\n",
        ),
        _ => ("220 hi\r\n", "220 go\r\n250 more\r\n"),
    };
    echo::serve(move |stream| drop(talk(stream, greeting, answer)))
}

fn talk(mut stream: &TcpStream, greeting: &str, answer: &str) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes())?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let tag = line.split(' ').next().unwrap_or_default();
        let says = |word: &str| line.split(' ').any(|said| said.eq_ignore_ascii_case(word));
        let reply = if says("STARTTLS") && greeting.starts_with('*') {
            format!("{tag} {answer}")
        } else if says("STARTTLS") || says("STLS") {
            answer.to_owned()
        } else if says("EHLO") {
            "250-hi\r\n250 STARTTLS\r\n".to_owned()
        } else if says("CAPA") {
            "+OK\r\nSTLS\r\n.\r\n".to_owned()
        } else if says("CAPABILITY") {
            format!("* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK\r\n")
        } else {
            return Ok(());
        };
        // In one segment.
        stream.write_all(reply.as_bytes())?;
    }
    Ok(())
}

#[test]
fn bytes_behind_a_servers_answer_to_starttls_end_the_attempt() {
    let services = LOGINS.map(|protocol| {
        both(protocol, talkative(protocol), "none") + &over_tls("starttls", BEHIND)
    });
    let front = Front::start(&services.concat());
    for protocol in LOGINS {
        let answer = front
            .after_handshake(&format!("{protocol}-implicit"))
            .rest()
            .unwrap();
        assert!(
            answer.starts_with(unavailable(protocol)),
            "{protocol}: {answer}"
        );
        front.upstream_failed(protocol, "starttls-injection");
    }
}
