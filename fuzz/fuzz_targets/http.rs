//! Hosts, paths and fields of requests: what is read of them, and what goes to servers.

#![no_main]

use gatepost::wire::http::{Authority, Sender, examine, for_client, for_server, masked, normal_path};
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, Vec<(&str, &[u8])>, bool)| {
    let (host, path, fields, trusted) = input;
    let authority = Authority::parse(host);
    if let Some(authority) = authority {
        assert!(host.starts_with(authority.host));
        assert_eq!(Authority::parse(authority.host).map(|it| it.host), Some(authority.host));
    }
    if let Some(normal) = normal_path(path) {
        assert!(normal.starts_with('/') && !normal.contains("//"));
        assert!(normal.split('/').all(|segment| !matches!(segment, "." | "..")));
    }
    let _ = masked(path);
    let mut request = Request::new(());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    let (mut parts, ()) = request.into_parts();
    if let Ok(asked) = examine(&parts, false) {
        let sender = Sender {
            address: [192, 0, 2, 1].into(),
            trusted,
            https: true,
            http2: false,
            host: asked.host,
            port: 443,
            id: "0",
        };
        let passed = for_server(&parts.headers, &sender, None);
        assert_eq!(passed["host"], asked.host);
        for name in ["keep-alive", "transfer-encoding", "content-length", "proxy-authorization"] {
            assert!(!passed.contains_key(name), "{name}");
        }
        if !trusted {
            assert_eq!(passed["x-forwarded-for"], "192.0.2.1");
        }
    }
    for_client(&mut parts.headers);
    assert!(!parts.headers.contains_key("connection"));
});
