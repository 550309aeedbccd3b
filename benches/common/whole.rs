//! A whole proxy in this process, before an upstream.

use std::net::SocketAddr;
use std::path::Path;

use gatepost::config;
use gatepost::server::{Options, Server};
use gatepost::time::Clock;

/// Writes a certificate into a folder as the proxy expects it.
pub(crate) fn write(folder: &Path, (chain, key): &(String, String)) {
    std::fs::create_dir_all(folder).expect("a folder in a temporary one");
    std::fs::write(folder.join("bench.crt"), chain).expect("a file in it");
    std::fs::write(folder.join("bench.key"), key).expect("another");
}

/// The proxy, with a listener called `bench` of this protocol, and certificates in
/// `folder`/sslcert.
pub(crate) async fn start(folder: &Path, upstream: SocketAddr, protocol: &str) -> Server {
    let text = format!(
        r#"
        [certificates]
        trust = []
        [metrics]
        listen = "127.0.0.1:0"
        [log]
        access = false
        [[listener]]
        name = "bench"
        bind = ["127.0.0.1:0"]
        protocol = "{protocol}"
        upstream = "behind"
        [[upstream]]
        name = "behind"
        servers = ["{upstream}"]
        health_interval = "0s"
        "#
    );
    let (config, _) = config::parse(&text, &folder.join("proxy.toml")).expect("a good text");
    let options = Options {
        clock: Clock::System,
        inherit_sockets: false,
        log: None,
    };
    Server::start(config, options).await.expect("it starts")
}
