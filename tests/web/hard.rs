//! Requests that are malformed or ambiguous, floods, and clients that take their time. The tables
//! are in `tests/clients`, as are the servers that say what reached them.

use crate::common::ca::TestCa;
use crate::common::net::Loopback;
use crate::common::nginx::Nginx;
use crate::web::{Proxy, before, listener, script, upstream};

const STRICT: u16 = 10_080;

/// A proxy before the strict server of these programs, and what they are told of both.
fn strict(keys: &str) -> (Proxy, Loopback, Vec<String>) {
    let home = Loopback::claim();
    let server = home.port(STRICT);
    // What is logged of every frame would be most of what a flood costs.
    let proxy = Proxy::start_quietly(&before(server, keys, ""));
    let words = vec![
        format!("https={}", proxy.address("https")),
        format!("strict={server}"),
        format!("pid={}", proxy.gatepost.server.id()),
    ];
    (proxy, home, words)
}

#[test]
fn every_malformed_request_is_answered_and_reaches_neither_nginx_nor_a_strict_server() {
    let nginx = Nginx::start(&TestCa::today().leaf(&["localhost"]).issue());
    let home = Loopback::claim();
    let server = home.port(STRICT);
    let limit = "max_body = \"1MiB\"\nupstream = ";
    let off = "health_interval = \"0s\"";
    let configuration = listener("https", "implicit", &format!("{limit}\"strict\""))
        + &listener("nginx", "implicit", &format!("{limit}\"nginx\""))
        + &upstream("strict", server, off)
        + &upstream("nginx", nginx.plain(), off);
    let proxy = Proxy::start(&configuration);
    let words = [
        format!("https={}", proxy.address("https")),
        format!("nginx={}", proxy.address("nginx")),
        format!("strict={server}"),
        format!("log={}", nginx.path("access").display()),
    ];
    let said = script(&proxy, "http1_hard.py", &words).ok();
    let requests: u32 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(requests >= 250, "{said}");
}

#[test]
fn every_malformed_request_in_http2_is_answered_and_reaches_nobody() {
    let (proxy, _home, words) = strict("");
    script(&proxy, "http2_hard.py", &words).ok();
}

#[test]
fn every_malformed_answer_is_refused_and_leaves_nothing_to_the_next_client() {
    let (proxy, _home, words) = strict("");
    script(&proxy, "http_answers.py", &words).ok();
}

#[test]
fn floods_cost_little_and_hold_nobody_up() {
    let (proxy, _home, mut words) = strict("");
    words.push("play=floods".to_owned());
    script(&proxy, "http_floods.py", &words).ok();
}

#[test]
fn clients_that_read_and_write_slowly_cost_little_and_hold_nobody_up() {
    let (proxy, _home, mut words) = strict("");
    words.push("play=slow".to_owned());
    script(&proxy, "http_floods.py", &words).ok();
}

#[test]
fn a_header_that_does_not_come_is_waited_for_15_seconds() {
    let (proxy, _home, mut words) = strict("");
    words.push("play=header".to_owned());
    script(&proxy, "http_floods.py", &words).ok();
}
