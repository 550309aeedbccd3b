//! Real mail clients reach real mail servers: what they send arrives, the servers know who they are,
//! and that they came over TLS.

use std::fs;
use std::path::Path;

use crate::common::ca::{Pair, TestCa};
use crate::common::client::Client;
use crate::common::dovecot::{Dovecot, PASSWORD};
use crate::common::gatepost::Gatepost;
use crate::common::net::{CLIENT, Loopback};
use crate::common::postfix::{DOMAIN, Postfix, Service};
use crate::common::process::{Outcome, run};
use crate::common::wait;

/// The name that clients ask for.
const NAME: &str = "mail.example.org";

/// A listener and the upstream of the same name.
fn service(name: &str, protocol: &str, tls: &str, server: impl ToString) -> String {
    let server = server.to_string();
    format!(
        r#"
[[listener]]
name = "{name}"
bind = ["127.0.0.1:0"]
protocol = "{protocol}"
tls = "{tls}"
upstream = "{name}"

[[upstream]]
name = "{name}"
servers = ["{server}"]
client_address = "proxy-v2"
"#
    )
}

/// Servers, and the proxy before them.
struct House {
    gatepost: Gatepost,
    dovecot: Dovecot,
    ca: TestCa,
}

impl House {
    /// The proxy with IMAPS and POP3S before a Dovecot.
    fn new() -> Self {
        let dovecot = Dovecot::start();
        let services = [
            service("imaps", "imap", "implicit", dovecot.at("imap")),
            service("pop3s", "pop3", "implicit", dovecot.at("pop3")),
        ];
        Self::with(dovecot, &services.concat())
    }

    /// The proxy so configured, with a certificate for [`NAME`] and one for `localhost`.
    fn with(dovecot: Dovecot, configuration: &str) -> Self {
        let ca = TestCa::today();
        let (mail, localhost) = (certificate(&ca, NAME), certificate(&ca, "localhost"));
        let certificates = [("mail", &mail), ("localhost", &localhost)];
        let gatepost = Gatepost::start(&ca, &certificates, configuration);
        Self {
            gatepost,
            dovecot,
            ca,
        }
    }

    fn port(&self, listener: &str) -> u16 {
        self.gatepost.address(listener).port()
    }

    fn authority(&self) -> String {
        self.gatepost.site.path("root.pem").display().to_string()
    }

    /// curl from the second address, as the user, to a URL of this kind; it verifies the certificate.
    fn curl(&self, listener: &str, scheme: &str, path: &str, more: &[&str]) -> Outcome {
        let port = self.port(listener);
        let login = format!("user:{PASSWORD}");
        let resolve = format!("{NAME}:{port}:127.0.0.1");
        let url = format!("{scheme}://{NAME}:{port}/{path}");
        let (from, authority) = (CLIENT.to_string(), self.authority());
        let arguments = [
            ["--interface", &from],
            ["--cacert", &authority],
            ["--resolve", &resolve],
            ["--user", &login],
            ["--url", &url],
        ];
        let arguments = arguments.as_flattened().iter().chain(more);
        run("curl", ["-sS"].iter().chain(arguments), b"")
    }

    /// Puts a message into the user's mailbox.
    fn append(&self, message: &str) {
        let file = self.gatepost.site.path("message");
        fs::write(&file, message).unwrap();
        let upload = ["--upload-file", file.to_str().unwrap()];
        self.curl("imaps", "imaps", "INBOX", &upload).ok();
    }

    /// A client at the IMAP greeting.
    fn imap(&self) -> Client {
        Client::tls(self.gatepost.address("imaps"), NAME, &self.ca)
    }
}

fn certificate(ca: &TestCa, name: &str) -> Pair {
    ca.leaf(&[name]).issue()
}

fn message(subject: &str) -> String {
    format!("From: a@{DOMAIN}\r\nSubject: {subject}\r\n\r\nHello,\r\nworld\r\n")
}

#[test]
fn a_message_of_ten_megabytes_comes_back_over_imaps_byte_for_byte() {
    let house = House::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/append.py");
    let (port, authority) = (house.port("imaps").to_string(), house.authority());
    let arguments = [script.to_str().unwrap(), NAME, &port, &authority, PASSWORD];
    let length: usize = run("python3", arguments, b"").ok().trim().parse().unwrap();
    assert!(length >= 10_000_000, "{length} bytes");

    let login = [
        "imap-login",
        "Login: user=<user>",
        "rip=127.0.0.2",
        "secured",
    ];
    house.dovecot.server.logged(&login);
}

