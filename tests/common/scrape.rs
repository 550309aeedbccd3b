//! The metrics listener, read as Prometheus reads it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::wait;

/// Status and body of a page; `None` if nobody answers.
pub(crate) fn get(metrics: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(metrics).ok()?;
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: gatepost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

/// The page of all metrics.
#[track_caller]
pub(crate) fn page(metrics: SocketAddr) -> String {
    let (code, body) = get(metrics, "/metrics").unwrap();
    assert_eq!(code, 200, "{body}");
    body
}

/// The value of a metric, `name{labels}` as scraped; `None` if it is not there.
pub(crate) fn metric(metrics: SocketAddr, series: &str) -> Option<f64> {
    let text = page(metrics);
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}
