//! What a peer may say under good keys, and what it may not.

use rustls::CipherSuite;
use rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;

use super::*;

const CLIENT: [u8; 32] = [1; 32];
const SERVER: [u8; 32] = [2; 32];

const TLS13: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
const TLS12: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
const CHACHA: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;

/// Two ends of one connection.
fn ends(suite: CipherSuite) -> (Session, Session) {
    (end(suite, CLIENT, SERVER), end(suite, SERVER, CLIENT))
}

fn end(suite: CipherSuite, received: [u8; 32], sent: [u8; 32]) -> Session {
    let mut suites = DEFAULT_CIPHER_SUITES.iter();
    let suite = *suites.find(|known| known.suite() == suite).unwrap();
    let keys = |key: [u8; 32]| {
        let (key, iv) = (key.into(), [key[0]; 12].into());
        let secrets = match suite.suite() {
            CHACHA => rustls::ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
            _ => rustls::ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        };
        (0, secrets)
    };
    let secrets = ExtractedSecrets {
        tx: keys(sent),
        rx: keys(received),
    };
    let (received, sent) = ([received, received].concat(), [sent, sent].concat());
    let traffic = suite
        .tls13()
        .map(|_| Traffic::new(&received[..48], &sent[..48]).unwrap());
    Session::new(suite, secrets, traffic).unwrap()
}

/// What comes of records that a client seals: plaintext, whether it ends, and what is answered
/// (type and content of each record); or the error, with the alert in answer.
#[derive(Debug, PartialEq)]
struct Outcome {
    plain: Vec<u8>,
    closed: bool,
    answers: Vec<(u8, Vec<u8>)>,
    error: Option<Error>,
}

