//! PROXY headers in, from senders believed, and out to the upstream.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};

use super::{NAME, OTHER, TlsStream, counts, listener, rest, start, tls_over, upstream, words};
use crate::common::client::connect;
use crate::common::handshake::{Kind, client_hello};
use crate::common::net::CLIENT;
use crate::common::proxy::TestProxy;
use crate::common::{echo, wait};

const BELIEVED: &str = "tls = \"implicit\"\naccept_proxy_from = [\"127.0.0.2/32\"]\n";

/// Listeners that believe [`CLIENT`]. One is before an upstream that says again what it is told, so that
/// the client sees the header that the upstream got; the other before an IMAP server that hands over
/// what it got when a session is over.
fn behind_another_proxy() -> (TestProxy, Receiver<Vec<u8>>) {
    let echo = echo::start();
    let (sender, heard) = mpsc::channel();
    let imap = echo::serve(move |mut stream| {
        drop(stream.write_all(b"* OK ready\r\n"));
        drop(sender.send(rest(&mut stream)));
    });
    let configuration = listener("v1", "tcp", &format!("{BELIEVED}upstream = \"v1\""))
        + &listener("v2", "imap", &format!("{BELIEVED}upstream = \"v2\""))
        + &upstream("v1", echo, "proxy-v1")
        + &upstream("v2", imap, "proxy-v2");
    (start(&configuration), heard)
}

/// A client behind a load balancer that says `header` first.
fn announced(to: SocketAddr, header: &[u8]) -> TlsStream {
    let mut socket = connect(to, CLIENT).unwrap();
    socket.write_all(header).unwrap();
    tls_over(socket, Some(NAME), Kind::Modern.config())
}

/// The line that the upstream got first.
fn line(stream: &mut impl Read) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// A header of version 2, made by another implementation.
fn v2(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes).unwrap();
    bytes
}

#[test]
fn who_the_client_is_reaches_the_upstream() {
    let (proxy, _) = behind_another_proxy();
    let to = proxy.address("v1");
    // A checksum and a TLV of no meaning to us stand in the way of nothing.
    let with_tlv = {
        let mut header = v2("192.0.2.7:1007", "198.51.100.1:993");
        let tlv = [0xe0, 0, 3, 1, 2, 3];
        header[15] += 6;
        header.extend_from_slice(&tlv);
        header
    };
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    for (title, header, expected) in [
        (
            "v1, IPv4",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1001 993\r\n".to_vec(),
            Some("PROXY TCP4 192.0.2.1 198.51.100.1 1001 993\r\n"),
        ),
        (
            "v1, IPv6",
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1002 993\r\n".to_vec(),
            Some("PROXY TCP6 2001:db8::1 2001:db8::2 1002 993\r\n"),
        ),
        (
            "v2, IPv4",
            v2("192.0.2.3:1003", "198.51.100.1:993"),
            Some("PROXY TCP4 192.0.2.3 198.51.100.1 1003 993\r\n"),
        ),
        (
            "v2, IPv6",
            v2("[2001:db8::4]:1004", "[2001:db8::2]:993"),
            Some("PROXY TCP6 2001:db8::4 2001:db8::2 1004 993\r\n"),
        ),
        (
            "v2, IPv4 in IPv6 form",
            v2("[::ffff:192.0.2.5]:1005", "[::ffff:198.51.100.1]:993"),
            Some("PROXY TCP4 192.0.2.5 198.51.100.1 1005 993\r\n"),
        ),
        (
            "v2 with a TLV",
            with_tlv,
            Some("PROXY TCP4 192.0.2.7 198.51.100.1 1007 993\r\n"),
        ),
        ("v1, unknown", b"PROXY UNKNOWN\r\n".to_vec(), None),
        ("v2, local", local, None),
    ] {
        let mut stream = announced(to, &header);
        let client = stream.sock.local_addr().unwrap();
        let own = format!(
            "PROXY TCP4 {} {} {} {}\r\n",
            client.ip(),
            to.ip(),
            client.port(),
            to.port()
        );
        let said = line(&mut stream);
        assert_eq!(said, expected.unwrap_or(&own), "{title}");
    }
    // A sender that is not believed needs no header, and is who it is.
    let socket = connect(to, OTHER).unwrap();
    let client = socket.local_addr().unwrap();
    let said = line(&mut tls_over(socket, Some(NAME), Kind::Modern.config()));
    assert!(
        said.starts_with(&format!("PROXY TCP4 {} ", client.ip())),
        "{said}"
    );
}

