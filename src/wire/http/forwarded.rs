//! The fields of a request as they go to the server: what passes, and what is said of the client.

use std::fmt::Write;
use std::net::IpAddr;

use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap,
    HeaderName, HeaderValue, TE, UPGRADE, VIA,
};

use crate::wire::http::fields::{is_of_connection, named, passed_upgrade};
use crate::wire::http::with_trailers;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Who sends a request, and how it came.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The client: whoever speaks with us.
    pub address: IpAddr,
    /// Whether what it says of others is believed.
    pub trusted: bool,
    /// Whether it came by TLS.
    pub https: bool,
    /// Whether it came by HTTP/2.
    pub http2: bool,
    /// The host as it was asked for, with its port if one was said.
    pub host: &'a str,
    /// The port it came to.
    pub port: u16,
    /// The number of the request; a trusted sender's own is kept.
    pub id: &'a str,
}

/// The fields that go to the server, all but those that say how long the body is. `host`: what
/// the server is called, where that is not what was asked for.
pub fn for_server(received: &HeaderMap, sender: &Sender<'_>, host: Option<&str>) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(received.len() + 10);
    let named = named(received);
    let host = host.unwrap_or(sender.host);
    insert(&mut fields, HOST, host);
    for (name, value) in received {
        let is_named = || {
            named
                .iter()
                .any(|it| it.eq_ignore_ascii_case(name.as_str()))
        };
        if *name == HOST
            || *name == CONTENT_LENGTH
            || *name == EARLY_DATA
            || is_of_connection(name)
            || (is_of_client(name) && !sender.trusted)
            || is_named()
        {
            continue;
        }
        fields.append(name, trimmed(value));
    }
    if sender.http2 {
        join_cookies(&mut fields);
    }
    if with_trailers(received) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(upgrade) = passed_upgrade(received).filter(|_| !sender.http2) {
        fields.insert(UPGRADE, upgrade);
        fields.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    tell(&mut fields, sender);
    fields
}

/// A value as HTTP/1.1 has it. In HTTP/2 nothing is around one, and so what is there is part of it
/// until somebody writes it as HTTP/1.1 (RFC 9113 section 8.2.1 has it refused; h2 does not).
fn trimmed(value: &HeaderValue) -> HeaderValue {
    let bytes = value.as_bytes();
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if !is_space(bytes.first()) && !is_space(bytes.last()) {
        return value.clone();
    }
    HeaderValue::from_bytes(bytes.trim_ascii()).unwrap_or_else(|_| value.clone())
}

/// Takes out of a request's trailers what does not belong there: how the message is read, whose
/// it is, and who sends it (RFC 9110 section 6.5.1). Servers may mix them with the header.
pub fn trailers_for_server(trailers: &mut HeaderMap) {
    let of_header = [
        CONTENT_LENGTH,
        HOST,
        COOKIE,
        AUTHORIZATION,
        EXPECT,
        EARLY_DATA,
    ];
    let unfit = |name: &HeaderName| {
        of_header.contains(name) || is_of_connection(name) || is_of_client(name)
    };
    let unfit: Vec<_> = trailers.keys().filter(|it| unfit(it)).cloned().collect();
    for name in unfit {
        trailers.remove(name);
    }
    for value in trailers.values_mut() {
        *value = trimmed(value);
    }
}

/// Makes one field of the cookies that HTTP/2 sends in pieces (RFC 9113 section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let mut pieces = fields.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else {
        return;
    };
    let all = [first, second].into_iter().chain(pieces);
    let all: Vec<_> = all.map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        fields.insert(COOKIE, joined);
    }
}

/// Whether a field says who the client is, and how it came. Web applications see no difference
/// between `-` and `_` in names.
fn is_of_client(name: &HeaderName) -> bool {
    let is = |known: &str| {
        let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
        name.as_str().len() >= known.len() && name.as_str().bytes().zip(known.bytes()).all(same)
    };
    let whole =
        |known: &HeaderName| name.as_str().len() == known.as_str().len() && is(known.as_str());
    is("x-forwarded-") || [FORWARDED, VIA, X_REAL_IP, X_REQUEST_ID].iter().any(whole)
}

/// Sets what is said of the client, behind what a trusted sender has said of others.
fn tell(fields: &mut HeaderMap, sender: &Sender<'_>) {
    let address = sender.address.to_string();
    append_to_list(fields, X_FORWARDED_FOR, &address);
    let scheme = if sender.https { "https" } else { "http" };
    let port = sender.port.to_string();
    for (name, value) in [
        (X_FORWARDED_PROTO, scheme),
        (X_FORWARDED_HOST, sender.host),
        (X_FORWARDED_PORT, &port),
        (X_REAL_IP, &address),
        (X_REQUEST_ID, sender.id),
    ] {
        if !value.is_empty() && !fields.contains_key(&name) {
            insert(fields, name, value);
        }
    }
    let mut element = String::with_capacity(64);
    let bare = |host: &str| host.bytes().all(|byte| byte != b':' && byte != b'[');
    let _ = match sender.address {
        IpAddr::V4(address) => write!(element, "for={address}"),
        IpAddr::V6(address) => write!(element, "for=\"[{address}]\""),
    };
    let _ = match sender.host {
        "" => Ok(()),
        host if bare(host) => write!(element, ";host={host}"),
        host => write!(element, ";host=\"{host}\""),
    };
    let _ = write!(element, ";proto={scheme}");
    append_to_list(fields, FORWARDED, &element);
    let via = if sender.http2 {
        "2 gatepost"
    } else {
        "1.1 gatepost"
    };
    append_to_list(fields, VIA, via);
}

