//! `check --probe` against real servers: whatever it finds wrong, the lines that it prints put it
//! right.

mod fake;
mod printed;
mod stage;

use std::fs;
use std::thread;

use crate::common::ca::TestCa;
use crate::common::folder;
use crate::common::gatepost::{PROGRAM, Site};
use crate::common::process::run;
use fake::{IMAP, SMTP, Script};
use stage::{Mail, Stage};

/// What makes Dovecot believe a PROXY header.
const TRUSTED: &str = "haproxy_trusted_networks = 127.0.0.0/8\n";

fn haproxy(service: &str, listener: &str) -> String {
    format!("service {service} {{\n  inet_listener {listener} {{\n    haproxy = yes\n  }}\n}}\n")
}

fn dovecot(protocol: &str, keys: &str, settings: &str) -> Stage {
    let ca = TestCa::today();
    let mail = Mail::dovecot(protocol, 10_143, settings, None);
    Stage::new(&ca, protocol, keys, mail)
}

/// With a certificate of its own, which a CA has issued that we trust, for this name.
fn dovecot_with_tls(name: &str, keys: &str, settings: &str) -> Stage {
    let ca = TestCa::today();
    let pair = ca.leaf(&[name]).issue();
    let mail = Mail::dovecot("imap", 10_143, settings, Some(&pair));
    Stage::new(
        &ca,
        "imap",
        &format!("trust = [\"root.pem\"]\n{keys}"),
        mail,
    )
}

fn postfix(protocol: &str, keys: &str, options: &[&str], settings: &str) -> Stage {
    let ca = TestCa::today();
    let mail = Mail::postfix(10_025, options, settings, None, None);
    Stage::new(&ca, protocol, keys, mail)
}

/// Servers take their time to stop: all at once, then.
fn all_at_once<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

#[test]
fn dovecot_expects_no_proxy_header() {
    let cases = [
        ("imap", "v2"),
        ("imap", "v1"),
        ("pop3", "v1"),
        ("pop3", "v2"),
        ("managesieve", "v2"),
        ("submission", "v2"),
    ];
    all_at_once(&cases, |(protocol, version)| {
        let keys = format!("client_address = \"proxy-{version}\"");
        dovecot(protocol, &keys, "").is_content_after_each_remedy("PROXY header", 2);
    });
}

#[test]
fn dovecot_waits_for_a_proxy_header() {
    let settings = TRUSTED.to_owned() + &haproxy("imap-login", "imap");
    let mut stage = dovecot("imap", "client_address = \"none\"", &settings);
    stage.is_content_after_each_remedy("PROXY header", 1);
}

#[test]
fn dovecot_does_not_believe_a_proxy_header() {
    let settings = haproxy("imap-login", "imap");
    let mut stage = dovecot("imap", "client_address = \"proxy-v2\"", &settings);
    stage.is_content_after_each_remedy("PROXY header", 1);
}

#[test]
fn dovecot_takes_no_password_in_clear() {
    all_at_once(&["imap", "pop3", "managesieve", "submission"], |protocol| {
        let mut stage = dovecot(protocol, "client_address = \"none\"", "");
        stage.is_content_after_each_remedy("login", 3);
    });
    let settings = TRUSTED.to_owned() + &haproxy("imap-login", "imap");
    let mut stage = dovecot("imap", "client_address = \"proxy-v1\"", &settings);
    stage.is_content_after_each_remedy("login", 2);
}

#[test]
fn dovecot_takes_passwords_in_tls_of_its_own() {
    let mut stage = dovecot_with_tls(
        "mail.example.org",
        "client_address = \"none\"",
        "ssl = required\n",
    );
    stage.is_content_after_each_remedy("login", 4);
}

#[test]
fn dovecot_believes_no_one_about_clients() {
    let mut stage = dovecot("imap", "client_address = \"imap-id\"", "");
    stage.is_content_after_each_remedy("login", 2);
    all_at_once(&["pop3", "managesieve", "submission"], |protocol| {
        let mut stage = dovecot(protocol, "client_address = \"xclient\"", "");
        stage.is_content_after_each_remedy("client address", 1);
    });
}

#[test]
fn a_certificate_for_another_name() {
    let keys = "tls = \"starttls\"\nclient_address = \"none\"";
    let mut stage = dovecot_with_tls("mail.example.org", keys, "");
    stage.is_content_after_each_remedy("certificate", 2);
}

