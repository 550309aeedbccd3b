//! rustls put together: what a listener's TLS is, which certificate a connection gets, the
//! record layer of one connection, and TLS towards upstreams.
//!
//! No connection is opened in here. Towards clients [`Handshake`] and then [`Session`] turn bytes
//! into bytes: rustls' unbuffered interface, and our own records, so that a silent connection
//! holds no buffer at all.
//! Towards upstreams [`ClientTls`] wraps the stream that it is given.

mod buffer;
mod client;
mod direction;
mod error;
mod handshake;
mod resolver;
mod server;
mod session;
mod ticketer;
mod unsuited;

pub use buffer::Buffer;
pub use client::{ClientTls, ClientTlsError, Peer, Refusal, UpstreamTlsError};
pub use error::{Alert, TlsError};
pub use handshake::{Finished, Handshake, Negotiated};
pub use resolver::Chosen;
pub use server::{Provider, ServerTls};
pub use session::{Opened, Session, Traffic};
pub use ticketer::Ticketer;
pub use unsuited::Unsuited;
