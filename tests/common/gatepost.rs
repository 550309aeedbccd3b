//! The real proxy: the built binary, in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::ca::{Pair, TestCa};
use super::net::Loopback;
use super::process::{Outcome, Server, run};
use super::{scrape, wait};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gatepost");

const METRICS: u16 = 9_445;

/// A folder with a configuration and certificates, for a proxy that may or may not run.
pub(crate) struct Site {
    folder: TempDir,
    home: Loopback,
}

impl Site {
    /// A site that trusts `ca`, with these certificates; `configuration` is what
    /// [`Site::configure`] takes.
    pub(crate) fn new(ca: &TestCa, certificates: &[(&str, &Pair)], configuration: &str) -> Self {
        let site = Self {
            folder: super::folder(),
            home: Loopback::claim(),
        };
        fs::write(site.path("root.pem"), ca.root()).unwrap();
        fs::create_dir(site.path("sslcert")).unwrap();
        for (name, pair) in certificates {
            pair.write(&site.path("sslcert"), name);
        }
        site.configure(configuration);
        site
    }

    /// A fresh machine: the configuration that is shipped, and nothing else. Only the addresses are
    /// this site's own, so that the ports are free.
    pub(crate) fn fresh() -> Self {
        let site = Self {
            folder: super::folder(),
            home: Loopback::claim(),
        };
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/proxy.toml");
        let shipped = fs::read_to_string(shipped).unwrap();
        let home = format!("bind = [\"{}:", site.home.ip());
        let text = shipped
            .replace("bind = [\"[::]:", &home)
            .replace("127.0.0.1:9445", &site.metrics().to_string());
        fs::write(site.path("proxy.toml"), text).unwrap();
        site
    }

    /// A file of the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `proxy.toml` anew. The text may begin with more keys of `[certificates]`.
    pub(crate) fn configure(&self, configuration: &str) {
        let head = format!(
            r#"
[metrics]
listen = "{}"
[log]
level = "debug"
format = "json"
[certificates]
trust = ["root.pem"]
"#,
            self.metrics()
        );
        fs::write(self.path("proxy.toml"), head + configuration).unwrap();
    }

    /// Where metrics are scraped.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.home.port(METRICS)
    }

    /// Runs a subcommand on this site.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Outcome {
        let config = self.path("proxy.toml");
        let head = [OsStr::new("--config"), config.as_os_str()];
        let arguments = arguments.iter().map(AsRef::as_ref);
        run(PROGRAM, head.into_iter().chain(arguments), b"")
    }

    /// The command that runs the proxy.
    pub(crate) fn run_command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(self.path("proxy.toml"))
            .arg("run");
        command
    }

    /// Runs the proxy, and returns when it is ready.
    pub(crate) fn start(self) -> Gatepost {
        let command = self.run_command();
        self.start_by(command)
    }

    /// Runs the proxy by way of `command`, and returns when it is ready.
    pub(crate) fn start_by(self, mut command: Command) -> Gatepost {
        let server = Server::start("gatepost", &mut command, &self.path("log"));
        let mut gatepost = Gatepost { server, site: self };
        wait::until("gatepost to be ready", || {
            if let Some(status) = gatepost.server.ended() {
                panic!("gatepost ended ({status})");
            }
            gatepost.get("/readyz").is_some_and(|(code, _)| code == 200)
        });
        gatepost
    }
}

/// A proxy that runs.
pub(crate) struct Gatepost {
    pub(crate) server: Server,
    pub(crate) site: Site,
}

impl Gatepost {
    pub(crate) fn start(ca: &TestCa, certificates: &[(&str, &Pair)], configuration: &str) -> Self {
        Site::new(ca, certificates, configuration).start()
    }

    /// What `gatepost status --json` says.
    pub(crate) fn status(&self) -> Value {
        // By the socket alone, as the configuration may be a wrong one in the meantime.
        let socket = self.site.path("gatepost.sock");
        let arguments = [
            Path::new("status"),
            Path::new("--json"),
            Path::new("--socket"),
        ];
        let arguments = arguments.into_iter().chain([socket.as_path()]);
        let text = run(PROGRAM, arguments, b"").ok();
        serde_json::from_str(&text).unwrap()
    }

    /// Whether there is a listener of this name.
    pub(crate) fn listens(&self, name: &str) -> bool {
        listener(&self.status(), name).is_some()
    }

    /// The first address of a listener.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let status = self.status();
        let listener = listener(&status, name).unwrap_or_else(|| panic!("no {name} in {status}"));
        listener["bound"][0].as_str().unwrap().parse().unwrap()
    }

    /// Runs the proxy of this site once more.
    pub(crate) fn again(self) -> Self {
        drop(self.server);
        self.site.start()
    }

    /// The value of a metric, `name{labels}` as scraped; `None` if it is not there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        scrape::metric(self.site.metrics(), series)
    }

    /// The page that Prometheus reads.
    pub(crate) fn scrape(&self) -> String {
        scrape::page(self.site.metrics())
    }

    /// Status and body of a page of the metrics listener.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        scrape::get(self.site.metrics(), path)
    }

    /// Waits for a log line with all of `parts`, and returns its fields.
    #[track_caller]
    pub(crate) fn logged(&self, parts: &[&str]) -> Value {
        serde_json::from_str(&self.server.logged(parts)).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }
}

fn listener<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let listeners = status["listeners"].as_array().unwrap();
    listeners.iter().find(|listener| listener["name"] == name)
}
