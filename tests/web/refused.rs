//! Requests that could be read in more than one way, and clients that send none.

use crate::common::wait;
use crate::common::web::Web;
use crate::web::{NAME, Proxy, echo};

#[test]
fn what_is_ambiguous_is_refused_and_reaches_nobody() {
    let web = Web::start(echo);
    let proxy = Proxy::before_web(&web);
    let host = format!("Host: {NAME}\r\n");
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), "400"),
        (
            format!("GET / HTTP/1.1\r\n{host}Host: other.example\r\n\r\n"),
            "400",
        ),
        (
            format!("GET http://other.example/ HTTP/1.1\r\n{host}\r\n"),
            "400",
        ),
        (format!("GET / HTTP/1.1\r\nHost : {NAME}\r\n\r\n"), "400"),
        (
            format!("GET / HTTP/1.1\r\n{host}X: 1\r\n folded\r\n\r\n"),
            "400",
        ),
        (format!("GET / HTTP/1.1\r\n{host}\x01: 1\r\n\r\n"), "400"),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            "400",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 1, 1\r\n\r\na"),
            "400",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\na"),
            "400",
        ),
        (
            format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "400",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
            ),
            "400",
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            "501",
        ),
        (format!("GET /.. HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("GET /%00 HTTP/1.1\r\n{host}\r\n"), "400"),
        (format!("CONNECT {NAME}:443 HTTP/1.1\r\n{host}\r\n"), "405"),
        (format!("TRACE / HTTP/1.1\r\n{host}\r\n"), "405"),
        (
            format!("GET / HTTP/1.1\r\n{host}Expect: the unexpected\r\n\r\n"),
            "417",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400"),
        (
            format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: 1\r\n".repeat(100)),
            "431",
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "a".repeat(65_536)),
            "431",
        ),
        (
            // One or the other, depending on how much of it comes at once.
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(65_536)),
            "414 431",
        ),
    ];
    for (request, status) in cases {
        let mut client = proxy.raw();
        // A second request behind it would be answered if the connection went on.
        let all = format!("{request}GET /smuggled HTTP/1.1\r\n{host}\r\n");
        drop(client.send(all.as_bytes()));
        let said = client.rest().unwrap();
        let shown = &request[..request.len().min(80)];
        let is = |status| said.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(status.split(' ').any(is), "{shown:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {said}");
        assert!(said.contains("<p>Request "), "{shown:?}: {said}");
    }
    assert_eq!(web.requests().len(), 0, "{:?}", web.requests());
    let series = |code: &str| {
        format!("gatepost_http_requests_total{{code=\"{code}\",listener=\"http\",route=\"none\"}}")
    };
    wait::until("all of them to be counted", || {
        let codes = ["400", "405", "414", "417", "431", "501"];
        let counted = codes.map(|code| proxy.gatepost.metric(&series(code)));
        counted.iter().flatten().sum::<f64>() == 22.0
    });
}

#[test]
fn a_length_beside_chunks_counts_for_nothing() {
    let web = Web::start(|request, connection| {
        assert_eq!(request.field("content-length"), "");
        let body: Vec<_> = (0..4).map(|_| connection.line()).collect();
        connection.answer("", &body.join("|"));
        true
    });
    let proxy = Proxy::before_web(&web);
    let mut client = proxy.raw();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
    );
    client.send(request.as_bytes()).unwrap();
    let said = client.rest().unwrap();
    assert!(
        said.starts_with("HTTP/1.1 200 OK") && said.ends_with("2|hi|0|"),
        "{said}"
    );
    assert!(said.contains("connection: close\r\n"), "{said}");
    assert_eq!(web.requests().len(), 1);
}
