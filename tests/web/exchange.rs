//! Requests and answers that are more than a question and a page.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::common::wait;
use crate::common::web::Web;
use crate::web::{NAME, Proxy, before, echo, field, head, send};

#[test]
fn a_body_waits_for_the_servers_go_ahead_and_hints_pass() {
    let web = Web::start(|request, connection| {
        match request.path() {
            "/refuse" => connection
                .say("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            path => {
                if path == "/hints" {
                    connection.say("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
                    connection.say("HTTP/1.1 102 Processing\r\n\r\n");
                }
                if !request.field("expect").is_empty() {
                    connection.say("HTTP/1.1 100 Continue\r\n\r\n");
                }
                let length = request.field("content-length").parse().unwrap_or(0);
                let body = String::from_utf8(connection.body(length)).unwrap();
                connection.answer("", &body);
            }
        }
        request.path() != "/refuse"
    });
    let proxy = Proxy::before_web(&web);
    let host = format!("Host: {NAME}");
    let lines = |path: &str| {
        let line = format!("POST {path} HTTP/1.1");
        [
            line,
            host.clone(),
            "Content-Length: 5".into(),
            "Expect: 100-continue".into(),
        ]
    };
    let mut client = proxy.raw();
    send(&mut client, &lines("/").each_ref().map(String::as_str));
    assert_eq!(head(&mut client), ["HTTP/1.1 100 Continue"]);
    client.send(b"hello").unwrap();
    assert_eq!(head(&mut client)[0], "HTTP/1.1 200 OK");
    assert_eq!(client.bytes(5), b"hello");

    send(&mut client, &["GET /hints HTTP/1.1", &host]);
    assert_eq!(
        head(&mut client),
        ["HTTP/1.1 103 Early Hints", "link: </a.css>"]
    );
    assert_eq!(head(&mut client), ["HTTP/1.1 102 Processing"]);
    assert_eq!(head(&mut client)[0], "HTTP/1.1 200 OK");

    send(
        &mut client,
        &lines("/refuse").each_ref().map(String::as_str),
    );
    assert_eq!(
        head(&mut client)[0],
        "HTTP/1.1 403 Forbidden",
        "and no go-ahead"
    );
}

#[test]
fn trailers_pass_in_both_directions() {
    let (got, trailers) = mpsc::channel();
    let got = Mutex::new(got);
    let web = Web::start(move |request, connection| {
        if request.field("transfer-encoding") == "chunked" {
            let mut lines = Vec::new();
            loop {
                let line = connection.line();
                if line.is_empty() {
                    break;
                }
                lines.push(line);
            }
            got.lock().unwrap().send(lines).unwrap();
        }
        connection.say(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n",
        );
        true
    });
    let proxy = Proxy::before_web(&web);
    let mut client = proxy.raw();
    let host = format!("Host: {NAME}");
    send(
        &mut client,
        &[
            "POST / HTTP/1.1",
            &host,
            "TE: trailers",
            "Connection: TE",
            "Trailer: x-mine",
            "Transfer-Encoding: chunked",
        ],
    );
    client.send(b"2\r\nhi\r\n0\r\nx-mine: 1\r\n\r\n").unwrap();
    let head = head(&mut client);
    assert_eq!(field(&head, "transfer-encoding"), "chunked");
    let body: Vec<_> = (0..5).map(|_| client.line()).collect();
    assert_eq!(body, ["3", "abc", "0", "x-sum: 7", ""]);
    assert_eq!(trailers.recv().unwrap(), ["2", "hi", "0", "x-mine: 1"]);

    let url = proxy.url("https", NAME, "/");
    let said = proxy.curl("https", &["--http2", "--include", &url]).ok();
    assert!(said.contains("abc"), "{said}");
    assert!(said.contains("x-sum: 7"), "{said}");
}

/// A server that changes to another protocol, in which it says everything twice.
fn twice() -> Web {
    Web::start(|request, connection| {
        let upgrade = request.field("upgrade");
        if upgrade.is_empty() {
            connection.answer("", "no upgrade");
            return true;
        }
        connection.say(&format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: {upgrade}\r\nconnection: upgrade\r\n\r\n\
             welcome\r\n"
        ));
        loop {
            let line = connection.line();
            if line.is_empty() {
                connection.say("bye\r\n");
                return false;
            }
            connection.say(&format!("{line} {line}\r\n"));
        }
    })
}

#[test]
fn another_protocol_passes_until_both_sides_are_done() {
    let web = twice();
    let proxy = Proxy::before_web(&web);
    let host = format!("Host: {NAME}");
    for protocol in ["websocket", "printer/1.0"] {
        let mut client = proxy.raw();
        let upgrade = format!("Upgrade: {protocol}");
        // What comes together with the request is the new protocol's already.
        send(
            &mut client,
            &[
                "GET / HTTP/1.1",
                &host,
                "Connection: keep-alive, Upgrade",
                &upgrade,
            ],
        );
        client.send(b"a\r\n").unwrap();
        let head = head(&mut client);
        assert_eq!(head[0], "HTTP/1.1 101 Switching Protocols");
        assert_eq!(field(&head, "upgrade"), protocol);
        assert_eq!(field(&head, "connection").to_lowercase(), "upgrade");
        assert_eq!([client.line(), client.line()], ["welcome", "a a"]);
        assert_eq!(client.ask("b"), "b b");
        assert_eq!(client.ask(""), "bye");
        assert_eq!(client.rest().unwrap(), "");
    }
    let mut client = proxy.raw();
    send(
        &mut client,
        &[
            "GET / HTTP/1.1",
            &host,
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
        ],
    );
    assert_eq!(head(&mut client)[0], "HTTP/1.1 200 OK");
    let passed = &web.requests().last().unwrap().head.to_lowercase();
    assert!(
        !passed.contains("h2c") && !passed.contains("http2-settings"),
        "{passed}"
    );
    let line = proxy
        .gatepost
        .logged(&["\"message\":\"request\"", "\"status\":101"]);
    assert!(line["bytes"].as_u64().unwrap() > 0, "{line}");
}

