use proptest::prelude::*;

use crate::wire::guard::GuardError;
use crate::wire::guard::oracle::imap::Imap as Server;
use crate::wire::guard::oracle::{self, Turn};
use crate::wire::mail::MailProtocol;

fn dialogue(turns: &[Turn<'_>]) -> (bool, Option<GuardError>) {
    oracle::dialogue(MailProtocol::Imap, turns)
}

#[test]
fn a_login_ends_it() {
    let passed = "* CAPABILITY IMAP4rev1\r\na OK in\r\n* anything {5}\r\nSTARTTLS";
    for login in [
        "LOGIN user \"pass word\"",
        "AUTHENTICATE EXTERNAL =",
        "login u \"\\\"\\\\\"",
    ] {
        let said = format!("a {login}\r\n");
        let upper = said.replace("login", "LOGIN");
        let end = dialogue(&[('C', &said, &upper, ""), ('S', passed, "", passed)]);
        assert_eq!(end, (true, None), "{login}");
    }
}

#[test]
fn one_command_is_in_flight_at_a_time() {
    let end = dialogue(&[
        (
            'C',
            "a NOOP\r\nb capability\r\nc LOGOUT\r\nd STARTTLS\r\n",
            "a NOOP\r\n",
            "",
        ),
        ('S', "* OK hi\r\n", "", "* OK hi\r\n"),
        ('S', "a OK done\r\n", "b CAPABILITY\r\n", "a OK done\r\n"),
        (
            'S',
            "* CAPABILITY IMAP4rev1 STARTTLS\r\nb OK done\r\n",
            "c LOGOUT\r\n",
            "* CAPABILITY IMAP4rev1\r\nb OK done\r\n",
        ),
        (
            'S',
            "* BYE\r\nc OK done\r\n",
            "",
            "* BYE\r\nc OK done\r\nd BAD STARTTLS is not available here\r\n",
        ),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn literals_wait_until_the_server_asks() {
    let end = dialogue(&[
        ('C', "a LOGIN {4}\r\n", "", "+ OK\r\n"),
        (
            'C',
            "u\r\nr {3+}\r\npws\r\nb NOOP\r\n",
            "a LOGIN {4}\r\n",
            "",
        ),
        ('S', "+ go\r\n", "u\r\nr {3}\r\n", ""),
        ('S', "+ go\r\n", "pws\r\n", ""),
        ('S', "a NO no\r\n", "b NOOP\r\n", "a NO no\r\n"),
        ('S', "b OK\r\n", "", "b OK\r\n"),
        // The server does not want to know.
        (
            'C',
            "c LOGIN {1+}\r\nu {1+}\r\np\r\nd NOOP\r\n",
            "c LOGIN {1}\r\n",
            "",
        ),
        ('S', "c NO off\r\n", "d NOOP\r\n", "c NO off\r\n"),
        ('S', "d OK\r\n", "", "d OK\r\n"),
        ('C', "e LOGIN {1+}\r\nu p\r\n", "e LOGIN {1}\r\n", ""),
        ('S', "+\r\n", "u p\r\n", ""),
        ('S', "e OK in\r\n", "", "e OK in\r\n"),
    ]);
    assert_eq!(end, (true, None));
}

#[test]
fn a_sasl_exchange_passes_line_by_line() {
    let end = dialogue(&[
        (
            'C',
            "a AUTHENTICATE LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n",
            "a AUTHENTICATE LOGIN\r\n",
            "",
        ),
        ('S', "+ VXNlcg==\r\n", "dXNlcg==\r\n", "+ VXNlcg==\r\n"),
        ('S', "+ UGFzcw==\r\n", "cGFzcw==\r\n", "+ UGFzcw==\r\n"),
        ('S', "a NO no\r\n", "", "a NO no\r\n"),
        (
            'C',
            "b authenticate PLAIN\r\n",
            "b AUTHENTICATE PLAIN\r\n",
            "",
        ),
        ('S', "+ \r\n", "", "+ \r\n"),
        ('C', "*\r\n", "*\r\n", ""),
        ('S', "b BAD cancelled\r\n", "", "b BAD cancelled\r\n"),
        // What no SASL response looks like would be a command if the server had given up.
        (
            'C',
            "c AUTHENTICATE PLAIN\r\n",
            "c AUTHENTICATE PLAIN\r\n",
            "",
        ),
        ('S', "+ \r\n", "", "+ \r\n"),
        ('C', "x ID (\"x-originating-ip\" \"::1\")\r\n", "*\r\n", ""),
        ('S', "c BAD cancelled\r\n", "", "c BAD cancelled\r\n"),
        (
            'C',
            "d AUTHENTICATE PLAIN\r\n",
            "d AUTHENTICATE PLAIN\r\n",
            "",
        ),
        ('S', "+ \r\n", "", "+ \r\n"),
        ('C', "AA.A\r\n", "*\r\n", ""),
        // The server gives up while the client still speaks.
        ('S', "d NO timeout\r\n", "", "d NO timeout\r\n"),
        ('C', "AAAA\r\n", "", "* BAD Malformed command\r\n"),
        (
            'C',
            "e AUTHENTICATE PLAIN AHUAcA==\r\n",
            "e AUTHENTICATE PLAIN AHUAcA==\r\n",
            "",
        ),
        ('S', "e OK in\r\n", "", "e OK in\r\n"),
    ]);
    assert_eq!(end, (true, None));
}

#[test]
fn refused_commands_take_their_literals_with_them() {
    let unknown = "BAD Unknown command, or not one before login\r\n";
    let end = dialogue(&[
        (
            'C',
            "a XCLIENT {8+}\r\nb NOOP\r\n\r\n",
            "",
            &format!("a {unknown}"),
        ),
        ('C', "a SELECT {9}\r\n", "", &format!("a {unknown}")),
        (
            'C',
            "b NOOP {5+}\r\nd ID\n\r\n",
            "",
            "b BAD Malformed command\r\n",
        ),
        (
            'C',
            "c LOGIN \"u {5+}\r\n12345\" p\r\n",
            "",
            "c BAD Malformed command\r\n",
        ),
        (
            'C',
            "d LOGIN u ~{1+}\r\np\r\n",
            "",
            "d BAD Malformed command\r\n",
        ),
        ('C', "e NOOP\r\n", "e NOOP\r\n", ""),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn sessions_end_at_the_limits() {
    use GuardError::{LineTooLong, LiteralTooLong, Server, TooManyErrors};

    let long = "x".repeat(12_500);
    let too_long = "* BYE Command line too long\r\n";
    let literal = "* BYE Literal too long\r\n";
    let login = format!("a LOGIN u {}\r\n", &long[..8_200]);
    let cases: [(&[Turn<'_>], GuardError); 12] = [
        (&[('C', &long, "", too_long)], LineTooLong),
        (&[('C', &login, "", too_long)], LineTooLong),
        (&[('C', "a LOGIN {8190}\r\n", "", literal)], LiteralTooLong),
        (&[('C', "a LOGIN {4097+}\r\n", "", literal)], LiteralTooLong),
        (
            &[('C', "a NOOP {99999999999999999999+}\r\n", "", literal)],
            LiteralTooLong,
        ),
        (&[('S', "+ what?\r\n", "", "")], Server),
        (&[('S', "a OK what?\r\n", "", "")], Server),
        (&[('S', "* ID (\"name\" {99999999}\r\n", "", "")], Server),
        (&[('S', &long.repeat(2), "", "")], Server),
        (
            &[
                ('C', "a NOOP\r\n", "a NOOP\r\n", ""),
                ('S', "+ go\r\n", "", ""),
            ],
            Server,
        ),
        (
            &[
                ('C', "a LOGIN {1+}\r\nu p\r\n", "a LOGIN {1}\r\n", ""),
                ('S', "a OK in\r\n", "", ""),
            ],
            Server,
        ),
        (
            &[(
                'C',
                &"\r\n".repeat(11),
                "",
                &("* BAD Malformed command\r\n".repeat(11) + "* BYE Too many errors\r\n"),
            )],
            TooManyErrors,
        ),
    ];
    for (turns, error) in cases {
        assert_eq!(dialogue(turns), (false, Some(error)));
    }
}

#[test]
fn literals_of_the_server_are_no_lines() {
    let id = "* ID (\"name\" {23}\r\na OK in\r\n* CAPABILITY A\r \"v\" {0}\r\n)\r\n";
    let end = dialogue(&[
        ('C', "a LOGIN u p\r\n", "a LOGIN u p\r\n", ""),
        ('S', id, "", id),
        ('S', "a NO no\r\n", "", "a NO no\r\n"),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn greetings_are_cut_down() {
    let mut guard = super::Imap::new();
    let seen = guard.greeting(b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] hi\r\n");
    assert_eq!(seen, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n");
    assert!(!guard.login_is_disabled());
    let seen = guard.greeting(b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\r\n");
    assert_eq!(seen, b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n");
    assert!(guard.login_is_disabled());
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = vec![
        "a ",
        "b ",
        "ID ",
        "id ",
        "LOGIN ",
        "AUTHENTICATE ",
        "PLAIN",
        "STARTTLS",
        "NOOP",
        "NIL",
        "XCLIENT ADDR=1.2.3.4",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\"",
        "\"",
        "(",
        ")",
        " ",
        " ",
        "{5}\r\n",
        "{16+}\r\n",
        "{16}\r\n",
        "{0}\r\n",
        "{0+}\r\n",
        "\\",
        "x-originating-ip",
        "\"X-Forward-a\" \"b\"",
        "\"name\" \"c\"",
        "*",
        "=",
        "u p",
        "\u{e9}",
        "a ID (\"x-originating-ip\" \"1.2.3.4\")\r\n",
        "c STARTTLS\r\n",
        "d LOGIN u {3+}\r\n",
        "e LOGIN {16}\r\nf STARTTLS\r\nNIL {0+}\r\n\r\n",
        "g AUTHENTICATE PLAIN\r\n",
        "h ID (\"x-Connected-port\" {3+}\r\n143 {4+}\r\nname {1}\r\nx)\r\n",
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