#[test]
fn a_client_in_idle_hears_of_a_new_message() {
    let house = House::new();
    let mut client = house.imap();
    assert!(client.line().starts_with("* OK "));
    let login = client.ask(&format!("a LOGIN user {PASSWORD}"));
    assert!(login.starts_with("a OK "), "{login}");
    client.say("b SELECT INBOX");
    while !client.line().starts_with("b OK ") {}
    let idling = client.ask("c IDLE");
    assert!(idling.starts_with("+ "), "{idling}");

    house.append(&message("news"));

    assert_eq!(client.line(), "* 1 EXISTS");
    assert_eq!(client.line(), "* 1 RECENT");
    let done = client.ask("DONE");
    assert!(done.starts_with("c OK "), "{done}");
}

#[test]
fn a_message_is_retrieved_over_pop3s() {
    let house = House::new();
    let sent = message("over POP3");
    house.append(&sent);

    let retrieved = house.curl("pop3s", "pop3s", "1", &[]).ok();
    assert_eq!(retrieved, sent);

    let login = [
        "pop3-login",
        "Login: user=<user>",
        "rip=127.0.0.2",
        "secured",
    ];
    house.dovecot.server.logged(&login);
}

#[test]
fn a_message_submitted_with_a_password_is_delivered() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let services = [
        service(
            "submissions",
            "submission",
            "implicit",
            postfix.at(Service::Submission),
        ),
        service("imaps", "imap", "implicit", dovecot.at("imap")),
    ];
    let house = House::with(dovecot, &services.concat());

    let (port, authority) = (house.port("submissions").to_string(), house.authority());
    let (from, address) = (CLIENT.to_string(), format!("user@{DOMAIN}"));
    let arguments = [
        ["--server", "127.0.0.1"],
        ["--port", &port],
        ["--local-interface", &from],
        ["--tls-sni", NAME],
        ["--tls-ca-path", &authority],
        ["--auth", "PLAIN"],
        ["--auth-user", "user"],
        ["--auth-password", PASSWORD],
        ["--from", &address],
        ["--to", &address],
        ["--header", "Subject: submitted by swaks"],
    ];
    let flags = ["--tls-on-connect", "--tls-verify"];
    let arguments = arguments.as_flattened().iter().chain(&flags);
    let transcript = run("swaks", arguments, b"").ok();
    assert!(transcript.contains("250 2.0.0 Ok: queued"), "{transcript}");

    let delivered = wait::for_some("the message to be delivered", || {
        let fetched = house.curl("imaps", "imaps", "INBOX;MAILINDEX=1", &[]);
        fetched.status.success().then_some(fetched.stdout)
    });
    assert!(
        delivered.contains("Subject: submitted by swaks"),
        "{delivered}"
    );
    let accepted = ["client=", "[127.0.0.2]", "sasl_username=user"];
    postfix.server.logged(&accepted);
}

#[test]
fn mbsync_pulls_a_mailbox() {
    let house = House::new();
    house.append(&message("first"));
    house.append(&message("second"));
    let folder = house.gatepost.site.path("pulled");
    fs::create_dir(&folder).unwrap();
    let (port, authority, here) = (house.port("imaps"), house.authority(), folder.display());
    let configuration = format!(
        "\
IMAPStore far
Host localhost
Port {port}
User user
Pass {PASSWORD}
AuthMechs LOGIN
SSLType IMAPS
SystemCertificates no
CertificateFile {authority}

MaildirStore near
Path {here}/
Inbox {here}/INBOX

Channel all
Far :far:
Near :near:
Sync Pull
Create Near
SyncState *
"
    );
    let file = house.gatepost.site.path("mbsyncrc");
    fs::write(&file, configuration).unwrap();

    run("mbsync", ["-c", file.to_str().unwrap(), "all"], b"").ok();

    let pulled = ["new", "cur"].map(|kind| fs::read_dir(folder.join("INBOX").join(kind)).unwrap());
    assert_eq!(pulled.into_iter().flatten().count(), 2);
}

