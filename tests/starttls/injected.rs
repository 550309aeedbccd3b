//! What comes behind STARTTLS before TLS is never taken for a command, and what is sent in clear is
//! bounded in every direction.

use super::words::{ask_for_tls, greeting, log_in, say_starttls};
use super::{Front, HELO, listener, upstream};
use crate::common::client::Client;
use crate::common::dovecot::{Dovecot, PASSWORD};
use crate::common::wait;

/// Each protocol with its STARTTLS line, and with a command that would log in.
const PROTOCOLS: [(&str, &str, &str); 4] = [
    ("imap", "a STARTTLS\r\n", "b LOGIN evil correct-horse\r\n"),
    ("pop3", "STLS\r\n", "USER evil\r\nPASS correct-horse\r\n"),
    (
        "managesieve",
        "STARTTLS\r\n",
        "AUTHENTICATE \"PLAIN\" \"AGV2aWwAY29ycmVjdC1ob3JzZQ==\"\r\n",
    ),
    (
        "submission",
        "STARTTLS\r\n",
        "EHLO evil\r\nAUTH PLAIN AGV2aWwAY29ycmVjdC1ob3JzZQ==\r\n",
    ),
];

/// The proxy with STARTTLS listeners before Dovecot, each of the name of its protocol.
fn start(limits: &str) -> (Front, Dovecot) {
    let dovecot = Dovecot::start();
    let services = PROTOCOLS.map(|(protocol, ..)| {
        listener(protocol, protocol, "starttls", protocol)
            + &upstream(protocol, dovecot.at(protocol), "proxy-v2")
    });
    let front = Front::start(&format!("[limits]\n{limits}\n{}", services.concat()));
    (front, dovecot)
}

/// A client that has been greeted, and in SMTP has said EHLO.
fn greeted(front: &Front, protocol: &str) -> Client {
    let mut client = front.plain(protocol);
    greeting(&mut client, protocol);
    if protocol == "submission" {
        client.command(&format!("EHLO {HELO}"));
    }
    client
}

/// What a client gets that sends this; it must end.
fn last_words(mut client: Client, bytes: &[u8]) -> String {
    // The proxy may have ended before it has read everything.
    drop(client.send(bytes));
    client.rest().unwrap_or_default()
}

/// How the last line begins of a server that ends a session by itself.
fn farewell(protocol: &str) -> &'static str {
    match protocol {
        "imap" => "* BYE ",
        "pop3" => "-ERR ",
        "managesieve" => "BYE ",
        _ => "421 ",
    }
}

#[test]
fn a_command_behind_starttls_ends_the_connection_and_is_counted() {
    let (front, dovecot) = start("");
    for (protocol, starttls, command) in PROTOCOLS {
        let series = format!("gatepost_starttls_injections_total{{listener=\"{protocol}\"}}");
        let counted = |times: u32| front.counted(&series, times);
        let together = format!("{starttls}{command}");

        // In the same segment.
        let said = last_words(greeted(&front, protocol), together.as_bytes());
        assert!(!said.contains("evil"), "{protocol}: {said}");
        counted(1);

        // In the next, where TLS is expected.
        let mut client = greeted(&front, protocol);
        say_starttls(&mut client, protocol);
        assert_eq!(last_words(client, command.as_bytes()), "", "{protocol}");
        counted(2);

        // Byte by byte.
        let mut client = greeted(&front, protocol);
        for byte in together.as_bytes() {
            if client.send(&[*byte]).is_err() {
                break;
            }
        }
        last_words(client, b"");
        counted(3);

        // One byte, half a command.
        let said = last_words(greeted(&front, protocol), format!("{starttls}x").as_bytes());
        assert!(!said.contains("evil"), "{protocol}: {said}");
        counted(4);
    }
    assert!(!dovecot.server.log().contains("evil"));
    for (protocol, ..) in PROTOCOLS {
        let mut client = front.over_tls(protocol, protocol);
        log_in(&mut client, protocol, "good");
    }
}

#[test]
fn starttls_under_tls_is_refused_and_the_session_goes_on() {
    let (front, dovecot) = start("");
    for (protocol, starttls, _) in PROTOCOLS {
        let mut client = front.over_tls(protocol, protocol);
        if protocol == "submission" {
            client.command(&format!("EHLO {HELO}"));
        }
        let answer = client.ask(starttls.trim_end());
        let expected = match protocol {
            "imap" => "a BAD",
            "pop3" => "-ERR",
            "managesieve" => "NO",
            _ => "503 ",
        };
        assert!(answer.starts_with(expected), "{protocol}: {answer}");
        log_in(&mut client, protocol, "again");
        let name = format!("{protocol}-login");
        dovecot.server.logged(&[&name, "Login", "user=<again>"]);
    }
}

