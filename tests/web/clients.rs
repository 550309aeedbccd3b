//! Real clients: curl, nghttp2, Python's, and a browser.

use std::{fs, thread};

use crate::common::net::Loopback;
use crate::common::process::{Outcome, Server, run};
use crate::common::wait;
use crate::web::{NAME, Proxy, listener, python, run_long, script, upstream};

const GIBIBYTE: u64 = 1 << 30;

/// The beginning of BLAKE2b of as many bytes that count from 0 to 255.
const HASH: &str = "1a6fba54d0e8b90c";

/// The server of `web_site.py`, and a proxy before it.
struct Stage {
    proxy: Proxy,
    _site: Server,
    _home: Loopback,
}

impl Stage {
    fn start() -> Self {
        let home = Loopback::claim();
        let (site, sockets) = (home.port(8080), home.port(8081));
        let route = format!(
            "[[route]]\nnames = [\"{NAME}\"]\npath = \"/socket\"\nupstream = \"sockets\"\n"
        );
        let configuration = listener("https", "implicit", "upstream = \"site\"")
            + &route
            + &upstream("site", site, "")
            + &upstream("sockets", sockets, "");
        let folder = crate::common::folder();
        let mut command = python("web_site.py");
        command.args([format!("at={site}"), format!("socket={sockets}")]);
        let mut server = Server::start("web_site.py", &mut command, &folder.path().join("log"));
        server.listens(sockets);
        let proxy = Proxy::start_quietly(&configuration);
        Self {
            proxy,
            _site: server,
            _home: home,
        }
    }

    /// What the proxy has in memory, without what it shares.
    fn memory(&self) -> u64 {
        let id = self.proxy.gatepost.server.id();
        let maps = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap();
        let line = maps.lines().find(|line| line.starts_with("Private_Dirty:"));
        let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() * 1024
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Outcome {
        let url = self.proxy.url("https", NAME, path);
        let arguments: Vec<_> = arguments.iter().copied().chain([url.as_str()]).collect();
        self.proxy.curl("https", &arguments)
    }
}

#[test]
fn pythons_clients_of_http_and_websocket_are_served() {
    let stage = Stage::start();
    let words = [format!("https={}", stage.proxy.address("https"))];
    let said = script(&stage.proxy, "web_clients.py", &words).ok();
    assert_eq!(said, "served\n");
}

#[test]
fn a_browser_loads_a_page_and_all_that_is_in_it() {
    const RUN: &str = r#"
pin=$(openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
profile=$(mktemp -d) && trap 'rm -rf "$profile"' EXIT
chromium-headless-shell --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage \
    --user-data-dir="$profile" --host-resolver-rules="MAP * 127.0.0.1" \
    --ignore-certificate-errors-spki-list="$pin" --virtual-time-budget=20000 --dump-dom "$2"
"#;
    let stage = Stage::start();
    let certificate = stage.proxy.gatepost.site.path("sslcert/mail.crt");
    let url = stage.proxy.url("https", NAME, "/");
    let arguments = ["-c", RUN, "sh", certificate.to_str().unwrap(), &url];
    let outcome = run("sh", arguments, b"");
    let said = outcome.stdout.split("<p id=\"said\">").nth(1);
    let said = said.unwrap_or_else(|| panic!("{outcome:?}"));
    // HTTP/2 sends cookies in pieces; a server of HTTP/1.1 gets them in one.
    assert_eq!(
        said.split('<').next().unwrap(),
        "cookies a=1; b=2 events 3 image over h2 poll held script sent 300000 socket hello \
         style rgb(1, 2, 3)"
    );
    // It speaks WebSocket in the connection that it has (RFC 8441).
    let line = stage
        .proxy
        .gatepost
        .logged(&["\"path\":\"/socket\"", "\"message\":\"request\""]);
    assert_eq!(line["method"], "CONNECT", "{line}");
    assert_eq!(line["status"], 200, "{line}");
}

#[test]
fn nghttp2_is_served_one_request_and_thousands() {
    let stage = Stage::start();
    let address = stage.proxy.address("https").to_string();
    let url = format!("https://{address}/hints");
    let authority = format!(":authority: {NAME}");
    // It sends the name that it is told to.
    let said = run("nghttp", ["--verbose", "--header", &authority, &url], b"").ok();
    assert!(said.contains(":status: 200"), "{said}");
    assert!(said.contains("hinted"), "{said}");
    let url = format!("https://{address}/style.css");
    let arguments = [
        "--requests=2000",
        "--clients=8",
        "--max-concurrent-streams=32",
        "--header",
        &authority,
        &url,
    ];
    for version in ["--npn-list=h2", "--h1"] {
        let said = run("h2load", arguments.iter().chain([&version]), b"").ok();
        let expected =
            "requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored";
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn curl_gets_trailers_hints_and_events_and_waits_for_the_go_ahead() {
    let stage = Stage::start();
    for version in ["--http1.1", "--http2"] {
        let takes = ["--header", "TE: trailers", "--include", version];
        let said = stage.curl(&takes, "/trailers").ok();
        assert!(said.contains("abc") && said.contains("x-sum: 7"), "{said}");
        let sent = [
            version,
            "--include",
            "--header",
            "Expect: 100-continue",
            "--data",
            "hello",
        ];
        let said = stage.curl(&sent, "/hash").ok();
        assert!(said.contains("x-expected: 100-continue"), "{said}");
        assert!(said.contains("\r\n\r\n5 "), "{said}");
        let said = stage.curl(&[version, "--no-buffer"], "/events").ok();
        assert_eq!(said, "data: 1\n\ndata: 2\n\ndata: 3\n\n");
        let until = format!("?until={version}");
        thread::scope(|scope| {
            let held = scope.spawn(|| stage.curl(&[version], &format!("/hold{until}")).ok());
            stage.curl(&[version], &format!("/release{until}")).ok();
            assert_eq!(held.join().unwrap(), "held");
        });
    }
    let said = stage.curl(&["--http1.1", "--include"], "/hints").ok();
    let expected =
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn a_gibibyte_up_and_down_takes_no_memory() {
    // What the server makes, by a program that makes the same.
    const UP: &str = "/usr/bin/python3 -c 'import sys
for _ in range(4096): sys.stdout.buffer.write(bytes(range(256)) * 1024)' |
    curl --silent --show-error --http1.1 --cacert \"$1\" --resolve \"$2\" --request POST --upload-file - \"$3/hash\"";
    const DOWN: &str = "curl --silent --show-error --fail --http2 --cacert \"$1\" --resolve \"$2\" \"$3/large?blocks=4096\" | b2sum";
    let stage = Stage::start();
    let root = stage.proxy.gatepost.site.path("root.pem");
    let address = stage.proxy.address("https");
    let resolve = format!("{NAME}:{}:{}", address.port(), address.ip());
    let url = stage.proxy.url("https", NAME, "");
    let before = stage.memory();
    let mut most = before;
    let transfers = [UP, DOWN].map(|text| {
        let arguments = ["-c", text, "sh", root.to_str().unwrap(), &resolve, &url];
        let arguments = arguments.map(str::to_owned);
        thread::spawn(move || run_long("sh", &arguments).ok())
    });
    wait::for_longer("a gibibyte each way", || {
        most = most.max(stage.memory());
        transfers.iter().all(thread::JoinHandle::is_finished)
    });
    let [up, down] = transfers.map(|transfer| transfer.join().unwrap());
    assert_eq!(up, format!("{GIBIBYTE} {HASH}"));
    assert!(down.starts_with(HASH), "{down}");
    let grown = most - before;
    assert!(grown < 16 << 20, "{grown} bytes more than {before}");
}
