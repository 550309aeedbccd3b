//! The first bytes of a connection.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::{NAME, TlsStream, counts, listener, rest, start, tls, tls_over, upstream};
use crate::common::client::connect;
use crate::common::echo;
use crate::common::handshake::{Got, Kind, client_hello, read_flight};
use crate::common::net::CLIENT;

/// Alerts (RFC 8446 section 6).
const UNEXPECTED_MESSAGE: u8 = 10;
const HANDSHAKE_FAILURE: u8 = 40;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Cipher suites that every client of 2008 had: ECDHE with AES in CBC mode, and RSA with AES.
const OLD_SUITES: [u16; 4] = [0xc013, 0xc014, 0x002f, 0x0035];

/// ECDHE with AES in GCM mode.
const SUITES: [u16; 2] = [0xc02b, 0xc02f];

/// The extensions of a client of TLS 1.2, but its name: groups (P-256), point formats, signatures
/// (ECDSA and RSA with SHA-256).
const EXTENSIONS: [u8; 26] = [
    0, 10, 0, 4, 0, 2, 0, 23, //
    0, 11, 0, 2, 1, 0, //
    0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1,
];

/// A record that holds all of a handshake message.
fn record(version: [u8; 2], message: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, version[0], version[1], high, low], message].concat()
}

/// A ClientHello that offers this version and no later one.
fn old_hello(version: [u8; 2], suites: &[u16], extensions: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let suites = suites.iter().flat_map(|suite| suite.to_be_bytes());
    let suites: Vec<_> = suites.collect();
    let mut body = [
        &version[..],
        &[7; 32],
        &[0],
        &length(&suites),
        &suites,
        &[1, 0],
    ]
    .concat();
    if !extensions.is_empty() {
        body.extend_from_slice(&length(extensions));
        body.extend_from_slice(extensions);
    }
    let [high, low] = length(&body);
    let version = [3, version[1].min(1)];
    record(version, &[&[1, 0, high, low], &body[..]].concat())
}

/// A ClientHello as it is, with one byte changed.
fn with_byte(place: usize, byte: u8) -> Vec<u8> {
    let mut hello = client_hello(NAME.as_bytes());
    hello[place] = byte;
    hello
}

