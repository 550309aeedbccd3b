//! A server is connected to only when it is known which: what a client is shown before, and what it
//! is told if there is none.

use super::words::{ask_for_tls, greeting, log_in, unavailable};
use super::{Front, HELO, NAME, OTHER, both, listener, upstream};
use crate::common::client::Client;
use crate::common::dovecot::{Believes, Dovecot, OwnTls};
use crate::common::echo;
use crate::common::exim::Exim;
use crate::common::net::Loopback;
use crate::common::postfix::{Postfix, Service};
use crate::common::wait;

#[test]
fn each_name_leads_to_its_own_server_after_starttls() {
    let (first, second) = (Dovecot::start(), Dovecot::start());
    let protocols = ["imap", "pop3", "managesieve", "submission"];
    let services = protocols.map(|protocol| {
        let name = format!("{protocol}-second");
        listener(protocol, protocol, "starttls", protocol)
            + &upstream(protocol, first.at(protocol), "proxy-v2")
            + &upstream(&name, second.at(protocol), "proxy-v2")
            + &format!(
                "[[route]]\nnames = [\"{OTHER}\"]\nlisteners = [\"{protocol}\"]\nupstream = \"{name}\"\n"
            )
    });
    let front = Front::start(&services.concat());
    for protocol in protocols {
        for (name, server, user) in [(NAME, &first, "anna"), (OTHER, &second, "bert")] {
            let mut client = front.secure(front.plain(protocol), protocol, name);
            log_in(&mut client, protocol, user);
            let (login, user) = (format!("{protocol}-login"), format!("user=<{user}>"));
            server.server.logged(&[&login, &user]);
        }
    }
    assert!(!first.server.log().contains("<bert>") && !second.server.log().contains("<anna>"));
}

/// What a server says of itself in clear.
fn shown(client: &mut Client, protocol: &str) -> String {
    let mut shown = greeting(client, protocol);
    let (ask, end) = match protocol {
        "imap" => ("c CAPABILITY", "c OK"),
        "pop3" => ("CAPA", "."),
        "managesieve" => ("CAPABILITY", "OK"),
        _ => return shown + &client.command(&format!("EHLO {HELO}")),
    };
    client.say(ask);
    shown += &client.until(end);
    shown
}

#[test]
fn what_is_shown_in_clear_is_what_the_server_offers_less_what_must_not_be() {
    // Both would tell us more than they tell clients.
    let dovecot = Dovecot::with(Believes::Neighbour, OwnTls::None);
    let postfix = Postfix::start(&dovecot);
    let cases = [
        (
            "imap",
            dovecot.at("imap"),
            "imap-id",
            &["IMAP4rev1", "LITERAL+", " ID", "STARTTLS", "LOGINDISABLED"][..],
            &["AUTH="][..],
        ),
        (
            "pop3",
            dovecot.at("pop3"),
            "xclient",
            &["UIDL", "TOP", "STLS"],
            &["SASL", "USER", "XCLIENT", "<"],
        ),
        (
            "managesieve",
            dovecot.at("managesieve"),
            "xclient",
            &["\"SIEVE\" \"fileinto", "\"SASL\" \"\"", "\"STARTTLS\""],
            &["PLAIN", "XCLIENT"],
        ),
        (
            "smtp",
            postfix.at(Service::SubmissionXclient),
            "xclient",
            &["SIZE 52428800", "CHUNKING", "STARTTLS"],
            &["AUTH", "XCLIENT", "XFORWARD"],
        ),
    ];
    let services = cases.map(|(protocol, server, way, ..)| both(protocol, server, way));
    let front = Front::start(&services.concat());
    for (protocol, _, _, present, absent) in cases {
        let ask = || shown(&mut front.plain(&format!("{protocol}-starttls")), protocol);
        // As soon as it has been asked.
        wait::until(&format!("{protocol}: {present:?} to be shown"), || {
            let shown = ask();
            present.iter().all(|word| shown.contains(word))
        });
        let shown = ask();
        for word in absent {
            assert!(!shown.contains(word), "{protocol}: {word} in {shown}");
        }
    }
}

#[test]
fn what_is_shown_of_several_servers_is_what_all_of_them_offer() {
    let dovecot = Dovecot::start();
    let (postfix, exim) = (Postfix::start(&dovecot), Exim::start());
    let servers = format!("{}\", \"{}", postfix.at(Service::Mx), exim.at());
    let front = Front::start(&both("smtp", servers, "proxy-v2"));
    let ask = || shown(&mut front.plain("smtp-starttls"), "smtp");
    // Postfix offers DSN, Exim does not; both offer the others.
    wait::until("what both offer to be shown", || {
        let shown = ask();
        let both = ["8BITMIME", "SIZE", "PIPELINING"]
            .iter()
            .all(|word| shown.contains(word));
        both && !shown.contains("DSN")
    });
}

#[test]
fn a_server_that_is_down_is_told_of_under_tls() {
    let nobody = Loopback::claim();
    let protocols = ["imap", "pop3", "managesieve", "submission", "smtp"];
    let services = protocols.map(|protocol| {
        listener(protocol, protocol, "starttls", protocol)
            + &upstream(protocol, nobody.port(1), "proxy-v2")
    });
    let optional = listener("optional", "smtp", "starttls-optional", "smtp");
    let front = Front::start(&(services.concat() + &optional));
    for protocol in protocols {
        let mut client = front.plain(protocol);
        ask_for_tls(&mut client, protocol);
        let mut client = client.secure(NAME, &front.ca);
        let answer = client.rest().unwrap();
        assert!(
            answer.starts_with(unavailable(protocol)),
            "{protocol}: {answer}"
        );
        front.upstream_failed(protocol, "refused");
    }
    let mut client = front.plain("optional");
    client.reply();
    client.command(&format!("EHLO {HELO}"));
    let answer = client.command("MAIL FROM:<a@far.example>");
    assert!(answer.starts_with("421 4.3.2 "), "{answer}");
}

#[test]
fn a_refusal_of_the_server_is_passed_on_and_what_is_no_greeting_is_not() {
    let cases = [
        ("imap", "* BYE go away", "* BYE go away"),
        ("pop3", "-ERR go away", "-ERR go away"),
        ("managesieve", "BYE \"go away\"", "BYE \"go away\""),
        ("smtp", "554 go away", "554 go away"),
        ("imap", "* PREAUTH everybody is root", unavailable("imap")),
        ("imap", "220 mail.example.org ESMTP", unavailable("imap")),
        ("smtp", "SSH-2.0-OpenSSH_9.2", unavailable("smtp")),
    ];
    let services = (0..).zip(cases).map(|(number, (protocol, line, _))| {
        let name = format!("case{number}");
        listener(&name, protocol, "starttls", &name)
            + &upstream(&name, echo::greeter(line), "proxy-v2")
    });
    let front = Front::start(&services.collect::<String>());
    for (number, (protocol, line, passed_on)) in (0..).zip(cases) {
        let mut client = front.plain(&format!("case{number}"));
        ask_for_tls(&mut client, protocol);
        let mut client = client.secure(NAME, &front.ca);
        let answer = client.rest().unwrap();
        assert!(answer.starts_with(passed_on), "{line}: {answer}");
    }
}
