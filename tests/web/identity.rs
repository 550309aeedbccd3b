//! Who the client is: to servers that are told, and to servers that know it by the connection.

use crate::common::web::Web;
use crate::web::{NAME, Proxy, before, echo, field, head, send};

#[test]
fn an_authenticated_connection_stays_with_its_client() {
    let web = Web::start(|request, connection| {
        let fields = match request.field("authorization") {
            "" if request.path() == "/private" => "www-authenticate: NTLM\r\n",
            _ => "",
        };
        let text = format!("{} on {}", request.path(), request.connection);
        connection.answer(fields, &text);
        true
    });
    let proxy = Proxy::before_web(&web);
    let host = format!("Host: {NAME}");
    let ask = |client: &mut crate::common::client::Client, path: &str, more: &[&str]| {
        let line = format!("GET {path} HTTP/1.1");
        let lines: Vec<_> = [line.as_str(), &host]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        send(client, &lines);
        let head = head(client);
        let body = client.bytes(field(&head, "content-length").parse().unwrap());
        String::from_utf8(body).unwrap()
    };
    let [mut alice, mut bob] = [proxy.raw(), proxy.raw()];
    assert_eq!(ask(&mut alice, "/", &[]), "/ on 0");
    assert_eq!(ask(&mut bob, "/", &[]), "/ on 0", "it is anybody's");
    // The server asks for authentication, and the connection is hers from here on.
    assert_eq!(ask(&mut alice, "/private", &[]), "/private on 0");
    let type1 = "Authorization: NTLM TlRMTVNTUAABAAAA";
    assert_eq!(ask(&mut alice, "/private", &[type1]), "/private on 0");
    assert_eq!(ask(&mut bob, "/", &[]), "/ on 1");
    assert_eq!(
        ask(&mut alice, "/later", &[]),
        "/later on 0",
        "without a word of it"
    );
    // Whoever begins by itself gets a connection that was nobody's.
    let mut carol = proxy.raw();
    let negotiate = "Authorization: Negotiate YIIB";
    assert_eq!(ask(&mut carol, "/", &[negotiate]), "/ on 2");
    assert_eq!(ask(&mut bob, "/", &[]), "/ on 1");
    assert_eq!(ask(&mut carol, "/", &[]), "/ on 2");
    drop((alice, carol));
    let mut dave = proxy.raw();
    assert_eq!(ask(&mut dave, "/", &[]), "/ on 1", "theirs went with them");
}

#[test]
fn only_trusted_proxies_are_believed() {
    let web = Web::start(echo);
    let told = |keys: &str| {
        let proxy = Proxy::start(&before(web.address, keys, ""));
        let more = [
            "--header",
            "X-Forwarded-For: 198.51.100.1",
            "--header",
            "X_Forwarded_For: 198.51.100.1",
            "--header",
            "Forwarded: for=198.51.100.1",
            "--header",
            "X-Request-Id: theirs",
            "--header",
            "X-Forwarded-Proto: gopher",
        ];
        assert_eq!(proxy.status("https", NAME, "/", &more), "200");
        let request = web.requests().pop().unwrap();
        assert!(!request.head.contains("x_forwarded") || keys.contains("trusted"));
        ["x-forwarded-for", "x-request-id", "x-forwarded-proto"]
            .map(|name| request.field(name).to_owned())
    };
    let [client, id, scheme] = told("");
    assert_eq!((client.as_str(), scheme.as_str()), ("127.0.0.1", "https"));
    assert_eq!(id.len(), 32);
    let trusted = told("trusted_proxies = [\"127.0.0.0/8\"]");
    assert_eq!(trusted, ["198.51.100.1, 127.0.0.1", "theirs", "gopher"]);
    assert_eq!(told("trusted_proxies = [\"10.0.0.0/8\"]")[0], "127.0.0.1");
}
