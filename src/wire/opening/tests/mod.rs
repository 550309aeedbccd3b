//! Dialogues with servers, most of them as Dovecot 2.3 and Postfix 3.7 had them.

mod imap;
mod managesieve;
mod pop3;
mod smtp;

use proptest::collection::vec;
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;

const CLIENT: &str = "192.0.2.44:4711";
const CLIENT6: &str = "[2001:db8::44]:4711";

/// What a dialogue comes to: the greeting and the capabilities.
type Outcome = Result<(&'static str, Option<&'static [&'static str]>), OpeningError>;

/// One dialogue: what is planned; the script, in which `S: ` begins a line of the server and
/// `C: ` one of ours, `TLS` stands where TLS begins and `EOF` where the server closes; and what
/// it comes to.
struct Dialogue(Plan, &'static str, Outcome);

fn plan() -> Plan {
    Plan {
        own_name: "gate.example.net".to_owned(),
        ..Plan::default()
    }
}

fn starttls() -> Plan {
    Plan {
        starttls: true,
        ..plan()
    }
}

fn probe() -> Plan {
    Plan {
        probe: true,
        ..plan()
    }
}

fn client(source: &str) -> Client {
    let destination = match source {
        CLIENT6 => "[2001:db8::1]:993",
        _ => "198.51.100.1:993",
    };
    Client {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn xclient(source: &str) -> Plan {
    Plan {
        tell: Tell::Xclient(client(source)),
        ..plan()
    }
}

fn with_starttls(plan: Plan) -> Plan {
    Plan {
        starttls: true,
        ..plan
    }
}

/// Plays every dialogue, with the server's words in pieces of several sizes.
#[track_caller]
fn play_all(protocol: MailProtocol, dialogues: impl IntoIterator<Item = Dialogue>) {
    for Dialogue(plan, script, expected) in dialogues {
        let expected = expected.map(|(greeting, capabilities)| Opened {
            greeting: greeting.as_bytes().to_vec(),
            capabilities: capabilities
                .map(|entries| entries.iter().map(|&entry| entry.to_owned()).collect()),
        });
        for piece in [usize::MAX, 1, 2, 7] {
            let outcome = play(protocol, plan.clone(), script, piece);
            assert_eq!(outcome, expected, "{script}\nin pieces of {piece}");
        }
    }
}

/// Plays one dialogue up to its end, or the first error.
#[track_caller]
fn play(
    protocol: MailProtocol,
    plan: Plan,
    script: &str,
    piece: usize,
) -> Result<Opened, OpeningError> {
    let mut opening = Opening::new(protocol, plan);
    let mut step = Step::More;
    let mut said = Vec::new();
    let mut heard = Vec::new();
    let lines = script.lines().map(str::trim_start).collect::<Vec<_>>();
    for (n, line) in lines.iter().enumerate() {
        match line.split_at_checked(3) {
            Some(("S: ", text)) => {
                heard.extend_from_slice(format!("{text}\r\n").as_bytes());
                // What a server says without being asked again arrives together.
                if lines.get(n + 1).is_some_and(|next| next.starts_with("S: ")) {
                    continue;
                }
                for piece in std::mem::take(&mut heard).chunks(piece) {
                    let received = opening.receive(piece, &mut said)?;
                    assert_eq!(received.consumed, piece.len(), "{script}");
                    step = received.step;
                }
            }
            Some(("C: ", text)) => {
                let line = format!("{text}\r\n");
                let text = String::from_utf8(said.clone()).unwrap();
                assert!(text.starts_with(&line), "{text:?} is said in {script}");
                said.drain(..line.len());
            }
            Some(("TLS", "")) => {
                assert!(matches!(step, Step::StartTls), "{step:?} in {script}");
                step = opening.encrypted(&mut said)?;
            }
            Some(("EOF", "")) => return Ok(opening.closed().unwrap()),
            _ => assert_eq!(*line, "", "{script}"),
        }
    }
    assert_eq!(
        String::from_utf8_lossy(&said),
        "",
        "is said behind {script}"
    );
    match step {
        Step::Done(opened) => Ok(opened),
        step => panic!("{step:?} at the end of {script}"),
    }
}

fn refused(line: &str) -> Outcome {
    Err(OpeningError::Refused(line.to_owned()))
}

fn malformed(line: &str, protocol: &'static str) -> Outcome {
    Err(OpeningError::Malformed(line.to_owned(), protocol))
}

const PROTOCOLS: [MailProtocol; 5] = [
    MailProtocol::Smtp,
    MailProtocol::Submission,
    MailProtocol::Imap,
    MailProtocol::Pop3,
    MailProtocol::ManageSieve,
];

#[test]
fn what_follows_the_greeting_is_for_the_client() {
    let cases = [
        (MailProtocol::Smtp, "220-a\r\n220 b\r\n", "250 c\r\n"),
        (MailProtocol::Imap, "* OK a\r\n", "* OK b\r\n"),
        (MailProtocol::Pop3, "+OK a\r\n", "+OK"),
        (
            MailProtocol::ManageSieve,
            "\"SASL\" \"\"\r\nOK\r\n",
            "OK\r\n",
        ),
    ];
    for (protocol, greeting, rest) in cases {
        let mut opening = Opening::new(protocol, plan());
        let mut said = Vec::new();
        let input = [greeting, rest].concat();
        let received = opening.receive(input.as_bytes(), &mut said).unwrap();
        assert_eq!(received.consumed, greeting.len());
        let Step::Done(opened) = received.step else {
            panic!("{:?}", received.step);
        };
        assert_eq!(opened.greeting, greeting.as_bytes());
        assert_eq!(said, b"");
    }
}

#[test]
fn a_byte_behind_the_go_ahead_ends_everything() {
    let cases = [
        (
            MailProtocol::Smtp,
            "220 a\r\n250-a\r\n250 STARTTLS\r\n220 go\r\n",
        ),
        (
            MailProtocol::Imap,
            "* OK [CAPABILITY IMAP4rev1 STARTTLS] a\r\ngp2 OK go\r\n",
        ),
        (
            MailProtocol::Pop3,
            "+OK a\r\n+OK\r\nSTLS\r\n.\r\n+OK go\r\n",
        ),
        (
            MailProtocol::ManageSieve,
            "\"STARTTLS\"\r\nOK\r\nOK \"go\"\r\n",
        ),
    ];
    let handover = Plan {
        handover: true,
        ..plan()
    };
    for (protocol, script) in cases {
        for plan in [starttls(), handover.clone()] {
            for behind in [&b"\r"[..], b"\x16", b"250 injected\r\n", b"* OK\r\n"] {
                let input = [script.as_bytes(), behind].concat();
                let injection = Err(OpeningError::Injection);

                let mut together = Opening::new(protocol, plan.clone());
                let outcome = together.receive(&input, &mut Vec::new());
                assert_eq!(outcome.map(drop), injection);

                let mut apart = Opening::new(protocol, plan.clone());
                let received = apart.receive(script.as_bytes(), &mut Vec::new()).unwrap();
                assert!(matches!(received.step, Step::StartTls));
                assert_eq!(received.consumed, script.len());
                let outcome = apart.receive(behind, &mut Vec::new());
                assert_eq!(outcome.map(drop), injection);
            }
        }
    }
}

#[test]
fn lines_and_answers_have_an_end() {
    let cases = [
        (MailProtocol::Smtp, "220-", "220-a\r\n"),
        (MailProtocol::Imap, "* OK ", "* ID NIL\r\n"),
        (MailProtocol::Pop3, "+OK ", "STLS\r\n"),
        (
            MailProtocol::ManageSieve,
            "\"SIEVE\" \"",
            "\"SIEVE\" \"\"\r\n",
        ),
    ];
    for (protocol, start, line) in cases {
        let mut opening = Opening::new(protocol, starttls());
        let endless = [start, &"x".repeat(8 * 1024)].concat();
        let outcome = opening.receive(endless.as_bytes(), &mut Vec::new());
        assert_eq!(outcome.map(drop), Err(OpeningError::TooLong), "{start}");

        // IMAP and POP3 greet with one line; the endless answer comes after it.
        let mut opening = Opening::new(protocol, starttls());
        let begin = match protocol {
            MailProtocol::Imap => "* OK a\r\n",
            MailProtocol::Pop3 => "+OK a\r\n+OK\r\n",
            _ => "",
        };
        let outcome = opening.receive(begin.as_bytes(), &mut Vec::new());
        assert!(outcome.is_ok());
        let outcome = (0..=64 * 1024 / line.len())
            .try_for_each(|_| opening.receive(line.as_bytes(), &mut Vec::new()).map(drop));
        assert_eq!(outcome, Err(OpeningError::TooLong), "{line}");
    }
}

#[test]
fn literals_are_no_lines() {
    let mut opening = Opening::new(MailProtocol::ManageSieve, plan());
    let greeting = "\"SIEVE\" {4}\r\nOK\r\n\r\n\"SASL\" \"\"\r\nOK {7}\r\nOK\r\nBYE\r\n";
    let received = opening.receive(greeting.as_bytes(), &mut Vec::new());
    let received = received.unwrap();
    assert_eq!(received.consumed, greeting.len());
    assert!(matches!(received.step, Step::Done(opened)
        if opened.capabilities == Some(vec!["\"SASL\" \"\"".to_owned()])));

    for length in ["8193", "8192", "65536"] {
        let mut opening = Opening::new(MailProtocol::ManageSieve, plan());
        let long = format!("\"SIEVE\" {{{length}}}\r\n{}", "x".repeat(8192));
        let outcome = opening.receive(long.as_bytes(), &mut Vec::new());
        assert_eq!(outcome.map(drop), Err(OpeningError::TooLong), "{length}");
    }
}

#[test]
fn errors_show_the_line_without_what_terminals_obey() {
    let long = "x".repeat(300);
    let mut opening = Opening::new(MailProtocol::Smtp, plan());
    let line = format!("554 \x1b[31mno\0 \u{9b}\t{long}\r\n");
    let outcome = opening.receive(line.as_bytes(), &mut Vec::new());
    let shown = format!("554 [31mno {}", &long[..200 - "554 [31mno ".len()]);
    assert_eq!(outcome.map(drop), Err(OpeningError::Refused(shown)));
    let mut opening = Opening::new(MailProtocol::Smtp, plan());
    let outcome = opening.receive(b"\xff\xfe\x00\n", &mut Vec::new());
    let shown = "\u{fffd}\u{fffd}".to_owned();
    assert_eq!(
        outcome.map(drop),
        Err(OpeningError::Malformed(shown, "SMTP"))
    );
}

#[test]
fn a_telling_that_the_protocol_does_not_have_is_an_error() {
    let id = Tell::ImapId(client(CLIENT));
    let xclient = Tell::Xclient(client(CLIENT));
    let cases = [
        (MailProtocol::Smtp, "220 a\r\n", id.clone()),
        (MailProtocol::Pop3, "+OK [XCLIENT] a\r\n", id.clone()),
        (MailProtocol::ManageSieve, "\"XCLIENT\"\r\nOK\r\n", id),
        (MailProtocol::Imap, "* OK a\r\n", xclient),
    ];
    for (protocol, greeting, tell) in cases {
        let mut opening = Opening::new(protocol, Plan { tell, ..plan() });
        let mut said = Vec::new();
        let outcome = opening.receive(greeting.as_bytes(), &mut said);
        assert_eq!(outcome.map(drop), Err(OpeningError::NoXclient));
        assert_eq!(said, b"");
    }
}

#[test]
fn only_a_farewell_may_be_a_close() {
    for protocol in PROTOCOLS {
        let opening = Opening::new(protocol, probe());
        assert_eq!(opening.closed(), None);
    }
}

/// What is said, and what it comes to, if the server says all of `input`, cut at `cuts`.
fn converse(
    protocol: MailProtocol,
    plan: &Plan,
    input: &[u8],
    cuts: &[usize],
) -> (Vec<u8>, String) {
    let mut opening = Opening::new(protocol, plan.clone());
    let mut said = Vec::new();
    let mut at = 0;
    let mut cuts = cuts
        .iter()
        .map(|cut| cut % (input.len() + 1))
        .collect::<Vec<_>>();
    cuts.sort_unstable();
    for end in cuts.into_iter().chain([input.len()]) {
        match opening.receive(&input[at..end], &mut said) {
            Ok(Received {
                consumed,
                step: Step::Done(opened),
            }) => return (said, format!("{opened:?}, {} consumed", at + consumed)),
            Ok(Received { consumed, .. }) => assert_eq!(at + consumed, end),
            Err(error) => return (said, error.to_string()),
        }
        at = end;
    }
    (said, format!("{:?}", opening.stage))
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let tell = prop_oneof![
        Just(Tell::Nothing),
        Just(Tell::Xclient(client(CLIENT))),
        Just(Tell::ImapId(client(CLIENT6))),
    ];
    let hello = prop_oneof![Just(None), Just(Some(b"EHLO client\r\n".to_vec()))];
    (any::<[bool; 3]>(), tell, hello).prop_map(|([starttls, handover, probe], tell, hello)| Plan {
        starttls,
        handover,
        tell,
        hello,
        probe,
        ..plan()
    })
}

/// Words of all four protocols, which make dialogues that get somewhere.
fn any_line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "220 a ESMTP\r\n",
        "220-a\r\n",
        "250-a\r\n",
        "250-STARTTLS\r\n",
        "250 XCLIENT ADDR PORT\r\n",
        "250 OK\r\n",
        "421 a\r\n",
        "554 a\n",
        "* OK [CAPABILITY IMAP4rev1 STARTTLS ID] a\r\n",
        "* OK a\r\n",
        "* BYE a\r\n",
        "* ID (\"name\" {3}\r\n* X)\r\n",
        "* CAPABILITY IMAP4rev1 STARTTLS\r\n",
        "gp1 OK a\r\n",
        "gp2 OK a\r\n",
        "gp3 OK a\r\n",
        "gp4 OK a\r\n",
        "gp3 NO a\r\n",
        "+OK [XCLIENT] a\r\n",
        "+OK\r\n",
        "STLS\r\n",
        ".\r\n",
        "-ERR\r\n",
        "\"IMPLEMENTATION\" \"a\"\r\n",
        "\"STARTTLS\"\r\n",
        "\"XCLIENT\"\r\n",
        "\"SIEVE\" {3}\r\nOK\r\"\r\n",
        "OK \"a\"\r\n",
        "NO\r\n",
        "\r\n",
        "{5}\r\n",
        "\0",
    ])
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        protocol in prop::sample::select(PROTOCOLS.to_vec()),
        plan in any_plan(),
        lines in vec(any_line(), 0..12),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let input = lines.concat();
        let whole = converse(protocol, &plan, input.as_bytes(), &[]);
        let parts = converse(protocol, &plan, input.as_bytes(), &cuts);
        prop_assert_eq!(whole, parts);
    }

    #[test]
    fn nothing_that_a_server_says_breaks_anything(
        protocol in prop::sample::select(PROTOCOLS.to_vec()),
        plan in any_plan(),
        greeting in vec(any::<u8>(), 0..200),
    ) {
        let _ = converse(protocol, &plan, &greeting, &[]);
        let opened = Opened {
            capabilities: Some(vec![String::from_utf8_lossy(&greeting).into_owned()]),
            greeting,
        };
        let banner = announced(protocol, &opened).banner;
        prop_assert!(banner.len() <= 200);
        prop_assert!(banner.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert_eq!(banner.trim(), &banner);
    }

    /// So that no value needs xtext, and no command has to be divided.
    #[test]
    fn xclient_is_one_short_line_of_plain_text(
        source in any::<SocketAddr>(),
        destination in any::<SocketAddr>(),
    ) {
        let client = Client { source, destination };
        let listed = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT";
        let smtp = xclient::smtp(&client, listed).unwrap();
        for command in [smtp, xclient::login(&client)] {
            prop_assert!(command.len() <= 512);
            let words = command.strip_suffix("\r\n").unwrap().split(' ').skip(1);
            for (_, value) in words.map(|word| word.split_once('=').unwrap()) {
                let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'+' && byte != b'=';
                prop_assert!(value.bytes().all(plain), "{}", value);
            }
        }
    }
}