#[test]
fn a_connection_that_the_server_has_closed_costs_no_request() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    // It answers one request on each connection, and closes when it hears the next.
    let web = Web::start(move |request, connection| {
        counted.fetch_add(1, Ordering::SeqCst);
        if request.path() == "/twice-refused" {
            return false;
        }
        let fresh = connection.fresh();
        if fresh {
            connection.answer("", "once");
        }
        fresh
    });
    let proxy = Proxy::before_web(&web);
    for n in 0..3 {
        assert_eq!(proxy.page("--http1.1", "/"), "once", "{n}");
    }
    let before = count.load(Ordering::SeqCst);
    let url = proxy.url("https", NAME, "/");
    let post = [
        "--http1.1",
        "--data",
        "body",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        &url,
    ];
    // Its body was sent: whether it was processed nobody knows.
    assert_eq!(proxy.curl("https", &post).ok(), "502");
    assert_eq!(count.load(Ordering::SeqCst), before + 1);
    assert_eq!(proxy.status("https", NAME, "/twice-refused", &[]), "502");
    assert_eq!(
        count.load(Ordering::SeqCst),
        before + 3,
        "once more, and no more"
    );
}

#[test]
fn servers_that_cannot_be_reached_or_do_not_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broken = Web::start(|request, connection| {
        match request.path() {
            "/garbage" => connection.say("220 mail.example.com ESMTP\r\n\r\n"),
            "/truncated" => connection.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
            _ => {}
        }
        false
    });
    let configuration = before(broken.address, "idle_timeout = \"1s\"", "")
        + &crate::web::listener("nobody", "implicit", "upstream = \"nobody\"")
        + &crate::web::listener(
            "silent",
            "implicit",
            "upstream = \"silent\"\nidle_timeout = \"1s\"",
        )
        + &crate::web::upstream("nobody", "127.0.0.1:1", "health_interval = \"0s\"")
        + &crate::web::upstream(
            "silent",
            silent.local_addr().unwrap(),
            "health_interval = \"0s\"",
        );
    let proxy = Proxy::start(&configuration);
    for version in ["--http1.1", "--http2"] {
        assert_eq!(proxy.status("https", NAME, "/garbage", &[version]), "502");
        assert_eq!(proxy.status("silent", NAME, "/", &[version]), "504");
        let url = proxy.url("https", NAME, "/truncated");
        let cut = proxy.curl("https", &[version, &url]);
        assert!(!cut.status.success(), "{cut:?}");
        assert_eq!(cut.stdout, "abc");
    }
    assert_eq!(
        proxy.status("nobody", NAME, "/", &[]),
        "502",
        "refused for the first time"
    );
    assert_eq!(
        proxy.status("nobody", NAME, "/", &[]),
        "503",
        "and known to be down"
    );
    let page = proxy
        .curl("nobody", &[&proxy.url("nobody", NAME, "/")])
        .ok();
    let id = page
        .split("Request ")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let line = proxy.gatepost.logged(&["\"message\":\"request\"", id]);
    assert_eq!(
        (&line["status"], &line["upstream"]),
        (&503.into(), &"nobody".into())
    );
}

#[test]
fn requests_of_one_connection_are_answered_in_their_order() {
    let web = Web::start(echo);
    let proxy = Proxy::before_web(&web);
    let mut client = proxy.raw();
    let request = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let all: String = (0..50).map(request).collect();
    client.send(all.as_bytes()).unwrap();
    for n in 0..50 {
        let head = head(&mut client);
        let body = client.bytes(field(&head, "content-length").parse().unwrap());
        assert_eq!(String::from_utf8(body).unwrap(), format!("/{n} on 0"));
    }
    assert_eq!(web.connections(), 1);
}

#[test]
fn an_early_answer_to_a_long_body_arrives() {
    let web = Web::start(|_, connection| {
        connection
            .say("HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlong");
        // It reads no more, and waits until the proxy has closed.
        wait::until("the proxy to close", || connection.body(1).is_empty());
        false
    });
    let proxy = Proxy::before_web(&web);
    for version in ["--http1.1", "--http2"] {
        let url = proxy.url("https", NAME, "/");
        let body = "x".repeat(100_000);
        let asked = [
            version,
            "--write-out",
            "%{http_code}",
            "--header",
            "Expect:",
            "--data",
            &body,
            &url,
        ];
        assert_eq!(proxy.curl("https", &asked).stdout, "long413", "{version}");
    }
}

#[test]
fn a_client_that_goes_away_takes_its_request_with_it() {
    let (gone, ended) = mpsc::channel();
    let gone = Mutex::new(gone);
    let web = Web::start(move |_, connection| {
        // Nothing comes any more, and then the connection ends.
        let closed = connection.body(1).is_empty();
        gone.lock().unwrap().send(closed).unwrap();
        false
    });
    let proxy = Proxy::before_web(&web);
    let mut client = proxy.raw();
    send(&mut client, &["GET / HTTP/1.1", &format!("Host: {NAME}")]);
    wait::until("the request to arrive", || web.requests().len() == 1);
    drop(client);
    assert!(ended.recv().unwrap());
    proxy
        .gatepost
        .logged(&["\"message\":\"request\"", "\"status\":499"]);
}
