//! Where a name leads to, and what a client hears where that is nowhere.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, Stream};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{NAME, counts, listener, rest, start, tls, upstream, words};
use crate::common::ca::{Pair, TestCa};
use crate::common::client::{Client, connect};
use crate::common::echo;
use crate::common::handshake::client_hello;
use crate::common::net::CLIENT;

/// A route on these listeners (`None`: all).
fn route(names: &[&str], listeners: Option<&[&str]>, upstream: &str) -> String {
    let listeners = listeners.map(|listeners| format!("listeners = {listeners:?}\n"));
    let listeners = listeners.unwrap_or_default();
    format!("[[route]]\nnames = {names:?}\n{listeners}upstream = \"{upstream}\"\n")
}

#[test]
fn exact_before_wildcard_before_the_listeners_own() {
    let own = "tls = \"implicit\"\nupstream = \"own\"";
    let hosted = format!("{own}\nhostname = \"{NAME}\"");
    let upstreams = ["own", "exact", "wildcard", "special"];
    let configuration = listener("all", "imap", own)
        + &listener("special", "imap", own)
        + &listener("hosted", "imap", &hosted)
        + &listener("bare", "imap", "tls = \"implicit\"")
        + &route(&[NAME, "exact.example.org"], None, "exact")
        + &route(&["*.example.com"], None, "wildcard")
        + &route(
            &["special.example.com", "*.special.example"],
            Some(&["special", "bare"]),
            "special",
        )
        + &upstreams
            .map(|name| upstream(name, echo::greeter(format!("* OK {name}")), "none"))
            .concat();
    let proxy = start(&configuration);
    let nowhere = "* BYE No service for this name\r\n";
    for (listener, name, expected) in [
        ("all", Some(NAME), "exact"),
        ("all", Some("exact.example.org"), "exact"),
        ("all", Some("any.example.com"), "wildcard"),
        ("all", Some("special.example.com"), "wildcard"),
        ("all", Some("a.any.example.com"), "own"),
        ("all", Some("example.com"), "own"),
        ("all", Some("any.special.example"), "own"),
        ("all", None, "own"),
        ("special", Some("special.example.com"), "special"),
        ("special", Some("any.special.example"), "special"),
        ("special", Some(NAME), "exact"),
        ("special", Some("any.example.com"), "wildcard"),
        ("special", Some("unknown.example"), "own"),
        ("hosted", None, "exact"),
        ("hosted", Some("any.example.com"), "wildcard"),
        ("hosted", Some("unknown.example"), "own"),
        ("bare", Some(NAME), "exact"),
        ("bare", Some("special.example.com"), "special"),
        ("bare", Some("unknown.example"), ""),
        ("bare", None, ""),
    ] {
        let said = words(&mut tls(proxy.address(listener), name));
        let expected = match expected {
            "" => nowhere.to_owned(),
            server => format!("* OK {server}\r\n"),
        };
        assert_eq!(said, expected, "{name:?} on {listener}");
    }
    counts(
        &proxy,
        r#"gatepost_connections_refused_total{listener="bare",reason="no-route"}"#,
        2,
    );
}

#[test]
fn a_name_with_no_route_is_refused_in_the_words_of_the_protocol() {
    let protocols = ["imap", "pop3", "smtp", "submission", "tcp"];
    let configuration = protocols
        .map(|protocol| {
            listener(protocol, protocol, "tls = \"implicit\"")
                + &listener(&format!("{protocol}-off"), protocol, "tls = \"off\"")
        })
        .concat();
    let proxy = start(&configuration);
    for (protocol, expected) in [
        ("imap", "* BYE No service for this name\r\n"),
        ("pop3", "-ERR [SYS/PERM] No service for this name\r\n"),
        ("smtp", "554 5.7.1 No service for this name\r\n"),
        ("submission", "554 5.7.1 No service for this name\r\n"),
        ("tcp", ""),
    ] {
        assert_eq!(
            words(&mut tls(proxy.address(protocol), Some(NAME))),
            expected
        );
        let plain = proxy.address(&format!("{protocol}-off"));
        assert_eq!(words(&mut connect(plain, CLIENT).unwrap()), expected);
    }
}

