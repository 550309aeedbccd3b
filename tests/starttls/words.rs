//! What clients say in each protocol.

use data_encoding::BASE64;

use super::HELO;
use crate::common::client::Client;
use crate::common::dovecot::PASSWORD;
use crate::common::postfix::DOMAIN;

/// Asks for TLS as the first thing, and reads the word to go ahead.
#[track_caller]
pub(super) fn ask_for_tls(client: &mut Client, protocol: &str) {
    greeting(client, protocol);
    if matches!(protocol, "smtp" | "submission") {
        let answer = client.command(&format!("EHLO {HELO}"));
        assert!(answer.contains("STARTTLS"), "{protocol}: {answer}");
    }
    say_starttls(client, protocol);
}

/// Says STARTTLS, and reads the word to go ahead.
#[track_caller]
pub(super) fn say_starttls(client: &mut Client, protocol: &str) {
    let (line, expected) = match protocol {
        "imap" => ("s STARTTLS", "s OK"),
        "pop3" => ("STLS", "+OK"),
        "managesieve" => ("STARTTLS", "OK"),
        _ => ("STARTTLS", "220 "),
    };
    let answer = client.ask(line);
    assert!(answer.starts_with(expected), "{protocol}: {answer}");
}

/// Reads what the server says first, whole.
#[track_caller]
pub(super) fn greeting(client: &mut Client, protocol: &str) -> String {
    match protocol {
        "imap" => client.until("* OK "),
        "pop3" => client.until("+OK "),
        "managesieve" => client.until("OK"),
        _ => client.reply(),
    }
}

/// Logs in as a user of Dovecot.
#[track_caller]
pub(super) fn log_in(client: &mut Client, protocol: &str, user: &str) {
    let plain = sasl_plain(user);
    let (answer, expected) = match protocol {
        "imap" => (client.ask(&format!("l LOGIN {user} {PASSWORD}")), "l OK"),
        "pop3" => {
            client.ask(&format!("USER {user}"));
            (client.ask(&format!("PASS {PASSWORD}")), "+OK")
        }
        "managesieve" => (
            client.ask(&format!("AUTHENTICATE \"PLAIN\" \"{plain}\"")),
            "OK",
        ),
        _ => {
            client.command(&format!("EHLO {HELO}"));
            (client.command(&format!("AUTH PLAIN {plain}")), "235 ")
        }
    };
    assert!(answer.starts_with(expected), "{protocol}: {answer}");
}

/// Says EHLO and sends a message from and to this user, which is taken.
#[track_caller]
pub(super) fn send(client: &mut Client, user: &str) {
    client.command(&format!("EHLO {HELO}"));
    send_unintroduced(client, user);
}

/// Sends a message from and to this user, which is taken.
#[track_caller]
pub(super) fn send_unintroduced(client: &mut Client, user: &str) {
    let address = format!("{user}@{DOMAIN}");
    let dialogue = [
        (format!("MAIL FROM:<{address}>"), "250 "),
        (format!("RCPT TO:<{address}>"), "250 "),
        ("DATA".to_owned(), "354 "),
        (format!("Subject: sent by {user}\r\n\r\nHello\r\n."), "250 "),
        ("QUIT".to_owned(), "221 "),
    ];
    for (line, expected) in dialogue {
        let answer = client.command(&line);
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }
}

/// Says goodbye, and waits until the server has closed.
#[track_caller]
pub(super) fn take_leave(client: &mut Client, protocol: &str) {
    client.say(match protocol {
        "imap" => "q LOGOUT",
        "managesieve" => "LOGOUT",
        _ => "QUIT",
    });
    client.rest().unwrap();
}

/// Name and password as SASL PLAIN has them (RFC 4616), in base64.
pub(super) fn sasl_plain(user: &str) -> String {
    BASE64.encode(format!("\0{user}\0{PASSWORD}").as_bytes())
}

/// How the words begin that a client gets whose server cannot be used.
pub(super) fn unavailable(protocol: &str) -> &'static str {
    match protocol {
        "imap" => "* BYE [UNAVAILABLE] ",
        "pop3" => "-ERR [SYS/TEMP] ",
        "managesieve" => "BYE (TRYLATER) ",
        _ => "421 4.3.2 ",
    }
}
