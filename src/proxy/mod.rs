//! The path of a connection, from accept to its end.
//!
//! `listener` accepts, `session` is the path itself, `handshake` its TLS, `boundary` what a client's end is before TLS
//! and after, `downstream` and `upstream` are its two ends, `relay` what happens between them,
//! and `guarded` what of it does not happen before login. HTTP takes the place of the relay in
//! `http`. What a connection needs is taken at accept
//! ([`Active`]) and kept to its end; only the certificate is looked up later, at ClientHello.

mod boundary;
mod downstream;
mod error;
mod guarded;
mod handshake;
mod http;
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
pub use http::{Action as HttpAction, HttpEnd, Routes as HttpRoutes};
pub use limits::{ClientLimit, ConnectionLimit};
pub use listener::{Acceptor, Ending, bind};
pub use route::RouteTable;
pub use session::Active;
pub use upstream::{
    ConnectError, Failure, Purpose, Reached, Request, ServerStatus, Upstream, Way, host_of,
};
