//! Pages of a real nginx, fetched and sent by curl.

use std::fs;

use crate::common::ca::TestCa;
use crate::common::nginx::Nginx;
use crate::common::wait;
use crate::web::{NAME, Proxy, before, listener, read, upstream};

fn nginx() -> Nginx {
    let pair = TestCa::today().leaf(&["web.inside"]).issue();
    let nginx = Nginx::start(&pair);
    fs::write(nginx.path("www/index.html"), "It is nginx.\n").unwrap();
    nginx
}

/// Not a repetition of anything, so that no piece can stand for another.
fn bytes(n: u32) -> Vec<u8> {
    (0..n / 4)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

#[test]
fn both_versions_of_http_reach_nginx_which_is_told_of_the_client() {
    let nginx = nginx();
    let proxy = Proxy::start(&before(nginx.plain(), "", ""));
    for (version, via) in [("--http1.1", "1.1"), ("--http2", "2")] {
        assert_eq!(proxy.page(version, "/"), "It is nginx.\n");
        let told = proxy.page(version, "/told?a=b");
        let port = proxy.address("https").port();
        for line in [
            format!("host={NAME}:{port}"),
            "for=127.0.0.1".to_owned(),
            "proto=https".to_owned(),
            "real=127.0.0.1".to_owned(),
            format!("forwarded=for=127.0.0.1;host=\"{NAME}:{port}\";proto=https"),
            format!("via={via} gatepost"),
            "request=GET /told?a=b HTTP/1.1".to_owned(),
        ] {
            assert!(
                told.lines().any(|found| found == line),
                "no {line} in\n{told}"
            );
        }
    }
    let url = proxy.url("https", NAME, "/");
    let asked = [
        "--http2",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version}",
        &url,
    ];
    assert_eq!(proxy.curl("https", &asked).ok(), "2");
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let nginx = nginx();
    let proxy = Proxy::start(&before(nginx.plain(), "", ""));
    let large = bytes(20_000_000);
    let file = nginx.path("www/large");
    fs::write(&file, &large).unwrap();
    let got = nginx.path("got");
    for (n, version) in ["--http1.1", "--http2"].into_iter().enumerate() {
        let url = proxy.url("https", NAME, "/large");
        proxy
            .curl(
                "https",
                &[version, "--fail", "--output", got.to_str().unwrap(), &url],
            )
            .ok();
        assert!(read(&got) == large, "down by {version}");
        // With its length, and without.
        for (k, chunked) in ["X-Nothing: 1", "Transfer-Encoding: chunked"]
            .into_iter()
            .enumerate()
        {
            let name = format!("/uploads/{n}-{k}");
            let url = proxy.url("https", NAME, &name);
            let file = file.to_str().unwrap();
            proxy
                .curl(
                    "https",
                    &[
                        version,
                        "--fail",
                        "--header",
                        chunked,
                        "--upload-file",
                        file,
                        &url,
                    ],
                )
                .ok();
            assert!(
                read(&nginx.path(&name[1..])) == large,
                "up by {version}, {chunked}"
            );
        }
    }
    let sent = "gatepost_sent_bytes_total{listener=\"https\",side=\"upstream\"}";
    wait::until("the bytes to be counted", || {
        proxy
            .gatepost
            .metric(sent)
            .is_some_and(|sent| sent > 80_000_000.0)
    });
}

#[test]
fn answers_without_bodies_and_parts_of_bodies_pass_as_they_are() {
    let nginx = nginx();
    let proxy = Proxy::start(&before(nginx.plain(), "", ""));
    for version in ["--http1.1", "--http2"] {
        let url = proxy.url("https", NAME, "/");
        let head = proxy.curl("https", &[version, "--head", &url]).ok();
        assert!(head.to_lowercase().contains("content-length: 13"), "{head}");
        let tag = head.lines().find_map(|line| {
            line.to_lowercase()
                .starts_with("etag: ")
                .then(|| line[6..].to_owned())
        });
        let unchanged = format!("If-None-Match: {}", tag.unwrap().trim());
        let status = |path: &str, more: &[&str]| {
            let more: Vec<_> = [version].iter().chain(more).copied().collect();
            proxy.status("https", NAME, path, &more)
        };
        assert_eq!(status("/", &["--header", &unchanged]), "304");
        assert_eq!(status("/nothing", &[]), "204");
        assert_eq!(status("/missing", &[]), "404");
        let part = proxy.curl("https", &[version, "--range", "3-6", &url]).ok();
        assert_eq!(part, "is n");
        // The connection is as it was.
        let twice = proxy.curl("https", &[version, &url, &url]).ok();
        assert_eq!(twice, "It is nginx.\nIt is nginx.\n");
    }
    let http10 = proxy.url("http", NAME, "/");
    assert_eq!(
        proxy.curl("http", &["--http1.0", &http10]).ok(),
        "It is nginx.\n"
    );
}