/// Adds a member behind those of all lines of the field, in one line: applications look at one.
fn append_to_list(fields: &mut HeaderMap, name: HeaderName, member: &str) {
    let mut list = Vec::new();
    for line in fields.get_all(&name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    match list.as_slice() {
        [] => insert(fields, name, member),
        _ => {
            list.extend_from_slice(member.as_bytes());
            if let Ok(value) = HeaderValue::from_bytes(&list) {
                fields.insert(name, value);
            }
        }
    }
}

/// Sets a field to what is made of an address, a host or a number of ours, and is a value.
fn insert(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

/// Whether a request waits for a go-ahead before it sends its body (RFC 9110 section 10.1.1);
/// `None` if it expects something else.
pub(super) fn expects_continue(fields: &HeaderMap) -> Option<bool> {
    let mut expected = fields.get_all(EXPECT).iter();
    match (expected.next(), expected.next()) {
        (None, _) => Some(false),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::fields;
    use super::*;

    fn sender(trusted: bool) -> Sender<'static> {
        Sender {
            address: [192, 0, 2, 1].into(),
            trusted,
            https: true,
            http2: false,
            host: "mail.example.com",
            port: 443,
            id: "0123",
        }
    }

    const TOLD: [(&str, &str); 8] = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "mail.example.com"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "192.0.2.1"),
        ("x-request-id", "0123"),
        (
            "forwarded",
            "for=192.0.2.1;host=mail.example.com;proto=https",
        ),
        ("via", "1.1 gatepost"),
    ];

    #[test]
    fn what_a_stranger_says_of_the_client_is_replaced() {
        let received = fields(
            &[
                ("host", "MAIL.example.com"),
                ("x-forwarded-for", "198.51.100.1"),
                ("x_forwarded_for", "198.51.100.1"),
                ("x-forwarded-prefix", "/a"),
                ("X-Forwarded_Proto", "http"),
                ("x-real-ip", "198.51.100.1"),
                ("forwarded", "for=198.51.100.1"),
                ("via", "1.1 other"),
                ("x-request-id", "mine"),
                ("early-data", "1"),
                ("proxy", "http://198.51.100.1/"),
                ("cookie", "a=1"),
                ("x-forward", "kept"),
            ]
            .map(|(name, value)| (&*name.to_ascii_lowercase().leak(), value)),
        );
        let mut expected = fields(&TOLD);
        expected.extend(fields(&[
            ("host", "mail.example.com"),
            ("cookie", "a=1"),
            ("x-forward", "kept"),
        ]));
        assert_eq!(for_server(&received, &sender(false), None), expected);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_appended_to() {
        let received = fields(&[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.2"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "198.51.100.1"),
            ("forwarded", "for=198.51.100.1"),
            ("via", "1.1 other"),
            ("x-request-id", "theirs"),
        ]);
        let found = for_server(&received, &sender(true), None);
        for (name, value) in [
            ("x-forwarded-for", "198.51.100.1, 198.51.100.2, 192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "mail.example.com"),
            ("x-real-ip", "198.51.100.1"),
            (
                "forwarded",
                "for=198.51.100.1, for=192.0.2.1;host=mail.example.com;proto=https",
            ),
            ("via", "1.1 other, 1.1 gatepost"),
            ("x-request-id", "theirs"),
        ] {
            let values: Vec<_> = found.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}");
        }
    }

    #[test]
    fn fields_of_the_connection_stay_on_it() {
        let received = fields(&[
            ("connection", "close, X-Own"),
            ("connection", "host, x-forwarded-for, content-length"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic YTpi"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("trailer", "x-sum"),
        ]);
        let mut expected = fields(&TOLD);
        expected.extend(fields(&[
            ("host", "inner.example.com"),
            ("te", "trailers"),
            ("connection", "te"),
            ("trailer", "x-sum"),
        ]));
        let found = for_server(&received, &sender(false), Some("inner.example.com"));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_ipv6_client_and_a_host_with_a_port_are_quoted() {
        let sender = Sender {
            address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
            host: "mail.example.com:8443",
            http2: true,
            https: false,
            ..sender(false)
        };
        let found = for_server(&HeaderMap::new(), &sender, None);
        assert_eq!(
            found["forwarded"],
            "for=\"[2001:db8::1]\";host=\"mail.example.com:8443\";proto=http"
        );
        assert_eq!(found["x-forwarded-for"], "2001:db8::1");
        assert_eq!(found["via"], "2 gatepost");
    }

    #[test]
    fn what_http2_has_in_pieces_is_one_for_the_server() {
        let received = fields(&[
            ("cookie", "a=1"),
            ("x", " \t1 "),
            ("cookie", "b=2; c=3"),
            ("cookie", "d=4"),
        ]);
        let http2 = Sender {
            http2: true,
            ..sender(false)
        };
        let found = for_server(&received, &http2, None);
        let cookies: Vec<_> = found.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
        assert_eq!(found["x"], "1");
    }

    #[test]
    fn trailers_say_nothing_that_a_header_must() {
        let mut trailers = fields(&[
            ("x-sum", " 7"),
            ("content-length", "9"),
            ("host", "other.example"),
            ("connection", "close"),
            ("cookie", "a=1"),
            ("authorization", "Basic YTpi"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x_real_ip", "198.51.100.1"),
        ]);
        trailers_for_server(&mut trailers);
        assert_eq!(trailers, fields(&[("x-sum", "7")]));
    }
}
