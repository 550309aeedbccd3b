//! The proxy under test, with what a handshake does not show of it: what is explained, what is counted.

use std::collections::BTreeMap;
use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use gatepost::admin::api;
use gatepost::cert::{self, DnsName, Outcome, Query};
use gatepost::config::{self, Config};

use super::table::{Expected, Made, Row};
use crate::common::ca::TestCa;
use crate::common::gatepost::Site;
use crate::common::handshake::{Got, ask_in_clear, shake_hands};
use crate::common::proxy::TestProxy;
use crate::common::wait;

/// The listeners of every table: nobody is behind them, for nothing is asked of anybody.
pub(super) const LISTENERS: &str = r#"
[[listener]]
name = "plain"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"

[[listener]]
name = "strict"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
unknown_name = "reject"

[[listener]]
name = "assumed"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
hostname = "self.ranks.example"

[[listener]]
name = "international"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
hostname = "Zürich.example"

[[listener]]
name = "assumed-strict"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
hostname = "nobody.example"
unknown_name = "reject"

[[listener]]
name = "address"
bind = ["127.0.0.9:0"]
protocol = "tcp"
tls = "implicit"

[[listener]]
name = "address-assumed"
bind = ["127.0.0.9:0"]
protocol = "tcp"
tls = "implicit"
hostname = "any.ranks.example"

[[listener]]
name = "address-assumed-unknown"
bind = ["127.0.0.9:0"]
protocol = "tcp"
tls = "implicit"
hostname = "nobody.example"
"#;

/// A proxy, and the configuration that it runs by.
pub(super) struct Bench {
    pub(super) proxy: TestProxy,
    config: Config,
}

impl Bench {
    pub(super) fn new(proxy: TestProxy) -> Self {
        let (config, _) = config::load(&proxy.site.path("proxy.toml")).unwrap();
        Self { proxy, config }
    }

    /// A proxy with these certificates; the one called `fallback` is the default. The configuration is
    /// [`LISTENERS`] after `certificates_table`.
    pub(super) fn start(ca: &TestCa, certificates: &[Made], certificates_table: &str) -> Self {
        let site = Self::site(ca, certificates, certificates_table);
        Self::new(TestProxy::start_on(site, ca.now()))
    }

    pub(super) fn site(ca: &TestCa, certificates: &[Made], certificates_table: &str) -> Site {
        let pairs: Vec<_> = certificates
            .iter()
            .map(|made| (made.name, &made.pair))
            .collect();
        let site = Site::new(ca, &pairs, &format!("{certificates_table}{LISTENERS}"));
        fs::write(site.path("sslcert/default"), "fallback\n").unwrap();
        let trust = site.path("sslcert/trust");
        fs::create_dir(&trust).unwrap();
        for made in certificates.iter().filter(|made| made.anchor) {
            let file = trust.join(format!("{}.pem", made.name));
            fs::write(file, &made.pair.certificate).unwrap();
        }
        site
    }

    /// Tries every row, and names all that fail.
    #[track_caller]
    pub(super) fn try_all(&self, rows: &[Row]) {
        let mut failures = Vec::new();
        let mut counts = BTreeMap::new();
        for row in rows {
            let got = self.shake_hands(row);
            let counted = match row.expected {
                Expected::Served(_, rank) => row.is_whole().then(|| rank.to_string()),
                Expected::Refused(_, outcome) => outcome.map(|_| "none".to_owned()),
            };
            if let Some(rank) = counted {
                *counts.entry((row.listener, rank)).or_insert(0) += 1;
            }
            for failure in self.judge(row, &got) {
                failures.push(format!("{:?}: {failure}", row.title));
            }
        }
        let (tried, failed) = (rows.len(), failures.len());
        let failures = failures.join("\n");
        assert_eq!(failed, 0, "of {tried} selections:\n{failures}");
        self.is_counted(&counts);
    }

    /// The handshake of a row, at its time.
    pub(super) fn shake_hands(&self, row: &Row) -> Got {
        self.proxy.set_clock(row.at);
        let to = self.proxy.address(row.listener);
        match &row.sent {
            Some(name) if !row.is_whole() => ask_in_clear(to, name.as_bytes()),
            name => shake_hands(to, row.kind, name.as_deref()),
        }
    }

