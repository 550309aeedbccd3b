//! A look at a TLS ClientHello before anybody answers it (RFC 8446 section 4.1.2, RFC 6066).

/// What a ClientHello says, as far as a proxy needs it before TLS begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientHello {
    /// `host_name` of the server_name extension, if it is ASCII; as sent.
    pub server_name: Option<String>,
    /// Whether TLS 1.3 is offered (supported_versions).
    pub offers_tls13: bool,
}

/// Why bytes are not the beginning of TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HelloError {
    /// The first record is not a handshake record.
    #[error("not a TLS record")]
    NotTls,
    /// The record or the message contradicts itself.
    #[error("malformed ClientHello")]
    Malformed,
    /// Larger than anyone needs (64 KiB).
    #[error("ClientHello larger than 64 KiB")]
    TooLarge,
}

/// Looks at the bytes received so far: `None` if more are needed.
/// A ClientHello may be spread over several records.
pub fn peek(_bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    todo!()
}
