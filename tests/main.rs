//! What the proxy promises, shown on the real binary and with real peers: one test binary, one
//! module for each group of promises. `tests/run` installs the programs that it needs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod changes;
mod cli;
mod common;
mod config;
mod demo;
mod dialogs;
mod import;
mod input;
mod layers;
mod metrics;
mod operation;
mod probe;
mod real_mail;
mod relay;
mod selection;
mod starttls;
mod watch;
mod web;
