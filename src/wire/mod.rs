//! Protocol bytes to values and back: pure, incremental, bounded.

pub mod client_hello;
pub mod mail;
pub mod proxy_protocol;
