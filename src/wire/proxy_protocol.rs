//! PROXY protocol, versions 1 and 2, both directions (HAProxy's `proxy-protocol.txt`).

use std::net::SocketAddr;

/// What a received header says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// LOCAL, UNKNOWN or UNSPEC: the connection is the sender's own.
    Local,
    /// On behalf of a client.
    Proxied {
        /// The client (never in IPv4-mapped form).
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// Why bytes are not a PROXY header.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProxyError {
    /// What was found.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Reads a header at the beginning of `bytes`: the header and its length, or `None` if more
/// bytes are needed. Version 1 is at most 107 bytes, version 2 at most 4,096 here.
pub fn parse(_bytes: &[u8]) -> Result<Option<(Received, usize)>, ProxyError> {
    todo!()
}

/// What TLS negotiated, for PP2_TYPE_SSL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SslInfo<'a> {
    /// `TLSv1.2`, `TLSv1.3`
    pub version: &'a str,
    /// Cipher, by its IANA or OpenSSL name.
    pub cipher: &'a str,
}

/// What an upstream is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Announcement<'a> {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
    /// PP2_TYPE_SSL, if the client is on TLS.
    pub ssl: Option<SslInfo<'a>>,
    /// PP2_TYPE_AUTHORITY: the name asked for.
    pub authority: Option<&'a str>,
    /// PP2_TYPE_ALPN.
    pub alpn: Option<&'a [u8]>,
}

/// Appends a version 1 line.
pub fn encode_v1(_announcement: &Announcement<'_>, _out: &mut Vec<u8>) {
    todo!()
}

/// Appends a version 2 header, under 1,500 bytes in all (an authority that does not fit is left out).
pub fn encode_v2(_announcement: &Announcement<'_>, _out: &mut Vec<u8>) {
    todo!()
}
