//! Whose a request is, and whether there is more than one way to read it.

use hyper::Method;
use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use hyper::http::Version;
use hyper::http::request::Parts;

use crate::wire::http::Authority;
use crate::wire::http::forwarded::expects_continue;

/// Fields that a request may have.
pub const MAX_FIELDS: usize = 100;

/// Bytes that a request may have before its body.
pub const MAX_HEADER: usize = 64 * 1024;

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked<'a> {
    /// Host or `:authority`; `None` where HTTP/1.0 has none.
    pub authority: Option<Authority<'a>>,
    /// The same as it was written; empty if there is none.
    pub host: &'a str,
    /// Whether the body waits for a go-ahead.
    pub expects_continue: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// None, where HTTP/1.1 and HTTP/2 demand one.
    #[error("the request has no Host")]
    NoHost,
    /// More than one.
    #[error("the request has more than one Host")]
    TwoHosts,
    /// Not a host.
    #[error("the Host of the request is none")]
    BadHost,
    /// It says one host in the one place and one in the other.
    #[error("the Host of the request is not the one in its target")]
    OtherHost,
    /// Neither a path nor a URL of HTTP.
    #[error("the target of the request is no path")]
    BadTarget,
    /// Two ways to tell its length.
    #[error("the length of the request is ambiguous")]
    BadLength,
    /// A transfer coding that nobody here can undo.
    #[error("the request has a transfer coding other than chunked")]
    BadCoding,
    /// CONNECT or TRACE.
    #[error("the method is not for web servers")]
    BadMethod,
    /// Something else than a go-ahead.
    #[error("the request expects what nobody here can do")]
    BadExpectation,
    /// More than [`MAX_FIELDS`].
    #[error("the request has more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// Longer than [`MAX_HEADER`].
    #[error("the header of the request is longer than {MAX_HEADER} bytes")]
    TooLong,
}

impl Fault {
    /// The status to refuse it with.
    pub fn status(self) -> u16 {
        match self {
            Self::BadMethod => 405,
            Self::BadExpectation => 417,
            Self::TooManyFields | Self::TooLong => 431,
            Self::BadCoding => 501,
            _ => 400,
        }
    }
}

/// Reads what a request asks for. What hyper has refused already is not looked at again: fields
/// whose lines make no sense, lengths that differ, a coding that is not chunked at its end.
/// `websocket`: it is a CONNECT that asks for one (RFC 8441).
///
/// # Errors
/// What is ambiguous about it, or not for a web server.
pub fn examine(request: &Parts, websocket: bool) -> Result<Asked<'_>, Fault> {
    let Parts {
        method,
        uri,
        version,
        headers,
        ..
    } = request;
    if headers.len() > MAX_FIELDS {
        return Err(Fault::TooManyFields);
    }
    // One look at all of them: most of what is asked for here, most requests do not have.
    let mut length = length(request);
    let (mut host, mut hosts) = (None, 0);
    let (mut codings, mut lengths, mut expects) = (0, 0, false);
    let mut is_coded = false;
    for (name, value) in headers {
        length += name.as_str().len() + value.len() + ": \r\n".len();
        if *name == HOST {
            hosts += 1;
            host = host.or(Some(value));
        } else if *name == TRANSFER_ENCODING {
            codings += 1;
            is_coded |= !value.as_bytes().eq_ignore_ascii_case(b"chunked");
        } else if *name == CONTENT_LENGTH {
            lengths += 1;
        } else if *name == EXPECT {
            expects = true;
        }
    }
    if length > MAX_HEADER {
        return Err(Fault::TooLong);
    }
    if matches!(*method, Method::TRACE) || (*method == Method::CONNECT && !websocket) {
        return Err(Fault::BadMethod);
    }
    if is_coded {
        return Err(Fault::BadCoding);
    }
    if codings > 1 || lengths > 1 {
        return Err(Fault::BadLength);
    }
    target(request)?;
    let host = host.map(|host| host.to_str().map_err(|_| Fault::BadHost));
    let host = host.transpose()?;
    if hosts > 1 {
        return Err(Fault::TwoHosts);
    }
    let in_target = uri.authority().map(|authority| authority.as_str());
    let host = match (host, in_target) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => {
            return Err(Fault::OtherHost);
        }
        // HTTP/1.1 demands Host beside a URL too (RFC 9112 section 3.2).
        (None, _) if *version == Version::HTTP_11 => return Err(Fault::NoHost),
        (None, None) if *version != Version::HTTP_10 => return Err(Fault::NoHost),
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => "",
    };
    let authority = match (host, host.is_empty() && hosts == 0) {
        (_, true) => None,
        (host, false) => Some(Authority::parse(host).ok_or(Fault::BadHost)?),
    };
    Ok(Asked {
        authority,
        host,
        expects_continue: match expects {
            true => expects_continue(headers).ok_or(Fault::BadExpectation)?,
            false => false,
        },
    })
}

/// How long its first line and its last are as it is passed on, with the target escaped. hyper
/// looks at what it has read at once, which may be a good deal more.
fn length(request: &Parts) -> usize {
    let target = request.uri.path_and_query().map_or("/", |it| it.as_str());
    let escaped = target.bytes().filter(|byte| !byte.is_ascii()).count();
    let target = target.len() + 2 * escaped;
    request.method.as_str().len() + target + "  HTTP/1.1\r\n\r\n".len()
}