    /// Everything that is wrong about one selection.
    fn judge(&self, row: &Row, got: &Got) -> Vec<String> {
        let served = self.proxy.name_of(got);
        let expected = match row.expected {
            Expected::Served(name, _) => name.to_owned(),
            Expected::Refused(alert, _) => format!("{:?}", Got::Alert(alert)),
        };
        let mut failures = Vec::new();
        if served != expected {
            failures.push(format!("expected {expected}, served {served}"));
        }
        let Some(truth) = self.truth(row, got) else {
            return failures;
        };
        let commanded = self.explain_over_socket(row);
        for explained in [Some(self.explain(row)), commanded].into_iter().flatten() {
            if explained != truth {
                failures.push(format!("explained as {explained:?}, and it is {truth:?}"));
            }
        }
        failures
    }

    /// What an explanation has to say after this handshake; `None`: there is nothing to explain.
    fn truth(&self, row: &Row, got: &Got) -> Option<Explained> {
        match row.expected {
            Expected::Served(_, rank) => Some(Explained {
                outcome: Outcome::Served.as_str().to_owned(),
                winner: Some((self.proxy.name_of(got), rank, fingerprint(got))),
            }),
            Expected::Refused(_, outcome) => outcome.map(|outcome| Explained {
                outcome: outcome.as_str().to_owned(),
                winner: None,
            }),
        }
    }

    pub(super) fn explain(&self, row: &Row) -> Explained {
        let listener = self
            .config
            .listeners
            .iter()
            .find(|l| l.name == row.listener);
        let listener = listener.unwrap();
        let name = (row.asked != "-").then(|| DnsName::parse(&row.asked).unwrap());
        let query = Query {
            server_name: name.as_ref(),
            assumed: listener.hostname.as_ref(),
            local: Some(self.proxy.address(row.listener).ip()),
            client: row.kind.capabilities(),
            unknown_name: listener.unknown_name,
        };
        let index = self.proxy.server.live_index();
        index.load().explain(&query, self.proxy.now()).into()
    }

    /// What the command prints, for clients that it knows.
    pub(super) fn explain_over_socket(&self, row: &Row) -> Option<Explained> {
        let asked = api::Explain {
            host: Some(row.asked.clone()),
            listener: Some(row.listener.to_owned()),
            client: Some(row.kind.word()?.to_owned()),
            at: None,
        };
        let explained = self.proxy.admin(async |admin| admin.explain(&asked).await);
        Some(explained.unwrap().into())
    }

    /// Every selection is counted, by its rank.
    #[track_caller]
    fn is_counted(&self, counts: &BTreeMap<(&str, String), u32>) {
        for ((listener, rank), count) in counts {
            let series = format!(
                r#"gatepost_certificate_selections_total{{listener="{listener}",rank="{rank}"}}"#
            );
            let what = format!("{series} to be {count}");
            wait::until(&what, || {
                self.proxy.metric(&series) == Some(f64::from(*count))
            });
        }
    }
}

/// What an explanation and a handshake have in common: how it went, and NAME, rank and fingerprint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Explained {
    pub(super) outcome: String,
    pub(super) winner: Option<(String, u8, String)>,
}

impl From<cert::Explanation> for Explained {
    fn from(explanation: cert::Explanation) -> Self {
        let winner = explanation.winner;
        Self {
            outcome: explanation.outcome.as_str().to_owned(),
            winner: winner.map(|it| (it.name, it.rank, cert::hex(&it.sha256))),
        }
    }
}

impl From<api::Explanation> for Explained {
    fn from(explanation: api::Explanation) -> Self {
        let winner = explanation.winner;
        Self {
            outcome: explanation.outcome,
            winner: winner.map(|it| (it.name, it.rank, it.sha256)),
        }
    }
}

pub(super) fn fingerprint(got: &Got) -> String {
    match got {
        Got::Certificate(der) => cert::hex(digest(&SHA256, der).as_ref()),
        Got::Alert(_) | Got::Nothing(_) => String::new(),
    }
}
