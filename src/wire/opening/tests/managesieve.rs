//! ManageSieve.

use super::*;

const GREETING: &str = "\"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"\r\n\
                        \"SASL\" \"PLAIN LOGIN\"\r\n\
                        \"STARTTLS\"\r\n\
                        \"XCLIENT\"\r\n\
                        OK \"Dovecot (Debian) ready.\"\r\n";
const CLEAR: &[&str] = &[
    "\"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"",
    "\"SASL\" \"PLAIN LOGIN\"",
    "\"STARTTLS\"",
    "\"XCLIENT\"",
];
const ENCRYPTED: &str =
    "\"SASL\" \"PLAIN\"\r\n\"XCLIENT\"\r\nOK \"TLS negotiation successful.\"\r\n";

#[test]
fn greetings() {
    play_all(
        MailProtocol::ManageSieve,
        [
            Dialogue(
                plan(),
                "S: \"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"
                 S: \"SASL\" \"PLAIN LOGIN\"
                 S: \"STARTTLS\"
                 S: \"XCLIENT\"
                 S: OK \"Dovecot (Debian) ready.\"",
                Ok((GREETING, Some(CLEAR))),
            ),
            Dialogue(plan(), "S: ok", Ok(("ok\r\n", None))),
            Dialogue(plan(), "S: NO \"Later\"", refused("NO \"Later\"")),
            Dialogue(
                plan(),
                "S: BYE (TRYLATER) \"Later\"",
                refused("BYE (TRYLATER) \"Later\""),
            ),
            Dialogue(
                plan(),
                "S: * OK ready",
                malformed("* OK ready", "ManageSieve"),
            ),
            Dialogue(
                plan(),
                "S: \"SASL\" \"\"
                 S: SASL",
                malformed("SASL", "ManageSieve"),
            ),
        ],
    );
}

#[test]
fn starttls_with_what_is_said_after_it() {
    play_all(
        MailProtocol::ManageSieve,
        [
            Dialogue(
                starttls(),
                "S: \"StartTLS\"
                 S: OK
                 C: STARTTLS
                 S: OK \"Begin TLS negotiation now.\"
                 TLS
                 S: \"SASL\" \"PLAIN\"
                 S: \"XCLIENT\"
                 S: OK \"TLS negotiation successful.\"",
                Ok((ENCRYPTED, Some(&["\"SASL\" \"PLAIN\"", "\"XCLIENT\""]))),
            ),
            Dialogue(
                Plan {
                    probe: true,
                    ..with_starttls(xclient(CLIENT))
                },
                "S: \"STARTTLS\"
                 S: OK
                 C: STARTTLS
                 S: OK \"Begin TLS negotiation now.\"
                 TLS
                 S: \"SASL\" \"PLAIN\"
                 S: \"XCLIENT\"
                 S: OK \"TLS negotiation successful.\"
                 C: XCLIENT ADDR=192.0.2.44 PORT=4711
                 S: OK \"Updated\"
                 C: LOGOUT
                 S: OK \"Logout completed.\"",
                Ok((ENCRYPTED, Some(&["\"SASL\" \"PLAIN\"", "\"XCLIENT\""]))),
            ),
            Dialogue(
                with_starttls(xclient(CLIENT)),
                "S: \"STARTTLS\"
                 S: \"XCLIENT\"
                 S: OK
                 C: STARTTLS
                 S: OK
                 TLS
                 S: \"SASL\" \"PLAIN\"
                 S: OK",
                Err(OpeningError::NoXclient),
            ),
            Dialogue(
                starttls(),
                "S: \"SASL\" \"STARTTLS\"
                 S: OK",
                Err(OpeningError::NoStartTls),
            ),
            Dialogue(
                starttls(),
                "S: \"STARTTLS\"
                 S: OK
                 C: STARTTLS
                 S: NO \"TLS support isn't enabled.\"",
                Err(OpeningError::StartTlsRefused(
                    "NO \"TLS support isn't enabled.\"".to_owned(),
                )),
            ),
        ],
    );
}

#[test]
fn who_the_client_is() {
    play_all(
        MailProtocol::ManageSieve,
        [
            Dialogue(
                xclient(CLIENT6),
                "S: \"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"
                 S: \"SASL\" \"PLAIN LOGIN\"
                 S: \"STARTTLS\"
                 S: \"XCLIENT\"
                 S: OK \"Dovecot (Debian) ready.\"
                 C: XCLIENT ADDR=2001:db8::44 PORT=4711
                 S: OK \"Updated\"",
                Ok((GREETING, Some(CLEAR))),
            ),
            Dialogue(
                xclient(CLIENT),
                "S: \"XCLIENT\"
                 S: OK
                 C: XCLIENT ADDR=192.0.2.44 PORT=4711
                 S: NO \"You are not from trusted IP\"",
                Err(OpeningError::ClientRefused(
                    "NO \"You are not from trusted IP\"".to_owned(),
                )),
            ),
        ],
    );
}

#[test]
fn probes() {
    play_all(
        MailProtocol::ManageSieve,
        [
            Dialogue(
                probe(),
                "S: \"IMPLEMENTATION\" \"Dovecot (Debian) Pigeonhole\"
                 S: \"SASL\" \"PLAIN LOGIN\"
                 S: \"STARTTLS\"
                 S: \"XCLIENT\"
                 S: OK \"Dovecot (Debian) ready.\"
                 C: LOGOUT
                 S: OK \"Logout completed.\"",
                Ok((GREETING, Some(CLEAR))),
            ),
            Dialogue(
                probe(),
                "S: OK
                 C: CAPABILITY
                 S: \"SASL\" \"PLAIN\"
                 S: OK
                 C: LOGOUT
                 EOF",
                Ok(("OK\r\n", Some(&["\"SASL\" \"PLAIN\""]))),
            ),
        ],
    );
}

#[test]
fn banners() {
    let cases = [
        (CLEAR, "Dovecot (Debian) Pigeonhole"),
        (&["\"Implementation\"  \"a \\\"b\\\\\""], "a \"b\\"),
        (&["\"IMPLEMENTATION\""], ""),
        (&["\"IMPLEMENTATION\" \"unclosed"], ""),
        (&["\"SASL\" \"\""], ""),
    ];
    for (capabilities, expected) in cases {
        let entries = capabilities.iter().map(|&entry| entry.to_owned());
        let opened = Opened {
            greeting: b"OK\r\n".to_vec(),
            capabilities: Some(entries.collect()),
        };
        let said = announced(MailProtocol::ManageSieve, &opened);
        assert_eq!(said.banner, expected, "{capabilities:?}");
        assert_eq!(said.capabilities, capabilities);
    }
}
