//! The running whole: assemble, reload, drain, stop.
//!
//! One task (`control`) owns what changes; everybody else sends it commands. A reload has
//! the order of every change in this program: read, resolve, bind, build, and only then put
//! the new in the place of the old. Until that last step a failure leaves everything as it was.

mod certificates;
mod control;
mod descriptors;
mod inherit;
mod listeners;
mod run;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::Command;
use crate::admin::api::{Drained, Reloaded, Status};
use crate::cert::LiveIndex;
use crate::config::{self, Config};
use crate::log::LogHandle;
use crate::store::{self, CertStore, StoreError};
use crate::time::Clock;

pub use control::host_name;
pub use run::{RunError, run};

/// How a server is started.
#[derive(Debug)]
pub struct Options {
    /// Where the time of day comes from.
    pub clock: Clock,
    /// Whether listening sockets handed over by systemd are used.
    pub inherit_sockets: bool,
    /// The log, so that a reload can change its level and format.
    pub log: Option<LogHandle>,
}

/// Why a server cannot start, or a configuration cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket cannot be had.
    #[error("listener {listener:?}: cannot listen on {address}")]
    Bind {
        /// Whose.
        listener: String,
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The address of the metrics cannot be had.
    #[error("metrics: cannot listen on {address}")]
    Metrics {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The admin socket cannot be had.
    #[error("the admin socket cannot be used")]
    Admin(#[source] crate::admin::SocketError),
    /// The certificate folder cannot be used.
    #[error("the certificate folder cannot be used")]
    Store(#[from] StoreError),
    /// The TLS of a listener cannot be put together.
    #[error("listener {listener:?}: TLS cannot be set up")]
    Tls {
        /// Whose.
        listener: String,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS towards an upstream cannot be put together.
    #[error("upstream {upstream:?}: TLS cannot be set up")]
    UpstreamTls {
        /// Whose.
        upstream: String,
        /// Why.
        source: crate::tls::ClientTlsError,
    },
    /// The system has no randomness for session tickets.
    #[error("no randomness for session ticket keys")]
    Randomness,
    /// A task of the runtime ended before its time.
    #[error("a task of the start ended early")]
    Task(#[from] tokio::task::JoinError),
}

/// Why a running server ended other than by being stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A part that must run as long as the process ended.
    #[error("{0} ended unexpectedly")]
    PartEnded(String),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    handle: Handle,
    bound: Arc<ArcSwap<Bound>>,
    live: LiveIndex,
    store: Arc<CertStore>,
    parts: Parts,
    stopped: watch::Receiver<bool>,
}

/// What listens where.
#[derive(Clone, Debug, Default)]
struct Bound {
    listeners: Vec<(String, Vec<SocketAddr>)>,
    metrics: Option<SocketAddr>,
}

/// The means to reload, drain and stop a server from anywhere.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Command>);

/// Long-lived tasks: none of them may end before it is told to.
#[derive(Clone, Debug)]
struct Parts {
    failed: watch::Sender<Option<String>>,
}

impl Server {
    /// Opens the certificate folder, binds every socket and starts accepting.
    ///
    /// # Errors
    /// Names what could not be had; nothing is left behind then.
    pub async fn start(config: Config, options: Options) -> Result<Self, StartError> {
        control::start(config, options).await
    }

    /// The addresses that a listener is bound to; empty if there is no such listener.
    pub fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let bound = self.bound.load();
        let found = bound.listeners.iter().find(|(name, _)| name == listener);
        found
            .map(|(_, addresses)| addresses.clone())
            .unwrap_or_default()
    }

    /// The address of the metrics.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.bound.load().metrics
    }

    /// The index that handshakes use.
    pub fn live_index(&self) -> LiveIndex {
        self.live.clone()
    }

    /// The certificate folder.
    pub fn store(&self) -> Arc<CertStore> {
        Arc::clone(&self.store)
    }

    /// The means to reload, drain and stop it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns when the server has been stopped.
    ///
    /// # Errors
    /// If a part of it ended by itself.
    pub async fn wait(mut self) -> Result<(), ServerError> {
        let mut failed = self.parts.failed.subscribe();
        tokio::select! {
            _ = self.stopped.wait_for(|stopped| *stopped) => Ok(()),
            part = failed.wait_for(Option::is_some) => {
                let part = part.ok().and_then(|part| part.clone());
                Err(ServerError::PartEnded(part.unwrap_or_default()))
            }
        }
    }
}

impl Handle {
    /// Reads the configuration again; what is to be said about the new one.
    ///
    /// # Errors
    /// Everything that is wrong with it; it then changes nothing.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let answer = self.ask(Command::Reload).await;
        answer.unwrap_or_else(|| Err("the server has ended".to_owned()))
    }

    /// Stops accepting, and returns when no connection is left or those left when
    /// `drain_timeout` had passed are cut off; `None` if the server is gone.
    pub async fn drain(&self) -> Option<Drained> {
        self.ask(Command::Drain).await
    }

    /// Drains, and ends the server; `None` if it is gone.
    pub async fn stop(&self) -> Option<Drained> {
        self.ask(Command::Stop).await
    }

    /// What the server is doing now; `None` if it is gone.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Command::Status).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Parts {
    fn new() -> Self {
        Self {
            failed: watch::Sender::new(None),
        }
    }

    /// Runs a part that may end only after `stop`. Its panic or early end ends the server.
    fn spawn(
        &self,
        name: &str,
        stop: CancellationToken,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let (failed, name) = (self.failed.clone(), name.to_owned());
        let part = tokio::spawn(part);
        tokio::spawn(async move {
            let outcome = part.await;
            if outcome.is_err() || !stop.is_cancelled() {
                failed.send_replace(Some(name));
            }
        });
    }
}

/// What the store is to know of a configuration.
pub fn store_options(certificates: &config::Certificates) -> store::Options {
    let root = |source: &config::TrustSource| match source {
        config::TrustSource::System => store::RootSource::System,
        config::TrustSource::Mozilla => store::RootSource::Mozilla,
        config::TrustSource::File(path) => store::RootSource::File(path.clone()),
    };
    store::Options {
        directory: certificates.directory.clone(),
        also: certificates.also.clone(),
        order: certificates.order,
        trust: certificates.trust.iter().map(root).collect(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    const CONFIG: &str = r#"
        [certificates]
        trust = ["mozilla"]
        [metrics]
        listen = "127.0.0.1:0"
        [[listener]]
        name = "imaps"
        bind = ["127.0.0.1:0"]
        protocol = "imap"
    "#;

    #[tokio::test]
    async fn whoever_asks_is_answered_before_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (config, _) = config::parse(CONFIG, &folder.path().join("proxy.toml")).unwrap();
        let options = Options {
            clock: Clock::System,
            inherit_sockets: false,
            log: None,
        };
        let server = Server::start(config, options).await.unwrap();
        let path = folder.path().join("gatepost.sock");
        let mut slow = UnixStream::connect(&path).await.unwrap();
        let half = b"POST /v1/import HTTP/1.1\r\nhost: gatepost\r\ncontent-length: 2\r\n\r\n{";
        slow.write_all(half).await.unwrap();
        let mut stop = UnixStream::connect(&path).await.unwrap();
        let request = b"POST /v1/stop HTTP/1.1\r\nhost: gatepost\r\n\r\n";
        stop.write_all(request).await.unwrap();
        let mut answer = [0; 12];
        stop.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");

        slow.write_all(b"}").await.unwrap();
        server.wait().await.unwrap();

        // The process would be gone: nothing that is still to be done counts.
        let mut slow = slow.into_std().unwrap();
        std::io::Read::read_exact(&mut slow, &mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
}
