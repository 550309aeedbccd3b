use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;
use crate::admin::fixture::{Fixture, pair};

struct Proxy {
    fixture: Fixture,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Proxy {
    /// `commands` takes what is asked of the listeners.
    fn start(commands: mpsc::Sender<Command>) -> Self {
        let fixture = Fixture::new();
        let listener = UnixListener::bind(fixture.folder.path().join("s")).unwrap();
        let shutdown = CancellationToken::new();
        let context = fixture.context.clone();
        let server = tokio::spawn(serve(listener, context, commands, shutdown.clone()));
        Self {
            fixture,
            shutdown,
            server,
        }
    }

    async fn connect(&self) -> UnixStream {
        let path = self.fixture.folder.path().join("s");
        UnixStream::connect(path).await.unwrap()
    }

    /// Status, head and document of the answer.
    async fn ask(&self, request: &str, body: &str) -> (u16, String, Value) {
        let mut stream = self.connect().await;
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: gatepost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A refused body is not read to its end.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let document = serde_json::from_str(body).unwrap_or(Value::Null);
        (status, head.to_lowercase(), document)
    }
}

fn status() -> api::Status {
    api::Status {
        version: "1.2.3".to_owned(),
        started: api::Timestamp(0),
        draining: false,
        listeners: vec![api::ListenerStatus {
            name: "imaps".to_owned(),
            bound: vec!["[::]:993".to_owned()],
            connections: 3,
        }],
        upstreams: Vec::new(),
        default: Some("server".to_owned()),
        expires_next: None,
    }
}

/// Answers commands as the proxy would.
fn obey(mut commands: mpsc::Receiver<Command>) {
    tokio::spawn(async move {
        let mut good = false;
        while let Some(command) = commands.recv().await {
            match command {
                Command::Status(answer) => answer.send(status()).unwrap(),
                Command::Reload(answer) => {
                    good = !good;
                    let outcome = good
                        .then(api::Reloaded::default)
                        .ok_or_else(|| "proxy.toml:3: wrong".to_owned());
                    answer.send(outcome).unwrap();
                }
                Command::Drain(answer) => answer.send(api::Drained { cut_off: 2 }).unwrap(),
                Command::Stop(answer) => drop(answer),
            }
        }
    });
}

fn proxy() -> Proxy {
    let (sender, commands) = mpsc::channel(1);
    obey(commands);
    Proxy::start(sender)
}

#[tokio::test]
async fn every_route_has_its_answer() {
    let proxy = proxy();
    let new = r#"{"hostnames": ["a.example.com"], "country": "DE"}"#;
    let germany = r#"{"hostnames": ["a.example.com"], "country": "Germany"}"#;
    let no_name = r#"{"hostnames": ["a.example.com"], "country": "DE", "name": "../a"}"#;
    for (request, body, expected) in [
        ("GET /v1/status", "", 200),
        ("GET /v1/certificates", "", 200),
        ("POST /v1/certificates", new, 201),
        ("GET /v1/certificates/a.example.com", "", 200),
        ("GET /v1/certificates/nobody", "", 404),
        ("GET /v1/default", "", 200),
        ("PUT /v1/default", r#"{"name": "a.example.com"}"#, 200),
        ("PUT /v1/default", r#"{"name": "nobody"}"#, 404),
        ("DELETE /v1/certificates/a.example.com", "", 409),
        (
            "DELETE /v1/certificates/a.example.com?force=perhaps",
            "",
            400,
        ),
        ("DELETE /v1/certificates/a.example.com?really=true", "", 400),
        ("DELETE /v1/certificates/a.example.com?force=true", "", 204),
        ("DELETE /v1/certificates/a.example.com", "", 404),
        ("GET /v1/explain?host=a.example.com", "", 200),
        ("GET /v1/explain", "", 200),
        ("GET /v1/explain?hots=a", "", 400),
        ("GET /v1/explain?host=%zz", "", 400),
        ("GET /v1/explain?listener=nobody", "", 404),
        ("GET /v1/explain?host=a%20b", "", 400),
        ("POST /v1/reload", "", 200),
        ("POST /v1/reload", "", 422),
        ("POST /v1/drain", "", 200),
        ("POST /v1/stop", "", 503),
        ("POST /v1/requests", new, 201),
        ("POST /v1/requests", "{}", 400),
        (
            "POST /v1/requests",
            r#"{"from": "a", "key_type": "rsa-2048"}"#,
            400,
        ),
        ("POST /v1/requests", r#"{"from": "nobody"}"#, 404),
        ("POST /v1/import-signed", "{}", 400),
        ("POST /v1/import-signed", r#"{"der_base64": "!"}"#, 400),
        ("POST /v1/import-signed", r#"{"der_base64": "AA=="}"#, 422),
        ("GET /v1/certificates/server/certificate", "", 200),
        ("GET /v1/certificates/server/chain", "", 200),
        ("GET /v1/certificates/server/key", "", 200),
        ("GET /v1/certificates/server/request", "", 404),
        ("DELETE /v1/certificates/server/request", "", 404),
        ("GET /v1/certificates/a.example.com/request", "", 200),
        ("GET /v1/certificates/a.example.com/certificate", "", 404),
        ("DELETE /v1/certificates/a.example.com/request", "", 204),
        ("GET /v1/certificates/nobody/key", "", 404),
        ("POST /v1/import", r#"{"pkcs12_base64": "AA=="}"#, 422),
        ("POST /v1/import", r#"{"der_base64": "AA=="}"#, 422),
        ("POST /v1/import", r#"{"der_base64": "AA"}"#, 400),
        ("POST /v1/import", r#"{"passphrase": "x"}"#, 400),
        ("POST /v1/import", r#"{"certificate_pem": "nothing"}"#, 422),
        ("POST /v1/import", "{}", 400),
        ("POST /v1/import", "{", 400),
        ("POST /v1/import", r#"{"certificate": ""}"#, 400),
        ("POST /v1/certificates", r#"{"hostnames": []}"#, 400),
        ("POST /v1/certificates", germany, 400),
        ("POST /v1/certificates", no_name, 400),
        ("GET /", "", 404),
        ("GET /v1/", "", 404),
        ("GET /v1/certificates/", "", 404),
        ("GET /v1/certificates/server/password", "", 404),
        ("GET /v2/status", "", 404),
    ] {
        let (status, head, document) = proxy.ask(request, body).await;
        assert_eq!(status, expected, "{request} {body}: {document}");
        if status >= 400 {
            assert!(
                head.contains("content-type: application/problem+json"),
                "{head}"
            );
            assert_eq!(document["status"], expected, "{request}");
            assert_eq!(document["type"], "about:blank");
            assert!(!document["title"].as_str().unwrap().is_empty());
            assert!(
                !document["detail"].as_str().unwrap().is_empty(),
                "{request}"
            );
        }
        if status == 501 {
            let detail = document["detail"].as_str().unwrap();
            assert!(detail.contains("not in this version"), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_method_that_is_not_known_names_those_that_are() {
    let proxy = proxy();
    for (request, allowed) in [
        ("POST /v1/status", "get"),
        ("DELETE /v1/certificates", "get, post"),
        ("PUT /v1/certificates/server", "get, delete"),
        ("DELETE /v1/default", "get, put"),
        ("GET /v1/import", "post"),
        ("GET /v1/reload", "post"),
        ("HEAD /v1/stop", "post"),
        ("GET /v1/requests", "post"),
        ("PUT /v1/certificates/server/key", "get"),
        ("PUT /v1/certificates/server/request", "get, delete"),
    ] {
        let (status, head, _) = proxy.ask(request, "").await;
        assert_eq!(status, 405, "{request}");
        let lines: Vec<_> = head.lines().collect();
        assert!(
            lines.contains(&format!("allow: {allowed}").as_str()),
            "{head}"
        );
    }
}

#[tokio::test]
async fn documents_are_as_promised() {
    let proxy = proxy();
    let (_, head, status) = proxy.ask("GET /v1/status", "").await;
    assert!(head.contains("content-type: application/json"));
    assert_eq!(
        status,
        json!({"version": "1.2.3", "started": "1970-01-01T00:00:00Z", "draining": false,
               "listeners": [{"name": "imaps", "bound": ["[::]:993"], "connections": 3}],
               "upstreams": [], "default": "server", "expires_next": null})
    );

    let (certificate, key) = pair("mail.example.com");
    let import = json!({"certificate_pem": certificate, "key_pem": key});
    let (_, _, imported) = proxy.ask("POST /v1/import", &import.to_string()).await;
    assert_eq!(
        imported,
        json!({"name": "mail.example.com", "problems": []})
    );

    let (_, _, list) = proxy.ask("GET /v1/certificates", "").await;
    let mail = &list["certificates"][0];
    let keys: Vec<_> = mail
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut promised = vec![
        "name",
        "kind",
        "subject",
        "issuer",
        "names",
        "addresses",
        "not_before",
        "not_after",
        "key_type",
        "sha256",
        "standing",
        "next_change",
        "default",
        "problems",
    ];
    promised.sort_unstable();
    let mut found = keys;
    found.sort_unstable();
    assert_eq!(found, promised);
    assert_eq!(mail["kind"], "certificate");
    assert_eq!(mail["not_before"], "2026-11-21T10:00:00Z");

    let request = "GET /v1/explain?host=mail.example.com&listener=imaps&client=tls12";
    let (_, _, explained) = proxy.ask(request, "").await;
    assert_eq!(
        explained,
        json!({"name": "mail.example.com", "listener": "imaps", "client": "tls12",
               "at": "2026-11-21T10:00:00Z", "outcome": "served",
               "winner": {"name": "mail.example.com", "rank": 2, "matched": "exact",
                          "sha256": mail["sha256"]},
               "candidates": explained["candidates"],
               "next_change": explained["next_change"]})
    );
    assert_eq!(explained["candidates"][0]["name"], "server");
    assert_eq!(explained["candidates"][0]["rank"], 9);
    assert!(explained["candidates"][0]["lost_because"].is_string());

    let (_, _, default) = proxy.ask("GET /v1/default", "").await;
    assert_eq!(default, json!({"name": "server"}));
    let (_, _, drained) = proxy.ask("POST /v1/drain", "").await;
    assert_eq!(drained, json!({"cut_off": 2}));
    let (_, _, reloaded) = proxy.ask("POST /v1/reload", "").await;
    assert_eq!(reloaded, json!({"warnings": []}));
    let (_, _, refused) = proxy.ask("POST /v1/reload", "").await;
    assert_eq!(
        refused,
        json!({"type": "about:blank", "title": "Unprocessable Entity", "status": 422,
               "detail": "proxy.toml:3: wrong"})
    );
}

#[tokio::test]
async fn a_change_is_in_force_when_it_is_answered() {
    let proxy = proxy();
    let new = r#"{"hostnames": ["*.example.com", "192.0.2.1"], "country": "DE",
                  "key_type": "ecdsa-p384", "days": 5}"#;
    let (_, head, made) = proxy.ask("POST /v1/certificates", new).await;
    assert_eq!(made, json!({"name": "_.example.com"}));
    assert!(
        head.contains("location: /v1/certificates/_.example.com"),
        "{head}"
    );
    assert!(
        proxy
            .fixture
            .context
            .live
            .load()
            .get("_.example.com")
            .is_some()
    );
    let (_, _, shown) = proxy.ask("GET /v1/certificates/_.example.com", "").await;
    assert_eq!(shown["key_type"], "ecdsa-p384");
    assert_eq!(shown["addresses"], json!(["192.0.2.1"]));
    assert_eq!(shown["not_after"], "2026-11-26T10:00:00Z");

    proxy
        .ask("PUT /v1/default", r#"{"name": "_.example.com"}"#)
        .await;
    let (_, _, default) = proxy.ask("GET /v1/default", "").await;
    assert_eq!(default, made);
    let chosen = proxy.fixture.folder.path().join("sslcert/default");
    assert_eq!(
        std::fs::read_to_string(chosen).unwrap().trim(),
        "_.example.com"
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let proxy = proxy();
    let large = format!(r#"{{"certificate_pem": "{}"}}"#, "x".repeat(MAX_BODY));
    let (status, _, document) = proxy.ask("POST /v1/import", &large).await;
    assert_eq!(status, 413, "{document}");
}

#[tokio::test]
async fn nobody_left_to_ask_is_said() {
    let (sender, commands) = mpsc::channel(1);
    drop(commands);
    let proxy = Proxy::start(sender);
    let (status, _, document) = proxy.ask("GET /v1/status", "").await;
    assert_eq!(
        (status, &document["detail"]),
        (503, &json!("the proxy is stopping"))
    );
}

#[tokio::test]
async fn answers_under_way_are_written_at_the_end() {
    let (sender, mut commands) = mpsc::channel(1);
    let proxy = Proxy::start(sender);
    let mut idle = proxy.connect().await;
    let mut stream = proxy.connect().await;
    let request = b"POST /v1/stop HTTP/1.1\r\nHost: gatepost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let Some(Command::Stop(answer)) = commands.recv().await else {
        panic!("stop was asked for");
    };
    proxy.shutdown.cancel();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    answer.send(api::Drained { cut_off: 0 }).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    proxy.server.await.unwrap();
}
