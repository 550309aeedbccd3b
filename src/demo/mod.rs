//! The proxy at work with nothing to configure: three small upstreams, certificates of every
//! rank, a generated `proxy.toml`, and one try of everything.
//!
//! It starts the same server that `gatepost run` starts, from a configuration file in a
//! temporary folder, so what is seen here is what is there. It prints nothing: that is `cli`'s.

mod certificates;
mod client;
mod tries;
mod upstream;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

pub use certificates::CertificatesError;
pub use tries::{RankTry, Served, Try, TryError};

use crate::config::{self, ConfigErrors};
use crate::server::{Options, Server, StartError};
use crate::time::Clock;
use client::Client;
use upstream::{Service, Upstream};

/// The services, by the name of their listener.
const SERVICES: [(&str, Service); 3] = [
    ("https", Service::Web),
    ("imaps", Service::Imap),
    ("submissions", Service::Smtp),
];

/// The CA that signs the trusted certificates, and that clients trust.
const CA_FILE: &str = "demo-ca.pem";

/// The running demo; its folder goes when it is dropped.
#[derive(Debug)]
pub struct Demo {
    directory: TempDir,
    ca: CertificateDer<'static>,
    endpoints: Vec<Endpoint>,
    server: Server,
    clock: Clock,
    _upstreams: Vec<Upstream>,
}

/// One service: where the proxy takes it, and where it takes it to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The listener.
    pub listener: &'static str,
    /// What stands behind.
    pub service: &'static str,
    /// Where the proxy listens.
    pub address: SocketAddr,
    /// Where the upstream listens.
    pub upstream: SocketAddr,
    kind: Service,
}

/// Why the demo did not start or end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No temporary folder, or no loopback port.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// No certificates.
    #[error("cannot make the demo's certificates")]
    Certificates(#[from] CertificatesError),
    /// The generated configuration is wrong.
    #[error("the demo's configuration")]
    Config(#[from] ConfigErrors),
    /// The proxy did not start.
    #[error("the demo's proxy did not start")]
    Start(#[from] StartError),
    /// The client could not be made.
    #[error("the demo's client could not be made")]
    Client(#[from] TryError),
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::Io { action, source }
}

impl Demo {
    /// Makes the folder and starts everything.
    pub async fn start() -> Result<Self, DemoError> {
        let clock = Clock::System;
        let directory = tempfile::Builder::new()
            .prefix("gatepost-demo-")
            .tempdir()
            .map_err(failed("make a temporary folder"))?;
        let folder = directory.path();
        let ca = certificates::make(&folder.join("sslcert"), &folder.join(CA_FILE), clock.now())?;
        let mut upstreams = Vec::new();
        for (_, service) in SERVICES {
            let upstream = Upstream::start(service).await;
            upstreams.push(upstream.map_err(failed("listen on a loopback port"))?);
        }
        let addresses: Vec<_> = upstreams.iter().map(Upstream::address).collect();
        let path = directory.path().join("proxy.toml");
        fs::write(&path, configuration(&addresses)).map_err(failed("write proxy.toml"))?;
        let (config, _warnings) = config::load(&path)?;
        let options = Options {
            clock: clock.clone(),
            inherit_sockets: false,
            log: None,
        };
        let server = Server::start(config, options).await?;
        Ok(Self {
            endpoints: endpoints(&server, &addresses),
            directory,
            ca,
            server,
            clock,
            _upstreams: upstreams,
        })
    }

    /// The temporary folder.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration in use.
    pub fn config(&self) -> PathBuf {
        self.directory().join("proxy.toml")
    }

    /// The CA that signed the trusted certificates, PEM.
    pub fn ca(&self) -> PathBuf {
        self.directory().join(CA_FILE)
    }

    /// What is running.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The name that the trusted certificate is for.
    pub fn host(&self) -> &'static str {
        tries::HOST
    }

    /// Where the metrics are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.metrics_address()
    }

    /// Uses each service once, as a client that trusts the demo's CA.
    pub async fn try_services(&self) -> Result<Vec<Try>, DemoError> {
        let client = Client::new(self.ca.clone())?;
        let mut tries = Vec::new();
        for endpoint in &self.endpoints {
            tries.push(tries::service(&client, endpoint.kind, endpoint.address).await);
        }
        Ok(tries)
    }

    /// Asks for one name of each rank, and looks at what is served.
    pub async fn try_ranks(&self) -> Result<Vec<RankTry>, DemoError> {
        let client = Client::new(self.ca.clone())?;
        let index = self.server.live_index();
        let mut tries = Vec::new();
        for (case, endpoint) in certificates::CASES
            .iter()
            .zip(self.endpoints.iter().cycle())
        {
            let now = self.clock.now();
            let index = std::sync::Arc::clone(&index.load());
            tries.push(tries::rank(&client, case, endpoint.address, &index, now).await);
        }
        Ok(tries)
    }

    /// Until the proxy is stopped over its admin socket.
    pub async fn stopped(self) {
        // How it ended is of no interest any more, the folder goes in any case.
        let _ = self.server.wait().await;
    }
}

fn endpoints(server: &Server, upstreams: &[SocketAddr]) -> Vec<Endpoint> {
    let upstreams = upstreams.iter().copied();
    SERVICES
        .into_iter()
        .zip(upstreams)
        .filter_map(|((listener, kind), upstream)| {
            Some(Endpoint {
                listener,
                service: match kind {
                    Service::Web => "a web page",
                    Service::Imap => "an IMAP server",
                    Service::Smtp => "an SMTP sink",
                },
                address: server.addresses(listener).into_iter().next()?,
                upstream,
                kind,
            })
        })
        .collect()
}

/// The generated `proxy.toml`.
fn configuration(upstreams: &[SocketAddr]) -> String {
    let mut text = String::from(
        "# Written by \"gatepost demo\"; it goes when the demo ends.\n\
         # Port 0 is a port of the system's choice; \"gatepost status\" says which.\n\n\
         [certificates]\n\
         directory = \"sslcert\"\n\
         trust = [\"demo-ca.pem\"]          # and nobody else\n\n\
         [admin]\nsocket = \"gatepost.sock\"\n\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n\n\
         [limits]\ndrain_timeout = \"1s\"\n",
    );
    for ((listener, service), upstream) in SERVICES.iter().zip(upstreams) {
        let (protocol, name) = match service {
            Service::Web => ("http", "web"),
            Service::Imap => ("imap", "imap"),
            Service::Smtp => ("submission", "smtp"),
        };
        text.push_str(&format!(
            "\n[[listener]]\nname = \"{listener}\"\nbind = [\"127.0.0.1:0\"]\n\
             protocol = \"{protocol}\"\ntls = \"implicit\"\nhostname = \"{}\"\n\
             upstream = \"{name}\"\n\n\
             [[upstream]]\nname = \"{name}\"\nservers = [\"{upstream}\"]\n\
             client_address = \"proxy-v2\"\n",
            tries::HOST
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_without_fault() {
        let upstreams = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"];
        let upstreams = upstreams.map(|address| address.parse().unwrap());
        let text = configuration(&upstreams);
        let (config, warnings) = config::parse(&text, Path::new("proxy.toml")).unwrap();
        assert_eq!(warnings, []);
        assert!(
            config
                .listeners
                .iter()
                .all(|listener| listener.upstream.is_some())
        );
    }
}
