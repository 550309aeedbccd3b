//! How a connection can fail, where, and through whose fault.

use std::io;

use crate::proxy::DownstreamError;
use crate::proxy::http::HttpEnd;
use crate::proxy::upstream::ConnectError;
use crate::tls::{TlsError, Unsuited};
use crate::wire::client_hello::HelloError;
use crate::wire::guard::GuardError;
use crate::wire::proxy_protocol::ProxyError;
use crate::wire::starttls::Reason;

/// The stages of the path, in order; label `stage` of the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// PROXY header from the load balancer before us.
    Identify,
    /// What is said in clear on a listener with STARTTLS.
    Preamble,
    /// TLS with the client.
    Handshake,
    /// Finding the upstream for the name.
    Route,
    /// Connecting to the upstream.
    Connect,
    /// Passing bytes on.
    Relay,
}

/// Whose doing an end was; label `party` of the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Party {
    /// The client.
    Downstream,
    /// The server behind.
    Upstream,
    /// This process or its administrator.
    Internal,
}

impl Stage {
    /// Text of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Preamble => "preamble",
            Self::Handshake => "handshake",
            Self::Route => "route",
            Self::Connect => "connect",
            Self::Relay => "relay",
        }
    }
}

impl Party {
    /// Text of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

/// Why a connection ended other than by both sides being done.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client's connection failed before the relay.
    #[error("the client's connection failed")]
    Io(Stage, #[source] io::Error),
    /// The client went away before the relay.
    #[error("the client closed before it was done")]
    Closed(Stage),
    /// PROXY header, handshake or plaintext phase took too long.
    #[error("not done within handshake_timeout or preamble_timeout")]
    Timeout(Stage),
    /// A PROXY header is required of this sender, and this is none.
    #[error("no PROXY header from a sender in accept_proxy_from")]
    ProxyHeader(#[source] ProxyError),
    /// More connections from this client than connections_per_client.
    #[error("more connections from this client than connections_per_client")]
    ClientLimit,
    /// The client ended in clear, or was ended there.
    #[error("ended before STARTTLS")]
    Preamble(Reason),
    /// Bytes in clear came behind STARTTLS.
    #[error("bytes in clear came behind STARTTLS")]
    Injection,
    /// Not the beginning of TLS.
    #[error("not a ClientHello")]
    Hello(#[source] HelloError),
    /// TLS failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] TlsError),
    /// The client is too old for our TLS.
    #[error("the client offers no TLS of ours")]
    Unsuited(Unsuited),
    /// No certificate for the name, and the listener refuses unknown names.
    #[error("no certificate for the name, and unknown_name is \"reject\"")]
    UnknownName,
    /// No route takes the name, and the listener has no upstream.
    #[error("no route takes the name, and the listener has no upstream")]
    NoRoute,
    /// No server of the upstream could be used, or the one that could refuses this client.
    #[error("no server of the upstream takes the client")]
    Connect(ConnectError),
    /// What one of the two said before login cannot be passed on.
    #[error("the dialogue before login cannot go on")]
    Guard(#[source] GuardError),
    /// The client's end failed during the relay.
    #[error("the client's end failed")]
    Downstream(#[source] DownstreamError),
    /// The server's end failed during the relay.
    #[error("the server's end failed")]
    Upstream(#[source] io::Error),
    /// A connection of HTTP was ended where neither side was done.
    #[error("the client's requests cannot be served")]
    Http(HttpEnd),
    /// The client's address is in `deny`, or not in `allow`.
    #[error("the client's address is not allowed here")]
    Denied,
    /// Nothing was said for idle_timeout.
    #[error("nothing was said for idle_timeout")]
    Idle,
    /// The drain deadline passed.
    #[error("still open when drain_timeout had passed")]
    Drained(Stage),
}

impl SessionError {
    /// Where on the path it happened.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Io(stage, _)
            | Self::Closed(stage)
            | Self::Timeout(stage)
            | Self::Drained(stage) => *stage,
            Self::ProxyHeader(_) | Self::ClientLimit | Self::Denied => Stage::Identify,
            Self::Preamble(_) => Stage::Preamble,
            Self::Hello(_)
            | Self::Handshake(_)
            | Self::Unsuited(_)
            | Self::Injection
            | Self::UnknownName => Stage::Handshake,
            Self::NoRoute => Stage::Route,
            Self::Connect(_) => Stage::Connect,
            Self::Downstream(_)
            | Self::Upstream(_)
            | Self::Guard(_)
            | Self::Http(_)
            | Self::Idle => Stage::Relay,
        }
    }

    /// Whose doing it was.
    pub fn party(&self) -> Party {
        match self {
            Self::Handshake(TlsError::NoUsableKey)
            | Self::Drained(_)
            | Self::ClientLimit
            | Self::Denied => Party::Internal,
            Self::Connect(_) | Self::Upstream(_) | Self::Guard(GuardError::Server) => {
                Party::Upstream
            }
            _ => Party::Downstream,
        }
    }

    /// A bounded word for it; label `reason` of the metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io(_, error) | Self::Upstream(error) => io_reason(error),
            Self::Closed(_) => "closed",
            Self::Timeout(_) => "timeout",
            Self::ProxyHeader(_) => "proxy-header",
            Self::ClientLimit => "client-limit",
            Self::Hello(HelloError::NotTls) => "not-tls",
            Self::Hello(_) => "malformed",
            Self::Handshake(error) => tls_reason(error),
            Self::Preamble(reason) => reason.as_str(),
            Self::Injection | Self::Guard(GuardError::Injection) => "injection",
            Self::Unsuited(Unsuited::Version) => "version",
            Self::Unsuited(Unsuited::Parameters) => "no-shared-parameters",
            Self::UnknownName => "unknown-name",
            Self::NoRoute => "no-route",
            Self::Connect(ConnectError::Unavailable(reason)) => reason,
            Self::Connect(ConnectError::Refused(_)) => "greeting-refused",
            Self::Guard(GuardError::LineTooLong) => "line-too-long",
            Self::Guard(GuardError::LiteralTooLong) => "literal-too-long",
            Self::Guard(GuardError::TooManyErrors) => "too-many-errors",
            Self::Guard(GuardError::Ambiguous) => "ambiguous-end",
            Self::Guard(GuardError::Server) => "malformed-answer",
            Self::Downstream(DownstreamError::Io(error)) => io_reason(error),
            Self::Downstream(DownstreamError::Tls(error)) => tls_reason(error),
            Self::Http(end) => end.reason(),
            Self::Denied => "denied",
            Self::Idle => "idle",
            Self::Drained(_) => "drained",
        }
    }
}

fn io_reason(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;

    match error.kind() {
        Kind::ConnectionReset | Kind::ConnectionAborted => "reset",
        Kind::BrokenPipe | Kind::NotConnected => "closed",
        Kind::TimedOut => "keepalive",
        Kind::StorageFull => "too-large",
        _ => "io",
    }
}

/// Why a handshake failed, in one of a few words.
fn tls_reason(error: &TlsError) -> &'static str {
    use rustls::Error as Tls;
    use rustls::PeerIncompatible as Peer;

    match error {
        TlsError::NoUsableKey => "no-usable-key",
        TlsError::ControlFlood => "flood",
        TlsError::Rustls(error) => match error {
            Tls::PeerIncompatible(
                Peer::Tls12NotOffered
                | Peer::Tls12NotOfferedOrEnabled
                | Peer::SupportedVersionsExtensionRequired
                | Peer::SignatureAlgorithmsExtensionRequired,
            ) => "version",
            Tls::PeerIncompatible(_) => "no-shared-parameters",
            Tls::NoApplicationProtocol => "alpn",
            Tls::AlertReceived(_) => "alert",
            Tls::InvalidMessage(_) => "malformed",
            Tls::DecryptError => "decrypt",
            _ => "protocol",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_stage_a_party_and_a_reason() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let cases = [
            (
                SessionError::Io(Stage::Handshake, reset()),
                "handshake downstream reset",
            ),
            (
                SessionError::Timeout(Stage::Identify),
                "identify downstream timeout",
            ),
            (SessionError::ClientLimit, "identify internal client-limit"),
            (
                SessionError::Hello(HelloError::NotTls),
                "handshake downstream not-tls",
            ),
            (
                SessionError::Handshake(TlsError::NoUsableKey),
                "handshake internal no-usable-key",
            ),
            (SessionError::NoRoute, "route downstream no-route"),
            (
                SessionError::Connect(ConnectError::Unavailable("refused")),
                "connect upstream refused",
            ),
            (
                SessionError::Preamble(Reason::LineTooLong),
                "preamble downstream line-too-long",
            ),
            (SessionError::Injection, "handshake downstream injection"),
            (
                SessionError::Guard(GuardError::Server),
                "relay upstream malformed-answer",
            ),
            (SessionError::Upstream(reset()), "relay upstream reset"),
            (SessionError::Idle, "relay downstream idle"),
            (
                SessionError::Drained(Stage::Preamble),
                "preamble internal drained",
            ),
        ];
        for (error, expected) in cases {
            let (stage, party) = (error.stage().as_str(), error.party().as_str());
            assert_eq!(format!("{stage} {party} {}", error.reason()), expected);
        }
    }
}
