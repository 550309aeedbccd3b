//! The proxy inside the test process, by a clock that the test moves.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use gatepost::admin::Client as Admin;
use gatepost::admin::api::Drained;
use gatepost::config;
use gatepost::server::{Options, Server, StartError};
use gatepost::time::Clock;
use rustls_pki_types::UnixTime;
use tokio::runtime::{Builder, Runtime};

use super::ca::{Pair, TestCa};
use super::gatepost::Site;
use super::scrape;

/// A proxy that runs until this value is dropped, on threads of its own: tests of either kind, with
/// and without a runtime, can use it.
pub(crate) struct TestProxy {
    pub(crate) site: Site,
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
    pub(crate) fn start_on(site: Site, now: UnixTime) -> Self {
        Self::try_start_on(site, now).unwrap_or_else(|(_, error)| panic!("{error:?}"))
    }

    /// A proxy on an existing site, which comes back with the error if it does not start.
    pub(crate) fn try_start_on(site: Site, now: UnixTime) -> Result<Self, (Site, StartError)> {
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
        match run_on(&runtime, Server::start(config, options)) {
            Ok(server) => Ok(Self {
                site,
                server,
                clock,
                now: seconds(now),
                runtime: Some(runtime),
            }),
            Err(error) => Err((site, error)),
        }
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

    /// Drains and stops it.
    pub(crate) fn stop(self) -> Drained {
        let handle = self.server.handle();
        let stopped = self.run(async move { handle.stop().await });
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
