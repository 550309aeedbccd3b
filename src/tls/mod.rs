//! rustls put together: what a listener's TLS is, which certificate a connection gets, and
//! the record layer of one connection.
//!
//! No I/O happens in here: [`Session`] turns bytes into bytes. The unbuffered interface of
//! rustls is used, so that a silent connection holds no buffer at all.

mod buffer;
mod client;
mod resolver;
mod server;
mod session;
mod ticketer;
mod unsuited;

pub use buffer::Buffer;
pub use client::{ClientTls, ClientTlsError, UpstreamTlsError};
pub use resolver::Chosen;
pub use server::{Provider, ServerTls};
pub use session::{Alert, Negotiated, Opened, Session, TlsError};
pub use ticketer::Ticketer;
pub use unsuited::Unsuited;