#[test]
fn a_certificate_that_nobody_vouches_for() {
    let ca = TestCa::today();
    let pair = ca.leaf(&["mail.example.org"]).self_signed();
    for keys in ["tls = \"starttls\"", "tls = \"starttls\"\nverify = false"] {
        let mail = Mail::dovecot("imap", 10_143, "", Some(&pair));
        let mut stage = Stage::new(&ca, "imap", keys, mail);
        stage.is_content_after_each_remedy("certificate", 1);
    }
    let mail = Mail::dovecot("imap", 10_143, "", Some(&pair));
    let other = "tls = \"starttls\"\npin = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"";
    Stage::new(&ca, "imap", other, mail).is_content_after_each_remedy("certificate", 1);
}

#[test]
fn tls_that_the_server_has_not() {
    let settings = "disable_plaintext_auth = no\n";
    dovecot("imap", "tls = \"starttls\"", settings).is_content_after_each_remedy("STARTTLS", 1);
    dovecot("imap", "tls = \"implicit\"", settings).is_content_after_each_remedy("TLS", 1);
    let keys = "tls = \"implicit\"\nserver_name = \"mail.example.org\"";
    let mut stage = dovecot_with_tls("mail.example.org", keys, "ssl = required\n");
    stage.is_content_after_each_remedy("TLS", 1);
}

#[test]
fn tls_that_is_too_old() {
    let openssl = folder();
    let file = openssl.path().join("openssl.cnf");
    let limit = "\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = limit
[limit]
MinProtocol = TLSv1
MaxProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
";
    fs::write(&file, limit).unwrap();
    let settings = format!(
        "\
disable_plaintext_auth = no
ssl_min_protocol = TLSv1
ssl_cipher_list = ALL:@SECLEVEL=0
import_environment = $import_environment OPENSSL_CONF={}
",
        file.display()
    );
    let keys = "tls = \"starttls\"";
    let mut stage = dovecot_with_tls("mail.example.org", keys, &settings);
    stage.is_content_after_each_remedy("TLS", 1);
}

#[test]
fn postfix_expects_no_proxy_header() {
    for version in ["v1", "v2"] {
        let keys = format!("client_address = \"proxy-{version}\"");
        let mut stage = postfix("smtp", &keys, &[], "mynetworks = 127.0.0.0/8\n");
        stage.is_content_after_each_remedy("PROXY header", 2);
    }
}

#[test]
fn postfix_waits_for_a_proxy_header() {
    let options = ["smtpd_upstream_proxy_protocol=haproxy"];
    let mut stage = postfix("smtp", "client_address = \"none\"", &options, "");
    stage.is_content_after_each_remedy("PROXY header", 1);
}

#[test]
fn postfix_relays_for_everyone() {
    // Where it looks senders up, only a message from nobody gets through.
    let choosy = "smtpd_sender_restrictions = inline:{example.com=reject}\n";
    all_at_once(&["", choosy], |restrictions| {
        let settings = format!("mynetworks = 127.0.0.0/8\n{restrictions}");
        let mut stage = postfix("smtp", "client_address = \"none\"", &[], &settings);
        stage.is_content_after_each_remedy("relay", 2);
    });
    let cases = [
        ("proxy-v2", "smtpd_upstream_proxy_protocol=haproxy"),
        ("xclient", "smtpd_authorized_xclient_hosts=127.0.0.1"),
    ];
    all_at_once(&cases, |(way, option)| {
        let keys = format!("client_address = \"{way}\"");
        let mut stage = postfix("smtp", &keys, &[option], "mynetworks = 0.0.0.0/0\n");
        stage.is_content_after_each_remedy("relay", 1);
    });
}

#[test]
fn postfix_does_not_offer_xclient() {
    let mut stage = postfix("smtp", "client_address = \"xclient\"", &[], "");
    stage.is_content_after_each_remedy("client address", 1);
}

#[test]
fn postfix_takes_no_password_in_clear() {
    let ca = TestCa::today();
    let pair = ca.leaf(&["mail.example.org"]).issue();
    let dovecot = Mail::dovecot("imap", 10_143, "", None);
    for (level, remedies) in [("may", 2), ("none", 1)] {
        let options = [
            "smtpd_sasl_auth_enable=yes",
            "smtpd_tls_auth_only=yes",
            &format!("smtpd_tls_security_level={level}"),
            "smtpd_upstream_proxy_protocol=haproxy",
        ];
        let mail = Mail::postfix(10_587, &options, "", Some(&dovecot), Some(&pair));
        let keys = "client_address = \"proxy-v2\"\ntrust = [\"root.pem\"]";
        let mut stage = Stage::new(&ca, "submission", keys, mail);
        stage.is_content_after_each_remedy("login", remedies);
    }
}

