//! More connections than there may be.

use std::io::{Read, Write};

use super::{
    NAME, OTHER, TlsStream, counts, listener, rest, start, tls, tls_over, upstream, words,
};
use crate::common::client::connect;
use crate::common::handshake::Kind;
use crate::common::net::CLIENT;
use crate::common::proxy::TestProxy;
use crate::common::{echo, wait};

/// A TLS and a plaintext listener with an echo behind, and these limits.
fn limited(limits: &str) -> TestProxy {
    let configuration = format!("[limits]\n{limits}\n")
        + &listener("tls", "tcp", "tls = \"implicit\"\nupstream = \"echo\"")
        + &listener("off", "imap", "tls = \"off\"\nupstream = \"echo\"")
        + &upstream("echo", echo::start(), "none");
    start(&configuration)
}

fn says_again(stream: &mut TlsStream) -> std::io::Result<()> {
    stream.write_all(b"again")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"again");
    Ok(())
}

#[test]
fn a_client_gets_no_more_connections_than_it_may() {
    let proxy = limited("connections_per_client = 2");
    let to = proxy.address("tls");
    let mut first = tls(to, Some(NAME));
    says_again(&mut first).unwrap();
    let mut second = tls(to, Some(NAME));
    says_again(&mut second).unwrap();

    // Before TLS there are no words that the client would understand; in clear there are. It gets
    // them although it has spoken already.
    let mut refused = connect(to, CLIENT).unwrap();
    refused.write_all(&[22, 3, 1, 0, 100, 1]).unwrap();
    assert_eq!(rest(&mut refused), b"\x15\x03\x03\0\x02\x02\x50");
    let mut refused = connect(proxy.address("off"), CLIENT).unwrap();
    refused.write_all(b"a CAPABILITY\r\n").unwrap();
    let said = words(&mut refused);
    assert!(said.starts_with("* BYE [LIMIT] "), "{said}");
    for listener in ["tls", "off"] {
        let labels = format!(r#"{{listener="{listener}",reason="client-limit"}}"#);
        counts(
            &proxy,
            &format!("gatepost_connections_refused_total{labels}"),
            1,
        );
    }
    let other = connect(to, OTHER).unwrap();
    let mut other = tls_over(other, Some(NAME), Kind::Modern.config());
    says_again(&mut other).unwrap();

    says_again(&mut second).unwrap();
    drop(first);
    wait::for_ok("the place of the first", || {
        says_again(&mut tls(to, Some(NAME)))
    });
}

#[test]
fn a_client_in_clear_is_told_when_the_proxy_ends() {
    let configuration = "[limits]\ndrain_timeout = \"0s\"\n".to_owned()
        + &listener("clear", "imap", "tls = \"starttls\"");
    let proxy = start(&configuration);
    let mut client = connect(proxy.address("clear"), CLIENT).unwrap();
    let mut greeting = [0; 4];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"* OK");
    proxy.stop();
    let said = words(&mut client);
    assert!(said.contains("\r\n* BYE [UNAVAILABLE] "), "{said}");
}

#[test]
fn beyond_the_limit_of_connections_clients_wait() {
    let proxy = limited("connections = 2");
    let to = proxy.address("tls");
    let mut first = tls(to, Some(NAME));
    says_again(&mut first).unwrap();
    let mut second = tls(to, Some(NAME));
    says_again(&mut second).unwrap();

    let mut third = tls(to, Some(NAME));
    let mut hello = Vec::new();
    third.conn.write_tls(&mut hello).unwrap();
    third.sock.write_all(&hello).unwrap();
    // The others go on meanwhile, for long enough that it would have been accepted.
    for _ in 0..50 {
        says_again(&mut first).unwrap();
        says_again(&mut second).unwrap();
    }
    counts(&proxy, r#"gatepost_connections_total{listener="tls"}"#, 2);
    drop(second);
    says_again(&mut third).unwrap();
    counts(&proxy, r#"gatepost_connections_total{listener="tls"}"#, 3);
    counts(&proxy, r#"gatepost_connections_active{listener="tls"}"#, 2);
    says_again(&mut first).unwrap();
}

#[test]
fn a_client_that_leaves_before_it_is_greeted_is_not_kept() {
    let silent = echo::serve(|mut stream| drop(rest(&mut stream)));
    let configuration =
        listener("imaps", "imap", "upstream = \"silent\"") + &upstream("silent", silent, "none");
    let proxy = start(&configuration);
    let mut client = tls(proxy.address("imaps"), Some(NAME));
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    drop(client);
    let series = r#"gatepost_connections_ended_total{listener="imaps",party="downstream",reason="closed",stage="connect"}"#;
    counts(&proxy, series, 1);
}

#[test]
fn a_client_that_leaves_while_its_server_is_silent_is_not_kept_for_long() {
    let silent = echo::serve(|mut stream| drop(rest(&mut stream)));
    let configuration = "[limits]\nhandshake_timeout = \"1s\"\n".to_owned()
        + &listener(
            "mx",
            "smtp",
            "tls = \"starttls-optional\"\nupstream = \"silent\"",
        )
        + &listener("imaps", "imap", "upstream = \"silent\"")
        + &upstream("silent", silent, "none");
    let proxy = start(&configuration);
    // What it says is for the server, who does not come to hear it.
    let mut client = connect(proxy.address("mx"), CLIENT).unwrap();
    client
        .write_all(b"EHLO client.example.com\r\nMAIL FROM:<>\r\n")
        .unwrap();
    // All that it is told: a close with bytes unread would be a reset.
    let mut told = Vec::new();
    while !told.ends_with(b"250 STARTTLS\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        told.extend(byte);
    }
    drop(client);
    let mut client = tls(proxy.address("imaps"), Some(NAME));
    client.write_all(b"a CAPABILITY\r\n").unwrap();
    client.flush().unwrap();
    drop(client);
    for listener in ["mx", "imaps"] {
        let series = format!(
            r#"gatepost_connections_ended_total{{listener="{listener}",party="downstream",reason="closed",stage="connect"}}"#
        );
        counts(&proxy, &series, 1);
    }
}
