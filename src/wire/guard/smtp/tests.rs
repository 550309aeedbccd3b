//! Dialogues, in which everything that either side gets is written out.

mod anything;
mod oracle;

use crate::wire::guard::{Guard, GuardError, Mode};
use crate::wire::mail::MailProtocol;

/// One step of a dialogue.
#[derive(Clone, Copy)]
enum Step {
    /// The client says this.
    C(&'static str),
    /// The server says this.
    S(&'static str),
    /// The server has got this since it last got anything, and nothing else.
    ToServer(&'static str),
    /// The client has got this.
    ToClient(&'static str),
}
use Step::{C, S, ToClient, ToServer};

/// A guard between two ends that say one thing after the other.
struct Session {
    guard: Guard,
    waiting: Vec<u8>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    start_tls: bool,
}

impl Session {
    fn new(mode: Mode, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|&line| line.to_owned()).collect();
        Self {
            guard: Guard::new(MailProtocol::Smtp, mode, &known),
            waiting: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            start_tls: false,
        }
    }

    fn client(&mut self, bytes: &[u8]) -> Result<(), GuardError> {
        self.waiting.extend_from_slice(bytes);
        if self.guard.is_done() {
            self.to_server.append(&mut self.waiting);
            return Ok(());
        }
        let (server, client) = (&mut self.to_server, &mut self.to_client);
        let taken = self.guard.client(&self.waiting, server, client)?;
        self.waiting.drain(..taken.consumed);
        self.start_tls |= taken.start_tls;
        Ok(())
    }

    fn server(&mut self, bytes: &[u8]) -> Result<(), GuardError> {
        self.guard.server(bytes, &mut self.to_client)?;
        self.client(b"")
    }

    /// Walks through a dialogue, both sides in pieces of `size`.
    fn walk(&mut self, steps: &[Step], size: usize) -> Result<(), GuardError> {
        for (number, step) in steps.iter().enumerate() {
            match *step {
                C(text) => text
                    .as_bytes()
                    .chunks(size)
                    .try_for_each(|piece| self.client(piece))?,
                S(text) => text
                    .as_bytes()
                    .chunks(size)
                    .try_for_each(|piece| self.server(piece))?,
                ToServer(text) => assert_text(&mut self.to_server, text, number),
                ToClient(text) => assert_text(&mut self.to_client, text, number),
            }
        }
        assert_text(&mut self.to_server, "", steps.len());
        assert_text(&mut self.to_client, "", steps.len());
        Ok(())
    }
}

fn assert_text(found: &mut Vec<u8>, expected: &str, step: usize) {
    let found = String::from_utf8(std::mem::take(found)).unwrap();
    assert_eq!(found, expected, "in step {step}");
}

/// Walks through a dialogue to its end, in pieces of several sizes; says whether the guard is
/// done.
fn walk(mode: Mode, known: &[&str], steps: &[Step]) -> bool {
    let done = [1, 2, 3, 7, 4096].map(|size| {
        let mut session = Session::new(mode, known);
        session.walk(steps, size).unwrap();
        assert!(!session.start_tls);
        session.guard.is_done()
    });
    assert!(done.iter().all(|one| *one == done[0]));
    done[0]
}

/// Walks through a dialogue that ends with this error, after these last words.
fn fail(known: &[&str], steps: &[Step], error: GuardError, last: &str) {
    for size in [1, 2, 3, 7, 4096] {
        let mut session = Session::new(Mode::Closed, known);
        assert_eq!(session.walk(steps, size), Err(error));
        assert_text(&mut session.to_client, last, steps.len());
    }
}

const EHLO: [Step; 2] = [C("EHLO c\r\n"), ToServer("EHLO c\r\n")];

/// A session whose server has announced this, on top of SIZE.
fn after_ehlo(answer: [&'static str; 2], steps: &[Step]) -> Vec<Step> {
    let hello = [S(answer[0]), ToClient(answer[1])];
    [&EHLO[..], &hello, steps].concat()
}

const PLAIN: [&str; 2] = ["250-s\r\n250 SIZE\r\n", "250-s\r\n250 SIZE\r\n"];
const TRUSTING: [&str; 2] = [
    "250-s\r\n250-CHUNKING\r\n250-XCLIENT ADDR\r\n250 SIZE\r\n",
    "250-s\r\n250-CHUNKING\r\n250 SIZE\r\n",
];

#[test]
fn the_guard_is_done_after_login() {
    let steps = [
        C("AUTH PLAIN\r\n"),
        ToServer("AUTH PLAIN\r\n"),
        S("334 \r\n"),
        ToClient("334 \r\n"),
        C("XCLIENT\r\nXCLIENT A=1\r\n"),
        ToServer("XCLIENT\r\n"),
        S("535 no\r\n"),
        ToClient("535 no\r\n550 5.7.1 Not for clients\r\n"),
        C("AUTH LOGIN\r\nVXNlcg==\r\nUGFzcw==\r\n"),
        ToServer("AUTH LOGIN\r\n"),
        S("334 VXNlcm5hbWU6\r\n"),
        ToServer("VXNlcg==\r\n"),
        S("334 UGFzc3dvcmQ6\r\n"),
        ToServer("UGFzcw==\r\n"),
        S("235-2.7.0 welcome\r\n235 2.7.0 in\r\n"),
        ToClient("334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235-2.7.0 welcome\r\n235 2.7.0 in\r\n"),
    ];
    assert!(walk(Mode::Closed, &[], &after_ehlo(PLAIN, &steps)));
    let refused = [
        C("AUTH PLAIN AAAA\r\n"),
        ToServer("AUTH PLAIN AAAA\r\n"),
        S("535 no\r\n"),
        ToClient("535 no\r\n"),
    ];
    assert!(!walk(Mode::Closed, &[], &after_ehlo(PLAIN, &refused)));
}

#[test]
fn a_server_that_believes_us_is_guarded_after_login() {
    let login = [
        C("AUTH PLAIN AAAA\r\nMAIL FROM:<>\r\nXCLIENT ADDR=10.0.0.1\r\nxforward A=1\r\n"),
        ToServer("AUTH PLAIN AAAA\r\n"),
        S("235 in\r\n"),
        ToServer("MAIL FROM:<>\r\n"),
        S("250 ok\r\n"),
        ToClient("235 in\r\n250 ok\r\n550 5.7.1 Not for clients\r\n550 5.7.1 Not for clients\r\n"),
    ];
    let xforward = ["250-s\r\n250 xforward NAME\r\n", "250 s\r\n"];
    for answer in [TRUSTING, xforward] {
        assert!(!walk(Mode::Closed, &[], &after_ehlo(answer, &login)));
    }
    // It has said so before, or has said nothing yet.
    let known = &["XCLIENT ADDR"];
    assert!(!walk(Mode::Closed, known, &after_ehlo(PLAIN, &login)));
    assert!(!walk(Mode::Closed, &[], &login));
}

#[test]
fn what_follows_a_login_waits_for_its_answer_and_then_passes() {
    let steps = [
        C("AUTH PLAIN AAAA\r\nXCLIENT A=1\r\n\0"),
        ToServer("AUTH PLAIN AAAA\r\n"),
        S("235 in\r\n"),
        ToServer("XCLIENT A=1\r\n\0"),
        ToClient("235 in\r\n"),
    ];
    assert!(walk(Mode::Closed, &["SIZE"], &steps));
}

#[test]
fn our_own_answers_stand_where_the_client_expects_them() {
    let steps = [
        C("NOOP\r\nRSET\r\nSTARTTLS\r\nXCLIENT A=1\r\nNOOP\r\n"),
        ToServer("NOOP\r\nRSET\r\n"),
        S("250-one\r\n250 one\r\n"),
        ToClient("250-one\r\n250 one\r\n"),
        ToServer(""),
        S("250 two\r\n"),
        ToClient(
            "250 two\r\n503 5.5.1 STARTTLS is not to be had here\r\n\
             550 5.7.1 Not for clients\r\n",
        ),
        ToServer("NOOP\r\n"),
        S("250 three\r\n"),
        ToClient("250 three\r\n"),
        C("STARTTLS now\r\nlhlo c\r\nBDAT 3\r\nBDAT\r\n\r\n"),
        ToClient(
            "501 5.5.4 STARTTLS takes no arguments\r\n500 5.5.1 LMTP is not spoken here\r\n\
             502 5.5.1 BDAT not offered\r\n502 5.5.1 BDAT not offered\r\n",
        ),
        ToServer("\r\n"),
        S("500 5.5.2 bad syntax\r\n"),
        ToClient("500 5.5.2 bad syntax\r\n"),
    ];
    assert!(!walk(Mode::Closed, &["SIZE"], &steps));
}

#[test]
fn in_clear_starttls_is_ours_and_auth_is_refused() {
    let server = "250-s\r\n250-AUTH PLAIN\r\n250-STARTTLS\r\n250-XCLIENT A\r\n250 REQUIRETLS\r\n";
    let steps = [
        C("HELO c\r\n"),
        ToServer("HELO c\r\n"),
        S("250 s\r\n"),
        ToClient("250 s\r\n"),
        C("EHLO c\r\nAUTH PLAIN AAAA\r\nSTARTTLS \r\n"),
        ToServer("EHLO c\r\n"),
        S(server),
    ];
    let answer = "250-s\r\n250 STARTTLS\r\n\
                  538 5.7.11 Encryption required for requested authentication mechanism\r\n\
                  220 2.0.0 Ready to start TLS\r\n";
    let end = [ToClient(answer)];
    let steps = [&steps[..], &end].concat();
    for size in [1, 2, 3, 7, 4096] {
        let mut session = Session::new(Mode::Open, &[]);
        session.walk(&steps, size).unwrap();
        assert!(session.start_tls && session.waiting.is_empty() && !session.guard.is_done());
    }
    let unknown = [
        C("EHLO c\r\n"),
        ToServer("EHLO c\r\n"),
        S("502-what\r\n502 no\r\n"),
    ];
    let unknown = [&unknown[..], &[ToClient("502-what\r\n502 no\r\n")]].concat();
    assert!(!walk(Mode::Open, &[], &unknown));
}

#[test]
fn exchange_has_its_own_words() {
    let server = "250-s\r\n250-X-ANONYMOUSTLS\r\n250 X-EXPS GSSAPI NTLM\r\n";
    let hello = |seen| [&EHLO[..], &[S(server), ToClient(seen)]].concat();
    let steps = [
        C("X-ANONYMOUSTLS\r\nX-EXPS NTLM\r\nTlRMTQ==\r\n"),
        ToClient("502 5.5.1 X-ANONYMOUSTLS not offered\r\n"),
        ToServer("X-EXPS NTLM\r\n"),
        S("334 \r\n"),
        ToServer("TlRMTQ==\r\n"),
        S("235 in\r\n"),
        ToClient("334 \r\n235 in\r\n"),
    ];
    let seen = hello("250-s\r\n250 X-EXPS GSSAPI NTLM\r\n");
    assert!(walk(Mode::Closed, &[], &[&seen[..], &steps].concat()));
    let steps = [
        C("X-EXPS NTLM\r\nX-ANONYMOUSTLS\r\n"),
        ToClient(
            "538 5.7.11 Encryption required for requested authentication mechanism\r\n\
             502 5.5.1 X-ANONYMOUSTLS not offered\r\n",
        ),
    ];
    let seen = hello("250-s\r\n250 STARTTLS\r\n");
    assert!(!walk(Mode::Open, &[], &[&seen[..], &steps].concat()));
}

/// What is refused here costs the client nothing: it need not even read the answers.
#[test]
fn a_client_that_says_only_what_is_refused_is_not_heard_for_ever() {
    let refusal = "550 5.7.1 Not for clients\r\n";
    let ten: &str = "XCLIENT A=1\r\n".repeat(10).leak();
    let ten_answers: &str = refusal.repeat(10).leak();
    // An answer of the server shows that the client has a part in the session.
    let between = [
        C(ten),
        ToClient(ten_answers),
        C("NOOP\r\n"),
        ToServer("NOOP\r\n"),
        S("250 ok\r\n"),
        ToClient("250 ok\r\n"),
        C(ten),
        ToClient(ten_answers),
    ];
    let end: &str = format!("{refusal}421 4.7.0 Too many errors, closing connection\r\n").leak();
    for known in ["SIZE", "XCLIENT ADDR"] {
        let steps = [&between[..], &[C("XFORWARD A=1\r\n")]].concat();
        fail(&[known], &steps, GuardError::TooManyErrors, end);
    }
}

#[test]
fn bytes_behind_starttls_are_an_injection() {
    let cases: [&[u8]; 4] = [
        b"STARTTLS\r\nEHLO x\r\n",
        b"STARTTLS\r\n\x16",
        b"STARTTLS\r\n\r\n",
        b"NOOP\r\nSTARTTLS\r\nR",
    ];
    for bytes in cases {
        let mut session = Session::new(Mode::Open, &["SIZE"]);
        let mut result = session.client(bytes);
        if result.is_ok() {
            result = session.server(b"250 ok\r\n");
        }
        assert_eq!(result, Err(GuardError::Injection));
        assert!(
            !String::from_utf8(session.to_client)
                .unwrap()
                .contains("220")
        );
    }
    for line in ["STARTTLS\n", "STARTTLS\r\r\n", " STARTTLS\r\n"] {
        let mut session = Session::new(Mode::Open, &["SIZE"]);
        session.client(line.as_bytes()).unwrap();
        assert!(!session.start_tls && session.to_client.starts_with(b"501 "));
    }
}

#[test]
fn a_message_is_no_commands() {
    let message = "XCLIENT A=1\r\n..\r\nDATA\r\n.x\r\n.\r\n";
    let steps = [
        C(
            "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nXCLIENT A=1\r\n..\r\nDATA\r\n.x\r\n.\r\nQUIT\r\n",
        ),
        ToServer("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n"),
        S("250 ok\r\n250 ok\r\n"),
        ToServer("DATA\r\n"),
        S("354-go\r\n354 on\r\n"),
        ToClient("250 ok\r\n250 ok\r\n354-go\r\n354 on\r\n"),
        ToServer("XCLIENT A=1\r\n..\r\nDATA\r\n.x\r\n.\r\nQUIT\r\n"),
        S("250 queued\r\n221 bye\r\n"),
        ToClient("250 queued\r\n221 bye\r\n"),
        // An empty one, and one that is not wanted.
        C("DATA\r\n.\r\nDATA\r\nXCLIENT A=1\r\n.\r\n"),
        ToServer("DATA\r\n"),
        S("354 go\r\n"),
        ToServer(".\r\n"),
        S("250 ok\r\n"),
        ToServer("DATA\r\n"),
        S("554 no\r\n"),
        ToClient("354 go\r\n250 ok\r\n554 no\r\n550 5.7.1 Not for clients\r\n"),
        ToServer(".\r\n"),
        S("500 what\r\n"),
        ToClient("500 what\r\n"),
        // The server loses patience.
        C("DATA\r\n"),
        ToServer("DATA\r\n"),
        S("354 go\r\n"),
        ToClient("354 go\r\n"),
        C("text\r\n"),
        ToServer("text\r\n"),
        S("421 4.3.2 going down\r\n"),
        ToClient("421 4.3.2 going down\r\n"),
        C("XCLIENT A=1\r\n.\r\nEHLO c\r\n"),
        ToServer("XCLIENT A=1\r\n.\r\n"),
        S("250 after all\r\n"),
        ToClient("250 after all\r\n"),
        ToServer("EHLO c\r\n"),
    ];
    assert!(message.ends_with(".\r\n"));
    for known in ["SIZE", "XCLIENT ADDR"] {
        assert!(!walk(Mode::Closed, &[known], &steps));
    }
}

#[test]
fn chunks_are_no_commands() {
    let steps = [
        C("MAIL FROM:<>\r\nBDAT 12\r\nXCLIENT A=1\nBDAT 0 LAST\r\nNOOP\r\n"),
        ToServer("MAIL FROM:<>\r\n"),
        S("250 ok\r\n"),
        ToServer("BDAT 12\r\nXCLIENT A=1\n"),
        S("250 12 octets\r\n"),
        ToServer("BDAT 0 LAST\r\n"),
        S("250 queued\r\n"),
        ToServer("NOOP\r\n"),
        S("250 ok\r\n"),
        ToClient("250 ok\r\n250 12 octets\r\n250 queued\r\n250 ok\r\n"),
        C("BDAT 3 LAST\r\n\n.\nBDAT x\r\n"),
        ToServer("BDAT 3 LAST\r\n\n.\n"),
        // Refused before the octets are there or after: they are read.
        S("503 no\r\n"),
        ToClient("503 no\r\n501 5.5.4 Syntax: BDAT octets [LAST]\r\n"),
    ];
    assert!(!walk(Mode::Closed, &[], &after_ehlo(TRUSTING, &steps)));
    assert!(!walk(Mode::Closed, &["CHUNKING", "SIZE"], &steps));
    assert!(!walk(Mode::Open, &["CHUNKING", "XCLIENT"], &steps));
}

#[test]
fn chunks_are_only_for_who_has_said_ehlo() {
    let refused = [
        C("BDAT 1 LAST\r\n"),
        ToClient("502 5.5.1 BDAT not offered\r\n"),
    ];
    assert!(!walk(Mode::Closed, &["CHUNKING", "XCLIENT"], &refused));
    let steps = [
        C("HELO c\r\n"),
        ToServer("HELO c\r\n"),
        S("250 s\r\n"),
        ToClient("250 s\r\n"),
    ];
    let steps = [&steps[..], &refused].concat();
    assert!(!walk(Mode::Closed, &["CHUNKING"], &steps));
    assert!(!walk(Mode::Closed, &[], &after_ehlo(TRUSTING, &steps)));
    assert!(!walk(Mode::Closed, &[], &after_ehlo(PLAIN, &refused)));
}

#[test]
fn the_order_of_chunks_is_kept_for_a_server_that_believes_us() {
    let steps = [
        C("BDAT 1\r\na"),
        ToServer("BDAT 1\r\na"),
        S("250 ok\r\n"),
        ToClient("250 ok\r\n"),
        C("VRFY a\r\nRSET x\r\nBDAT 0\r\nBDAT 4294967297\r\nNOOP\r\nBDAT 1 LAST\r\nb"),
        ToClient(
            "503 5.5.1 Only BDAT or RSET can follow a chunk\r\n\
             503 5.5.1 Only BDAT or RSET can follow a chunk\r\n\
             501 5.5.4 Syntax: BDAT octets [LAST]\r\n501 5.5.4 Syntax: BDAT octets [LAST]\r\n",
        ),
        ToServer("NOOP\r\n"),
        S("250 ok\r\n"),
        ToServer("BDAT 1 LAST\r\nb"),
        S("250 ok\r\n"),
        ToClient("250 ok\r\n250 ok\r\n"),
        C("BDAT 1\r\nc"),
        ToServer("BDAT 1\r\nc"),
        S("250 ok\r\n"),
        C("rset\r\nVRFY a\r\n"),
        ToServer("rset\r\n"),
        S("250 ok\r\n"),
        ToServer("VRFY a\r\n"),
        ToClient("250 ok\r\n250 ok\r\n"),
    ];
    assert!(!walk(Mode::Closed, &[], &after_ehlo(TRUSTING, &steps)));
}

#[test]
fn a_server_that_believes_us_gets_no_line_that_reads_in_two_ways() {
    let steps = [
        C("NOOP\rXCLIENT A=1\r\nNOOP\0\r\nNOOP\nXCLIENT A=1\r\n"),
        ToClient(
            "500 5.5.2 Line with characters that no command has\r\n\
             500 5.5.2 Line with characters that no command has\r\n",
        ),
        ToServer("NOOP\n"),
        S("250 ok\r\n"),
        ToClient("250 ok\r\n550 5.7.1 Not for clients\r\n"),
        C("AUTH PLAIN\r\nXCLIENT A=1\r\n"),
        ToServer("AUTH PLAIN\r\n"),
        S("334 \r\n"),
        ToServer("*\r\n"),
        S("501 cancelled\r\n"),
        ToClient("334 \r\n501 cancelled\r\n"),
    ];
    assert!(!walk(Mode::Closed, &[], &after_ehlo(TRUSTING, &steps)));
    assert!(!walk(Mode::Closed, &[], &steps));
    let steps = [
        C("NOOP\rXCLIENT A=1\r\nNOOP\0\r\n"),
        ToServer("NOOP\rXCLIENT A=1\r\nNOOP\0\r\n"),
    ];
    assert!(!walk(Mode::Closed, &["SIZE"], &steps));
}

#[test]
fn what_cannot_go_on_ends_with_a_word_to_the_client() {
    use GuardError::{Ambiguous, LineTooLong, Server};

    let known = &["XCLIENT ADDR"][..];
    let data = [
        C("DATA\r\n"),
        ToServer("DATA\r\n"),
        S("354 go\r\n"),
        ToClient("354 go\r\n"),
    ];
    for message in ["a\n.\nXCLIENT A=1\r\n", ".\n", "a\r\n.\r.\r\n", "\r\n.\0"] {
        let steps = [&data[..], &[C(message)]].concat();
        fail(
            known,
            &steps,
            Ambiguous,
            "550 5.5.2 Lone dot without CRLF around it\r\n",
        );
    }
    let long = |start: &str, length: usize| -> &'static str {
        format!("{start}{:A<1$}\r\n", "", length - start.len() - 2).leak()
    };
    let too_long = "500 5.5.2 Line too long\r\n";
    let too_long_auth = "500 5.5.6 Authentication exchange line is too long\r\n";
    for (line, answer) in [
        (long("NOOP ", 2049), too_long),
        (long("", 20_000), too_long),
        (long("AUTH P ", 12_289), too_long_auth),
    ] {
        for known in [known, &["SIZE"]] {
            fail(known, &[C(line)], LineTooLong, answer);
        }
    }
    for line in [
        long("NOOP ", 2048),
        long("AUTH P ", 12_288),
        long("auth p ", 2049),
    ] {
        assert!(!walk(Mode::Closed, known, &[C(line), ToServer(line)]));
    }
    let auth = [
        C("AUTH P\r\n"),
        ToServer("AUTH P\r\n"),
        S("334 \r\n"),
        ToClient("334 \r\n"),
    ];
    let steps = |line| [&auth[..], &[C(line)]].concat();
    fail(known, &steps(long("", 12_289)), LineTooLong, too_long_auth);
    let line = long("", 12_288);
    assert!(!walk(
        Mode::Closed,
        known,
        &[&steps(line)[..], &[ToServer(line)]].concat()
    ));

    let noop = [C("NOOP\r\n"), ToServer("NOOP\r\n")];
    fail(
        known,
        &[&noop[..], &[S("what?\r\n")]].concat(),
        Server,
        "what?\r\n",
    );
    // The server awaits something that is not known here.
    fail(
        known,
        &[&noop[..], &[S("334 go on\r\n")]].concat(),
        Server,
        "334 go on\r\n",
    );
    let long_line: &str = format!("250-{:a<9000}", "").leak();
    let many_lines: &str = "250-a\r\n".repeat(10_000).leak();
    for answer in [long_line, many_lines] {
        fail(&[], &[&EHLO[..], &[S(answer)]].concat(), Server, "");
    }
}

#[test]
fn what_nobody_asked_for_disturbs_nothing() {
    let steps = [
        S("421-4.3.2 going\r\n"),
        C("NOOP\r\nEHLO c\r\n"),
        ToServer("NOOP\r\n"),
        S("421 4.3.2 down\r\n"),
        ToServer(""),
        S("250 ok\r\n"),
        ToClient("421-4.3.2 going\r\n421 4.3.2 down\r\n250 ok\r\n"),
        ToServer("EHLO c\r\n"),
        S("250 s\r\nwhat?\r\n"),
        ToClient("250 s\r\nwhat?\r\n"),
    ];
    for known in ["SIZE", "XCLIENT ADDR"] {
        assert!(!walk(Mode::Closed, &[known], &steps));
    }
    let steps = [S("250 ok\r\n"), ToClient("250 ok\r\n")];
    assert!(!walk(Mode::Closed, &["SIZE"], &steps));
    fail(
        &["XCLIENT ADDR"],
        &steps[..1],
        GuardError::Server,
        "250 ok\r\n",
    );
}

#[test]
fn no_more_than_so_many_replies_are_awaited() {
    let mut session = Session::new(Mode::Closed, &["SIZE"]);
    session.client(&b"NOOP\r\n".repeat(1500)).unwrap();
    assert_eq!(session.to_server.len(), 1000 * 6);
    session.server(&b"250 ok\r\n".repeat(200)).unwrap();
    assert_eq!(session.to_server.len(), 1200 * 6);
}

#[test]
fn a_greeting_stays_as_it_is() {
    let greeting = b"220-s ESMTP STARTTLS\r\n220 XCLIENT\r\n";
    let mut session = Session::new(Mode::Closed, &[]);
    assert_eq!(session.guard.greeting(greeting), greeting);
}
