//! Port 25, where TLS cannot be demanded, and submission, where it must be.

use super::words::{send, send_unintroduced};
use super::{Front, HELO, NAME, both, listener, upstream};
use crate::common::dovecot::Dovecot;
use crate::common::net::CLIENT;
use crate::common::postfix::{DOMAIN, Postfix, Service};
use crate::common::process::run;

/// The proxy with a listener `mx` with TLS for those who want it, before this service of Postfix.
struct Mx {
    front: Front,
    dovecot: Dovecot,
    postfix: Postfix,
}

impl Mx {
    fn before(service: Service) -> Self {
        let dovecot = Dovecot::start();
        let postfix = Postfix::start(&dovecot);
        let services = listener("mx", "smtp", "starttls-optional", "mx")
            + &upstream("mx", postfix.at(service), "proxy-v2");
        Self {
            front: Front::start(&services),
            dovecot,
            postfix,
        }
    }

    /// swaks without a password.
    fn swaks(&self, user: &str, more: &[&str]) -> String {
        let (port, from) = (self.front.port("mx"), CLIENT.to_string());
        let address = format!("{user}@{DOMAIN}");
        let arguments = [
            ["--server", "127.0.0.1"],
            ["--port", &port],
            ["--local-interface", &from],
            ["--from", &address],
            ["--to", &address],
        ];
        run("swaks", arguments.as_flattened().iter().chain(more), b"").ok()
    }
}

#[test]
fn a_sender_with_tls_and_one_without_both_deliver() {
    let mx = Mx::before(Service::Mx);
    mx.swaks("clear", &[]);
    mx.swaks("secure", &["--tls"]);
    mx.swaks("optional", &["--tls-optional"]);
    mx.swaks("pipelined", &["--pipeline"]);
    mx.swaks("both", &["--pipeline", "--tls"]);
    for user in ["clear", "secure", "optional", "pipelined", "both"] {
        let received = mx.dovecot.delivered(user);
        assert!(
            received.contains("(unknown [127.0.0.2])"),
            "{user}: {received}"
        );
    }
}

#[test]
fn a_client_that_says_helo_delivers() {
    let mx = Mx::before(Service::Mx);
    let mut client = mx.front.plain("mx");
    client.reply();
    let answer = client.command(&format!("HELO {HELO}"));
    assert!(answer.starts_with("250 "), "{answer}");
    send_unintroduced(&mut client, "helo");
    let received = mx.dovecot.delivered("helo");
    assert!(
        received.contains(&format!("from {HELO} (unknown [127.0.0.2])")),
        "{received}"
    );
    assert!(received.contains("with SMTP id"), "{received}");
}

#[test]
fn a_client_that_says_all_at_once_delivers() {
    for service in [Service::Mx, Service::MxPostscreen] {
        let mx = Mx::before(service);
        let mut client = mx.front.plain("mx");
        client.reply();
        let hello = client.command(&format!("EHLO {HELO}"));
        assert!(
            hello.contains("STARTTLS") && !hello.contains("AUTH"),
            "{hello}"
        );
        let address = format!("once@{DOMAIN}");
        let all = format!("MAIL FROM:<{address}>\r\nRCPT TO:<{address}>\r\nDATA\r\n");
        client.send(all.as_bytes()).unwrap();
        for expected in ["250 ", "250 ", "354 "] {
            let answer = client.reply();
            assert!(answer.starts_with(expected), "{answer}");
        }
        client
            .send(b"Subject: at once\r\n\r\nHello\r\n.\r\nQUIT\r\n")
            .unwrap();
        for expected in ["250 ", "221 "] {
            let answer = client.reply();
            assert!(answer.starts_with(expected), "{answer}");
        }
        let received = mx.dovecot.delivered("once");
        assert!(
            received.contains(&format!("from {HELO} (unknown [127.0.0.2])")),
            "{received}"
        );
        assert!(!mx.postfix.server.log().contains("PREGREET"));
    }
}

