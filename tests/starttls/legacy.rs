//! Clients too old for our TLS: handed over untouched to a server that speaks theirs, while all
//! others of the same listener are served as ever; or refused in words that are true.

use super::words::log_in;
use super::{Front, NAME, listener, own_tls, upstream};
use crate::common::ca::{Key, TestCa};
use crate::common::dovecot::{Believes, Dovecot, OwnTls};
use crate::common::process::{Outcome, run};

/// The name in the certificate of the old server.
const OLD: &str = "old.example.org";

const PROTOCOLS: [(&str, &str); 4] = [
    ("imap", "imap"),
    ("pop3", "pop3"),
    ("managesieve", "sieve"),
    ("submission", "smtp"),
];

/// A modern server, an old one that speaks TLS 1.0 and nothing else, and the proxy before them.
struct House {
    front: Front,
    modern: Dovecot,
    old: Dovecot,
}

impl House {
    fn new() -> Self {
        let ca = TestCa::today();
        let pair = ca.leaf(&[OLD]).key(Key::Rsa2048).issue();
        let modern = Dovecot::start();
        let old = Dovecot::with(Believes::Nobody, OwnTls::Old(&pair));
        let services = PROTOCOLS.map(|(protocol, _)| {
            ["starttls", "implicit"]
                .map(|tls| service(protocol, tls, &modern, &old))
                .concat()
        });
        Self {
            front: Front::with(ca, &services.concat()),
            modern,
            old,
        }
    }

    /// openssl with every old thing allowed, which verifies the certificate for this name.
    fn openssl(&self, listener: &str, word: &str, verified: &str, input: &str) -> Outcome {
        let (authority, port) = (self.front.authority(), self.front.port(listener));
        let connect = format!("127.0.0.1:{port}");
        let starttls = ["-starttls", word];
        let starttls = if listener.ends_with("starttls") {
            &starttls[..]
        } else {
            &[]
        };
        let arguments = [
            ["-connect", &connect],
            ["-servername", NAME],
            ["-cipher", "ALL:@SECLEVEL=0"],
            ["-CAfile", &authority],
            ["-verify_hostname", verified],
        ];
        let flags = ["s_client", "-tls1", "-verify_return_error", "-quiet"];
        let arguments = flags.iter().chain(arguments.as_flattened());
        run("openssl", arguments.chain(starttls), input.as_bytes())
    }
}

/// A listener before the modern server, which hands old clients over to the old one.
fn service(protocol: &str, tls: &str, modern: &Dovecot, old: &Dovecot) -> String {
    let name = format!("{protocol}-{tls}");
    let old_name = format!("{name}-old");
    listener(&name, protocol, tls, &name)
        + &format!("legacy = \"passthrough\"\nlegacy_upstream = \"{old_name}\"\n")
        + &upstream(&name, modern.at(protocol), "proxy-v2")
        + &upstream(&old_name, own_tls(old, protocol, tls), "none")
}

/// What logs in and out, and the answer to the former.
fn login(protocol: &str) -> (&'static str, &'static str) {
    match protocol {
        "imap" => ("a LOGIN printer correct-horse\r\nb LOGOUT\r\n", "a OK "),
        "pop3" => (
            "USER printer\r\nPASS correct-horse\r\nQUIT\r\n",
            "+OK Logged in",
        ),
        "managesieve" => (
            "AUTHENTICATE \"PLAIN\" \"AHByaW50ZXIAY29ycmVjdC1ob3JzZQ==\"\r\nLOGOUT\r\n",
            "OK \"Logged in",
        ),
        _ => (
            "EHLO printer\r\nAUTH PLAIN AHByaW50ZXIAY29ycmVjdC1ob3JzZQ==\r\nQUIT\r\n",
            "235 2.7.0",
        ),
    }
}

#[test]
fn a_client_of_tls_1_0_reaches_the_old_server_and_a_modern_one_does_not() {
    let house = House::new();
    for (protocol, word) in PROTOCOLS {
        let (input, answer) = login(protocol);
        for tls in ["starttls", "implicit"] {
            let listener = format!("{protocol}-{tls}");
            // ManageSieve has no port with TLS from the first byte; where Dovecot is given one, it
            // does not always see that there is a login to read.
            if listener == "managesieve-implicit" {
                continue;
            }
            let outcome = house.openssl(&listener, word, OLD, input);
            assert!(outcome.stdout.contains(answer), "{listener}: {outcome:#?}");
            let name = format!("{protocol}-login");
            house
                .old
                .server
                .logged(&[&name, "Login", "user=<printer>", "TLS"]);

            // Over TLS of today, with the certificate of the proxy.
            let mut client = house.front.over_tls(&listener, protocol);
            log_in(&mut client, protocol, "modern");
            let name = format!("{protocol}-login");
            let line = [&name, "Login", "user=<modern>", "rip=127.0.0.2"];
            house.modern.server.logged(&line);
        }
    }
    assert!(!house.old.server.log().contains("<modern>"));
    assert!(!house.modern.server.log().contains("<printer>"));
}

#[test]
fn a_client_of_tls_1_0_is_told_that_its_version_is_too_old_and_named() {
    let dovecot = Dovecot::start();
    let services = ["starttls", "implicit"].map(|tls| {
        listener(&format!("imap-{tls}"), "imap", tls, &format!("imap-{tls}"))
            + &upstream(&format!("imap-{tls}"), dovecot.at("imap"), "proxy-v2")
    });
    let house = House {
        front: Front::start(&services.concat()),
        modern: dovecot,
        old: Dovecot::start(),
    };
    for tls in ["starttls", "implicit"] {
        let listener = format!("imap-{tls}");
        let outcome = house.openssl(&listener, "imap", NAME, "a LOGOUT\r\n");
        // Alert 70 of RFC 8446 section 6.2.
        assert!(
            outcome.stderr.contains("alert protocol version"),
            "{outcome:#?}"
        );
        let labels = format!("listener=\"{listener}\",reason=\"version\"");
        let series = format!("gatepost_tls_handshake_failures_total{{{labels}}}");
        house.front.counted(&series, 1);
        let named = house
            .front
            .gatepost
            .logged(&["\"offered\":\"TLSv1.0", &listener]);
        assert!(named.to_string().contains("127.0.0.1:"), "{named}");
    }
}

#[test]
fn without_an_upstream_of_their_own_old_clients_go_where_their_name_leads() {
    let ca = TestCa::today();
    let pair = ca.leaf(&[OLD]).key(Key::Rsa2048).issue();
    let old = Dovecot::with(Believes::Nobody, OwnTls::Old(&pair));
    let legacy = "legacy = \"passthrough\"\n";
    let services = listener("imap-starttls", "imap", "starttls", "old")
        + legacy
        + &upstream("old", old.at("imap"), "none");
    let house = House {
        front: Front::with(ca, &services),
        modern: Dovecot::start(),
        old,
    };
    let (input, answer) = login("imap");
    let outcome = house.openssl("imap-starttls", "imap", OLD, input);
    assert!(outcome.stdout.contains(answer), "{outcome:#?}");
    house
        .old
        .server
        .logged(&["imap-login", "Login", "user=<printer>", "TLS"]);
}
