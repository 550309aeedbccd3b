//! Where requests go: hosts, paths, certificates, addresses.

use crate::common::web::Web;
use crate::web::{NAME, Proxy, echo, field, head, listener, send, upstream};

#[test]
fn the_longest_path_of_the_host_wins() {
    let [root, ews, deep] = [(); 3].map(|()| Web::start(echo));
    let route = |name: &str, path: &str, upstream: &str| {
        format!("[[route]]\nnames = [\"{name}\"]\npath = \"{path}\"\nupstream = \"{upstream}\"\n")
    };
    let configuration = listener("https", "implicit", "")
        + &route(NAME, "/", "root")
        + &route(NAME, "/ews/", "ews")
        + &route("*.example.org", "/", "root")
        + &route("a.example.org", "/ews/deep", "deep")
        + &upstream("root", root.address, "")
        + &upstream("ews", ews.address, "")
        + &upstream("deep", deep.address, "");
    let proxy = Proxy::start(&configuration);
    for (name, path, expected) in [
        (NAME, "/", &root),
        (NAME, "/ews", &root),
        (NAME, "/ews/a", &ews),
        (NAME, "/%65ws/b", &ews),
        (NAME, "/x/../ews/c", &ews),
        ("a.example.org", "/ews/deep/d", &deep),
        ("a.example.org", "/e", &root),
        ("b.example.org", "/ews/deep/f", &root),
    ] {
        let before = [&root, &ews, &deep].map(|web| web.requests().len());
        assert_eq!(proxy.status("https", name, path, &["--path-as-is"]), "200");
        let requests = expected.requests();
        assert_eq!(
            requests.last().unwrap().path(),
            path,
            "what was asked for passes on"
        );
        let after = [&root, &ews, &deep].map(|web| web.requests().len());
        assert_eq!(
            after.iter().sum::<usize>(),
            before.iter().sum::<usize>() + 1
        );
    }
}

#[test]
fn a_connection_serves_the_hosts_of_its_certificate_and_no_other() {
    let web = Web::start(echo);
    let configuration = listener("https", "implicit", "upstream = \"web\"")
        + &listener("named", "implicit", "")
        + &listener("http", "off", "")
        + &format!(
            "[[route]]\nnames = [\"{NAME}\"]\nlisteners = [\"named\", \"http\"]\nupstream = \"web\"\n"
        )
        + &upstream("web", web.address, "");
    let proxy = Proxy::start(&configuration);
    let asked = |listener: &str, connection: &str, host: &str| {
        let host = format!("Host: {host}");
        let more = ["--insecure", "--http2", "--header", &host];
        let (one, two) = (proxy.status(listener, connection, "/", &more), {
            let more = ["--insecure", "--http1.1", "--header", &host];
            proxy.status(listener, connection, "/", &more)
        });
        assert_eq!(one, two, "{connection} {host}");
        one
    };
    for (connection, host, status) in [
        (NAME, NAME, "200"),
        (NAME, "Mail.Example.com:8443", "200"),
        (NAME, "a.example.org", "200"),
        (NAME, "other.example.net", "421"),
        (NAME, "192.0.2.1", "421"),
        // No certificate is for it: it is served all the same, but nothing else.
        ("other.example.net", "other.example.net", "200"),
        ("other.example.net", "third.example.net", "421"),
        // No name was sent.
        ("127.0.0.1", "127.0.0.1", "200"),
        ("127.0.0.1", "third.example.net", "200"),
    ] {
        assert_eq!(
            asked("https", connection, host),
            status,
            "{connection} {host}"
        );
    }
    assert_eq!(asked("named", NAME, NAME), "200");
    assert_eq!(
        asked("named", NAME, "a.example.org"),
        "421",
        "nobody takes it"
    );
    assert_eq!(proxy.status("http", "a.example.org", "/", &[]), "404");
    assert_eq!(proxy.status("http", NAME, "/", &[]), "200");
}

