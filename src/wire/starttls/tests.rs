//! What holds in all four protocols.

use proptest::prelude::*;

use super::{Forward, Policy, Preamble, Reason, Step};
use crate::wire::mail::MailProtocol::{self, Imap, ManageSieve, Pop3, Smtp, Submission};

/// What a client says, what it is answered, and what is done then.
pub(super) type Dialog<'a> = (&'a str, &'a str, Step);

/// Runs each dialogue on a preamble of its own: as a whole, and cut into small pieces.
pub(super) fn check(new: impl Fn() -> Preamble, dialogues: &[Dialog<'_>]) {
    for (said, answer, step) in dialogues {
        for size in [usize::MAX, 1, 7] {
            let (_, found, found_step) = received(&mut new(), said, size);
            let name = said.get(..80).unwrap_or(said);
            assert_eq!((found.as_str(), &found_step), (*answer, step), "{name:?}");
        }
    }
}

/// Says `said` in pieces of `size` bytes; how many bytes were taken, the answers, the last step.
pub(super) fn received(preamble: &mut Preamble, said: &str, size: usize) -> (usize, String, Step) {
    in_pieces(preamble, said.as_bytes().chunks(size))
}

fn in_pieces<'a>(
    preamble: &mut Preamble,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (usize, String, Step) {
    let mut answer = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let received = preamble.receive(piece, &mut answer);
        taken += received.consumed;
        if received.step != Step::More {
            return (taken, String::from_utf8(answer).unwrap(), received.step);
        }
        assert_eq!(received.consumed, piece.len());
    }
    (taken, String::from_utf8(answer).unwrap(), Step::More)
}

fn preamble(protocol: MailProtocol, policy: Policy) -> Preamble {
    Preamble::new(protocol, policy, "mail.example.com", None)
}

/// Every protocol with its STARTTLS line, its go-ahead, a command that is known and one that is
/// not, and how it says goodbye for us.
const PROTOCOLS: &[(MailProtocol, [&str; 5])] = &[
    (
        Smtp,
        [
            "STARTTLS",
            "220 2.0.0 Ready to start TLS",
            "NOOP",
            "FOO",
            "421 4.7.0 ",
        ],
    ),
    (
        Submission,
        [
            "STARTTLS",
            "220 2.0.0 Ready to start TLS",
            "NOOP",
            "FOO",
            "421 4.7.0 ",
        ],
    ),
    (
        Imap,
        [
            "a STARTTLS",
            "a OK Begin TLS negotiation now",
            "a NOOP",
            "a FOO",
            "* BYE ",
        ],
    ),
    (
        Pop3,
        [
            "STLS",
            "+OK Begin TLS negotiation now",
            "CAPA",
            "FOO",
            "-ERR ",
        ],
    ),
    (
        ManageSieve,
        [
            "STARTTLS",
            "OK \"Begin TLS negotiation now\"",
            "NOOP",
            "FOO",
            "BYE \"",
        ],
    ),
];

/// Runs `check` for all protocols and policies.
fn everywhere(check: impl Fn(&dyn Fn() -> Preamble, [&str; 5])) {
    for (protocol, words) in PROTOCOLS {
        for policy in [Policy::Required, Policy::Optional] {
            check(&|| preamble(*protocol, policy), *words);
        }
    }
}

/// Asserts that `said`, in one piece, ends in a last word and in `reason`; returns the answer.
fn closes(preamble: &mut Preamble, said: &[u8], last_word: &str, reason: Reason) -> String {
    let (taken, answer, step) = in_pieces(preamble, [said].into_iter());
    assert_eq!((taken, step), (said.len(), Step::Close(reason)), "{answer}");
    let last = answer.lines().last().unwrap();
    assert!(last.starts_with(last_word), "{answer}");
    assert!(answer.ends_with("\r\n"), "{answer}");
    answer
}

