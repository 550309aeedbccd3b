//! The path of a connection, from accept to its end.
//!
//! `listener` accepts, `session` is the path itself, `downstream` and `upstream` are its two
//! ends and `relay` what happens between them. What a connection needs is taken at accept
//! ([`Active`]) and kept to its end; only the certificate is looked up later, at ClientHello.

mod downstream;
mod error;
mod inbound;
mod limits;
mod listener;
mod relay;
mod report;
mod route;
mod session;
mod socket;
mod upstream;

pub use downstream::DownstreamError;
pub use error::{Party, SessionError, Stage};
pub use limits::{ClientLimit, ConnectionLimit};
pub use listener::{Acceptor, Ending, bind};
pub use route::RouteTable;
pub use session::Active;
pub use upstream::{ServerStatus, Upstream};