#[test]
fn redirects_answers_and_strict_transport_security() {
    let web = Web::start(|request, connection| {
        let fields = match request.path() {
            "/own" => "strict-transport-security: max-age=1\r\n",
            _ => "",
        };
        connection.answer(fields, "page");
        true
    });
    let configuration = listener("https", "implicit", "")
        + &listener("http", "off", "")
        + &format!(
            "[[route]]\nnames = [\"{NAME}\"]\nlisteners = [\"http\"]\nredirect = \"https\"\n\
             [[route]]\nnames = [\"a.example.org\"]\nlisteners = [\"http\"]\nredirect = \"https:8443\"\n\
             [[route]]\nnames = [\"a.example.org\"]\nlisteners = [\"http\"]\npath = \"/.well-known/\"\nupstream = \"web\"\n\
             [[route]]\nnames = [\"{NAME}\"]\nlisteners = [\"https\"]\nhsts = \"365d\"\nupstream = \"web\"\n\
             [[route]]\nnames = [\"*.example.org\"]\nlisteners = [\"https\", \"http\"]\nrespond = 410\nhsts = \"1d\"\n"
        )
        + &upstream("web", web.address, "");
    let proxy = Proxy::start(&configuration);
    let mut client = proxy.raw();
    for (request, status, location) in [
        ("GET /a?b=c", "301", format!("https://{NAME}/a?b=c")),
        ("HEAD /a", "301", format!("https://{NAME}/a")),
        ("POST /a", "308", format!("https://{NAME}/a")),
        ("GET /.well-known/acme-challenge/x", "404", String::new()),
    ] {
        let host = format!("Host: {NAME}:80");
        send(
            &mut client,
            &[&format!("{request} HTTP/1.1"), &host, "Content-Length: 0"],
        );
        let head = head(&mut client);
        assert_eq!(head[0].split(' ').nth(1).unwrap(), status, "{request}");
        assert_eq!(field(&head, "location"), location);
        assert_eq!(
            field(&head, "strict-transport-security"),
            "",
            "never in clear"
        );
        if !request.starts_with("HEAD") {
            client.bytes(field(&head, "content-length").parse().unwrap());
        }
    }
    let url = proxy.url("http", "a.example.org", "/b");
    let said = proxy.curl("http", &["--head", &url]).ok();
    assert!(
        said.contains("location: https://a.example.org:8443/b\r\n"),
        "{said}"
    );
    assert_eq!(
        proxy.status(
            "http",
            "a.example.org",
            "/.well-known/acme-challenge/x",
            &[]
        ),
        "200"
    );
    assert_eq!(proxy.status("http", "b.example.org", "/", &[]), "410");

    for (name, path, expected) in [
        (NAME, "/", "max-age=31536000"),
        (NAME, "/own", "max-age=1"),
        ("b.example.org", "/", "max-age=86400"),
    ] {
        let said = proxy
            .curl(
                "https",
                &["--http2", "--head", &proxy.url("https", name, path)],
            )
            .ok();
        let fields = said.matches("strict-transport-security: ").count();
        assert!(
            said.contains(&format!("strict-transport-security: {expected}\r\n")),
            "{said}"
        );
        assert_eq!(fields, 1, "{said}");
    }
}

#[test]
fn addresses_and_lengths_that_are_not_served() {
    let web = Web::start(|request, connection| {
        let length = request.field("content-length").parse().unwrap_or(0);
        connection.body(length);
        // An answer before the end of the body would be the client's answer.
        if request.field("transfer-encoding") == "chunked" && !connection.chunks() {
            return false;
        }
        connection.answer("", "taken");
        true
    });
    let keys = "upstream = \"web\"\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.3\"]\nmax_body = \"1KiB\"";
    let configuration = listener("https", "implicit", keys)
        + &listener("http", "off", keys)
        + "[[listener]]\nname = \"imap\"\nbind = [\"127.0.0.1:0\"]\nprotocol = \"imap\"\ntls = \"starttls\"\nupstream = \"mail\"\ndeny = [\"127.0.0.2\"]\n"
        + &upstream("web", web.address, "")
        + &upstream("mail", "127.0.0.1:1", "");
    let proxy = Proxy::start(&configuration);
    for version in ["--http1.1", "--http2"] {
        let from = |client| proxy.status("https", NAME, "/", &[version, "--interface", client]);
        assert_eq!(from("127.0.0.2"), "200");
        assert_eq!(from("127.0.0.3"), "403");
        let posted = |bytes: usize, coding: &str| {
            let body = "x".repeat(bytes);
            let more = [version, "--header", coding, "--data-binary", &body];
            proxy.status("https", NAME, "/", &more)
        };
        assert_eq!(posted(1024, "X: 1"), "200");
        assert_eq!(posted(1025, "X: 1"), "413");
        assert_eq!(posted(100_000, "Transfer-Encoding: chunked"), "413");
    }
    let mut mail = crate::common::client::Client::plain(proxy.address("imap"));
    assert_eq!(mail.line(), "* BYE Access denied");
    let refused = "gatepost_connections_refused_total{listener=\"imap\",reason=\"denied\"}";
    crate::common::wait::until("the refusal to be counted", || {
        proxy.gatepost.metric(refused) == Some(1.0)
    });
}