#[test]
fn connections_to_nginx_are_shared_but_not_behind_a_proxy_header() {
    let nginx = nginx();
    let configuration = listener("https", "implicit", "upstream = \"shared\"")
        + &listener("own", "implicit", "upstream = \"own\"")
        + &upstream("shared", nginx.plain(), "health_interval = \"0s\"")
        + &upstream(
            "own",
            nginx.behind_header(),
            "client_address = \"proxy-v2\"\nhealth_interval = \"0s\"",
        );
    let proxy = Proxy::start(&configuration);
    let connection = |listener: &str| {
        let url = proxy.url(listener, NAME, "/told");
        let arguments = ["--dump-header", "-", "--interface", "127.0.0.2", &url, &url];
        let said = proxy.curl(listener, &arguments).ok();
        let of_first = |start: &str| {
            let line = said
                .lines()
                .filter(|line| line.to_lowercase().starts_with(start));
            line.map(str::to_owned).collect::<Vec<_>>()
        };
        (of_first("x-connection: "), of_first("client="))
    };
    let (first, client) = connection("https");
    assert_eq!(first[0], first[1]);
    assert_eq!(client, ["client=", "client="]);
    assert_eq!(connection("https").0, first, "for another client too");

    let (first, client) = connection("own");
    assert_eq!(first[0], first[1], "the same client's requests share one");
    assert_eq!(client, ["client=127.0.0.2"; 2]);
    assert_ne!(connection("own").0[0], first[0]);
}

#[test]
fn nginx_is_reached_by_tls_and_by_a_unix_socket() {
    let ca = TestCa::today();
    let nginx = Nginx::start(&ca.leaf(&["web.inside"]).issue());
    fs::write(nginx.path("root.pem"), ca.root()).unwrap();
    let tls = format!(
        "tls = \"implicit\"\ntrust = [\"{}\"]\nserver_name = \"web.inside\"\n\
         host = \"web.inside\"",
        nginx.path("root.pem").display()
    );
    let socket = format!("unix:{}", nginx.socket().display());
    let wrong = tls.replace("server_name = \"web", "server_name = \"other");
    let configuration = listener("https", "implicit", "upstream = \"tls\"")
        + &listener("unix", "implicit", "upstream = \"unix\"")
        + &listener("wrong", "implicit", "upstream = \"wrong\"")
        + &upstream("tls", nginx.tls(), &tls)
        + &upstream("unix", socket, "health_path = \"/told\"")
        + &upstream("wrong", nginx.tls(), &wrong);
    let proxy = Proxy::start(&configuration);
    let told = proxy.page("--http2", "/told");
    for line in [
        "scheme=https",
        "name=web.inside",
        "host=web.inside",
        "proto=https",
    ] {
        assert!(
            told.lines().any(|found| found == line),
            "no {line} in\n{told}"
        );
    }
    let url = proxy.url("unix", NAME, "/told");
    let told = proxy.curl("unix", &[&url]).ok();
    assert!(told.contains("scheme=http\n"), "{told}");
    // Its certificate is for another name: checks know that before clients do, or not.
    let status = proxy.status("wrong", NAME, "/told", &[]);
    assert!(status == "502" || status == "503", "{status}");
    wait::until("the checks to have asked", || {
        nginx.accessed().contains("GET /told 200 \n")
            || nginx.accessed().contains("GET /told 200 -")
    });
}

#[test]
fn a_server_that_answers_its_health_path_with_an_error_is_left_out() {
    let nginx = nginx();
    let health = "health_path = \"/health\"\nhealth_interval = \"100ms\"";
    let proxy = Proxy::start(
        &(listener("https", "implicit", "upstream = \"web\"")
            + &upstream("web", nginx.plain(), health)),
    );
    let up = format!(
        "gatepost_upstream_up{{server=\"{}\",upstream=\"web\"}}",
        nginx.plain()
    );
    wait::until("it to be down", || proxy.gatepost.metric(&up) == Some(0.0));
    fs::write(nginx.path("www/health"), "well").unwrap();
    wait::until("it to be up", || proxy.gatepost.metric(&up) == Some(1.0));
    assert_eq!(proxy.status("https", NAME, "/", &[]), "200");
}
