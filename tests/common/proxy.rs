//! The proxy inside the test process, by a clock that the test moves.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gatepost::admin::Client as Admin;
use gatepost::admin::api::Drained;
use gatepost::config;
use gatepost::server::{Options, Server, StartError};
use gatepost::time::Clock;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::runtime::{Builder, Runtime};

use super::ca::{Pair, TestCa};
use super::gatepost::Site;
use super::handshake::{Got, Kind, shake_hands};
use super::{scrape, wait};

/// A proxy that runs until this value is dropped, on threads of its own: tests of either kind, with
/// and without a runtime, can use it.
pub(crate) struct TestProxy {
    pub(crate) site: Arc<Site>,
    pub(crate) server: Server,
    clock: Clock,
    now: i64,
    /// Never empty; `Option` because it is given away at the end.
    runtime: Option<Runtime>,
}

impl TestProxy {
    /// A proxy that trusts `ca`, with these certificates, at the authority's now. `configuration` is
    /// what [`Site::configure`] takes.
    pub(crate) fn start(ca: &TestCa, certificates: &[(&str, &Pair)], configuration: &str) -> Self {
        Self::start_on(Site::new(ca, certificates, configuration), ca.now())
    }

    /// A proxy on an existing site.
    #[track_caller]
    pub(crate) fn start_on(site: impl Into<Arc<Site>>, now: UnixTime) -> Self {
        Self::try_start_on(site, now).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// A proxy on an existing site, if it starts.
    pub(crate) fn try_start_on(
        site: impl Into<Arc<Site>>,
        now: UnixTime,
    ) -> Result<Self, StartError> {
        let site = site.into();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let clock = Clock::manual(now);
        let options = Options {
            clock: clock.clone(),
            inherit_sockets: false,
            log: None,
        };
        let (config, _) = config::load(&site.path("proxy.toml")).unwrap();
        let server = run_on(&runtime, Server::start(config, options))?;
        Ok(Self {
            site,
            server,
            clock,
            now: seconds(now),
            runtime: Some(runtime),
        })
    }

    /// Moves the clock to this second after the start (or before it).
    pub(crate) fn set_clock(&self, after_start: i64) {
        let now = u64::try_from(self.now + after_start).unwrap();
        self.clock
            .set(UnixTime::since_unix_epoch(Duration::from_secs(now)));
    }

    /// The time by its clock.
    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The first address of a listener.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.server.addresses(listener);
        let first = addresses.first();
        *first.unwrap_or_else(|| panic!("no listener {listener}"))
    }

    /// The value of a metric, `name{labels}` as scraped; `None` if it is not there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        scrape::metric(self.site.metrics(), series)
    }

    /// Talks to the admin socket, in a runtime of its own.
    pub(crate) fn admin<T>(&self, talk: impl AsyncFnOnce(&mut Admin) -> T) -> T {
        let socket = self.site.path("gatepost.sock");
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut admin = Admin::connect(&socket).await.unwrap();
            talk(&mut admin).await
        })
    }

    /// NAME of what a client of today is served that asks for `name`, or for none.
    pub(crate) fn serves(&self, listener: &str, name: Option<&str>) -> String {
        self.name_of(&shake_hands(self.address(listener), Kind::Modern, name))
    }

    /// NAME of what was served; else what came instead.
    pub(crate) fn name_of(&self, got: &Got) -> String {
        let Got::Certificate(der) = got else {
            return format!("{got:?}");
        };
        let entries = fs::read_dir(self.site.path("sslcert")).unwrap();
        let files = entries.map(|entry| entry.unwrap().path());
        let mut certificates = files.filter(|path| path.extension().is_some_and(|e| e == "crt"));
        let file = certificates.find(|path| {
            let pem = fs::read(path).unwrap();
            CertificateDer::from_pem_slice(&pem).is_ok_and(|found| *found == **der)
        });
        let name = file.as_deref().and_then(|path| path.file_stem());
        name.map_or_else(
            || format!("{got:?}"),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    /// Drains and stops it; nothing of it is left afterwards.
    pub(crate) fn stop(mut self) -> Drained {
        let handle = self.server.handle();
        let stopped = self.run(async move { handle.stop().await });
        let runtime = self.runtime.take().unwrap();
        runtime.shutdown_timeout(wait::PATIENCE);
        stopped.unwrap()
    }

    /// Runs a future on the threads of the proxy.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        run_on(self.runtime.as_ref().unwrap(), future)
    }
}

impl Drop for TestProxy {
    /// Ends it at once, with whatever connections it has.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn run_on<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    // Not `block_on`, which a test with a runtime of its own could not call.
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move { sender.send(future.await) });
    receiver.recv().unwrap()
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap()
}
