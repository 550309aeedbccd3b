//! How TLS ends before its time: errors, and the alerts that say so to the peer.

/// Why TLS ended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What rustls says of it; of records after the handshake, what it would say.
    #[error("TLS failed")]
    Rustls(#[from] rustls::Error),
    /// No certificate has a key whose signatures this client can verify.
    #[error("no certificate has a key that this client can verify")]
    NoUsableKey,
    /// The peer made us answer more than anybody needs.
    #[error("more than {CONTROL_LIMIT} bytes of answers to the peer's TLS messages are waiting")]
    ControlFlood,
}

/// Bytes of handshake answers, alerts and key updates that may wait to be sent. A handshake
/// flight with a long chain fits; a peer that asks for key updates without end does not.
pub(super) const CONTROL_LIMIT: usize = 256 * 1024;

/// Alerts that are written here because rustls has none, or another one, for the case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alert {
    /// handshake_failure
    HandshakeFailure,
    /// protocol_version
    ProtocolVersion,
    /// decode_error
    DecodeError,
    /// internal_error: TLS is not to be had now, through no fault of the client's.
    InternalError,
    /// unrecognized_name
    UnrecognizedName,
}

impl Alert {
    /// A fatal one, in a record of its own: in clear, so before the keys are there only.
    pub fn record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        // RFC 8446 section 6.
        let description = match self {
            Self::HandshakeFailure => 40,
            Self::DecodeError => 50,
            Self::ProtocolVersion => 70,
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        };
        [ALERT, 3, 3, 0, 2, FATAL, description]
    }
}
