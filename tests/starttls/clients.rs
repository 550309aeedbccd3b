//! The clients that people use, with STARTTLS: they verify the certificate of the name that they ask
//! for, and do their work.

use std::fs;

use super::{Front, HELO, NAME, OTHER, listener, upstream};
use crate::common::dovecot::{Dovecot, PASSWORD};
use crate::common::net::CLIENT;
use crate::common::postfix::{DOMAIN, Postfix, Service};
use crate::common::process::{Outcome, run};

/// Servers, and the proxy before them, with a listener for each protocol and of its name.
struct House {
    front: Front,
    dovecot: Dovecot,
    _postfix: Postfix,
}

impl House {
    fn new() -> Self {
        let dovecot = Dovecot::start();
        let postfix = Postfix::start(&dovecot);
        let services = [
            ("imap", dovecot.at("imap")),
            ("pop3", dovecot.at("pop3")),
            ("managesieve", dovecot.at("managesieve")),
            ("smtp", postfix.at(Service::Mx)),
            ("submission", postfix.at(Service::Submission)),
        ];
        let services = services.map(|(protocol, server)| {
            listener(protocol, protocol, "starttls", protocol)
                + &upstream(protocol, server, "proxy-v2")
        });
        Self {
            front: Front::start(&services.concat()),
            dovecot,
            _postfix: postfix,
        }
    }

    /// curl, as this user; it insists on TLS.
    fn curl(&self, listener: &str, user: &str, path: &str, more: &[&str]) -> Outcome {
        let (port, authority) = (self.front.port(listener), self.front.authority());
        let (from, login) = (CLIENT.to_string(), format!("{user}:{PASSWORD}"));
        let scheme = if listener == "submission" {
            "smtp"
        } else {
            listener
        };
        let resolve = format!("{NAME}:{port}:127.0.0.1");
        let url = format!("{scheme}://{NAME}:{port}/{path}");
        let arguments = [
            ["--interface", &from],
            ["--cacert", &authority],
            ["--resolve", &resolve],
            ["--user", &login],
            ["--url", &url],
        ];
        let flags = ["-sS", "--ssl-reqd"];
        let arguments = flags.iter().chain(arguments.as_flattened());
        run("curl", arguments.chain(more), b"")
    }