/// What somebody sends, the alert for it, and the reason that is counted.
fn refused() -> Vec<(&'static str, Vec<u8>, u8, &'static str)> {
    // Place of the length of the session identifier: after record header, message header, version
    // and random.
    const SESSION_ID: usize = 5 + 4 + 2 + 32;
    let proxied = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 993\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x03\xe8\x03\xe1";
    let hello = client_hello(NAME.as_bytes());
    let not_tls = |title, bytes: &[u8]| (title, bytes.to_vec(), DECODE_ERROR, "not-tls");
    let malformed = |title, bytes: &[u8]| (title, bytes.to_vec(), DECODE_ERROR, "malformed");
    let version = |title, bytes: Vec<u8>| (title, bytes, PROTOCOL_VERSION, "version");
    let failure = |title, bytes: Vec<u8>, reason| (title, bytes, HANDSHAKE_FAILURE, reason);
    vec![
        not_tls("HTTP", b"GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n"),
        not_tls("IMAP", b"a1 LOGIN user password\r\n"),
        not_tls("SMTP", b"EHLO client.example.com\r\n"),
        not_tls("SSH", b"SSH-2.0-OpenSSH_9.9\r\n"),
        not_tls("zeroes", &[0; 64]),
        not_tls("ones", &[0xff; 64]),
        not_tls("SSL 2", &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        not_tls("an alert first", &[21, 3, 1, 0, 2, 1, 0]),
        (
            "data first",
            vec![23, 3, 3, 0, 3, 1, 2, 3],
            UNEXPECTED_MESSAGE,
            "not-tls",
        ),
        not_tls("another major version", &[22, 2, 0, 0, 4, 1, 0, 0, 0]),
        not_tls("PROXY from nobody believed", proxied.as_bytes()),
        not_tls("PROXY v2 from nobody believed", v2),
        not_tls("PROXY and TLS", &[proxied.as_bytes(), &hello].concat()),
        malformed("an empty record", &[22, 3, 1, 0, 0]),
        malformed(
            "a record over 16 KiB",
            &[22, 3, 1, 0x40, 1, 1, 0, 0x3f, 0xfd],
        ),
        malformed("another message", &record([3, 1], &[2, 0, 0, 0])),
        malformed(
            "a message of 16 MiB",
            &record([3, 1], &[1, 0xff, 0xff, 0xff, 3, 3]),
        ),
        malformed(
            "a session identifier too long",
            &with_byte(SESSION_ID, 0xff),
        ),
        malformed("no body", &record([3, 1], &[1, 0, 0, 0])),
        version("TLS 1.0", old_hello([3, 1], &OLD_SUITES, &EXTENSIONS)),
        version("TLS 1.1", old_hello([3, 2], &OLD_SUITES, &EXTENSIONS)),
        // No version of it is ours.
        version("SSL 3", old_hello([3, 0], &OLD_SUITES, &[])),
        failure(
            "no signatures",
            old_hello([3, 3], &SUITES, &EXTENSIONS[..14]),
            "no-shared-parameters",
        ),
        failure(
            "only CBC",
            old_hello([3, 3], &OLD_SUITES, &EXTENSIONS),
            "no-shared-parameters",
        ),
    ]
}

#[test]
fn what_is_no_client_hello_is_refused_with_an_alert() {
    let configuration = listener("imaps", "imap", "tls = \"implicit\"");
    let proxy = start(&configuration);
    let to = proxy.address("imaps");
    let mut failures = Vec::new();
    let mut reasons = BTreeMap::new();
    for (title, bytes, alert, reason) in refused() {
        let mut socket = connect(to, CLIENT).unwrap();
        socket.write_all(&bytes).unwrap();
        let got = read_flight(&mut socket);
        let end = rest(&mut socket);
        if got != Got::Alert(alert) || !end.is_empty() {
            failures.push(format!(
                "{title}: {got:?}, then {end:?}, expected alert {alert}"
            ));
        }
        *reasons.entry(reason).or_insert(0) += 1;
    }
    assert!(failures.is_empty(), "{failures:#?}");
    for (reason, times) in reasons {
        let labels = format!(r#"{{listener="imaps",reason="{reason}"}}"#);
        counts(
            &proxy,
            &format!("gatepost_tls_handshake_failures_total{labels}"),
            times,
        );
    }
    // The same ClientHello is served if it offers what we have.
    let mut socket = connect(to, CLIENT).unwrap();
    socket
        .write_all(&old_hello([3, 3], &SUITES, &EXTENSIONS))
        .unwrap();
    let got = read_flight(&mut socket);
    assert_eq!(proxy.name_of(&got), "mail");
}

#[test]
fn a_hello_may_come_in_single_bytes_and_in_many_records() {
    let configuration = listener("tcp", "tcp", "tls = \"implicit\"\nupstream = \"echo\"")
        + &upstream("echo", echo::start(), "none");
    let proxy = start(&configuration);
    for (kind, fragment) in [
        (Kind::Modern, None),
        (Kind::Tls12, Some(64)),
        (Kind::Modern, Some(33)),
    ] {
        let mut config = kind.config();
        config.max_fragment_size = fragment;
        let socket = connect(proxy.address("tcp"), CLIENT).unwrap();
        let mut stream = tls_over(socket, Some(NAME), config);
        let mut hello = Vec::new();
        stream.conn.write_tls(&mut hello).unwrap();
        for byte in hello {
            stream.sock.write_all(&[byte]).unwrap();
        }
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello", "{kind:?} {fragment:?}");
    }
}

/// A client of TLS 1.3 that has got the server's messages, and has not yet sent its last one.
fn before_its_last_message(to: SocketAddr) -> TlsStream {
    let mut stream = tls(to, Some(NAME));
    stream.conn.write_tls(&mut stream.sock).unwrap();
    while stream.conn.is_handshaking() {
        stream.conn.read_tls(&mut stream.sock).unwrap();
        stream.conn.process_new_packets().unwrap();
    }
    stream
}

#[test]
fn what_comes_with_the_last_message_of_the_handshake_counts() {
    let configuration = listener("tcp", "tcp", "tls = \"implicit\"\nupstream = \"echo\"")
        + &upstream("echo", echo::start(), "none");
    let proxy = start(&configuration);
    for said in [&b"hello"[..], b""] {
        let mut stream = before_its_last_message(proxy.address("tcp"));
        stream.conn.writer().write_all(said).unwrap();
        stream.conn.send_close_notify();
        let mut bytes = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut bytes).unwrap();
        }
        // All in one piece: the end of the handshake, what is said, and that nothing more comes.
        stream.sock.write_all(&bytes).unwrap();
        assert_eq!(rest(&mut stream), said);
    }
}