#[test]
fn a_session_that_did_not_come_over_tls_is_not_taken_for_secured() {
    let dovecot = Dovecot::start();
    let plain = service("imap", "imap", "off", dovecot.at("imap"));
    let house = House::with(dovecot, &plain);
    let mut client = Client::plain(house.gatepost.address("imap"));

    let greeting = client.line();
    assert!(greeting.contains("LOGINDISABLED"), "{greeting}");
    client.say(&format!("a LOGIN user {PASSWORD}"));
    assert!(client.line().starts_with("* BAD [ALERT] "));
    let refused = client.line();
    assert!(refused.starts_with("a NO [PRIVACYREQUIRED] "), "{refused}");
    drop(client);
    house
        .dovecot
        .server
        .logged(&["imap-login", "rip=127.0.0.2"]);
}

#[test]
fn the_client_verifies_the_certificate_of_the_name_it_asked_for() {
    let house = House::new();
    let (connect, authority) = (
        house.gatepost.address("imaps").to_string(),
        house.authority(),
    );
    let client = |name: &str, verified: &str| {
        let arguments = [
            ["-connect", &connect],
            ["-bind", "127.0.0.2"],
            ["-servername", name],
            ["-CAfile", &authority],
            ["-verify_hostname", verified],
        ];
        let flags = ["s_client", "-verify_return_error", "-quiet", "-no_ign_eof"];
        let arguments = flags.iter().chain(arguments.as_flattened());
        run("openssl", arguments, b"")
    };
    for name in [NAME, "localhost"] {
        let outcome = client(name, name);
        assert!(outcome.status.success(), "{outcome:#?}");
    }
    let other = client("localhost", NAME);
    assert!(!other.status.success(), "{other:#?}");
    assert!(other.stderr.contains("hostname mismatch"), "{other:#?}");
}

#[test]
fn each_name_leads_to_its_own_server() {
    let (first, second) = (Dovecot::start(), Dovecot::start());
    let routes = format!(
        r#"
{}
[[upstream]]
name = "second"
servers = ["{}"]
client_address = "proxy-v2"

[[route]]
names = ["localhost"]
upstream = "second"
"#,
        service("imaps", "imap", "implicit", first.at("imap")),
        second.at("imap")
    );
    let house = House::with(first, &routes);
    for (name, user) in [(NAME, "anna"), ("localhost", "bert")] {
        let mut client = Client::tls(house.gatepost.address("imaps"), name, &house.ca);
        client.line();
        let answer = client.ask(&format!("a LOGIN {user} {PASSWORD}"));
        assert!(answer.starts_with("a OK "), "{answer}");
    }
    house.dovecot.server.logged(&["Login: user=<anna>"]);
    second.server.logged(&["Login: user=<bert>"]);
    assert!(!house.dovecot.server.log().contains("<bert>"));
}

#[test]
fn an_upstream_that_is_down_is_told_in_the_words_of_the_protocol() {
    let nobody = Loopback::claim();
    let cases = [
        ("imap", "* BYE [UNAVAILABLE] "),
        ("pop3", "-ERR [SYS/TEMP] "),
        ("smtp", "421 4.3.2 "),
        ("submission", "421 4.3.2 "),
    ];
    let services = cases.map(|(protocol, _)| {
        let over_tls = service(protocol, protocol, "implicit", nobody.port(1));
        let plain = service(&format!("{protocol}-off"), protocol, "off", nobody.port(1));
        over_tls + &plain
    });
    let ca = TestCa::today();
    let pair = certificate(&ca, NAME);
    let gatepost = Gatepost::start(&ca, &[("mail", &pair)], &services.concat());
    for (protocol, words) in cases {
        let over_tls = Client::tls(gatepost.address(protocol), NAME, &ca);
        let plain = Client::plain(gatepost.address(&format!("{protocol}-off")));
        for mut client in [over_tls, plain] {
            let answer = client.rest().unwrap();
            assert!(answer.starts_with(words), "{protocol}: {answer:?}");
            assert!(answer.ends_with("\r\n"), "{protocol}: {answer:?}");
            assert_eq!(answer.lines().count(), 1, "{protocol}: {answer:?}");
        }
    }
}
