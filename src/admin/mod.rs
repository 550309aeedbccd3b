//! Managing a running proxy: HTTP and JSON on a Unix socket, and what Prometheus scrapes.
//!
//! ```text
//! GET    /v1/status
//! GET    /v1/certificates                POST /v1/certificates       (new self-signed)
//! GET    /v1/certificates/NAME           DELETE /v1/certificates/NAME[?force=true]
//! GET    /v1/certificates/NAME/{certificate,chain,request,key}       (PEM)
//! DELETE /v1/certificates/NAME/request   (gives a waiting request up)
//! POST   /v1/requests · POST /v1/import · POST /v1/import-signed
//! GET    /v1/default · PUT /v1/default   {"name": "server"}
//! GET    /v1/explain?host=…&listener=…&client=…&at=…
//! POST   /v1/reload · POST /v1/drain · POST /v1/stop
//! ```
//!
//! `api` has the documents, which both ends share; `service` makes them out of the store and
//! the index, for the server and for a command line that finds no proxy running. Who may
//! connect is a matter of the socket's owner and mode. What listeners and upstreams are doing,
//! and how a reload or drain is done, is for whoever takes the [`Command`]s.

pub mod api;
mod client;
#[cfg(test)]
mod fixture;
mod http;
mod scrape;
mod server;
pub mod service;
mod socket;
mod uri;

pub use client::{Client, ClientError};
pub use scrape::serve as serve_metrics;
pub use server::{Command, serve};
pub use service::Context;
pub use socket::{SocketError, SocketGuard, bind};