#[test]
fn not_one_byte_behind_starttls() {
    everywhere(|new, [starttls, go_ahead, known, _, last_word]| {
        for behind in ["\r", "\n", "\0", "\u{16}\u{3}\u{1}", known, "QUIT\r\n"] {
            let said = format!("{known}\r\n{starttls}\r\n{behind}");
            let answer = closes(&mut new(), said.as_bytes(), last_word, Reason::Injection);
            assert!(!answer.contains(go_ahead), "{answer}");

            // The rest of the line comes later, but together with what is behind it.
            let mut split = new();
            assert_eq!(
                received(&mut split, &said[..said.len() - behind.len() - 1], 1).2,
                Step::More
            );
            let late = format!("\n{behind}");
            let answer = closes(&mut split, late.as_bytes(), last_word, Reason::Injection);
            assert!(!answer.contains(go_ahead), "{answer}");
        }
        let whole = format!("{known}\r\n{starttls}\r\n");
        for size in [1, 3, whole.len()] {
            let (taken, answer, step) = received(&mut new(), &whole, size);
            assert_eq!((taken, step), (whole.len(), Step::StartTls));
            assert!(answer.ends_with(&format!("{go_ahead}\r\n")), "{answer}");
        }
    });
}

#[test]
fn fifty_commands_and_ten_unknown_ones() {
    everywhere(|new, [starttls, _, known, unknown, last_word]| {
        let known = format!("{known}\r\n");
        let mut busy = new();
        assert_eq!(received(&mut busy, &known.repeat(50), 1000).2, Step::More);
        let more = format!("{starttls}\r\n");
        closes(
            &mut busy,
            more.as_bytes(),
            last_word,
            Reason::TooManyCommands,
        );

        let unknown = format!("{unknown}\r\n");
        let mut strange = new();
        let ten = format!("{known}{unknown}").repeat(10);
        assert_eq!(received(&mut strange, &ten, 1000).2, Step::More);
        closes(
            &mut strange,
            unknown.as_bytes(),
            last_word,
            Reason::TooManyErrors,
        );
    });
}

#[test]
fn line_ends_are_crlf_and_there_is_no_nul() {
    everywhere(|new, [starttls, _, known, _, last_word]| {
        for said in [
            format!("{starttls}\n"),
            format!("{starttls}\r\r\n"),
            format!("{known}\r{starttls}\r\n"),
            format!("{known}\0\r\n"),
            // TLS without STARTTLS.
            "\u{16}\u{3}\u{1}\0".to_owned(),
        ] {
            closes(&mut new(), said.as_bytes(), last_word, Reason::Malformed);
        }
    });
}

#[test]
fn endless_lines_are_not_kept() {
    everywhere(|new, [_, _, known, _, last_word]| {
        let said = format!("{known} ").into_bytes();
        let endless = [said, vec![b'x'; 100_000]].concat();
        let mut whole = new();
        closes(&mut whole, &endless, last_word, Reason::LineTooLong);
        assert_eq!(whole.kept(), 0);

        let mut preamble = new();
        let mut answer = Vec::new();
        let step = endless.iter().find_map(|byte| {
            assert!(preamble.kept() <= 8192);
            let step = preamble.receive(&[*byte], &mut answer).step;
            (step != Step::More).then_some(step)
        });
        assert_eq!(step, Some(Step::Close(Reason::LineTooLong)));
    });
}

#[test]
fn nothing_that_was_said_is_shown() {
    let said = [
        (Smtp, "EHLO secret\r\nAUTH PLAIN secret"),
        (Imap, "secret LOGIN {9+}\r\nsecret"),
        (Pop3, "PASS secret"),
        (ManageSieve, "NOOP {9+}\r\nsecret"),
    ];
    for (protocol, said) in said {
        let mut preamble = preamble(protocol, Policy::Required);
        assert_eq!(received(&mut preamble, said, 100).2, Step::More);
        let shown = format!("{preamble:?}");
        assert!(shown.starts_with("Preamble { commands: "), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}

/// Lines and parts of lines that mean something to one protocol or another.
const WORDS: &[&str] = &[
    "a ",
    "a1 ",
    "* ",
    "+ ",
    "NOOP",
    "noop",
    "CAPABILITY",
    "CAPA",
    "EHLO",
    "HELO",
    "RSET",
    "VRFY",
    "HELP",
    "MAIL FROM:<>",
    "DATA",
    "BDAT 3",
    "AUTH ",
    "AUTHENTICATE",
    "LOGIN",
    "USER",
    "ID ",
    "STARTTLS",
    "STLS",
    "QUIT",
    "LOGOUT",
    "PUTSCRIPT",
    "{3}",
    "{3+}",
    "{0+}",
    "{4097+}",
    "\"",
    "\\",
    "(",
    ")",
    " ",
    "x",
    "\u{e9}",
    "\t",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r",
    "\n",
    "\0",
];

fn said() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 0..60).prop_map(|words| words.concat())
}

