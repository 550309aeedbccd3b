//! Hosts, paths and fields of requests: what is read of them, and what goes to servers. The first
//! line is a host, the second a path, the others are fields.

#![no_main]

use gatepost::wire::http::{
    Authority, Manner, Sender, Told, for_client, for_server, masked, normal_path,
};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (host, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if let Some(normal) = normal_path(path) {
        assert!(normal.starts_with('/') && !normal.contains("//"));
        assert!(normal.split('/').all(|segment| !matches!(segment, "." | "..")));
    }
    let _ = masked(path);
    let mut fields = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            fields.append(name, value);
        }
    }
    let Some(authority) = Authority::parse(host) else {
        return;
    };
    assert!(host.starts_with(authority.host));
    for trusted in [false, true] {
        let manner = Manner {
            trusted,
            https: true,
            http2: false,
        };
        let sender = Sender::new([192, 0, 2, 1].into(), 443, manner);
        let told = Told {
            host: &HeaderValue::from_str(host).expect("a host is a value"),
            id: &HeaderValue::from_static("0"),
        };
        let passed = for_server(&fields, &sender, told, None);
        assert_eq!(passed["host"], host);
        for name in ["keep-alive", "transfer-encoding", "content-length", "proxy-authorization"] {
            assert!(!passed.contains_key(name), "{name}");
        }
        let known = passed["x-forwarded-for"].as_bytes();
        assert!(known.ends_with(b"192.0.2.1") && (trusted || known == b"192.0.2.1"));
    }
    for_client(&mut fields);
    assert!(!fields.contains_key("connection"));
});
