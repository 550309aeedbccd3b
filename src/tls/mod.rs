//! rustls put together: what a listener's TLS is, which certificate a connection gets, the
//! record layer of one connection, and TLS towards upstreams.
//!
//! No connection is opened in here. Towards clients [`Session`] turns bytes into bytes: the
//! unbuffered interface of rustls is used, so that a silent connection holds no buffer at all.
//! Towards upstreams [`ClientTls`] wraps the stream that it is given.

mod buffer;
mod client;
mod resolver;
mod server;
mod session;
mod suites;
mod ticketer;
mod unsuited;

pub use buffer::Buffer;
pub use client::{ClientTls, ClientTlsError, Peer, Refusal, UpstreamTlsError};
pub use resolver::Chosen;
pub use server::{Provider, ServerTls};
pub use session::{Alert, Negotiated, Opened, Session, TlsError};
pub use ticketer::Ticketer;
pub use unsuited::Unsuited;
