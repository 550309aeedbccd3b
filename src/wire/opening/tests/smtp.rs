//! SMTP and submission.

use super::*;

fn with_hello(hello: &str, plan: Plan) -> Plan {
    Plan {
        hello: Some(hello.as_bytes().to_vec()),
        ..plan
    }
}

const POSTFIX: &[&str] = &["PIPELINING", "SIZE 52428800", "8BITMIME"];

#[test]
fn greetings() {
    play_all(
        MailProtocol::Smtp,
        [
            Dialogue(
                plan(),
                "S: 220 mail.example.org ESMTP Postfix",
                Ok(("220 mail.example.org ESMTP Postfix\r\n", None)),
            ),
            // postscreen's teaser
            Dialogue(
                plan(),
                "S: 220-mail.example.org ESMTP Postfix
                 S: 220 mail.example.org ESMTP Postfix",
                Ok((
                    "220-mail.example.org ESMTP Postfix\r\n220 mail.example.org ESMTP Postfix\r\n",
                    None,
                )),
            ),
            Dialogue(plan(), "S: 220", Ok(("220\r\n", None))),
            Dialogue(
                plan(),
                "S: 220-mail.example.org ESMTP Postfix
                 S: 521 5.5.1 Protocol error",
                refused("521 5.5.1 Protocol error"),
            ),
            Dialogue(
                plan(),
                "S: 554-mail.example.org
                 S: 554 Your access to this mail system has been rejected",
                refused("554 Your access to this mail system has been rejected"),
            ),
            Dialogue(
                plan(),
                "S: 421 4.3.2 Too busy",
                refused("421 4.3.2 Too busy"),
            ),
            Dialogue(plan(), "S: 250 a", malformed("250 a", "SMTP")),
            Dialogue(plan(), "S: 354 a", malformed("354 a", "SMTP")),
            Dialogue(
                plan(),
                "S: * OK Dovecot ready.",
                malformed("* OK Dovecot ready.", "SMTP"),
            ),
            Dialogue(plan(), "S: 220_a", malformed("220_a", "SMTP")),
            Dialogue(plan(), "S: 22", malformed("22", "SMTP")),
            Dialogue(plan(), "S: 720 a", malformed("720 a", "SMTP")),
        ],
    );
}

#[test]
fn starttls_with_what_is_said_after_it() {
    let refused = OpeningError::StartTlsRefused("454 4.7.0 TLS not available".to_owned());
    play_all(
        MailProtocol::Submission,
        [
            Dialogue(
                starttls(),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-SIZE 52428800
                 S: 250-STARTTLS
                 S: 250 CHUNKING
                 C: STARTTLS
                 S: 220 2.0.0 Ready to start TLS
                 TLS",
                Ok(("220 gate.example.net ESMTP\r\n", None)),
            ),
            Dialogue(
                with_starttls(xclient(CLIENT)),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-starttls
                 S: 250 XCLIENT NAME ADDR PORT
                 C: STARTTLS
                 S: 220 2.0.0 Ready to start TLS
                 TLS
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 XCLIENT NAME ADDR
                 C: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.44
                 S: 220 mail.example.org ESMTP Postfix",
                Ok((
                    "220 mail.example.org ESMTP Postfix\r\n",
                    Some(&["XCLIENT NAME ADDR"]),
                )),
            ),
            // What was offered in clear is not what is offered.
            Dialogue(
                with_starttls(xclient(CLIENT)),
                "S: 220 mail.example.org ESMTP
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-STARTTLS
                 S: 250 XCLIENT ADDR
                 C: STARTTLS
                 S: 220 go
                 TLS
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 SIZE",
                Err(OpeningError::NoXclient),
            ),
            Dialogue(
                with_starttls(probe()),
                "S: 220 mail.example.org ESMTP
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 STARTTLS
                 C: STARTTLS
                 S: 220 go
                 TLS
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-PIPELINING
                 S: 250-SIZE 52428800
                 S: 250 8BITMIME
                 C: QUIT
                 S: 221 2.0.0 Bye",
                Ok(("220 gate.example.net ESMTP\r\n", Some(POSTFIX))),
            ),
            Dialogue(
                starttls(),
                "S: 220 mail.example.org ESMTP
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 SIZE",
                Err(OpeningError::NoStartTls),
            ),
            Dialogue(
                starttls(),
                "S: 220 mail.example.org SMTP
                 C: EHLO gate.example.net
                 S: 500 5.5.1 unrecognized",
                Err(OpeningError::NoStartTls),
            ),
            Dialogue(
                starttls(),
                "S: 220 mail.example.org ESMTP
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 STARTTLS
                 C: STARTTLS
                 S: 454 4.7.0 TLS not available",
                Err(refused),
            ),
        ],
    );
}