#[test]
fn postfix_takes_no_mail_in_clear() {
    let ca = TestCa::today();
    let pair = ca.leaf(&["mail.example.org"]).issue();
    let options = ["smtpd_tls_security_level=encrypt", "mynetworks="];
    let mail = Mail::postfix(10_025, &options, "", None, Some(&pair));
    let keys = "client_address = \"none\"\ntrust = [\"root.pem\"]";
    let mut stage = Stage::new(&ca, "smtp", keys, mail);
    stage.is_content_after_each_remedy("relay", 2);
}

#[test]
fn exim_and_the_proxy_header() {
    let cases = [
        ("client_address = \"proxy-v1\"", "", 2),
        ("client_address = \"proxy-v2\"", "", 2),
        ("client_address = \"none\"", "hosts_proxy = 127.0.0.1\n", 1),
    ];
    all_at_once(&cases, |(keys, settings, remedies)| {
        let mail = Mail::exim(10_025, settings, "");
        let mut stage = Stage::new(&TestCa::today(), "smtp", keys, mail);
        stage.is_content_after_each_remedy("PROXY header", *remedies);
    });
}

#[test]
fn exim_relays_for_everyone() {
    let mail = Mail::exim(10_025, "hostlist relay_from_hosts = 127.0.0.0/8\n", "");
    let mut stage = Stage::new(&TestCa::today(), "smtp", "client_address = \"none\"", mail);
    stage.is_content_after_each_remedy("relay", 2);
}

#[test]
fn exim_takes_no_password_in_clear() {
    let authenticator = "\
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = false
  server_advertise_condition = ${if def:tls_in_cipher}
";
    let cases = [("none", ""), ("proxy-v2", "hosts_proxy = 127.0.0.1\n")];
    all_at_once(&cases, |(way, settings)| {
        let mail = Mail::exim(10_587, settings, authenticator);
        let keys = format!("client_address = \"{way}\"");
        let mut stage = Stage::new(&TestCa::today(), "submission", &keys, mail);
        stage.is_content_after_each_remedy("login", 1);
    });
}

#[test]
fn a_server_that_is_not_there() {
    let site = Site::new(
        &TestCa::today(),
        &[],
        r#"
[[listener]]
name = "imaps"
bind = ["127.0.0.1:9"]
protocol = "imap"
upstream = "behind"

[[upstream]]
name = "behind"
servers = ["127.0.0.1:1"]
"#,
    );
    let outcome = site.command(&["check", "--probe"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    let (report, verdict) = outcome.stdout.split_once("proxy.toml: ").unwrap();
    assert!(report.starts_with("upstream \"behind\", server 127.0.0.1:1, imap: does not work\n"));
    assert!(
        report.contains("error: connection: it cannot be connected to: "),
        "{report}"
    );
    assert!(
        verdict.ends_with(": 1 server would not work\n"),
        "{verdict}"
    );
}

/// Connections from the clients' own addresses take a right that not every process has.
#[test]
fn a_process_that_may_not_be_transparent() {
    let keys = "client_address = \"transparent\"";
    let stage = dovecot("imap", keys, "disable_plaintext_auth = no\n");
    let (outcome, found) = stage.probe();
    assert!(found.headline.contains(": works ("), "{outcome:#?}");

    let config = stage.site.path("proxy.toml");
    let config = config.to_str().unwrap();
    let without = [
        "--bounding-set",
        "-net_admin,-net_raw",
        PROGRAM,
        "--config",
        config,
        "check",
    ];
    let outcome = run("setpriv", without, b"");
    assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("CAP_NET_RAW, is missing"),
        "{outcome:#?}"
    );

    let outcome = run("setpriv", without.iter().chain(&["--probe"]), b"");
    assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
    let servers = printed::read(&outcome);
    let finding = &servers[0].findings[0];
    let text = "error: connection: this host cannot connect from the client's address: ";
    assert!(finding.text.starts_with(text), "{outcome:#?}");
    assert_eq!(
        finding.remedies[0][0].lines,
        [
            "AmbientCapabilities=CAP_NET_ADMIN",
            "CapabilityBoundingSet=CAP_NET_ADMIN"
        ]
    );
}

/// A protocol, a client_address, a server, what is wrong with it, and the lines against that.
type Fake = (
    &'static str,
    &'static str,
    Script,
    &'static str,
    &'static [&'static str],
);

