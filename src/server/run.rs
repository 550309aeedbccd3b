//! The process: its runtime, its signals, and what it tells systemd.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, Diagnostic};
use crate::server::{Handle, Options, Server, ServerError, StartError};

/// How long the last thing that blocks may take when all is over.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runtime or its signal handlers cannot be had.
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    /// The server did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The server ended by itself.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A second signal did not let the drain finish.
    #[error("ended by a second signal before all connections were done")]
    Impatience,
}

/// Runs the proxy until it is stopped: SIGHUP reloads, SIGTERM and SIGINT drain and stop.
///
/// # Errors
/// Whatever keeps it from starting, or ends it.
pub fn run(config: Config, warnings: &[Diagnostic], options: Options) -> Result<(), RunError> {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = runtime(config.threads).map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(serve(config, options));
    // Sessions that outlived the drain's deadline are not waited for; every task is dropped,
    // and with the one that owns the admin socket, the socket.
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

/// One thread needs no scheduler that moves work between threads.
fn runtime(threads: usize) -> std::io::Result<Runtime> {
    match threads {
        0 | 1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("gatepost")
            .enable_all()
            .build(),
    }
}

async fn serve(config: Config, options: Options) -> Result<(), RunError> {
    // Before anything else, so that no early signal ends the process by default.
    let signals = Signals::new().map_err(RunError::Runtime)?;
    let server = Server::start(config, options).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    notify(&[NotifyState::Ready]);
    let handle = server.handle();
    tokio::select! {
        outcome = server.wait() => Ok(outcome?),
        error = signals.obey(handle) => Err(error),
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Carries out what signals ask for. Returns only if a second one asks for the end.
    async fn obey(mut self, handle: Handle) -> RunError {
        let mut stopping = false;
        loop {
            let ends = tokio::select! {
                _ = self.hangup.recv() => false,
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
            };
            match (ends, stopping) {
                (false, _) => reload(&handle).await,
                (true, true) => return RunError::Impatience,
                (true, false) => {
                    stopping = true;
                    notify(&[NotifyState::Stopping]);
                    let handle = handle.clone();
                    tokio::spawn(async move { handle.stop().await });
                }
            }
        }
    }
}

async fn reload(handle: &Handle) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
    // The outcome is logged and counted by whoever carries it out.
    let _ = handle.reload().await;
    notify(&[NotifyState::Ready]);
}

/// Tells systemd, if it started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