#[test]
fn handover_ends_with_the_go_ahead() {
    let mut opening = Opening::new(
        MailProtocol::Smtp,
        Plan {
            handover: true,
            ..plan()
        },
    );
    let mut said = Vec::new();
    let script = "220 a\r\n250-a\r\n250 STARTTLS\r\n220 go\r\n";
    let received = opening.receive(script.as_bytes(), &mut said).unwrap();
    assert!(matches!(received.step, Step::StartTls));
    assert_eq!(said, b"EHLO gate.example.net\r\nSTARTTLS\r\n");
}

#[test]
fn who_the_client_is() {
    let refused = |line: &str| Err(OpeningError::ClientRefused(line.to_owned()));
    play_all(
        MailProtocol::Smtp,
        [
            Dialogue(
                xclient(CLIENT),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT
                 S: 250-8BITMIME
                 S: 250 CHUNKING
                 C: XCLIENT NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] LOGIN=[UNAVAILABLE] PORT=4711 DESTADDR=198.51.100.1 DESTPORT=993 ADDR=192.0.2.44
                 S: 220 mail.example.org ESMTP Postfix, again",
                Ok((
                    "220 mail.example.org ESMTP Postfix, again\r\n",
                    Some(&[
                        "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT",
                        "8BITMIME",
                    ]),
                )),
            ),
            // Dovecot's submission service
            Dialogue(
                with_hello("ehlo client.example\r\n", xclient(CLIENT6)),
                "S: 220 mail.example.org Dovecot (Debian) ready.
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-STARTTLS
                 S: 250 XCLIENT ADDR PORT PROTO HELO LOGIN SESSION TTL TIMEOUT FORWARD
                 C: XCLIENT LOGIN=[UNAVAILABLE] PORT=4711 ADDR=IPV6:2001:db8::44
                 S: 220 mail.example.org Dovecot (Debian) ready.
                 C: ehlo client.example
                 S: 250-mail.example.org
                 S: 250-PIPELINING
                 S: 250-SIZE 52428800
                 S: 250 8BITMIME",
                Ok((
                    "220 mail.example.org Dovecot (Debian) ready.\r\n",
                    Some(POSTFIX),
                )),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 8BITMIME",
                Err(OpeningError::NoXclient),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 XCLIENT NAME HELO",
                Err(OpeningError::NoXclient),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 XCLIENT ADDR
                 C: XCLIENT ADDR=192.0.2.44
                 S: 550 5.7.0 Error: insufficient authorization",
                refused("550 5.7.0 Error: insufficient authorization"),
            ),
            // A new greeting may be a refusal of that client.
            Dialogue(
                xclient(CLIENT),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 XCLIENT ADDR
                 C: XCLIENT ADDR=192.0.2.44
                 S: 421 4.7.0 Too many connections from 192.0.2.44",
                refused("421 4.7.0 Too many connections from 192.0.2.44"),
            ),
        ],
    );
}

#[test]
fn a_refusal_is_of_the_client_or_of_us() {
    let refused = |line: &str| Err(OpeningError::ClientRefused(line.to_owned()));
    let unwelcome = |line: &str| Err(OpeningError::Refused(line.to_owned()));
    let told = |line: &str, becomes: fn(&str) -> Outcome| {
        let said = format!(
            "S: 220 mail.example.org ESMTP Postfix
             C: EHLO gate.example.net
             S: 250-mail.example.org
             S: 250 XCLIENT ADDR
             C: XCLIENT ADDR=192.0.2.44
             S: {line}"
        );
        Dialogue(xclient(CLIENT), said.leak(), becomes(line))
    };
    play_all(
        MailProtocol::Smtp,
        [
            // For good: the client is to hear that, and not to come back for days.
            told(
                "554 5.7.1 <unknown[192.0.2.44]>: Client host rejected: Access denied",
                unwelcome,
            ),
            told("550 5.7.1 Blocked", unwelcome),
            told("521 5.7.1 Go away", unwelcome),
            told("550 Not authorized", refused),
            told("550 5.7.0", refused),
            told("550 5.7.14 You are not from trusted IP", refused),
            told("501 5.5.4 Bad ADDR syntax", refused),
            told("503 5.5.1 Mail transaction in progress", refused),
        ],
    );
}

#[test]
fn chunks_are_only_for_whose_own_ehlo_has_said_so() {
    play_all(
        MailProtocol::Smtp,
        [
            Dialogue(
                with_hello("HELO printer\r\n", xclient(CLIENT)),
                "S: 220 mail.example.org ESMTP
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-CHUNKING
                 S: 250 XCLIENT ADDR
                 C: XCLIENT ADDR=192.0.2.44
                 S: 220 mail.example.org ESMTP
                 C: HELO printer
                 S: 250 mail.example.org",
                Ok(("220 mail.example.org ESMTP\r\n", Some(&["XCLIENT ADDR"]))),
            ),
            Dialogue(
                with_hello("EHLO client.example\r\n", xclient(CLIENT)),
                "S: 220 mail.example.org ESMTP
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250 XCLIENT ADDR
                 C: XCLIENT ADDR=192.0.2.44
                 S: 220 mail.example.org ESMTP
                 C: EHLO client.example
                 S: 250-mail.example.org
                 S: 250 CHUNKING",
                Ok(("220 mail.example.org ESMTP\r\n", Some(&["CHUNKING"]))),
            ),
        ],
    );
}