    /// A message in a file.
    fn message(&self, user: &str) -> String {
        let file = self.front.gatepost.site.path("message");
        let text = format!("From: {user}@{DOMAIN}\r\nSubject: from a file\r\n\r\nHello\r\n");
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    /// A file with the settings of a client.
    fn settings(&self, text: &str) -> String {
        let file = self.front.gatepost.site.path("settings");
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }
}

#[test]
fn curl_appends_retrieves_and_submits() {
    let house = House::new();
    let message = house.message("curl");
    let upload = ["--upload-file", &message];
    house.curl("imap", "curl", "INBOX", &upload).ok();
    let retrieved = house.curl("pop3", "curl", "1", &[]).ok();
    assert_eq!(retrieved, fs::read_to_string(&message).unwrap());

    let address = format!("to.curl@{DOMAIN}");
    let envelope = ["--mail-from", &address, "--mail-rcpt", &address];
    let arguments = [&envelope[..], &upload].concat();
    house.curl("submission", "curl", HELO, &arguments).ok();
    let delivered = house.dovecot.delivered("to.curl");
    assert!(delivered.contains("Subject: from a file"), "{delivered}");
}

#[test]
fn swaks_submits_after_giving_its_password() {
    let house = House::new();
    let (port, authority) = (house.front.port("submission"), house.front.authority());
    let (from, address) = (CLIENT.to_string(), format!("swaks@{DOMAIN}"));
    let arguments = [
        ["--server", "127.0.0.1"],
        ["--port", &port],
        ["--local-interface", &from],
        ["--tls-sni", NAME],
        ["--tls-ca-path", &authority],
        ["--auth", "LOGIN"],
        ["--auth-user", "swaks"],
        ["--auth-password", PASSWORD],
        ["--from", &address],
        ["--to", &address],
        ["--header", "Subject: from swaks"],
    ];
    let flags = ["--tls", "--tls-verify"];
    let arguments = arguments.as_flattened().iter().chain(&flags);
    let transcript = run("swaks", arguments, b"").ok();
    assert!(transcript.contains("250 2.0.0 Ok: queued"), "{transcript}");
    let delivered = house.dovecot.delivered("swaks");
    assert!(delivered.contains("Subject: from swaks"), "{delivered}");
}

#[test]
fn s_nail_submits_after_giving_its_password() {
    let house = House::new();
    let (port, authority) = (house.front.port("submission"), house.front.authority());
    let address = format!("nail@{DOMAIN}");
    let settings = format!(
        "\
set v15-compat
set mta=smtp://nail:{PASSWORD}@{OTHER}:{port}
set smtp-use-starttls smtp-auth=plain
set tls-verify=strict tls-ca-no-defaults tls-ca-file={authority}
set hostname={DOMAIN} from={address} sendwait
"
    );
    let settings = house.settings(&settings);
    let arguments = ["-:u", "-s", "from s-nail", &address];
    let command = format!("MAILRC={settings}");
    let arguments = [command.as_str(), "s-nail"].into_iter().chain(arguments);
    run("env", arguments, b"Hello\n").ok();
    let delivered = house.dovecot.delivered("nail");
    assert!(delivered.contains("Subject: from s-nail"), "{delivered}");
}

#[test]
fn mbsync_pulls_a_mailbox_after_starttls() {
    let house = House::new();
    let upload = ["--upload-file", &house.message("sync")];
    house.curl("imap", "sync", "INBOX", &upload).ok();
    let folder = house.front.gatepost.site.path("pulled");
    fs::create_dir(&folder).unwrap();
    let (port, authority) = (house.front.port("imap"), house.front.authority());
    let here = folder.display();
    let settings = format!(
        "\
IMAPStore far
Host {OTHER}
Port {port}
User sync
Pass {PASSWORD}
AuthMechs LOGIN
SSLType STARTTLS
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
    run("mbsync", ["-c", &house.settings(&settings), "all"], b"").ok();
    let pulled = ["new", "cur"].map(|part| fs::read_dir(folder.join("INBOX").join(part)).unwrap());
    assert_eq!(pulled.into_iter().flatten().count(), 1);
}

/// Protocol, the word that openssl and gnutls-cli have for it, what logs in and out, and the answer.
const LOGINS: [(&str, &str, &str, &str); 4] = [
    (
        "imap",
        "imap",
        "a LOGIN tools correct-horse\r\nb LOGOUT\r\n",
        "a OK ",
    ),
    (
        "pop3",
        "pop3",
        "USER tools\r\nPASS correct-horse\r\nQUIT\r\n",
        "+OK Logged in",
    ),
    (
        "managesieve",
        "sieve",
        "AUTHENTICATE \"PLAIN\" \"AHRvb2xzAGNvcnJlY3QtaG9yc2U=\"\r\nLOGOUT\r\n",
        "OK \"Logged in",
    ),
    (
        "submission",
        "smtp",
        "EHLO client.example.com\r\nAUTH PLAIN AHRvb2xzAGNvcnJlY3QtaG9yc2U=\r\nQUIT\r\n",
        "235 2.7.0",
    ),
];

#[test]
fn openssl_gets_the_certificate_of_the_name_it_asks_for_and_logs_in() {
    let house = House::new();
    for (protocol, word, input, answer) in LOGINS {
        let (port, authority) = (house.front.port(protocol), house.front.authority());
        let client = |name: &str, verified: &str| {
            let arguments = [
                ["-connect", &format!("127.0.0.1:{port}")],
                ["-bind", "127.0.0.2"],
                ["-starttls", word],
                ["-servername", name],
                ["-CAfile", &authority],
                ["-verify_hostname", verified],
            ];
            let flags = ["s_client", "-verify_return_error", "-quiet"];
            let arguments = flags.iter().chain(arguments.as_flattened());
            run("openssl", arguments, input.as_bytes())
        };
        for name in [NAME, OTHER] {
            let outcome = client(name, name);
            assert!(outcome.status.success(), "{protocol}: {outcome:#?}");
            assert!(outcome.stdout.contains(answer), "{protocol}: {outcome:#?}");
        }
        let wrong = client(OTHER, NAME);
        assert!(
            wrong.stderr.contains("hostname mismatch"),
            "{protocol}: {wrong:#?}"
        );
    }
}

#[test]
fn alpn_is_agreed_on_after_starttls() {
    let house = House::new();
    for (protocol, word, ..) in LOGINS {
        let connect = format!("127.0.0.1:{}", house.front.port(protocol));
        let client = |offered: &str| {
            let starttls = ["-connect", &connect, "-starttls", word];
            let flags = ["s_client", "-alpn", offered];
            let outcome = run("openssl", flags.iter().chain(&starttls), b"");
            outcome.stdout + &outcome.stderr
        };
        // SMTP has no name of its own: those in use are taken.
        let name = if protocol == "submission" {
            "smtp"
        } else {
            protocol
        };
        let agreed = client(&format!("h2,{name}"));
        assert!(
            agreed.contains(&format!("ALPN protocol: {name}")),
            "{agreed}"
        );
        let refused = client("h2");
        assert!(refused.contains("no application protocol"), "{refused}");
    }
}

#[test]
fn gnutls_gets_the_certificate_of_the_name_it_asks_for_and_logs_in() {
    let house = House::new();
    for (protocol, word, input, answer) in LOGINS {
        let (port, authority) = (house.front.port(protocol), house.front.authority());
        let arguments = [
            format!("--starttls-proto={word}"),
            format!("--port={port}"),
            format!("--x509cafile={authority}"),
            format!("--sni-hostname={NAME}"),
            format!("--verify-hostname={NAME}"),
            "127.0.0.1".to_owned(),
        ];
        let outcome = run("gnutls-cli", arguments, input.as_bytes());
        assert!(
            outcome.stdout.contains("The certificate is trusted"),
            "{protocol}: {outcome:#?}"
        );
        assert!(outcome.stdout.contains(answer), "{protocol}: {outcome:#?}");
    }
}