/// The type and content of each.
type Records<'r> = &'r [(u8, &'r [u8])];

fn outcome(suite: CipherSuite, records: Records<'_>) -> Outcome {
    let (mut server, mut client) = ends(suite);
    let mut wire = Vec::new();
    for (typ, content) in records {
        client.say(*typ, content, &mut wire).unwrap();
        if (*typ, content.first()) == (HANDSHAKE, Some(&KEY_UPDATE)) && content.len() == 5 {
            client
                .suite
                .into_iter()
                .for_each(|suite| client.sent.renew(suite));
        }
    }
    let (mut plain, mut control) = (Buffer::take(), Vec::new());
    let opened = server.open(&wire, &mut plain, &mut control);
    let mut answers = Vec::new();
    let mut rest = &control[..];
    while let Some(length) = record_length(rest).unwrap() {
        let mut room = vec![0; length];
        let (typ, n) = client.received.open(&rest[..length], &mut room).unwrap();
        answers.push((typ, room[..n].to_vec()));
        if typ == HANDSHAKE {
            client
                .suite
                .into_iter()
                .for_each(|suite| client.received.renew(suite));
        }
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    if opened.is_err() {
        let (mut wire, before) = (Buffer::take(), control.len());
        server.seal(b"more", &mut wire).unwrap_err();
        server.close(&mut control).unwrap();
        assert!(
            wire.is_empty() && control.len() == before,
            "nothing after the alert"
        );
    }
    Outcome {
        plain: plain.filled().to_vec(),
        closed: opened.as_ref().is_ok_and(|opened| opened.closed),
        answers,
        error: opened.err().map(|error| match error {
            TlsError::Rustls(error) => error,
            error => panic!("{error}"),
        }),
    }
}

const DATA: (u8, &[u8]) = (APPLICATION_DATA, b"data");
const END: (u8, &[u8]) = (ALERT, &[WARNING, CLOSE_NOTIFY]);
const ASKS: (u8, &[u8]) = (HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 1]);
const SAYS: (u8, &[u8]) = (HANDSHAKE, &NEW_KEY);
const HELLO: (u8, &[u8]) = (HANDSHAKE, &[CLIENT_HELLO, 0, 0, 2, 3, 3]);

/// What goes well.
#[test]
fn what_a_client_may_say_is_taken() {
    let answer = (HANDSHAKE, NEW_KEY.to_vec());
    let refusal = (ALERT, vec![WARNING, NO_RENEGOTIATION]);
    let cases: &[(CipherSuite, Records<'_>, &[u8], bool, Vec<_>)] = &[
        (TLS13, &[DATA, DATA], b"datadata", false, vec![]),
        (
            TLS13,
            &[(APPLICATION_DATA, b""), DATA],
            b"data",
            false,
            vec![],
        ),
        (TLS13, &[DATA, END, DATA], b"data", true, vec![]),
        // Its level is of no importance.
        (TLS13, &[(ALERT, &[FATAL, CLOSE_NOTIFY])], b"", true, vec![]),
        (TLS13, &[SAYS, DATA], b"data", false, vec![]),
        (TLS13, &[ASKS, DATA], b"data", false, vec![answer.clone()]),
        (
            TLS13,
            &[ASKS, ASKS],
            b"",
            false,
            vec![answer.clone(), answer],
        ),
        (
            TLS13,
            &[(ALERT, &[WARNING, USER_CANCELED]), END],
            b"",
            true,
            vec![],
        ),
        (
            TLS12,
            &[DATA, HELLO, DATA],
            b"datadata",
            false,
            vec![refusal.clone()],
        ),
        (CHACHA, &[HELLO, DATA], b"data", false, vec![refusal]),
        // no_certificate, of long ago
        (
            TLS12,
            &[(ALERT, &[WARNING, 41]), DATA, END],
            b"data",
            true,
            vec![],
        ),
    ];
    for (suite, records, plain, closed, answers) in cases {
        let expected = Outcome {
            plain: plain.to_vec(),
            closed: *closed,
            answers: answers.clone(),
            error: None,
        };
        assert_eq!(outcome(*suite, records), expected, "{suite:?} {records:?}");
    }
}

#[test]
fn what_a_client_may_not_say_ends_the_connection_with_the_alert_for_it() {
    const UNEXPECTED: u8 = 10;
    const OVERFLOW: u8 = 22;
    const ILLEGAL: u8 = 47;
    const DECODE: u8 = 50;
    let long = vec![7; FRAGMENT + 1];
    let updates = vec![ASKS; usize::from(KEY_UPDATES) + 1];
    let warnings = vec![(ALERT, &[WARNING, USER_CANCELED][..]); usize::from(WARNINGS) + 1];
    let cases: &[(CipherSuite, Records<'_>, u8)] = &[
        (TLS13, &[(CHANGE_CIPHER_SPEC, &[1])], UNEXPECTED),
        (TLS13, &[(0, b"padding alone")], UNEXPECTED),
        (TLS13, &[(24, b"heartbeat")], UNEXPECTED),
        (TLS13, &[HELLO], UNEXPECTED),
        (TLS13, &[(HANDSHAKE, b"")], UNEXPECTED),
        (
            TLS13,
            &[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 2, 0, 0])],
            UNEXPECTED,
        ),
        (
            TLS13,
            &[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0, KEY_UPDATE])],
            UNEXPECTED,
        ),
        (TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 2])], ILLEGAL),
        // Something between the two parts of a message.
        (TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0]), DATA], UNEXPECTED),
        (TLS13, &[(HANDSHAKE, &[KEY_UPDATE, 0]), END], UNEXPECTED),
        (TLS13, &[(APPLICATION_DATA, &long)], OVERFLOW),
        (TLS13, &[(ALERT, &[WARNING])], DECODE),
        (TLS13, &[(ALERT, &[WARNING, CLOSE_NOTIFY, 0])], DECODE),
        (TLS13, &[(ALERT, &[WARNING, 41])], DECODE),
        (TLS13, &[(ALERT, &[3, 41])], ILLEGAL),
        (TLS12, &[(CHANGE_CIPHER_SPEC, &[1])], UNEXPECTED),
        (TLS12, &[HELLO, HELLO], UNEXPECTED),
        (TLS12, &[SAYS], UNEXPECTED),
        (
            TLS12,
            &[(HANDSHAKE, &[CLIENT_HELLO, 0, 0, 9, 3, 3])],
            UNEXPECTED,
        ),
        (TLS12, &[(APPLICATION_DATA, &long)], OVERFLOW),
        (TLS12, &[(ALERT, &[])], DECODE),
        (TLS13, &updates, UNEXPECTED),
        (TLS13, &warnings, UNEXPECTED),
    ];
    for (suite, records, alert) in cases {
        let outcome = outcome(*suite, records);
        let shown = (records.len(), records[0].0, records[0].1.len());
        assert!(
            outcome.error.is_some() && !outcome.closed,
            "{suite:?} {shown:?}"
        );
        let last = outcome.answers.last().cloned();
        assert_eq!(
            last,
            Some((ALERT, vec![FATAL, *alert])),
            "{suite:?} {shown:?}"
        );
    }
}

#[test]
fn a_fatal_alert_ends_the_connection_and_is_not_answered() {
    for suite in [TLS13, TLS12, CHACHA] {
        let outcome = outcome(suite, &[DATA, (ALERT, &[FATAL, 40])]);
        let error = Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!(outcome.error, Some(error));
        assert_eq!((&*outcome.plain, outcome.answers.len()), (&b"data"[..], 0));
    }
}

#[test]
fn data_allows_new_keys_again() {
    let mut records = vec![ASKS; usize::from(KEY_UPDATES)];
    records.push(DATA);
    records.extend(vec![ASKS; usize::from(KEY_UPDATES)]);
    assert_eq!(outcome(TLS13, &records).error, None);
}

#[test]
fn a_key_update_may_come_in_parts() {
    let (mut server, mut client) = ends(TLS13);
    let mut wire = Vec::new();
    for byte in ASKS.1 {
        client.say(HANDSHAKE, &[*byte], &mut wire).unwrap();
    }
    client.sent.renew(client.suite.unwrap());
    client.say(APPLICATION_DATA, b"data", &mut wire).unwrap();
    let (mut plain, mut control) = (Buffer::take(), Vec::new());
    server.open(&wire, &mut plain, &mut control).unwrap();
    assert_eq!(plain.filled(), b"data");
    assert!(!control.is_empty());
}

