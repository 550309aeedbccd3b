//! POP3.

use super::*;

const NEUTRAL: &str = "+OK POP3 service ready\r\n";

#[test]
fn greetings() {
    play_all(
        MailProtocol::Pop3,
        [
            Dialogue(
                plan(),
                "S: +OK Dovecot ready. <4b1.1.5f@mail>",
                Ok(("+OK Dovecot ready. <4b1.1.5f@mail>\r\n", None)),
            ),
            Dialogue(plan(), "S: +OK", Ok(("+OK\r\n", None))),
            Dialogue(
                plan(),
                "S: -ERR [SYS/TEMP] Later",
                refused("-ERR [SYS/TEMP] Later"),
            ),
            Dialogue(plan(), "S: +OKAY", malformed("+OKAY", "POP3")),
            Dialogue(plan(), "S: * OK ready", malformed("* OK ready", "POP3")),
        ],
    );
}

#[test]
fn starttls_with_what_is_said_after_it() {
    play_all(
        MailProtocol::Pop3,
        [
            Dialogue(
                starttls(),
                "S: +OK [XCLIENT] Dovecot ready. <4b1.1.5f@mail>
                 C: CAPA
                 S: +OK
                 S: UIDL
                 S: STLS
                 S: .
                 C: STLS
                 S: +OK Begin TLS negotiation now.
                 TLS",
                Ok((NEUTRAL, None)),
            ),
            // Dovecot does not say again that we may.
            Dialogue(
                with_starttls(xclient(CLIENT)),
                "S: +OK [XCLIENT] Dovecot ready.
                 C: CAPA
                 S: -ERR unknown command
                 C: STLS
                 S: +OK Begin TLS negotiation now.
                 TLS
                 C: XCLIENT ADDR=192.0.2.44 PORT=4711
                 S: +OK Updated",
                Ok((NEUTRAL, None)),
            ),
            // It would answer +OK and go on believing that we are the client.
            Dialogue(
                with_starttls(xclient(CLIENT)),
                "S: +OK Dovecot ready.
                 C: CAPA
                 S: +OK
                 S: XCLIENT
                 S: STLS
                 S: .
                 C: STLS
                 S: +OK Begin TLS negotiation now.
                 TLS
                 C: CAPA
                 S: +OK
                 S: UIDL
                 S: .",
                Err(OpeningError::NoXclient),
            ),
            Dialogue(
                with_starttls(probe()),
                "S: +OK Dovecot ready.
                 C: CAPA
                 S: +OK
                 S: STLS
                 S: .
                 C: STLS
                 S: +OK Begin TLS negotiation now.
                 TLS
                 C: CAPA
                 S: +OK Capability list follows
                 S: UIDL
                 S: SASL PLAIN LOGIN
                 S: .
                 C: QUIT
                 S: +OK Logging out",
                Ok((NEUTRAL, Some(&["UIDL", "SASL PLAIN LOGIN"]))),
            ),
            Dialogue(
                starttls(),
                "S: +OK ready
                 C: CAPA
                 S: +OK
                 S: .
                 ",
                Err(OpeningError::NoStartTls),
            ),
            Dialogue(
                starttls(),
                "S: +OK ready
                 C: CAPA
                 S: +OK
                 S: stls
                 S: .
                 C: STLS
                 S: -ERR TLS support isn't enabled.",
                Err(OpeningError::StartTlsRefused(
                    "-ERR TLS support isn't enabled.".to_owned(),
                )),
            ),
        ],
    );
}

#[test]
fn who_the_client_is() {
    play_all(
        MailProtocol::Pop3,
        [
            Dialogue(
                xclient(CLIENT6),
                "S: +OK [XCLIENT] Dovecot (Debian) ready.
                 C: XCLIENT ADDR=2001:db8::44 PORT=4711
                 S: +OK Updated",
                Ok(("+OK [XCLIENT] Dovecot (Debian) ready.\r\n", None)),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: +OK ready
                 C: CAPA
                 S: +OK
                 S: XCLIENT
                 S: .
                 C: XCLIENT ADDR=192.0.2.44 PORT=4711
                 S: +OK Updated",
                Ok(("+OK ready\r\n", Some(&["XCLIENT"]))),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: +OK ready
                 C: CAPA
                 S: +OK
                 S: UIDL
                 S: .",
                Err(OpeningError::NoXclient),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: +OK [XCLIENT] ready
                 C: XCLIENT ADDR=192.0.2.44 PORT=4711
                 S: -ERR You are not from trusted IP",
                Err(OpeningError::ClientRefused(
                    "-ERR You are not from trusted IP".to_owned(),
                )),
            ),
        ],
    );
}

#[test]
fn probes() {
    play_all(
        MailProtocol::Pop3,
        [
            Dialogue(
                probe(),
                "S: +OK ready
                 C: CAPA
                 S: +OK
                 S: UIDL
                 S: .
                 C: QUIT
                 S: +OK Logging out",
                Ok(("+OK ready\r\n", Some(&["UIDL"]))),
            ),
            Dialogue(
                probe(),
                "S: +OK ready
                 C: CAPA
                 S: -ERR
                 C: QUIT
                 EOF",
                Ok(("+OK ready\r\n", None)),
            ),
        ],
    );
}

#[test]
fn banners() {
    let cases = [
        ("+OK [XCLIENT] Dovecot ready.\r\n", "Dovecot ready."),
        (
            "+OK Dovecot <1.2@a> ready <3@b> now\r\n",
            "Dovecot  ready  now",
        ),
        ("+OK ready <3@b\r\n", "ready"),
        ("+OK\r\n", ""),
    ];
    for (greeting, expected) in cases {
        let opened = Opened {
            greeting: greeting.as_bytes().to_vec(),
            capabilities: None,
        };
        let said = announced(MailProtocol::Pop3, &opened);
        assert_eq!(said.banner, expected, "{greeting}");
    }
}
