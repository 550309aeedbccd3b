use proptest::prelude::*;

use super::*;
use crate::wire::guard::oracle::pop3::Pop3 as Server;
use crate::wire::guard::oracle::{self, Turn};
use crate::wire::mail::MailProtocol;

fn dialogue(turns: &[Turn<'_>]) -> (bool, Option<GuardError>) {
    oracle::dialogue(MailProtocol::Pop3, turns)
}

#[test]
fn a_login_ends_it() {
    let passed = "+OK in\r\n-ERR anything\r\nSTLS\r\n.\r";
    for login in [
        "PASS secret",
        "APOP user c4c9334bac560ecc979e58001b3e22fb",
        "AUTH PLAIN AHUAcA==",
    ] {
        let said = format!("{login}\r\n");
        let end = dialogue(&[('C', &said, &said, ""), ('S', passed, "", passed)]);
        assert_eq!(end, (true, None), "{login}");
    }
}

#[test]
fn one_command_is_in_flight_at_a_time() {
    let end = dialogue(&[
        (
            'C',
            "capa\r\nUSER u\r\nPASS  p \r\nSTLS\r\n",
            "CAPA\r\n",
            "",
        ),
        (
            'S',
            "+OK list\r\nUSER\r\nSTLS\r\n",
            "",
            "+OK list\r\nUSER\r\n",
        ),
        (
            'S',
            "Xclient\r\nSASL PLAIN\r\n.\r\n",
            "USER u\r\n",
            "SASL PLAIN\r\n.\r\n",
        ),
        ('S', "+OK\r\n", "PASS  p \r\n", "+OK\r\n"),
        (
            'S',
            "-ERR no\r\n",
            "",
            "-ERR no\r\n-ERR STLS is not available here\r\n",
        ),
        ('C', "AUTH\r\nNOOP\r\n", "AUTH\r\n", ""),
        (
            'S',
            "+OK\r\nPLAIN\r\n.\r\n",
            "NOOP\r\n",
            "+OK\r\nPLAIN\r\n.\r\n",
        ),
        ('S', "-ERR unknown\r\n", "", "-ERR unknown\r\n"),
        ('C', "CAPA \r\nQUIT\r\n", "CAPA\r\n", ""),
        ('S', "-ERR unknown\r\n", "QUIT\r\n", "-ERR unknown\r\n"),
        ('S', "+OK bye\r\n", "", "+OK bye\r\n"),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn a_sasl_exchange_passes_line_by_line() {
    let end = dialogue(&[
        (
            'C',
            "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n",
            "AUTH LOGIN\r\n",
            "",
        ),
        ('S', "+ VXNlcg==\r\n", "dXNlcg==\r\n", "+ VXNlcg==\r\n"),
        ('S', "+ UGFzcw==\r\n", "cGFzcw==\r\n", "+ UGFzcw==\r\n"),
        ('S', "-ERR no\r\n", "", "-ERR no\r\n"),
        ('C', "auth plain\r\n*\r\n", "AUTH plain\r\n", ""),
        ('S', "+\r\n", "*\r\n", "+\r\n"),
        ('S', "-ERR cancelled\r\n", "", "-ERR cancelled\r\n"),
        // What no SASL response looks like would be a command if the server had given up.
        (
            'C',
            "AUTH PLAIN\r\nXCLIENT ADDR=::1\r\n",
            "AUTH PLAIN\r\n",
            "",
        ),
        ('S', "+ \r\n", "*\r\n", "+ \r\n"),
        ('S', "-ERR no\r\n", "", "-ERR no\r\n"),
        ('C', "AUTH EXTERNAL =\r\n", "AUTH EXTERNAL =\r\n", ""),
        ('S', "+OK in\r\n", "", "+OK in\r\n"),
    ]);
    assert_eq!(end, (true, None));
}

#[test]
fn what_is_not_for_clients_is_refused() {
    let malformed = [
        "CAPA x",
        "NOOP\tx",
        "USER",
        "USER ",
        "PASS",
        "APOP",
        "AUTH PLAIN  =",
        "AUTH  PLAIN",
        "AUTH PLAIN = ",
        "AUTH PLAIN a!",
        "AUTH P(L",
        "USER a\rb",
        "USER a\0b",
    ];
    for command in malformed {
        let expected = match command {
            "NOOP\tx" => "Unknown command, or not one before login",
            _ => "Malformed command",
        };
        assert_eq!(
            judge(format!("{command}\r\n").as_bytes()),
            Err(expected),
            "{command:?}"
        );
    }
    for command in ["NOOP\n", "NOOP\r\r\n", "USER a\nSTLS\r\n", "\n"] {
        assert_eq!(
            judge(command.as_bytes()),
            Err("Malformed command"),
            "{command:?}"
        );
    }
    for command in [
        "XCLIENT ADDR=::1",
        "XOIP ::1",
        "STAT",
        "",
        " NOOP",
        "XCLIENT\tADDR=::1",
    ] {
        let why = "Unknown command, or not one before login";
        assert_eq!(
            judge(format!("{command}\r\n").as_bytes()),
            Err(why),
            "{command:?}"
        );
    }
    assert_eq!(judge(b"stls\r\n"), Err("STLS is not available here"));
    assert_eq!(
        judge(b"pass  \r\n"),
        Ok((Success::Login, b"PASS  \r\n".to_vec()))
    );
    assert_eq!(
        judge(b"lang\r\n"),
        Ok((Success::Listing, b"LANG\r\n".to_vec()))
    );
    assert_eq!(
        judge(b"LANG de\r\n"),
        Ok((Success::Plain, b"LANG de\r\n".to_vec()))
    );
}

#[test]
fn sessions_end_at_the_limits() {
    use GuardError::{LineTooLong, Server, TooManyErrors};

    let long = "A".repeat(12_500);
    let too_long = "-ERR Command line too long\r\n";
    let pass = format!("PASS {}\r\n", &long[..2050]);
    let unknown = "-ERR Malformed command\r\n".repeat(10) + "-ERR Too many errors\r\n";
    let cases: [(&[Turn<'_>], GuardError); 8] = [
        (&[('C', &long, "", too_long)], LineTooLong),
        (&[('C', &pass, "", too_long)], LineTooLong),
        (
            &[
                ('C', "AUTH PLAIN\r\n", "AUTH PLAIN\r\n", ""),
                ('S', "+ \r\n", "", "+ \r\n"),
                ('C', &long, "", too_long),
            ],
            LineTooLong,
        ),
        (&[('S', "+OK what?\r\n", "", "")], Server),
        (&[('S', "+ what?\r\n", "", "")], Server),
        (&[('S', &long.repeat(2), "", "")], Server),
        (
            &[
                ('C', "NOOP\r\n", "NOOP\r\n", ""),
                ('S', "what?\r\n", "", ""),
            ],
            Server,
        ),
        (&[('C', &"\r\r\n".repeat(11), "", &unknown)], TooManyErrors),
    ];
    for (turns, error) in cases {
        assert_eq!(dialogue(turns), (false, Some(error)));
    }
    let response = format!("{}\r\n", &long[..12_000]);
    let end = dialogue(&[
        ('C', "AUTH PLAIN\r\n", "AUTH PLAIN\r\n", ""),
        ('S', "+ \r\n", "", "+ \r\n"),
        ('C', &response, &response, ""),
        ('S', "-ERR no\r\n", "", "-ERR no\r\n"),
        // The server goes; nobody is left to hear the rest.
        (
            'S',
            "-ERR idle for too long\r\n",
            "",
            "-ERR idle for too long\r\n",
        ),
        ('C', "NOOP\r\nNOO", "", ""),
        ('S', "bye\r\n", "", "bye\r\n"),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn greetings_are_cut_down() {
    for (greeting, expected) in [
        (
            "+OK [XCLIENT] Dovecot ready. <1.2@x>\r\n",
            "+OK Dovecot ready. <1.2@x>\r\n",
        ),
        ("+OK [xclient] [XCLIENT]ready\r\n", "+OK ready\r\n"),
        ("+OK [XCLIENT]\r\n", "+OK \r\n"),
        ("+OK ready\r\n", "+OK ready\r\n"),
    ] {
        assert_eq!(
            Pop3::new().greeting(greeting.as_bytes()),
            expected.as_bytes()
        );
    }
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = vec![
        "CAPA",
        "auth",
        "AUTH ",
        "PLAIN",
        "USER ",
        "u",
        "PASS ",
        "APOP ",
        "NOOP",
        "STLS",
        "XOIP ::1",
        "XCLIENT ADDR=1.2.3.4",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "*",
        "=",
        "AAAA",
        "AUTH PLAIN\r\n",
        "LANG\r\n",
        "\u{e9}",
    ];
    oracle::sayings(known)
}

proptest! {
    #[test]
    fn no_client_gets_a_word_past(
        said in words(),
        split in 0_usize..200,
        moods in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        oracle::hold::<Server<'_>>(&said, split, &moods);
    }
}
