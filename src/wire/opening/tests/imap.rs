//! IMAP.

use super::*;

fn id(source: &str) -> Plan {
    Plan {
        tell: Tell::ImapId(client(source)),
        ..plan()
    }
}

const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 ID STARTTLS AUTH=PLAIN] Dovecot ready.\r\n";
const CLEAR: &[&str] = &["IMAP4rev1", "ID", "STARTTLS", "AUTH=PLAIN"];
const NEUTRAL: &str = "* OK IMAP service ready\r\n";

#[test]
fn greetings() {
    play_all(
        MailProtocol::Imap,
        [
            Dialogue(
                plan(),
                "S: * OK [CAPABILITY IMAP4rev1 ID STARTTLS AUTH=PLAIN] Dovecot ready.",
                Ok((GREETING, Some(CLEAR))),
            ),
            Dialogue(
                plan(),
                "S: * ok The Microsoft Exchange IMAP4 service is ready.",
                Ok((
                    "* ok The Microsoft Exchange IMAP4 service is ready.\r\n",
                    None,
                )),
            ),
            // The text of a status has no literals.
            Dialogue(
                plan(),
                "S: * OK no literal {5}",
                Ok(("* OK no literal {5}\r\n", None)),
            ),
            Dialogue(
                plan(),
                "S: * PREAUTH Hello root",
                Err(OpeningError::Preauth),
            ),
            Dialogue(
                plan(),
                "S: * BYE [UNAVAILABLE] Later",
                refused("* BYE [UNAVAILABLE] Later"),
            ),
            Dialogue(plan(), "S: * NO", malformed("* NO", "IMAP")),
            Dialogue(plan(), "S: +OK ready", malformed("+OK ready", "IMAP")),
            Dialogue(plan(), "S: * OKAY", malformed("* OKAY", "IMAP")),
            Dialogue(plan(), "S: ", malformed("", "IMAP")),
        ],
    );
}

