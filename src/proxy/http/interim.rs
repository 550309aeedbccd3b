//! Interim responses of a server (1xx): the go-ahead for a body, and hints that pass on.
//!
//! hyper tells of them, and has no way to send one itself. With HTTP/1.1 they are written around
//! it; with HTTP/2 they cannot be, and are left out.

use std::sync::Arc;

use hyper::ext::on_informational;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};

use crate::proxy::http::upload::{Source, Upload};
use crate::proxy::http::visitor::Visitor;
use crate::wire::http::for_client;

/// Passes on what the server says before its answer. `passes`: whether the client can hear it.
pub(super) fn listen(
    request: &mut Request<Upload>,
    source: &Source,
    visitor: &Arc<Visitor>,
    passes: bool,
) {
    let (source, visitor) = (source.clone(), Arc::clone(visitor));
    on_informational(request, move |interim| {
        let status = interim.status();
        if status == StatusCode::CONTINUE {
            // hyper says it to the client when the body is asked for.
            source.go_ahead();
        } else if passes {
            visitor
                .pulse
                .add_interim(&encoded(status, interim.headers()));
        }
    });
}

fn encoded(status: StatusCode, fields: &HeaderMap) -> Vec<u8> {
    let mut fields = fields.clone();
    for_client(&mut fields);
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_written_anew() {
        let mut fields = HeaderMap::new();
        fields.insert("link", "</a.css>; rel=preload".parse().unwrap());
        fields.insert("connection", "x-own".parse().unwrap());
        fields.insert("x-own", "1".parse().unwrap());
        let status = StatusCode::from_u16(103).unwrap();
        let bytes = encoded(status, &fields);
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