#[test]
fn a_login_in_clear_is_refused_and_its_password_neither_logged_nor_passed_on() {
    let (front, dovecot) = start("");
    for (protocol, _, command) in PROTOCOLS {
        let mut client = greeted(&front, protocol);
        client.send(command.as_bytes()).unwrap();
        let answer = match protocol {
            "submission" => {
                client.reply();
                client.reply()
            }
            _ => client.line(),
        };
        let expected = match protocol {
            "imap" => "b NO [PRIVACYREQUIRED]",
            "pop3" => "-ERR",
            "managesieve" => "NO (ENCRYPT-NEEDED)",
            _ => "530 5.7.0 Must issue a STARTTLS command first",
        };
        assert!(answer.starts_with(expected), "{protocol}: {answer}");
    }
    let log = front.gatepost.server.log();
    for secret in [PASSWORD, "AGV2aWwAY29ycmVjdC1ob3JzZQ"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(!dovecot.server.log().contains("evil"));
}

#[test]
fn a_literal_in_clear_hides_no_command() {
    let (front, _dovecot) = start("");
    let mut client = greeted(&front, "imap");
    client
        .send(b"a LOGIN {14+}\r\nx STARTTLS\r\ny pw\r\nb NOOP\r\n")
        .unwrap();
    let said = client.until("b ");
    assert!(said.contains("a NO [PRIVACYREQUIRED]"), "{said}");
    assert!(!said.contains("x OK") && said.contains("b OK"), "{said}");

    let said = last_words(greeted(&front, "imap"), b"a LOGIN {5000+}\r\n");
    assert!(said.starts_with("* BYE"), "{said}");
}

#[test]
fn what_is_said_in_clear_is_bounded() {
    let (front, _dovecot) = start("");
    for (protocol, ..) in PROTOCOLS {
        let (harmless, unknown) = match protocol {
            "imap" => ("a NOOP\r\n", "a XYZZY\r\n"),
            "pop3" => ("CAPA\r\n", "XYZZY\r\n"),
            "managesieve" => ("CAPABILITY\r\n", "XYZZY\r\n"),
            _ => ("NOOP\r\n", "XYZZY\r\n"),
        };
        let (bare_lf, nul) = (harmless.replace('\r', ""), harmless.replace(' ', "\0"));
        let cases = [
            ("many commands", harmless.repeat(60)),
            ("many unknown commands", unknown.repeat(12)),
            ("a long line", format!("a {}\r\n", "x".repeat(16_384))),
            ("a line without an end", "x".repeat(65_536)),
            ("a bare LF", bare_lf),
            ("a bare CR", harmless.replace('\n', "x\r\n")),
            ("a NUL", format!("\0{nul}")),
        ];
        for (what, bytes) in cases {
            let mut client = greeted(&front, protocol);
            // Enough is said already to be refused: the end of the connection is not waited for
            // with more on the way, which would take its last words away.
            client.send(bytes.as_bytes()).ok();
            let Ok(said) = client.rest() else { continue };
            let last = said.lines().last().unwrap_or_default();
            assert!(
                last.starts_with(farewell(protocol)),
                "{protocol}: {what}: {said:?}"
            );
        }
    }
}

#[test]
fn a_client_that_stalls_is_ended() {
    let (front, _dovecot) = start("handshake_timeout = \"1s\"\npreamble_timeout = \"2s\"");
    let clients = PROTOCOLS.map(|(protocol, ..)| {
        let silent = front.plain(protocol);
        let mut client = front.plain(protocol);
        ask_for_tls(&mut client, protocol);
        (protocol, silent, client)
    });
    for (protocol, mut before_starttls, mut behind_starttls) in clients {
        assert_eq!(behind_starttls.rest().unwrap(), "", "{protocol}");
        let said = before_starttls.rest().unwrap();
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with(farewell(protocol)), "{protocol}: {said:?}");
        let labels = format!("listener=\"{protocol}\",reason=\"timeout\"");
        let series = format!("gatepost_tls_handshake_failures_total{{{labels}}}");
        front.counted(&series, 1);
    }
}

#[test]
fn a_client_that_is_slow_without_end_is_ended() {
    let (front, _dovecot) = start("preamble_timeout = \"2s\"");
    for (protocol, ..) in PROTOCOLS {
        let mut client = front.plain(protocol);
        // A byte every few milliseconds, of a line that does not end.
        wait::until("the end of the connection", || client.send(b"x").is_err());
    }
}

#[test]
fn a_handshake_that_fails_ends_the_connection_with_no_more_plaintext() {
    const ALERT: u8 = 21;
    let (front, _dovecot) = start("");
    for (protocol, ..) in PROTOCOLS {
        let mut client = front.plain(protocol);
        ask_for_tls(&mut client, protocol);
        let mut hello = b"\x16\x03\x01\x00\x04".to_vec();
        hello.extend(b"evil");
        client.send(&hello).unwrap();
        let said = client.rest_of_bytes();
        assert!(said.is_empty() || said[0] == ALERT, "{protocol}: {said:?}");
    }
}