#[test]
fn version_2_tells_the_upstream_of_tls_and_of_the_name() {
    let (proxy, heard) = behind_another_proxy();
    let tls12 = "ECDHE-ECDSA-AES256-GCM-SHA384";
    for (kind, version, suite) in [
        (Kind::Modern, "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (Kind::Tls12, "TLSv1.2", tls12),
    ] {
        let mut socket = connect(proxy.address("v2"), CLIENT).unwrap();
        socket
            .write_all(&v2("192.0.2.1:1001", "198.51.100.1:993"))
            .unwrap();
        let mut config = kind.config();
        config.alpn_protocols = vec![b"imap".to_vec()];
        let mut stream = tls_over(socket, Some(NAME), config);
        stream.write_all(b"a1 NOOP\r\n").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(rest(&mut stream), b"* OK ready\r\n");
        let heard = heard.recv_timeout(wait::PATIENCE).unwrap();
        let (header, length) = ProxyHeader::parse(&heard, ParseConfig::default()).unwrap();
        let address = header.proxied_address().unwrap();
        assert_eq!(address.source, "192.0.2.1:1001".parse().unwrap());
        assert_eq!(address.destination, "198.51.100.1:993".parse().unwrap());
        assert_eq!(header.authority(), Some(NAME));
        assert_eq!(header.alpn(), Some(&b"imap"[..]));
        let ssl = header.ssl().unwrap();
        assert!(ssl.client_ssl() && !ssl.client_cert_conn(), "{ssl:?}");
        assert_eq!(ssl.version(), Some(version));
        assert_eq!(ssl.cipher(), Some(suite));
        assert_eq!(heard[length..], *b"a1 NOOP\r\n");
    }
}

/// What a believed sender says, and whether it is done with that.
fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let good = v2("192.0.2.1:1001", "198.51.100.1:993");
    let changed = |place: usize, byte: u8| {
        let mut header = good.clone();
        header[place] = byte;
        header
    };
    vec![
        ("no header", client_hello(NAME.as_bytes())),
        ("IMAP", b"a1 NOOP\r\n".to_vec()),
        (
            "v1, one address",
            b"PROXY TCP4 192.0.2.1 1001 993\r\n".to_vec(),
        ),
        (
            "v1, no address",
            b"PROXY TCP4 localhost 198.51.100.1 1001 993\r\n".to_vec(),
        ),
        (
            "v1, wrong family",
            b"PROXY TCP6 192.0.2.1 198.51.100.1 1001 993\r\n".to_vec(),
        ),
        (
            "v1, wrong port",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 993\r\n".to_vec(),
        ),
        ("v1, no end", [&b"PROXY TCP4 "[..], &[b'1'; 120]].concat()),
        (
            "v1, lower case",
            b"proxy TCP4 192.0.2.1 198.51.100.1 1001 993\r\n".to_vec(),
        ),
        ("v2, version 3", changed(12, 0x31)),
        ("v2, command 2", changed(12, 0x22)),
        ("v2, family 4", changed(13, 0x41)),
        ("v2, no room for its addresses", changed(15, 4)),
        (
            "v2, 65,535 bytes",
            [&good[..14], &[0xff; 2], &good[16..]].concat(),
        ),
        ("v2, signature broken", changed(10, b'X')),
    ]
}

#[test]
fn a_sender_that_is_believed_must_say_a_header() {
    let (proxy, _heard) = behind_another_proxy();
    let refused = refused();
    for (title, bytes) in &refused {
        let mut socket = connect(proxy.address("v2"), CLIENT).unwrap();
        socket.write_all(bytes).unwrap();
        assert_eq!(rest(&mut socket), b"", "{title}");
    }
    let times = u32::try_from(refused.len()).unwrap();
    let series = r#"gatepost_connections_refused_total{listener="v2",reason="proxy-header"}"#;
    counts(&proxy, series, times);

    let half_of = |bytes: &[u8]| {
        let mut socket: TcpStream = connect(proxy.address("v2"), CLIENT).unwrap();
        socket.write_all(&bytes[..bytes.len() / 2]).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut socket), b"");
    };
    half_of(b"PROXY TCP4 192.0.2.1 198.51.100.1 1001 993\r\n");
    half_of(&v2("192.0.2.1:1001", "198.51.100.1:993"));
    let series = r#"gatepost_connections_ended_total{listener="v2",party="downstream",reason="closed",stage="identify"}"#;
    counts(&proxy, series, 2);
}

#[test]
fn what_comes_together_with_the_header_is_answered() {
    let proxy = start(&listener(
        "submission",
        "submission",
        "tls = \"starttls\"\naccept_proxy_from = [\"127.0.0.2/32\"]",
    ));
    let mut socket = connect(proxy.address("submission"), CLIENT).unwrap();
    let together = b"PROXY TCP4 192.0.2.1 198.51.100.1 1001 587\r\nQUIT\r\n";
    socket.write_all(together).unwrap();
    let said = words(&mut socket);
    let codes: Vec<_> = said.lines().filter_map(|line| line.get(..4)).collect();
    assert_eq!(codes, ["220 ", "221 "], "{said}");
}
