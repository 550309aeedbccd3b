//! What follows a change of the protocol: bytes both ways, until both sides are done.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use bytes::Bytes;
use data_encoding::BASE64;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::time::{Instant, sleep_until};

use crate::proxy::SessionError;
use crate::proxy::downstream::{Downstream, DownstreamError};
use crate::proxy::http::access::Entry;
use crate::proxy::http::link::Wire;
use crate::proxy::http::visitor::Visitor;
use crate::proxy::listener::Ending;
use crate::proxy::relay::Relay;
use crate::proxy::socket::Socket;
use crate::proxy::upstream::Lease;
use crate::proxy::{Stage, relay};
use crate::tls::Buffer;
use crate::wire::http::list_has;

/// The server's end of it.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) socket: Socket,
    /// What the server has said in the new protocol already.
    pub(super) said: Bytes,
    pub(super) lease: Lease,
    pub(super) entry: Box<Entry>,
}

impl Tunnel {
    /// Runs on a client's whole connection (HTTP/1.1), as other protocols do.
    pub(super) async fn run(
        self,
        mut downstream: Downstream,
        unread: &[u8],
        visitor: &Visitor,
        ending: &Ending,
    ) -> Result<(), SessionError> {
        let Self {
            socket,
            said,
            lease,
            mut entry,
        } = self;
        let failed = |error: DownstreamError| SessionError::Downstream(error);
        std::future::poll_fn(|cx| downstream.poll_flush(cx))
            .await
            .map_err(|error| failed(error.into()))?;
        if !said.is_empty() {
            let mut plain = Buffer::with_room(said.len());
            plain.append(&said);
            entry.sent += said.len() as u64;
            downstream
                .queue(plain)
                .map_err(|error| failed(error.into()))?;
        }
        let early = (!unread.is_empty()).then(|| {
            let mut early = Buffer::with_room(unread.len());
            early.append(unread);
            early
        });
        drop(said);
        let active = &visitor.active;
        let mut relay = Relay::new(downstream, socket, early, None, &active.metrics);
        let outcome = tokio::select! {
            biased;
            outcome = relay.run(active.config.idle_timeout) => outcome,
            () = ending.wait() => Err(SessionError::Drained(Stage::Relay)),
        };
        if let Err(error) = &outcome {
            entry.fault = Some(error.reason());
            relay.pass_on(error, b"").await;
        }
        entry.sent += relay.bytes.down;
        entry.received += relay.bytes.up;
        drop(lease);
        outcome.map(|ended| debug_assert_eq!(ended, relay::Ended::Done))
    }
}

/// Runs on a stream of HTTP/2, which ends with its connection at the latest.
pub(super) fn spawn(upgrade: OnUpgrade, tunnel: Tunnel, visitor: Arc<Visitor>) {
    tokio::spawn(async move {
        let Tunnel {
            socket,
            said,
            lease,
            mut entry,
        } = tunnel;
        let Ok(upgraded) = upgrade.await else { return };
        let mut client = TokioIo::new(upgraded);
        let (mut server, traffic) = Wire::new(socket);
        let active = &visitor.active;
        let idle = active.config.idle_timeout;
        let copying = async {
            client.write_all(&said).await?;
            copy_bidirectional(&mut client, &mut server).await
        };
        let mut copying = pin!(copying);
        let moved = || traffic.received.load(Relaxed) + traffic.sent.load(Relaxed);
        let mut before = moved();
        let mut timer = pin!(sleep_until(Instant::now() + idle));
        loop {
            tokio::select! {
                biased;
                ended = &mut copying => {
                    if ended.is_err() {
                        entry.fault = Some("reset");
                    }
                    break;
                }
                () = &mut timer => {
                    let now = moved();
                    if now == before {
                        entry.fault = Some("idle");
                        break;
                    }
                    before = now;
                    timer.as_mut().reset(Instant::now() + idle);
                }
            }
        }
        entry.sent += said.len() as u64 + traffic.received.load(Relaxed);
        entry.received += traffic.sent.load(Relaxed);
        active
            .metrics
            .received_upstream
            .inc_by(traffic.received.load(Relaxed));
        active
            .metrics
            .sent_upstream
            .inc_by(traffic.sent.load(Relaxed));
        drop(lease);
    });
}

/// The opening handshake of a WebSocket in HTTP/1.1, for a client that has begun one in HTTP/2
/// (RFC 6455 section 4.1, RFC 8441 section 5).
#[derive(Debug)]
pub(super) struct Handshake {
    key: String,
}

impl Handshake {
    pub(super) fn new() -> Self {
        let mut nonce = [0; 16];
        // It proves to us that a server speaks WebSocket, and is no secret.
        let _ = rand::fill(&mut nonce);
        Self {
            key: BASE64.encode(&nonce),
        }
    }

    /// Asks for it.
    pub(super) fn ask(&self, fields: &mut HeaderMap) {
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(key) = HeaderValue::from_str(&self.key) {
            fields.insert(SEC_WEBSOCKET_KEY, key);
        }
        fields
            .entry(SEC_WEBSOCKET_VERSION)
            .or_insert(HeaderValue::from_static("13"));
    }

    /// Whether a server has understood.
    pub(super) fn is_answered(&self, fields: &HeaderMap) -> bool {
        let accept = fields.get(SEC_WEBSOCKET_ACCEPT);
        list_has(fields, &UPGRADE, "websocket")
            && accept.is_some_and(|accept| accept.as_bytes() == self.accept().as_bytes())
    }

    fn accept(&self) -> String {
        const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        let both = format!("{}{GUID}", self.key);
        BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, both.as_bytes()).as_ref())
    }
}

/// Takes away what only HTTP/1.1 has to say of a WebSocket.
pub(super) fn strip_handshake(fields: &mut HeaderMap) {
    fields.remove(SEC_WEBSOCKET_ACCEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_proves_that_it_speaks_websocket() {
        // The example of RFC 6455 section 1.3.
        let handshake = Handshake {
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        };
        let answer = |accept: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(UPGRADE, "WebSocket".parse().unwrap());
            fields.insert(SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
            fields
        };
        assert!(handshake.is_answered(&answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
        assert!(!handshake.is_answered(&answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")));
        assert!(!handshake.is_answered(&HeaderMap::new()));
    }

    #[test]
    fn every_handshake_has_its_own_key() {
        let [a, b] = [Handshake::new(), Handshake::new()];
        assert_ne!(a.key, b.key);
        assert_eq!(BASE64.decode(a.key.as_bytes()).unwrap().len(), 16);
    }
}