fn machine() -> impl Strategy<Value = (MailProtocol, Policy)> {
    (
        prop::sample::select(vec![Smtp, Submission, Imap, Pop3, ManageSieve]),
        prop::sample::select(vec![Policy::Required, Policy::Optional]),
    )
}

/// Whether `line` is one that `protocol` knows from a server.
fn is_answer(protocol: MailProtocol, line: &str) -> bool {
    let starts: &[&str] = match protocol {
        Smtp | Submission => {
            let (code, rest) = line.split_at(line.len().min(3));
            return code.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with([' ', '-']);
        }
        Imap => {
            let words = line.split(' ').collect::<Vec<_>>();
            return match words[..] {
                ["*", word, ..] => ["OK", "BAD", "BYE", "CAPABILITY", "ID"].contains(&word),
                [_, word, ..] => ["OK", "NO", "BAD"].contains(&word),
                _ => false,
            };
        }
        Pop3 => &["+OK ", "-ERR ", "STLS", "."],
        ManageSieve => &["OK \"", "OK (TAG \"", "NO \"", "NO (", "BYE \"", "\""],
    };
    starts.iter().any(|start| line.starts_with(start))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_size_come_to_the_same(
        (protocol, policy) in machine(),
        said in said(),
        sizes in prop::collection::vec(1_usize..20, 1..20),
    ) {
        let whole = in_pieces(&mut preamble(protocol, policy), [said.as_bytes()].into_iter());
        let mut sizes = sizes.into_iter().cycle();
        let mut rest = said.as_bytes();
        let pieces = std::iter::from_fn(|| {
            let size = sizes.next()?.min(rest.len());
            let (piece, after) = rest.split_at(size);
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        let pieces = in_pieces(&mut preamble(protocol, policy), pieces);
        match (&whole.2, &pieces.2) {
            // Cut just behind STARTTLS; what comes then is not ours to see.
            (Step::Close(Reason::Injection), Step::StartTls) => {
                let answers = |text: &str| text.lines().count();
                prop_assert_eq!(answers(&whole.1), answers(&pieces.1));
                prop_assert!(pieces.0 < whole.0);
            }
            (Step::Close(_), Step::Close(_)) => {
                prop_assert_eq!((&whole.1, &whole.2), (&pieces.1, &pieces.2));
            }
            _ => prop_assert_eq!(&whole, &pieces),
        }
    }

    #[test]
    fn answers_are_lines_of_the_protocol((protocol, policy) in machine(), said in said()) {
        let mut preamble = preamble(protocol, policy);
        let greeting = String::from_utf8(preamble.greeting()).unwrap();
        let (taken, answer, step) = in_pieces(&mut preamble, [said.as_bytes()].into_iter());
        for text in [&greeting, &answer] {
            prop_assert!(text.is_empty() || text.ends_with("\r\n"));
            for line in text.split_terminator("\r\n") {
                prop_assert!(!line.contains(['\r', '\n', '\0']), "{:?}", line);
                prop_assert!(is_answer(protocol, line), "{:?}", line);
            }
        }
        prop_assert!(preamble.kept() <= said.len());
        if let Step::Forward(Forward { command, .. }) = step {
            prop_assert_eq!(policy, Policy::Optional);
            prop_assert!(said.as_bytes()[..taken].ends_with(&command));
        } else {
            prop_assert_eq!(taken, said.len());
        }
    }
}
