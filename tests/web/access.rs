//! The line and the counts of each request.

use crate::common::ca::TestCa;
use crate::common::gatepost::Site;
use crate::common::wait;
use crate::common::web::Web;
use crate::web::{NAME, Proxy, before, echo};

#[test]
fn every_request_leaves_a_line_without_its_secrets() {
    let web = Web::start(echo);
    let proxy = Proxy::before_web(&web);
    let url = proxy.url(
        "https",
        NAME,
        "/a?user=b&password=secret1&access_token=secret2",
    );
    proxy
        .curl(
            "https",
            &[
                "--http2",
                "--user-agent",
                "Tester \"1\"",
                "--referer",
                "https://x.example/?token=secret3",
                &url,
            ],
        )
        .ok();
    let line = proxy.gatepost.logged(&["\"message\":\"request\""]);
    for (field, expected) in [
        ("target", "gatepost::access"),
        ("listener", "https"),
        ("method", "GET"),
        ("path", "/a?user=b&password=***&access_token=***"),
        ("protocol", "HTTP/2.0"),
        ("upstream", "web"),
        ("server", &web.address.to_string()),
        ("sni", NAME),
        ("agent", "Tester \"1\""),
        ("referer", "https://x.example/?token=***"),
        ("tls", "1.3"),
    ] {
        assert_eq!(line[field], expected, "{field} of {line}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["bytes"].as_u64().unwrap() > 10);
    let seconds = |name: &str| line[name].as_f64().unwrap();
    assert!(seconds("seconds") >= seconds("upstream_seconds"), "{line}");
    let id = line["id"].as_str().unwrap().to_owned();
    assert_eq!(web.requests()[0].field("x-request-id"), id);
    let log = proxy.gatepost.server.log();
    assert!(!log.contains("secret"), "{log}");
    let series = "gatepost_http_requests_total{code=\"200\",listener=\"https\",route=\"listener\"}";
    wait::until("it to be counted", || {
        proxy.gatepost.metric(series) == Some(1.0)
    });
    assert_eq!(
        proxy
            .gatepost
            .metric("gatepost_http_request_seconds_count{route=\"listener\"}"),
        Some(1.0)
    );
}

#[test]
fn in_text_the_lines_have_the_combined_form() {
    let web = Web::start(echo);
    let ca = TestCa::today();
    let pair = ca.leaf(&[NAME]).issue();
    let site = Site::new(&ca, &[("mail", &pair)], &before(web.address, "", ""));
    let file = site.path("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("format = \"json\"", "format = \"text\""),
    )
    .unwrap();
    let proxy = Proxy {
        gatepost: site.start(),
    };
    proxy.page("--http1.1", "/a");
    let line = proxy.gatepost.server.logged(&["\"GET /a HTTP/1.1\" 200"]);
    let (client, rest) = line.split_once(" - - [").unwrap();
    assert_eq!(client, "127.0.0.1");
    let (_, rest) = rest.split_once(" +0000] ").unwrap();
    let parts: Vec<_> = rest.split(' ').collect();
    assert_eq!(
        parts[..6],
        ["\"GET", "/a", "HTTP/1.1\"", "200", "7", "\"-\""],
        "{line}"
    );
    assert!(rest.contains(&format!(" web {} 0.", web.address)), "{line}");
}