#[test]
fn starttls_with_what_is_said_after_it() {
    play_all(
        MailProtocol::Imap,
        [
            Dialogue(
                starttls(),
                "S: * OK [CAPABILITY IMAP4rev1 ID STARTTLS AUTH=PLAIN] Dovecot ready.
                 C: gp2 STARTTLS
                 S: gp2 OK [CAPABILITY IMAP4rev1] Begin TLS negotiation now.
                 TLS",
                Ok((NEUTRAL, None)),
            ),
            Dialogue(
                with_starttls(probe()),
                "S: * OK Dovecot ready.
                 C: gp1 CAPABILITY
                 S: * CAPABILITY IMAP4rev1 starttls LOGINDISABLED
                 S: gp1 OK done
                 C: gp2 STARTTLS
                 S: gp2 OK Begin TLS negotiation now.
                 TLS
                 C: gp1 CAPABILITY
                 S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
                 S: gp1 OK done
                 C: gp4 LOGOUT
                 S: * BYE Logging out
                 S: gp4 OK Logout completed.",
                Ok((NEUTRAL, Some(&["IMAP4rev1", "AUTH=PLAIN"]))),
            ),
            Dialogue(
                with_starttls(id(CLIENT)),
                "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.
                 C: gp2 STARTTLS
                 S: * OK still here
                 S: gp2 OK Begin TLS negotiation now.
                 TLS
                 C: gp3 ID (\"x-originating-ip\" \"192.0.2.44\" \"x-originating-port\" \"4711\" \"x-connected-ip\" \"198.51.100.1\" \"x-connected-port\" \"993\")
                 S: * ID (\"name\" \"Dovecot\")
                 S: gp3 OK ID completed.",
                Ok((NEUTRAL, None)),
            ),
            Dialogue(
                starttls(),
                "S: * OK [CAPABILITY IMAP4rev1] Dovecot ready.
                 C: gp1 CAPABILITY
                 S: * CAPABILITY IMAP4rev1
                 S: gp1 OK done",
                Err(OpeningError::NoStartTls),
            ),
            Dialogue(
                starttls(),
                "S: * OK Dovecot ready.
                 C: gp1 CAPABILITY
                 S: gp1 BAD no",
                Err(OpeningError::NoStartTls),
            ),
            Dialogue(
                starttls(),
                "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.
                 C: gp2 STARTTLS
                 S: gp2 BAD TLS support isn't enabled.",
                Err(OpeningError::StartTlsRefused(
                    "gp2 BAD TLS support isn't enabled.".to_owned(),
                )),
            ),
            Dialogue(
                starttls(),
                "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.
                 C: gp2 STARTTLS
                 S: gp1 OK not that",
                malformed("gp1 OK not that", "IMAP"),
            ),
            Dialogue(
                starttls(),
                "S: * OK Dovecot ready.
                 C: gp1 CAPABILITY
                 S: * BYE Shutting down",
                refused("* BYE Shutting down"),
            ),
        ],
    );
}

#[test]
fn who_the_client_is() {
    play_all(
        MailProtocol::Imap,
        [
            Dialogue(
                id(CLIENT6),
                "S: * OK [CAPABILITY IMAP4rev1 ID STARTTLS AUTH=PLAIN] Dovecot ready.
                 C: gp3 ID (\"x-originating-ip\" \"2001:db8::44\" \"x-originating-port\" \"4711\" \"x-connected-ip\" \"2001:db8::1\" \"x-connected-port\" \"993\")
                 S: * ID (\"name\" {12}
                 S: gp3 NO evil!)
                 S: gp3 OK ID completed.",
                Ok((GREETING, Some(CLEAR))),
            ),
            Dialogue(
                id("[::ffff:192.0.2.44]:4711"),
                "S: * OK Dovecot ready.
                 C: gp3 ID (\"x-originating-ip\" \"192.0.2.44\" \"x-originating-port\" \"4711\" \"x-connected-ip\" \"198.51.100.1\" \"x-connected-port\" \"993\")
                 S: gp3 BAD Unknown command",
                Err(OpeningError::ClientRefused(
                    "gp3 BAD Unknown command".to_owned(),
                )),
            ),
        ],
    );
}

#[test]
fn probes() {
    play_all(
        MailProtocol::Imap,
        [
            Dialogue(
                probe(),
                "S: * OK [CAPABILITY IMAP4rev1 ID STARTTLS AUTH=PLAIN] Dovecot ready.
                 C: gp4 LOGOUT
                 S: * BYE Logging out
                 S: gp4 OK Logout completed.",
                Ok((GREETING, Some(CLEAR))),
            ),
            Dialogue(
                probe(),
                "S: * OK ready
                 C: gp1 CAPABILITY
                 S: * CAPABILITY IMAP4rev1
                 S: * CAPABILITY IMAP4rev1 IDLE
                 S: gp1 OK done
                 C: gp4 LOGOUT
                 S: * BYE Logging out
                 EOF",
                Ok(("* OK ready\r\n", Some(&["IMAP4rev1", "IDLE"]))),
            ),
            Dialogue(
                probe(),
                "S: * OK ready
                 C: gp1 CAPABILITY
                 S: gp1 BAD what
                 C: gp4 LOGOUT
                 EOF",
                Ok(("* OK ready\r\n", None)),
            ),
        ],
    );
}

#[test]
fn banners() {
    let cases = [
        (GREETING, "Dovecot ready."),
        ("* OK Dovecot ready.\r\n", "Dovecot ready."),
        ("* OK [ALERT] read this\r\n", "read this"),
        ("* OK [unclosed\r\n", "[unclosed"),
        ("* OK\r\n", ""),
    ];
    for (greeting, expected) in cases {
        let opened = Opened {
            greeting: greeting.as_bytes().to_vec(),
            capabilities: None,
        };
        let said = announced(MailProtocol::Imap, &opened);
        assert_eq!(said.banner, expected, "{greeting}");
        assert_eq!(said.capabilities, Vec::<String>::new());
    }
}