#[test]
fn an_upstream_that_is_down_gets_the_words_of_the_protocol() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let protocols = ["imap", "pop3", "smtp", "submission", "tcp"];
    let keys = format!("hostname = \"{NAME}\"\nupstream = \"down\"\ntls =");
    let configuration = protocols
        .map(|protocol| {
            let off = listener(
                &format!("{protocol}-off"),
                protocol,
                "upstream = \"down\"\ntls = \"off\"",
            );
            listener(protocol, protocol, &format!("{keys} \"implicit\"")) + &off
        })
        .concat()
        + &upstream("down", closed, "none");
    let proxy = start(&configuration);
    for (protocol, expected) in [
        ("imap", "* BYE [UNAVAILABLE] "),
        ("pop3", "-ERR [SYS/TEMP] "),
        ("smtp", "421 4.3.2 "),
        ("submission", "421 4.3.2 "),
        ("tcp", ""),
    ] {
        let said = words(&mut tls(proxy.address(protocol), Some(NAME)));
        assert!(said.starts_with(expected), "{protocol}: {said}");
        assert_eq!(
            said.ends_with("\r\n") && said.contains(NAME),
            protocol != "tcp",
            "{said}"
        );
        let plain = proxy.address(&format!("{protocol}-off"));
        let said = words(&mut connect(plain, CLIENT).unwrap());
        assert!(said.starts_with(expected), "{protocol} in clear: {said}");
    }
    counts(
        &proxy,
        r#"gatepost_upstream_errors_total{reason="refused",upstream="down"}"#,
        10,
    );
    let up = format!(r#"gatepost_upstream_up{{server="{closed}",upstream="down"}}"#);
    counts(&proxy, &up, 0);
}

/// A TLS server that says one line.
fn tls_greeter(pair: &Pair, line: &'static str) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
    let chain = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    echo::serve(move |mut socket| {
        let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = Stream::new(&mut server, &mut socket);
        // A client that goes away says so itself.
        drop(stream.write_all(format!("{line}\r\n").as_bytes()));
        stream.conn.send_close_notify();
        drop(stream.flush());
        drop(stream.read_to_end(&mut Vec::new()));
    })
}

#[test]
fn tls_that_is_passed_through_is_the_servers_own() {
    let theirs = TestCa::today();
    let server = |name: &str, line| tls_greeter(&theirs.leaf(&[name]).issue(), line);
    let keys = "tls = \"passthrough\"";
    let configuration = listener("through", "imap", keys)
        + &listener("own", "imap", &format!("{keys}\nupstream = \"echo\""))
        + &route(&["a.example.com"], None, "a")
        + &route(&["*.example.com"], None, "b")
        + &route(&["raw.example"], None, "echo")
        + &upstream("a", server("a.example.com", "this is a"), "none")
        + &upstream("b", server("b.example.com", "this is b"), "none")
        + &upstream("echo", echo::start(), "none");
    let proxy = start(&configuration);
    let to = proxy.address("through");
    for (name, line) in [
        ("a.example.com", "this is a"),
        ("b.example.com", "this is b"),
    ] {
        // It trusts their authority only, and ours has a certificate for the name too.
        assert_eq!(Client::tls(to, name, &theirs).line(), line);
    }

    // Every byte arrives as it was sent, those of the ClientHello and what follows.
    let follows = [0x17, 3, 3, 0, 4, 0, 0xff, 0x16, 0x0d];
    for (listener, name) in [("through", "raw.example"), ("own", "unknown.example")] {
        let mut sent = client_hello(name.as_bytes());
        sent.extend_from_slice(&follows);
        let mut socket = connect(proxy.address(listener), CLIENT).unwrap();
        socket.write_all(&sent).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut socket), sent, "{name}");
    }

    // A name that leads nowhere, none, and what is no TLS end without a word.
    for bytes in [
        client_hello(b"unknown.example"),
        client_hello(b"192.0.2.1"),
        b"a1 NOOP\r\n".to_vec(),
    ] {
        let mut socket = connect(to, CLIENT).unwrap();
        socket.write_all(&bytes).unwrap();
        assert_eq!(rest(&mut socket), b"");
    }
    counts(
        &proxy,
        r#"gatepost_connections_refused_total{listener="through",reason="no-route"}"#,
        2,
    );
    counts(
        &proxy,
        r#"gatepost_tls_handshake_failures_total{listener="through",reason="not-tls"}"#,
        1,
    );
}
