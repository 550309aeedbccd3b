//! The certificate folders live: what anybody does in them takes effect in the real proxy with no
//! command and no restart, and so does what time does. Seen by clients, in the log and by monitoring.

mod also;
mod changes;
mod refused;
mod time;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::ca::{Pair, TestCa};
use crate::common::gatepost::{Gatepost, Site};
use crate::common::handshake::{Got, Kind, shake_hands};
use crate::common::wait;

const LISTENER: &str = r#"
[[listener]]
name = "tcp"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
"#;

/// A proxy that runs, and whom its clients speak to.
struct Watched {
    gatepost: Gatepost,
    address: SocketAddr,
}

impl Watched {
    fn start(ca: &TestCa, certificates: &[(&str, &Pair)]) -> Self {
        Self::start_on(Site::new(ca, certificates, LISTENER))
    }

    fn start_on(site: Site) -> Self {
        Self::of(site.start())
    }

    fn of(gatepost: Gatepost) -> Self {
        let address = gatepost.address("tcp");
        Self { gatepost, address }
    }

    fn folder(&self) -> PathBuf {
        self.gatepost.site.path("sslcert")
    }

    /// What a client gets that asks for this name now.
    fn gets(&self, name: &str) -> Got {
        shake_hands(self.address, Kind::Modern, Some(name))
    }

    /// Waits until clients that ask for this name get this certificate.
    #[track_caller]
    fn serves(&self, name: &str, pair: &Pair) {
        let expected = Got::Certificate(pair.der().to_vec());
        wait::until(&format!("{name} to be served anew"), || {
            self.gets(name) == expected
        });
    }

    /// Waits for a value of a metric.
    #[track_caller]
    fn counts(&self, series: &str, value: f64) {
        wait::until(&format!("{series} {value}"), || {
            self.gatepost.metric(series) == Some(value)
        });
    }

    /// What `gatepost cert list --json` has of a certificate.
    #[track_caller]
    fn listed(&self, name: &str) -> Value {
        let list = self.gatepost.site.command(&["cert", "list", "--json"]).ok();
        let list: Value = serde_json::from_str(&list).unwrap();
        let entries = list["certificates"].as_array().unwrap();
        let found = entries.iter().find(|entry| entry["name"] == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {list}"))
            .clone()
    }

    /// How often the log has said this.
    fn said(&self, message: &str) -> usize {
        let message = format!(r#""message":"{message}""#);
        self.gatepost.server.log().matches(&message).count()
    }
}

/// Writes a file as `rsync` does: under another name, then renamed.
fn put_by_rename(path: &Path, contents: &str) {
    let name = path.file_name().unwrap().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.Xa01bQ"));
    fs::write(&temporary, contents).unwrap();
    fs::rename(&temporary, path).unwrap();
}

/// As certbot lays it out: `live/NAME` holds links into `archive/NAME`.
fn certbot(base: &Path, name: &str, number: u32, pair: &Pair) {
    let (archive, live) = (
        base.join("archive").join(name),
        base.join("live").join(name),
    );
    fs::create_dir_all(&archive).unwrap();
    fs::create_dir_all(&live).unwrap();
    for (file, contents) in [
        ("privkey", &pair.key),
        ("cert", &pair.certificate),
        ("fullchain", &pair.chain),
    ] {
        let numbered = format!("{file}{number}.pem");
        fs::write(archive.join(&numbered), contents).unwrap();
        let link = live.join(format!("{file}.pem"));
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("../../archive/{name}/{numbered}"), link).unwrap();
    }
}
