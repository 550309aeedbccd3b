//! Protocol bytes to values and back: pure, incremental, bounded.
//!
//! A mail session before login is three machines, each of them bytes in, bytes out:
//! [`starttls`] speaks to a client in clear, [`opening`] speaks to a server before the client's
//! turn, [`guard`] stands between the two until login. The first and the last do not outlive the
//! encryption they were made for; an opening starts anew when its TLS stands.

pub mod announced;
pub mod client_hello;
pub mod guard;
pub mod http;
pub mod mail;
pub mod opening;
pub mod proxy_protocol;
pub mod starttls;