/// A path, a URL of HTTP, or the `*` of OPTIONS.
fn target(request: &Parts) -> Result<(), Fault> {
    let uri = &request.uri;
    let scheme = uri.scheme_str();
    let known = |scheme: &str| matches!(scheme, "http" | "https");
    let path = uri.path();
    let fits = match (scheme, path) {
        (Some(scheme), _) if !known(scheme) => false,
        (_, "*") => request.method == Method::OPTIONS,
        (_, path) => path.starts_with('/'),
    };
    match fits {
        true => Ok(()),
        false => Err(Fault::BadTarget),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn parts(version: Version, line: &str, fields: &[(&str, &str)]) -> Parts {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn asked(version: Version, line: &str, fields: &[(&str, &str)]) -> Result<String, Fault> {
        examine(&parts(version, line, fields), false).map(|asked| asked.host.to_owned())
    }

    #[test]
    fn a_request_has_one_host() {
        const V10: Version = Version::HTTP_10;
        const V11: Version = Version::HTTP_11;
        const V2: Version = Version::HTTP_2;
        let a = ("host", "a.example");
        let cases: &[(Version, &str, Fields<'_>, Result<&str, Fault>)] = &[
            (V11, "GET /", &[a], Ok("a.example")),
            (
                V11,
                "GET /",
                &[("host", "A.example:80")],
                Ok("A.example:80"),
            ),
            (V11, "GET /", &[], Err(Fault::NoHost)),
            (V11, "GET /", &[("host", "")], Err(Fault::BadHost)),
            (V11, "GET /", &[a, a], Err(Fault::TwoHosts)),
            (
                V11,
                "GET /",
                &[a, ("host", "b.example")],
                Err(Fault::TwoHosts),
            ),
            (
                V11,
                "GET /",
                &[("host", "a.example, b.example")],
                Err(Fault::BadHost),
            ),
            (
                V11,
                "GET /",
                &[("host", "x@a.example")],
                Err(Fault::BadHost),
            ),
            (V11, "GET http://a.example/", &[a], Ok("a.example")),
            (V11, "GET http://A.example/", &[a], Ok("a.example")),
            (V11, "GET http://b.example/", &[a], Err(Fault::OtherHost)),
            (V11, "GET http://a.example/", &[], Err(Fault::NoHost)),
            (V11, "GET ftp://a.example/", &[a], Err(Fault::BadTarget)),
            (V10, "GET /", &[], Ok("")),
            (V10, "GET /", &[a], Ok("a.example")),
            (V10, "GET /", &[a, a], Err(Fault::TwoHosts)),
            (V2, "GET https://a.example/", &[], Ok("a.example")),
            (V2, "GET https://a.example/", &[a], Ok("a.example")),
            (V2, "GET https://b.example/", &[a], Err(Fault::OtherHost)),
            (V2, "GET https://x@a.example/", &[], Err(Fault::BadHost)),
            (V2, "GET /", &[a], Ok("a.example")),
            (V2, "GET /", &[], Err(Fault::NoHost)),
        ];
        for (version, line, fields, expected) in cases {
            let expected = expected.map(ToOwned::to_owned);
            assert_eq!(
                asked(*version, line, fields),
                expected,
                "{version:?} {line} {fields:?}"
            );
        }
    }

    #[test]
    fn what_is_not_for_a_web_server_is_refused() {
        let host = ("host", "a.example");
        let cases: &[(&str, Fields<'_>, Result<(), Fault>)] = &[
            ("OPTIONS *", &[host], Ok(())),
            ("GET *", &[host], Err(Fault::BadTarget)),
            ("TRACE /", &[host], Err(Fault::BadMethod)),
            ("CONNECT a.example:443", &[host], Err(Fault::BadMethod)),
            ("PROPFIND /", &[host], Ok(())),
            ("POST /", &[host, ("transfer-encoding", "Chunked")], Ok(())),
            (
                "POST /",
                &[host, ("transfer-encoding", "gzip, chunked")],
                Err(Fault::BadCoding),
            ),
            (
                "POST /",
                &[
                    host,
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                Err(Fault::BadLength),
            ),
            ("POST /", &[host, ("expect", "100-Continue")], Ok(())),
            (
                "POST /",
                &[host, ("expect", "200-ok")],
                Err(Fault::BadExpectation),
            ),
        ];
        for (line, fields, expected) in cases {
            let found = asked(Version::HTTP_11, line, fields).map(|_| ());
            assert_eq!(found, *expected, "{line} {fields:?}");
        }
        let many = vec![("x", "1"); MAX_FIELDS];
        let many: Vec<_> = many.into_iter().chain([host]).collect();
        let found = asked(Version::HTTP_11, "GET /", &many);
        assert_eq!(found, Err(Fault::TooManyFields));
        // GET / HTTP/1.1, Host: a.example, X: and the empty line.
        let around = 16 + 17 + 5 + 2;
        for (length, expected) in [
            (MAX_HEADER - around, Ok("a.example".to_owned())),
            (MAX_HEADER - around + 1, Err(Fault::TooLong)),
        ] {
            let long = "a".repeat(length);
            let found = asked(Version::HTTP_11, "GET /", &[host, ("x", &long)]);
            assert_eq!(found, expected, "{length}");
        }
    }
}
