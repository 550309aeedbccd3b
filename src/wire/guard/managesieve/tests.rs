use proptest::prelude::*;

use super::ManageSieve;
use crate::wire::guard::GuardError;
use crate::wire::guard::oracle::managesieve::ManageSieve as Server;
use crate::wire::guard::oracle::{self, Turn};
use crate::wire::mail::MailProtocol;

fn dialogue(turns: &[Turn<'_>]) -> (bool, Option<GuardError>) {
    oracle::dialogue(MailProtocol::ManageSieve, turns)
}

#[test]
fn a_login_ends_it() {
    let said = "authenticate \"PLAIN\" {8+}\r\nAHUAcA==\r\n";
    let heard = "AUTHENTICATE \"PLAIN\" \"AHUAcA==\"\r\n";
    let passed = "OK (SASL {5}\r\nNO\r\n!) \"in\"\r\n\"STARTTLS\"\r\n{5";
    let end = dialogue(&[('C', said, heard, ""), ('S', passed, "", passed)]);
    assert_eq!(end, (true, None));
}

#[test]
fn one_command_is_in_flight_at_a_time() {
    let end = dialogue(&[
        (
            'C',
            "CAPABILITY\r\nNOOP \"a\"\r\nXCLIENT ADDR=::1\r\nSTARTTLS\r\n",
            "CAPABILITY\r\n",
            "",
        ),
        (
            'S',
            "\"SIEVE\" {7}\r\nfile\"\r\n\r\n\"StartTLS\"\r\n\"XCLIENT\" \"a\"\r\n{8}\r\nSTARTTLS\r\n",
            "",
            "\"SIEVE\" {7}\r\nfile\"\r\n\r\n",
        ),
        (
            'S',
            "\"SASL\" \"\"\r\nOK {4}\r\ndone\r\n",
            "NOOP \"a\"\r\n",
            "\"SASL\" \"\"\r\nOK {4}\r\ndone\r\n",
        ),
        (
            'S',
            "OK (TAG {3}\r\nNO\r) \"done\"\r\n",
            "",
            "OK (TAG {3}\r\nNO\r) \"done\"\r\nNO \"Unknown command, or not one before login\"\r\n\
             NO \"STARTTLS is not available here\"\r\n",
        ),
        ('C', "logout\r\n", "LOGOUT\r\n", ""),
        ('S', "OK \"bye {5}\"\r\n", "", "OK \"bye {5}\"\r\n"),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn a_sasl_exchange_passes_string_by_string() {
    let long = "A".repeat(1200);
    let literal = format!("{{1200+}}\r\n{long}\r\n");
    let end = dialogue(&[
        (
            'C',
            "AUTHENTICATE \"LOGIN\"\r\n{8+}\r\ndXNlcg==\r\n",
            "AUTHENTICATE \"LOGIN\"\r\n",
            "",
        ),
        (
            'S',
            "{8}\r\nVXNlcg==\r\n",
            "\"dXNlcg==\"\r\n",
            "{8}\r\nVXNlcg==\r\n",
        ),
        ('S', "\"UGFzcw==\"\r\n", "", "\"UGFzcw==\"\r\n"),
        ('C', &literal, &literal, ""),
        ('S', "NO \"no\"\r\n", "", "NO \"no\"\r\n"),
        // What no response looks like would be a command if the server had given up.
        (
            'C',
            "AUTHENTICATE \"PLAIN\"\r\nXCLIENT ADDR=::1\r\n",
            "AUTHENTICATE \"PLAIN\"\r\n",
            "",
        ),
        ('S', "\"\"\r\n", "\"*\"\r\n", "\"\"\r\n"),
        ('S', "NO \"cancelled\"\r\n", "", "NO \"cancelled\"\r\n"),
        (
            'C',
            "AUTHENTICATE \"PLAIN\"\r\n",
            "AUTHENTICATE \"PLAIN\"\r\n",
            "",
        ),
        ('S', "\"\"\r\n", "", "\"\"\r\n"),
        ('C', "{4}\r\nNOOP\r\n", "\"*\"\r\n", ""),
        (
            'S',
            "NO \"cancelled\"\r\n",
            "NOOP\r\n",
            "NO \"cancelled\"\r\n",
        ),
        ('S', "OK\r\n", "", "OK\r\n"),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn a_long_first_response_waits_until_the_server_asks() {
    let long = "A".repeat(1200);
    let said = format!("AUTHENTICATE \"GSSAPI\" {{1200+}}\r\n{long}\r\nNOOP\r\n");
    let (heard, literal) = (
        "AUTHENTICATE \"GSSAPI\"\r\n",
        format!("{{1200+}}\r\n{long}\r\n"),
    );
    let end = dialogue(&[
        ('C', &said, heard, ""),
        // The server does not know the mechanism.
        ('S', "NO \"no\"\r\n", "NOOP\r\n", "NO \"no\"\r\n"),
        ('S', "OK\r\n", "", "OK\r\n"),
        // The mechanism begins with the server.
        ('C', &said, heard, ""),
        ('S', "\"YQ==\"\r\n", "\"*\"\r\n", ""),
        ('S', "NO \"no\"\r\n", "NOOP\r\n", "NO \"no\"\r\n"),
        ('S', "OK\r\n", "", "OK\r\n"),
        ('C', &said, heard, ""),
        ('S', "{0}\r\n\r\n", &literal, ""),
        ('S', "\"YQ==\"\r\n", "\"*\"\r\n", "\"YQ==\"\r\n"),
        ('S', "OK \"in\"\r\n", "", "OK \"in\"\r\n"),
    ]);
    assert_eq!(end, (true, None));
}

#[test]
fn sessions_end_at_the_limits() {
    use GuardError::{LineTooLong, LiteralTooLong, Server, TooManyErrors};

    let long = "A".repeat(12_500);
    let too_long = "BYE \"Command line too long\"\r\n";
    let literal = "BYE \"Literal too long\"\r\n";
    let noop = format!("NOOP \"{}\"\r\n", &long[..2050]);
    let malformed = "NO \"Malformed command\"\r\n".repeat(10) + "BYE \"Too many errors\"\r\n";
    let sasl = ("AUTHENTICATE \"PLAIN\"\r\n", "\"\"\r\n");
    let cases: [(&[Turn<'_>], GuardError); 11] = [
        (&[('C', &long, "", too_long)], LineTooLong),
        (&[('C', &noop, "", too_long)], LineTooLong),
        (
            &[('C', "PUTSCRIPT \"a\" {2100+}\r\n", "", literal)],
            LiteralTooLong,
        ),
        (
            &[('C', "AUTHENTICATE \"A\" {12500+}\r\n", "", literal)],
            LiteralTooLong,
        ),
        (
            &[
                ('C', sasl.0, sasl.0, ""),
                ('S', sasl.1, "", sasl.1),
                ('C', "{99999999+}\r\n", "", literal),
            ],
            LiteralTooLong,
        ),
        (&[('S', "OK what?\r\n", "", "")], Server),
        (&[('S', "what?\r\n", "", "")], Server),
        (&[('S', "\"a\" {17000}\r\n", "", "")], Server),
        (&[('S', &long.repeat(2), "", "")], Server),
        (
            &[
                ('C', sasl.0, sasl.0, ""),
                ('S', sasl.1, "", sasl.1),
                ('S', "OK in\r\n", "", ""),
            ],
            Server,
        ),
        (
            &[('C', &"NOOP x\r\n".repeat(11), "", &malformed)],
            TooManyErrors,
        ),
    ];
    for (turns, error) in cases {
        assert_eq!(dialogue(turns), (false, Some(error)));
    }
    let end = dialogue(&[
        (
            'S',
            "BYE \"idle for too long\"\r\n",
            "",
            "BYE \"idle for too long\"\r\n",
        ),
        ('C', "NOOP\r\nNOO", "", ""),
    ]);
    assert_eq!(end, (false, None));
}

#[test]
fn greetings_are_cut_down() {
    let greeting =
        b"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\n\"starttls\"\r\n\"SIEVE\" {10}\r\n\
        \"XCLIENT\"\n\r\n\"XCLIENT\"\r\nOK {10}\r\n\"STARTTLS\"\r\n";
    let seen = ManageSieve::new().greeting(greeting);
    let expected = b"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\n\"SIEVE\" {10}\r\n\
        \"XCLIENT\"\n\r\nOK {10}\r\n\"STARTTLS\"\r\n";
    assert_eq!(
        seen.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = vec![
        "CAPABILITY",
        "noop",
        "AUTHENTICATE ",
        "\"PLAIN\"",
        "\"AAAA\"",
        "STARTTLS",
        "STARTTLS\r\n",
        "XCLIENT ADDR=1.2.3.4\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\"",
        "\\",
        "\"*\"",
        "{4+}\r\nAAAA",
        "{8+}\r\n",
        "{8}\r\n",
        "{0+}\r\n",
        "{22+}\r\nXCLIENT ADDR=1.2.3.4\r\n",
        "AUTHENTICATE \"PLAIN\"\r\n",
        "AUTHENTICATE \"X\" {1100+}\r\n",
        "\u{e9}",
    ];
    let long = Just(b"A".repeat(1100));
    prop_oneof![4 => oracle::sayings(known.clone()), 1 => (oracle::sayings(known), long)
        .prop_map(|(said, long)| [b"AUTHENTICATE \"X\" {1100+}\r\n", &*long, b"\r\n", &*said].concat())]
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
