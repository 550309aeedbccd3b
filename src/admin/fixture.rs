//! What the tests of this module share: a folder, a configuration and a clock that stands.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::UnixTime;
use tempfile::TempDir;

use crate::admin::{Context, api};
use crate::cert::{CertIndex, LiveIndex, NamePattern, NewCertificate, Order, self_signed};
use crate::config;
use crate::store::{CertStore, Options};
use crate::time::Clock;

/// 2026-11-21T10:00:00Z
pub(super) const NOW: u64 = 1_795_255_200;

pub(super) const DAY: u64 = 24 * 60 * 60;

const CONFIG: &str = r#"
[[listener]]
name = "imaps"
bind = ["127.0.0.1:9993"]
protocol = "imap"
tls = "implicit"
hostname = "mail.example.com"
upstream = "old-mail"

[[listener]]
name = "strict"
bind = ["127.0.0.1:9994"]
protocol = "imap"
tls = "implicit"
unknown_name = "reject"
upstream = "old-mail"

[[route]]
names = ["webmail.example.net", "*.example.org"]
upstream = "old-mail"

[[upstream]]
name = "old-mail"
servers = ["127.0.0.1"]
"#;

/// A proxy's context without a proxy.
pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) context: Context,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(at(NOW));
        let live = LiveIndex::new(CertIndex::new(Vec::new(), None, Order::Kerio));
        let options = Options {
            directory: folder.path().join("sslcert"),
            also: Vec::new(),
            order: Order::Kerio,
            trust: Vec::new(),
        };
        let store = CertStore::open(options, live.clone(), clock.clone()).unwrap();
        let (config, _) = config::parse(CONFIG, &folder.path().join("proxy.toml")).unwrap();
        let context = Context {
            store: Arc::new(store),
            live,
            clock,
            config: Arc::new(ArcSwap::from_pointee(config)),
        };
        Self { folder, context }
    }

    /// A self-signed certificate in the folder.
    pub(super) fn make(&self, hostname: &str, days: u32) -> String {
        let new = api::New {
            hostnames: vec![hostname.to_owned()],
            country: "DE".to_owned(),
            days: Some(days),
            ..api::New::default()
        };
        self.context.create(&new).unwrap().name
    }
}

/// Certificate and key in PEM, of nobody's folder.
pub(super) fn pair(hostname: &str) -> (String, String) {
    let new = NewCertificate {
        names: vec![NamePattern::parse(hostname).unwrap()],
        addresses: Vec::new(),
        subject: crate::cert::Subject::default(),
        days: 30,
        key: crate::cert::KeyAlgorithm::default(),
    };
    self_signed(&new, at(NOW)).unwrap()
}

pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