#[test]
fn what_is_asked_before_the_first_message_is_answered_in_clear() {
    let mx = Mx::before(Service::Mx);
    let mut client = mx.front.plain("mx");
    let banner = client.reply();
    assert!(banner.starts_with("220 "), "{banner}");
    for (line, expected) in [
        ("NOOP", "250 "),
        ("RSET", "250 "),
        ("HELP", "214 "),
        ("VRFY user", "252 "),
        ("STARTTLS now", "501 "),
        ("XYZZY", "500 "),
        ("RCPT TO:<a@example.org>", "503 "),
        ("QUIT", "221 "),
    ] {
        let answer = client.command(line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
}

#[test]
fn starttls_after_mail_in_clear_begins_anew() {
    let mx = Mx::before(Service::Mx);
    let mut client = mx.front.plain("mx");
    client.reply();
    client.command(&format!("EHLO {HELO}"));
    let first = client.command("MAIL FROM:<clear@far.example>");
    assert!(first.starts_with("250 "), "{first}");
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(
        hello.contains("STARTTLS") && !hello.contains("AUTH"),
        "{hello}"
    );
    let second = client.command("MAIL FROM:<clear@far.example>");
    assert!(second.starts_with("250 "), "{second}");
    let go = client.command("STARTTLS");
    assert!(go.starts_with("220 "), "{go}");

    let mut client = client.secure(NAME, &mx.front.ca);
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(!hello.contains("STARTTLS"), "{hello}");
    // The sender that was named in clear is gone.
    let answer = client.command(&format!("RCPT TO:<anew@{DOMAIN}>"));
    assert!(answer.starts_with("503 "), "{answer}");
    send(&mut client, "anew");
    let received = mx.dovecot.delivered("anew");
    assert!(received.contains("sent by anew"), "{received}");
    let connects = mx.postfix.server.log();
    let connects = connects.matches("connect from unknown[127.0.0.2]");
    // Each line is there twice: as the end of "disconnect from", too.
    assert!(connects.count() >= 3);
}

#[test]
fn a_command_behind_starttls_is_refused_after_mail_in_clear_too() {
    let mx = Mx::before(Service::Mx);
    let series = "gatepost_starttls_injections_total{listener=\"mx\"}";
    for (before, count) in [("NOOP", 1), ("MAIL FROM:<clear@far.example>", 2)] {
        let mut client = mx.front.plain("mx");
        client.reply();
        client.command(&format!("EHLO {HELO}"));
        client.command(before);
        let injected = b"STARTTLS\r\nMAIL FROM:<evil@far.example>\r\n";
        client.send(injected).unwrap();
        client.rest().ok();
        mx.front.counted(series, count);
    }
}

#[test]
fn a_password_in_clear_is_refused() {
    // This one would take it.
    let mx = Mx::before(Service::Submission);
    let mut client = mx.front.plain("mx");
    client.reply();
    let auth = "AUTH PLAIN AHVzZXIAY29ycmVjdC1ob3JzZQ==";
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(!hello.contains("AUTH"), "{hello}");
    let answer = client.command(auth);
    assert!(answer.starts_with('5'), "{answer}");
    // Once more, where the server is connected.
    client.command("MAIL FROM:<clear@far.example>");
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(!hello.contains("AUTH"), "{hello}");
    let answer = client.command(auth);
    assert!(answer.starts_with('5'), "{answer}");
    client.command("QUIT");
    assert!(!mx.postfix.server.log().contains("sasl"));
    assert!(!mx.front.gatepost.server.log().contains("AHVzZXIAY29y"));

    let mut client = mx.front.over_tls("mx", "smtp");
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(hello.contains("AUTH PLAIN"), "{hello}");
    let answer = client.command(auth);
    assert!(answer.starts_with("235 "), "{answer}");
}

#[test]
fn submission_does_nothing_in_clear_but_go_to_tls() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let front = Front::start(&both(
        "submission",
        postfix.at(Service::Submission),
        "proxy-v2",
    ));
    let mut client = front.plain("submission-starttls");
    client.reply();
    let hello = client.command(&format!("EHLO {HELO}"));
    assert!(
        hello.contains("STARTTLS") && !hello.contains("AUTH"),
        "{hello}"
    );
    for line in [
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<a@example.org>",
        "DATA",
        "AUTH PLAIN AHVzZXIAY29ycmVjdC1ob3JzZQ==",
        "VRFY a",
    ] {
        let answer = client.command(line);
        let expected = "530 5.7.0 Must issue a STARTTLS command first";
        assert_eq!(answer, expected, "{line}");
    }
    for (line, expected) in [("NOOP", "250 "), ("RSET", "250 "), ("HELP", "214 ")] {
        let answer = client.command(line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
    let answer = client.command("QUIT");
    assert!(answer.starts_with("221 "), "{answer}");
    assert!(!postfix.server.log().contains("[127.0.0.2]"));
}
