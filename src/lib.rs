//! Gatepost: a TLS reverse proxy for legacy mail servers and the web servers beside them.
//!
//! The library exists for the binary, the tests, the benchmarks and the fuzz targets; it
//! makes no promise of stability. `ARCHITECTURE.md` has the picture.

pub mod admin;
pub mod causes;
pub mod cert;
pub mod cli;
pub mod config;
pub mod demo;
pub mod log;
pub mod metrics;
pub mod probe;
pub mod proxy;
pub mod server;
pub mod store;
pub mod time;
pub mod tls;
pub mod wire;