#[test]
fn what_the_client_has_said_in_clear() {
    play_all(
        MailProtocol::Smtp,
        [
            Dialogue(
                with_hello("HELO printer\r\n", plan()),
                "S: 220 mail.example.org ESMTP Postfix
                 C: HELO printer
                 S: 250 mail.example.org",
                Ok(("220 mail.example.org ESMTP Postfix\r\n", None)),
            ),
            Dialogue(
                with_hello("EHLO [192.0.2.1]\r\n", plan()),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO [192.0.2.1]
                 S: 250-mail.example.org
                 S: 250-PIPELINING
                 S: 250-SIZE 52428800
                 S: 250 8BITMIME",
                Ok(("220 mail.example.org ESMTP Postfix\r\n", Some(POSTFIX))),
            ),
            Dialogue(
                with_hello("EHLO\tclient.example\r\n", plan()),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO\tclient.example
                 S: 250 mail.example.org",
                Ok(("220 mail.example.org ESMTP Postfix\r\n", None)),
            ),
            Dialogue(
                with_hello("EHLO \r\n", plan()),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO 
                 S: 501 Syntax: EHLO hostname",
                Ok(("220 mail.example.org ESMTP Postfix\r\n", None)),
            ),
            Dialogue(
                with_hello("EHLO a\r\n", plan()),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO a
                 S: 421 4.3.2 shutting down",
                refused("421 4.3.2 shutting down"),
            ),
        ],
    );
}

#[test]
fn nothing_else_is_said_for_a_client() {
    let lines = [
        "EHLO a\r\nMAIL FROM:<>\r\n",
        "EHLO a\nMAIL FROM:<>\r\n",
        "EHLO a\rMAIL FROM:<>\r\n",
        "EHLO a",
        "EHLO a\n",
        "EHLO\0a\r\n",
        "XCLIENT ADDR=192.0.2.44\r\n",
        "EHLOX a\r\n",
        "EHLO\x0ba\r\n",
        "\r\n",
        "",
    ];
    for line in lines {
        let mut opening = Opening::new(MailProtocol::Smtp, with_hello(line, plan()));
        let mut said = Vec::new();
        let received = opening.receive(b"220 a\r\n", &mut said).unwrap();
        assert!(matches!(received.step, Step::Done(_)), "{line:?}");
        assert_eq!(said, b"", "{line:?}");
    }
}

#[test]
fn probes() {
    let greeting = "220 mail.example.org ESMTP Postfix\r\n";
    play_all(
        MailProtocol::Smtp,
        [
            Dialogue(
                probe(),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250-mail.example.org
                 S: 250-PIPELINING
                 S: 250-SIZE 52428800
                 S: 250 8BITMIME
                 C: QUIT
                 S: 221 2.0.0 Bye",
                Ok((greeting, Some(POSTFIX))),
            ),
            Dialogue(
                probe(),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 502 5.5.2 Error: command not recognized
                 C: QUIT
                 EOF",
                Ok((greeting, None)),
            ),
            Dialogue(
                probe(),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 250 mail.example.org
                 C: QUIT
                 S: 221-2.0.0 Bye
                 EOF",
                Ok((greeting, Some(&[]))),
            ),
            Dialogue(
                probe(),
                "S: 220 mail.example.org ESMTP Postfix
                 C: EHLO gate.example.net
                 S: 421 4.7.0 later",
                refused("421 4.7.0 later"),
            ),
        ],
    );
}

#[test]
fn banners() {
    let cases = [
        ("220 mail.example.org ESMTP Postfix\r\n", "ESMTP Postfix"),
        (
            "220-mail.example.org ESMTP Exim 4.96\r\n220-We do not authorize\r\n220 and/or bulk.\r\n",
            "ESMTP Exim 4.96",
        ),
        ("220 mail.example.org\r\n", ""),
        ("220\r\n", ""),
        ("220 a \x1b[1m\u{e9}bold\t\r\n", "[1mbold"),
    ];
    for (greeting, expected) in cases {
        let opened = Opened {
            greeting: greeting.as_bytes().to_vec(),
            capabilities: Some(vec!["SIZE 1".to_owned()]),
        };
        let said = announced(MailProtocol::Submission, &opened);
        assert_eq!(said.banner, expected, "{greeting}");
        assert_eq!(said.capabilities, ["SIZE 1"]);
    }
}