#[test]
fn padding_is_taken_off_as_long_as_the_record_is_not_too_long() {
    // The content of a record with padding is what a longer record would have as content, its
    // type in it.
    for (padding, fits) in [
        (1, true),
        (300, true),
        (FRAGMENT - 4, true),
        (FRAGMENT - 3, false),
    ] {
        let mut content = b"data".to_vec();
        content.push(APPLICATION_DATA);
        content.resize(5 + padding - 1, 0);
        let (mut server, mut client) = ends(TLS13);
        let mut wire = Vec::new();
        client.say(0, &content, &mut wire).unwrap();
        let (mut plain, mut control) = (Buffer::take(), Vec::new());
        let opened = server.open(&wire, &mut plain, &mut control);
        assert_eq!(opened.is_ok(), fits, "{padding}");
        assert_eq!(plain.filled() == b"data", fits);
    }
}

#[test]
fn a_changed_cut_replayed_or_swapped_record_is_not_taken() {
    for suite in [TLS13, TLS12, CHACHA] {
        let (_, mut client) = ends(suite);
        let mut first = Vec::new();
        client.say(APPLICATION_DATA, b"first", &mut first).unwrap();
        let mut second = Vec::new();
        client
            .say(APPLICATION_DATA, b"second", &mut second)
            .unwrap();
        let fails = |wire: &[u8]| {
            let (mut server, _) = ends(suite);
            let (mut plain, mut control) = (Buffer::take(), Vec::new());
            let opened = server.open(wire, &mut plain, &mut control);
            (opened.is_err(), plain.filled().to_vec())
        };
        assert_eq!(
            fails(&[&first[..], &second].concat()),
            (false, b"firstsecond".to_vec())
        );
        assert_eq!(fails(&second), (true, vec![]), "out of turn");
        let replayed = [&first[..], &first].concat();
        assert_eq!(fails(&replayed), (true, b"first".to_vec()), "replayed");
        for n in 0..first.len() {
            let mut changed = first.clone();
            changed[n] ^= 1;
            // A longer record than there is: it is waited for.
            let waits = n == 4 && changed[4] > first[4] || n == 3;
            let minor = n == 2 && suite != TLS13;
            let expected = match (waits, minor) {
                (true, _) => (false, vec![]),
                // The minor version is not looked at, nor in TLS 1.2 covered: there it is ours.
                (_, true) => (false, b"first".to_vec()),
                _ => (true, vec![]),
            };
            assert_eq!(fails(&changed), expected, "{suite:?} changed at {n}");
            assert_eq!(fails(&first[..n]), (false, vec![]), "cut at {n}");
        }
        for n in 0..40 {
            // Whole records, too short to be any.
            let short = [
                &[APPLICATION_DATA, 3, 3, 0, n][..],
                &vec![0; usize::from(n)],
            ]
            .concat();
            assert_eq!(fails(&short), (true, vec![]), "{n} bytes");
        }
    }
}

#[test]
fn what_is_no_record_is_refused_before_it_is_there_as_a_whole() {
    for header in [
        b"GET /",
        &[23, 2, 3, 0, 9],
        &[19, 3, 3, 0, 9],
        &[23, 3, 3, 0x48, 1],
    ] {
        let (mut server, _) = ends(TLS13);
        let mut control = Vec::new();
        let opened = server.open(header, &mut Buffer::take(), &mut control);
        assert!(opened.is_err() && !control.is_empty(), "{header:?}");
    }
}

#[test]
fn more_directions_than_places_take_turns() {
    let mut ends: Vec<_> = (0..300).map(|_| ends(TLS13)).collect();
    for round in 0..3 {
        for (server, client) in &mut ends {
            let said = [round; 9];
            let mut wire = Buffer::take();
            client.seal(&said, &mut wire).unwrap();
            let mut plain = Buffer::take();
            server
                .open(wire.filled(), &mut plain, &mut Vec::new())
                .unwrap();
            assert_eq!(plain.filled(), said);
        }
    }
}

#[test]
fn a_silent_connection_keeps_little_of_tls() {
    assert!(size_of::<Session>() <= 288);
}

#[test]
fn nothing_is_said_behind_the_end_but_the_peer_is_heard() {
    for (suite, question) in [(TLS13, ASKS), (TLS12, HELLO)] {
        let (mut server, mut client) = ends(suite);
        let mut control = Vec::new();
        server.close(&mut control).unwrap();
        let said = control.len();
        server.close(&mut control).unwrap();
        let mut wire = Vec::new();
        client.say(question.0, question.1, &mut wire).unwrap();
        if let Some(suite) = client.suite {
            client.sent.renew(suite);
        }
        client.say(DATA.0, DATA.1, &mut wire).unwrap();
        let mut plain = Buffer::take();
        server.open(&wire, &mut plain, &mut control).unwrap();
        assert_eq!(plain.filled(), DATA.1, "{suite:?}");
        assert_eq!(control.len(), said, "{suite:?}");
        server.seal(b"more", &mut Buffer::take()).unwrap_err();
    }
}