fn servers_that_no_package_has() -> [Fake; 7] {
    [
        (
            "smtp",
            "none",
            SMTP.greeting("220 mail.example.org ESMTP Exim 4.96 ready")
                .relays(),
            "relay",
            &[
                "hostlist relay_from_hosts =",
                "hosts_proxy = 127.0.0.1",
                "client_address = \"proxy-v2\"",
            ],
        ),
        (
            "smtp",
            "none",
            SMTP.greeting("220 mail.example.org Kerio Connect 9.2.7 ESMTP ready")
                .relays(),
            "relay",
            &[
                "Configuration > SMTP Server > Relay Control: select \"Allow relay only for\", and \
                 take 127.0.0.1 out of the group of \"Users from IP address group\"",
                "client_address = \"transparent\"",
            ],
        ),
        (
            "smtp",
            "none",
            SMTP.greeting("220 mail.example.org ESMTP").relays(),
            "relay",
            &[
                "  -o mynetworks=",
                "hostlist relay_from_hosts =",
                "Configuration > SMTP Server > Relay Control: select \"Allow relay only for\", and \
                 take 127.0.0.1 out of the group of \"Users from IP address group\"",
                "  -o smtpd_upstream_proxy_protocol=haproxy",
                "client_address = \"proxy-v2\"",
                "hosts_proxy = 127.0.0.1",
                "client_address = \"proxy-v2\"",
            ],
        ),
        (
            "submission",
            "none",
            SMTP.greeting("220 mail.example.org ESMTP Exim 4.96 ready"),
            "login",
            &[
                "auth_advertise_hosts = *",
                "server_advertise_condition = \
                 ${if or{{def:tls_in_cipher}{eq{$sender_host_address}{127.0.0.1}}}}",
            ],
        ),
        (
            "smtp",
            "xclient",
            SMTP.greeting("220 mail.example.org ESMTP Exim 4.98 ready"),
            "client address",
            &["hosts_xclient = 127.0.0.1"],
        ),
        (
            "imap",
            "none",
            IMAP.greeting("* OK Kerio Connect 9.2.7 IMAP4rev1 server ready"),
            "login",
            &[
                "Configuration > Security > Security Policy: add 127.0.0.1 to the IP address group \
                 that may authenticate insecurely",
                "tls = \"implicit\"",
                "servers = [\"127.0.0.1:993\"]",
            ],
        ),
        (
            "imap",
            "proxy-v2",
            IMAP.greeting("* OK Kerio Connect 9.2.7 IMAP4rev1 server ready"),
            "PROXY header",
            &[
                "client_address = \"transparent\"",
                "client_address = \"none\"",
            ],
        ),
    ]
}

/// Whoever says to be a certain server gets its lines.
#[test]
fn every_server_gets_lines_of_its_own() {
    let ca = TestCa::today();
    for (protocol, way, script, subject, expected) in servers_that_no_package_has() {
        let server = script.serve();
        let site = Site::new(
            &ca,
            &[],
            &format!(
                r#"
[[listener]]
name = "clients"
bind = ["127.0.0.1:9"]
protocol = "{protocol}"
upstream = "behind"

[[upstream]]
name = "behind"
servers = ["{server}"]
client_address = "{way}"
"#
            ),
        );
        let outcome = site.command(&["check", "--probe"]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:#?}");
        let servers = printed::read(&outcome);
        let mut findings = servers[0].findings.iter();
        let finding = findings.find(|finding| finding.is_error()).unwrap();
        assert!(
            finding.text.starts_with(&format!("error: {subject}: ")),
            "{outcome:#?}"
        );
        let changes = finding.remedies.iter().flatten();
        let lines: Vec<_> = changes.flat_map(|change| &change.lines).collect();
        assert_eq!(lines, expected, "{outcome:#?}");
    }
}

/// A listener that is named in MX records warns where no sender would trust its certificate,
/// with and without servers asked.
#[test]
fn a_certificate_that_senders_do_not_trust() {
    let ca = TestCa::today();
    let configuration = r#"
[[listener]]
name = "mx"
bind = ["127.0.0.1:0"]
protocol = "smtp"
tls = "starttls-optional"
hostname = "mail.example.org"
mx = true
upstream = "behind"

[[upstream]]
name = "behind"
servers = ["127.0.0.1:1"]
client_address = "proxy-v2"
"#;
    let trusted = ca.leaf(&["mail.example.org"]).issue();
    let own = ca.leaf(&["mail.example.org"]).self_signed();
    for (pair, expected) in [
        (trusted, ""),
        (
            own,
            "warning: listener \"mx\": mx = true, and mail.example.org gets \"mail\", of rank 2: \
             senders that demand a trusted certificate (rank 1 or 5) do not deliver\n",
        ),
    ] {
        let site = Site::new(&ca, &[("mail", &pair)], configuration);
        let outcome = site.command(&["check"]);
        assert_eq!(outcome.status.code(), Some(0), "{outcome:#?}");
        assert_eq!(outcome.stderr, expected);
        if !expected.is_empty() {
            site.start().logged(&["mx = true", "of rank 2"]);
        }
    }
}
