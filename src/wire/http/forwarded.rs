//! The fields of a request as they go to the server: what passes, and what is said of the client.

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
/// How many fields are added at the most, but for those that say how long the body is.
const ADDED: usize = 12;

const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Who sends requests on a connection, and how they come, in the words of the fields.
#[derive(Clone, Debug)]
pub struct Sender {
    address: HeaderValue,
    /// The same as Forwarded has it (RFC 7239 section 6).
    node: String,
    port: HeaderValue,
    trusted: bool,
    https: bool,
    http2: bool,
}

/// How a client sends its requests.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether what it says of others is believed.
    pub trusted: bool,
    /// Whether it came by TLS.
    pub https: bool,
    /// Whether it came by HTTP/2.
    pub http2: bool,
}

impl Sender {
    /// `address`: whoever speaks with us; `port`: the one it came to.
    pub fn new(address: IpAddr, port: u16, manner: Manner) -> Self {
        let text = address.to_string();
        Self {
            node: match address {
                IpAddr::V4(_) => format!("for={text}"),
                IpAddr::V6(_) => format!("for=\"[{text}]\""),
            },
            // An address is a value.
            address: HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown")),
            port: port.into(),
            trusted: manner.trusted,
            https: manner.https,
            http2: manner.http2,
        }
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

/// What is said of one request.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The host as it was asked for, with its port if one was said; empty if none was.
    pub host: &'a HeaderValue,
    /// Its number; a trusted sender's own is kept.
    pub id: &'a HeaderValue,
}

/// The fields that go to the server, all but those that say how long the body is. `host`: what
/// the server is called, where that is not what was asked for.
pub fn for_server(
    received: &HeaderMap,
    sender: &Sender,
    told: Told<'_>,
    host: Option<HeaderValue>,
) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(received.len() + ADDED);
    // Most requests have nothing of what a connection is told.
    let named = match received.contains_key(CONNECTION) {
        true => named(received),
        false => Vec::new(),
    };
    fields.insert(HOST, host.unwrap_or_else(|| told.host.clone()));
    let (mut cookies, mut te) = (0, false);
    for (name, value) in received {
        let is_named = || {
            named
                .iter()
                .any(|it| it.eq_ignore_ascii_case(name.as_str()))
        };
        te |= *name == TE;
        if *name == HOST
            || *name == CONTENT_LENGTH
            || *name == EARLY_DATA
            || is_of_connection(name)
            || (is_of_client(name) && !sender.trusted)
            || is_named()
        {
            continue;
        }
        cookies += usize::from(*name == COOKIE);
        fields.append(name, trimmed(value));
    }
    if sender.http2 && cookies > 1 {
        join_cookies(&mut fields);
    }
    if te && with_trailers(received) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
        fields.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if !sender.http2
        && !named.is_empty()
        && let Some(upgrade) = passed_upgrade(received)
    {
        fields.insert(UPGRADE, upgrade);
        fields.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    tell(&mut fields, sender, told);
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
fn tell(fields: &mut HeaderMap, sender: &Sender, told: Told<'_>) {
    let mut list = |name, value| match sender.trusted {
        true => append_to_list(fields, name, value),
        // What was said there is gone already.
        false => drop(fields.insert(name, value)),
    };
    list(X_FORWARDED_FOR, sender.address.clone());
    list(FORWARDED, element(sender, told.host));
    let via = if sender.http2 {
        "2 gatepost"
    } else {
        "1.1 gatepost"
    };
    list(VIA, HeaderValue::from_static(via));
    for (name, value) in [
        (
            X_FORWARDED_PROTO,
            &HeaderValue::from_static(sender.scheme()),
        ),
        (X_FORWARDED_HOST, told.host),
        (X_FORWARDED_PORT, &sender.port),
        (X_REAL_IP, &sender.address),
        (X_REQUEST_ID, told.id),
    ] {
        let is_said = sender.trusted && fields.contains_key(&name);
        if !is_said && !value.is_empty() {
            fields.insert(name, value.clone());
        }
    }
}

/// The sender as an element of Forwarded (RFC 7239 section 4).
fn element(sender: &Sender, host: &HeaderValue) -> HeaderValue {
    let bare = host
        .as_bytes()
        .iter()
        .all(|byte| !matches!(byte, b':' | b'['));
    let quote: &[u8] = if bare { b"" } else { b"\"" };
    let mut element = Vec::with_capacity(sender.node.len() + host.len() + 24);
    element.extend_from_slice(sender.node.as_bytes());
    if !host.is_empty() {
        for part in [b";host=", quote, host.as_bytes(), quote] {
            element.extend_from_slice(part);
        }
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(sender.scheme().as_bytes());
    // All of it are values, and remain so side by side.
    HeaderValue::try_from(element).unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// Adds a member behind those of all lines of the field, in one line: applications look at one.
fn append_to_list(fields: &mut HeaderMap, name: HeaderName, member: HeaderValue) {
    let mut list = Vec::new();
    for line in fields.get_all(&name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    let all = match list.as_slice() {
        [] => Ok(member),
        _ => {
            list.extend_from_slice(member.as_bytes());
            HeaderValue::try_from(list)
        }
    };
    if let Ok(all) = all {
        fields.insert(name, all);
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

    const BY_HTTP1: Manner = Manner {
        trusted: false,
        https: true,
        http2: false,
    };

    fn by(manner: Manner) -> Sender {
        Sender::new([192, 0, 2, 1].into(), 443, manner)
    }

    /// What the server hears of a request for `host`.
    fn heard(received: &HeaderMap, sender: &Sender, host: &'static str) -> HeaderMap {
        let told = Told {
            host: &HeaderValue::from_static(host),
            id: &HeaderValue::from_static("0123"),
        };
        for_server(received, sender, told, None)
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
        let found = heard(&received, &by(BY_HTTP1), "mail.example.com");
        assert_eq!(found, expected);
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
        let trusted = by(Manner {
            trusted: true,
            ..BY_HTTP1
        });
        let found = heard(&received, &trusted, "mail.example.com");
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
        let told = Told {
            host: &HeaderValue::from_static("mail.example.com"),
            id: &HeaderValue::from_static("0123"),
        };
        let own = HeaderValue::from_static("inner.example.com");
        let found = for_server(&received, &by(BY_HTTP1), told, Some(own));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_ipv6_client_and_a_host_with_a_port_are_quoted() {
        let address = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into();
        let manner = Manner {
            trusted: false,
            https: false,
            http2: true,
        };
        let sender = Sender::new(address, 443, manner);
        let found = heard(&HeaderMap::new(), &sender, "mail.example.com:8443");
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
        let http2 = by(Manner {
            http2: true,
            ..BY_HTTP1
        });
        let found = heard(&received, &http2, "mail.example.com");
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
