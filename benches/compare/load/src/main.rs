//! The load on a proxy under comparison, the plaintext server behind it, and its certificates.
//!
//! Each kind of load is a subcommand that prints one JSON object on standard output when it is
//! over. Nothing in here knows which proxy it talks to: an address is all it is given.

mod bulk;
mod certificates;
mod churn;
mod client;
mod hold;
mod quantiles;
mod rate;
mod server;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connections as fast as they are taken: handshake, a few bytes, close
    Churn(churn::Options),
    /// Many bytes one way
    Bulk(bulk::Options),
    /// Echoes at a fixed rate, timed from when each was due
    Rate(rate::Options),
    /// Connections that stand and say nothing, until standard input ends
    Hold(hold::Options),
    /// The plaintext server behind the proxy
    Server(server::Options),
    /// Certificates and keys in the layouts that proxies want
    Certificates(certificates::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Churn(options) => on_this_thread(churn::run(options)),
        Command::Bulk(options) => on_this_thread(bulk::run(options)),
        Command::Rate(options) => rate::run(&options),
        Command::Hold(options) => on_this_thread(hold::run(options)),
        Command::Server(options) => on_this_thread(server::run(options)),
        Command::Certificates(options) => certificates::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all causes, and no backtrace: the runner says it of the row that failed.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a future on this thread alone: load and server share one core, the proxy has the others.
fn on_this_thread(future: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