#[test]
fn silence_before_the_end_of_the_handshake_ends_it() {
    let believed = "tls = \"implicit\"\naccept_proxy_from = [\"127.0.0.2/32\"]";
    let configuration = String::from("[limits]\nhandshake_timeout = \"1s\"\n")
        + &listener("tls", "imap", "tls = \"implicit\"")
        + &listener("behind", "imap", believed)
        + &listener("through", "imap", "tls = \"passthrough\"");
    let proxy = start(&configuration);
    let hello = client_hello(NAME.as_bytes());
    let half = &hello[..hello.len() / 2];
    let cases: [(&str, &[u8], &str); 7] = [
        ("tls", b"", "handshake"),
        ("tls", &half[..3], "handshake"),
        ("tls", half, "handshake"),
        ("tls", &hello, "handshake"),
        ("through", half, "handshake"),
        ("behind", b"", "identify"),
        ("behind", b"PROXY TCP4 192.0.2.1", "identify"),
    ];
    // All at once: each takes as long as the timeout.
    let mut ends = BTreeMap::new();
    let sockets = cases.map(|(listener, bytes, stage)| {
        let mut socket = connect(proxy.address(listener), CLIENT).unwrap();
        socket.write_all(bytes).unwrap();
        *ends.entry((listener, stage, "timeout")).or_insert(0) += 1;
        socket
    });
    for (mut socket, (listener, bytes, _)) in sockets.into_iter().zip(cases) {
        let answer = rest(&mut socket);
        let whole = bytes.len() == hello.len();
        assert_eq!(
            answer.is_empty(),
            !whole,
            "{listener}: {answer:?} for {} bytes",
            bytes.len()
        );
    }
    // A client that goes before the time is over is another matter.
    let mut socket = connect(proxy.address("tls"), CLIENT).unwrap();
    socket.write_all(half).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut socket).is_empty());
    ends.insert(("tls", "handshake", "closed"), 1);
    for ((listener, stage, reason), times) in ends {
        let labels = format!(
            r#"{{listener="{listener}",party="downstream",reason="{reason}",stage="{stage}"}}"#
        );
        counts(
            &proxy,
            &format!("gatepost_connections_ended_total{labels}"),
            times,
        );
    }
    let failures = r#"gatepost_tls_handshake_failures_total{listener="tls",reason="timeout"}"#;
    counts(&proxy, failures, 4);
}

#[test]
fn alpn_names_the_protocol_of_the_listener_or_nothing() {
    let configuration = ["imap", "pop3", "smtp", "submission", "tcp"]
        .map(|protocol| listener(protocol, protocol, "tls = \"implicit\""))
        .concat();
    let proxy = start(&configuration);
    let agreed = |listener: &str, offered: &[&str]| {
        let mut config = Kind::Modern.config();
        config.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let name = ServerName::try_from(NAME).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = connect(proxy.address(listener), CLIENT).unwrap();
        while client.is_handshaking() {
            client
                .complete_io(&mut socket)
                .map_err(|error| error.to_string())?;
        }
        let agreed = client.alpn_protocol();
        Ok::<_, String>(agreed.map(|name| String::from_utf8(name.to_vec()).unwrap()))
    };
    let refused = "received fatal alert: NoApplicationProtocol";
    let some = |name: &str| Ok(Some(name.to_owned()));
    for (listener, offered, expected) in [
        ("imap", &["imap"][..], some("imap")),
        ("imap", &["h2", "imap"], some("imap")),
        ("imap", &[], Ok(None)),
        ("imap", &["h2"], Err(refused.to_owned())),
        ("imap", &["pop3", "http/1.1"], Err(refused.to_owned())),
        ("pop3", &["pop3"], some("pop3")),
        ("pop3", &["imap"], Err(refused.to_owned())),
        ("smtp", &["smtp"], some("smtp")),
        ("submission", &["esmtp"], some("esmtp")),
        ("smtp", &["h2"], Err(refused.to_owned())),
        ("tcp", &["h2"], Ok(None)),
        ("tcp", &["imap", "http/1.1"], Ok(None)),
    ] {
        assert_eq!(
            agreed(listener, offered),
            expected,
            "{offered:?} to {listener}"
        );
    }
    let failures = |listener: &str| {
        let labels = format!(r#"{{listener="{listener}",reason="alpn"}}"#);
        format!("gatepost_tls_handshake_failures_total{labels}")
    };
    for (listener, times) in [("imap", 2), ("pop3", 1), ("smtp", 1)] {
        counts(&proxy, &failures(listener), times);
    }
    assert_eq!(proxy.metric(&failures("tcp")), None);

    // The alert itself, in clear.
    let alpn = [0, 16, 0, 5, 0, 3, 2, b'h', b'2'];
    let hello = old_hello([3, 3], &SUITES, &[&EXTENSIONS[..], &alpn].concat());
    let mut socket = connect(proxy.address("imap"), CLIENT).unwrap();
    socket.write_all(&hello).unwrap();
    assert_eq!(
        read_flight(&mut socket),
        Got::Alert(NO_APPLICATION_PROTOCOL)
    );
}
