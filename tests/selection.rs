//! Which certificate is served: a table of selections, each of them a handshake over TCP with a proxy
//! that runs. What `cert explain` says is held against what was served in every row.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use aws_lc_rs::digest::{SHA256, digest};
use gatepost::admin::api;
use gatepost::cert::{self, DnsName, Outcome, Query};
use gatepost::config::{self, Config};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof};
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config as Cases, TestRunner};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::common::ca::{DAY, Key, Pair, TestCa};
use crate::common::gatepost::Site;
use crate::common::handshake::{Got, Kind, ask_in_clear, can_be_sent, shake_hands};
use crate::common::proxy::TestProxy;
use crate::common::wait;

/// Alerts (RFC 8446 section 6).
const ILLEGAL_PARAMETER: u8 = 47;
const ACCESS_DENIED: u8 = 49;
const UNRECOGNIZED_NAME: u8 = 112;

const HOUR: i64 = 3_600;

/// Sunday, 12 January 2025, 02:13:20 UTC: what is tried is the same on every day.
fn ca() -> TestCa {
    TestCa::new(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        1_736_648_000,
    )))
}

/// The listeners of every table: nobody is behind them, for nothing is asked of anybody.
const LISTENERS: &str = r#"
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

/// One selection.
#[derive(Clone, Debug)]
struct Row {
    title: &'static str,
    listener: &'static str,
    kind: Kind,
    /// What is sent; `None`: no server_name extension.
    sent: Option<&'static str>,
    /// What `cert explain` is asked.
    asked: &'static str,
    /// The second after the start.
    at: i64,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// This NAME, by this rank.
    Served(&'static str, u8),
    /// This alert, and what `explain` calls it.
    Refused(u8, Option<Outcome>),
}

/// A row whose client asks for `name`.
fn ask(title: &'static str, name: &'static str) -> Row {
    Row {
        title,
        listener: "plain",
        kind: Kind::Modern,
        sent: Some(name),
        asked: name,
        at: 0,
        expected: Expected::Served("", 0),
    }
}

/// A row whose client asks for no name.
fn unnamed(title: &'static str) -> Row {
    Row {
        sent: None,
        ..ask(title, "-")
    }
}

impl Row {
    fn on(mut self, listener: &'static str) -> Self {
        self.listener = listener;
        self
    }

    /// What `cert explain` is asked is written otherwise than what is sent.
    fn asked_as(mut self, name: &'static str) -> Self {
        self.asked = name;
        self
    }

    fn by(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn at(mut self, seconds: i64) -> Self {
        self.at = seconds;
        self
    }

    /// What is sent is no name.
    fn no_name(self) -> Self {
        self.asked_as("-")
    }

    fn gets(mut self, name: &'static str, rank: u8) -> Self {
        self.expected = Expected::Served(name, rank);
        self
    }

    /// By default: rank 9.
    fn default(self) -> Self {
        self.gets("fallback", 9)
    }

    fn unrecognized(mut self) -> Self {
        self.expected = Expected::Refused(UNRECOGNIZED_NAME, Some(Outcome::Rejected));
        self
    }

    fn without_key(mut self) -> Self {
        self.expected = Expected::Refused(ACCESS_DENIED, Some(Outcome::NoUsableKey));
        self
    }

    /// The TLS library does not permit it.
    fn illegal(mut self) -> Self {
        self.expected = Expected::Refused(ILLEGAL_PARAMETER, None);
        self
    }

    /// Whether rustls can be the client; else the first half of the handshake is made by hand.
    fn is_whole(&self) -> bool {
        self.sent.is_none_or(can_be_sent)
    }

    fn shake_hands(&self, to: SocketAddr) -> Got {
        match self.sent {
            Some(name) if !self.is_whole() => ask_in_clear(to, name.as_bytes()),
            name => shake_hands(to, self.kind, name),
        }
    }
}

/// A proxy, and what of it a handshake does not show.
struct Bench {
    proxy: TestProxy,
    config: Config,
}

impl Bench {
    fn new(proxy: TestProxy) -> Self {
        let (config, _) = config::load(&proxy.site.path("proxy.toml")).unwrap();
        Self { proxy, config }
    }

    fn start(ca: &TestCa, certificates: &[(&str, Pair)], configuration: &str) -> Self {
        let pairs: Vec<_> = certificates
            .iter()
            .map(|(name, pair)| (*name, pair))
            .collect();
        let site = Site::new(ca, &pairs, &format!("{configuration}{LISTENERS}"));
        fs::write(site.path("sslcert/default"), "fallback\n").unwrap();
        Self::new(TestProxy::start_on(site, ca.now()))
    }

    /// Tries every row, and names all that fail.
    #[track_caller]
    fn try_all(&self, rows: &[Row]) {
        let mut failures = Vec::new();
        let mut counts = BTreeMap::new();
        for row in rows {
            self.proxy.set_clock(row.at);
            let got = row.shake_hands(self.proxy.address(row.listener));
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

    /// Everything that is wrong about one selection.
    fn judge(&self, row: &Row, got: &Got) -> Vec<String> {
        let served = self.served(got);
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

    /// NAME of what was served; else what came instead.
    fn served(&self, got: &Got) -> String {
        let Got::Certificate(der) = got else {
            return format!("{got:?}");
        };
        let entries = fs::read_dir(self.proxy.site.path("sslcert")).unwrap();
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

    /// What an explanation has to say after this handshake; `None`: there is nothing to explain.
    fn truth(&self, row: &Row, got: &Got) -> Option<Explained> {
        match row.expected {
            Expected::Served(_, rank) => Some(Explained {
                outcome: Outcome::Served.as_str().to_owned(),
                winner: Some((self.served(got), rank, fingerprint(got))),
            }),
            Expected::Refused(_, outcome) => outcome.map(|outcome| Explained {
                outcome: outcome.as_str().to_owned(),
                winner: None,
            }),
        }
    }

    fn explain(&self, row: &Row) -> Explained {
        let listener = self
            .config
            .listeners
            .iter()
            .find(|l| l.name == row.listener);
        let listener = listener.unwrap();
        let name = (row.asked != "-").then(|| DnsName::parse(row.asked).unwrap());
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
    fn explain_over_socket(&self, row: &Row) -> Option<Explained> {
        let asked = api::Explain {
            host: Some(row.asked.to_owned()),
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
struct Explained {
    outcome: String,
    winner: Option<(String, u8, String)>,
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

fn fingerprint(got: &Got) -> String {
    match got {
        Got::Certificate(der) => cert::hex(digest(&SHA256, der).as_ref()),
        Got::Alert(_) | Got::Nothing(_) => String::new(),
    }
}

/// A certificate of each standing with each way to match, every one with the names of those that
/// are better and one more.
fn of_every_rank(ca: &TestCa) -> Vec<(&'static str, Pair)> {
    const EXACT: [&str; 4] = [
        "trusted.ranks.example",
        "self.ranks.example",
        "valid.ranks.example",
        "expired.ranks.example",
    ];
    const HIDING: [&str; 3] = [
        "expired.six.example",
        "expired.seven.example",
        "expired.eight.example",
    ];
    const WILDCARD: [&str; 4] = [
        "*.ranks.example",
        "*.six.example",
        "*.seven.example",
        "*.eight.example",
    ];
    let past = |names: &[&str]| ca.leaf(names).dates(-90 * DAY, -DAY);
    vec![
        ("exact-trusted", ca.leaf(&EXACT[..1]).issue()),
        ("exact-self-signed", ca.leaf(&EXACT[..2]).self_signed()),
        ("exact-valid", ca.leaf(&EXACT[..3]).issue().without_chain()),
        (
            "exact-expired",
            past(&[&EXACT[..], &HIDING].concat()).issue(),
        ),
        ("wildcard-trusted", ca.leaf(&WILDCARD[..1]).issue()),
        (
            "wildcard-self-signed",
            ca.leaf(&WILDCARD[..2]).self_signed(),
        ),
        (
            "wildcard-valid",
            ca.leaf(&WILDCARD[..3]).issue().without_chain(),
        ),
        ("wildcard-expired", past(&WILDCARD).issue()),
        ("address", ca.leaf(&["127.0.0.9"]).issue()),
        ("fallback", ca.leaf(&["default.example"]).self_signed()),
    ]
}

#[test]
fn the_nine_ranks_and_how_names_are_read() {
    let ca = ca();
    let bench = Bench::start(&ca, &of_every_rank(&ca), "");
    bench.try_all(&[
        ask("trusted, exact", "trusted.ranks.example").gets("exact-trusted", 1),
        ask("self-signed, exact", "self.ranks.example").gets("exact-self-signed", 2),
        ask("valid, exact", "valid.ranks.example").gets("exact-valid", 3),
        ask("expired, exact", "expired.ranks.example").gets("exact-expired", 4),
        ask("trusted, wildcard", "any.ranks.example").gets("wildcard-trusted", 5),
        ask("self-signed, wildcard", "any.six.example").gets("wildcard-self-signed", 6),
        ask("valid, wildcard", "any.seven.example").gets("wildcard-valid", 7),
        ask("expired, wildcard", "any.eight.example").gets("wildcard-expired", 8),
        ask("unknown name", "unknown.example").default(),
        ask("the default's own name", "default.example").gets("fallback", 2),
        unnamed("no name").default(),
        ask("trusted, exact, TLS 1.2", "trusted.ranks.example")
            .by(Kind::Tls12)
            .gets("exact-trusted", 1),
        ask("trusted, wildcard, TLS 1.2", "any.ranks.example")
            .by(Kind::Tls12)
            .gets("wildcard-trusted", 5),
        unnamed("no name, TLS 1.2").by(Kind::Tls12).default(),
        // Letters and dots.
        ask("upper case", "SELF.RANKS.EXAMPLE").gets("exact-self-signed", 2),
        ask("mixed case, wildcard", "aNy.RANKS.example").gets("wildcard-trusted", 5),
        ask("final dot", "valid.ranks.example.").gets("exact-valid", 3),
        ask("final dot, wildcard", "any.six.example.").gets("wildcard-self-signed", 6),
        ask("upper case and final dot", "Trusted.Ranks.Example.").gets("exact-trusted", 1),
        ask("underscore under a wildcard", "_any.ranks.example").gets("wildcard-trusted", 5),
        // Depth.
        ask("two labels under a wildcard", "a.any.ranks.example").default(),
        ask("two labels under a name", "a.trusted.ranks.example").default(),
        ask("what the star stands on", "ranks.example").default(),
        ask("one label", "localhost").default(),
        // What is no name.
        ask("IPv4 literal", "127.0.0.1").no_name().default(),
        ask("IPv6 literal", "::1").no_name().default(),
        ask("IPv6 literal in brackets", "[::1]").illegal(),
        ask("two final dots", "trusted.ranks.example..").illegal(),
        ask("empty label", "a..ranks.example").illegal(),
        ask("zero byte", "trusted.ranks.example\0").illegal(),
        ask("wildcard asked for", "*.ranks.example").illegal(),
        ask("letters of Unicode", "zürich.ranks.example").illegal(),
        ask("label of 64 letters", LONG_LABEL).illegal(),
        ask("number at the end", "ranks.example.1").illegal(),
    ]);
}

const LONG_LABEL: &str =
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.ranks.example";

#[test]
fn what_the_listener_assumes_and_refuses() {
    let ca = ca();
    let bench = Bench::start(&ca, &of_every_rank(&ca), "");
    bench.try_all(&[
        // An address that a certificate carries.
        unnamed("no name, to an address")
            .on("address")
            .gets("address", 1),
        unnamed("no name, to an address, TLS 1.2")
            .on("address")
            .by(Kind::Tls12)
            .gets("address", 1),
        ask("the address as a name", "127.0.0.9")
            .no_name()
            .on("address")
            .gets("address", 1),
        ask("another address as a name", "192.0.2.1")
            .no_name()
            .on("address")
            .gets("address", 1),
        ask("a name, to an address", "valid.ranks.example")
            .on("address")
            .gets("exact-valid", 3),
        ask("an unknown name, to an address", "unknown.example")
            .on("address")
            .default(),
        // A name that is assumed.
        unnamed("no name, one assumed")
            .on("assumed")
            .gets("exact-self-signed", 2),
        ask("IP literal, a name assumed", "127.0.0.1")
            .no_name()
            .on("assumed")
            .gets("exact-self-signed", 2),
        ask("a name beside the one assumed", "any.seven.example")
            .on("assumed")
            .gets("wildcard-valid", 7),
        ask("an unknown name beside the one assumed", "unknown.example")
            .on("assumed")
            .default(),
        unnamed("a name assumed, to an address")
            .on("address-assumed")
            .gets("wildcard-trusted", 5),
        unnamed("an unknown name assumed, to an address")
            .on("address-assumed-unknown")
            .default(),
        // Unknown names refused.
        ask("unknown name refused", "unknown.example")
            .on("strict")
            .unrecognized(),
        ask("unknown name refused, TLS 1.2", "unknown.example")
            .on("strict")
            .by(Kind::Tls12)
            .unrecognized(),
        ask("unknown name refused, upper case", "UNKNOWN.EXAMPLE.")
            .on("strict")
            .unrecognized(),
        ask("two labels under a wildcard refused", "a.any.ranks.example")
            .on("strict")
            .unrecognized(),
        ask("known name", "trusted.ranks.example")
            .on("strict")
            .gets("exact-trusted", 1),
        ask("known name, expired", "expired.ranks.example")
            .on("strict")
            .gets("exact-expired", 4),
        ask("known by wildcard", "any.eight.example")
            .on("strict")
            .gets("wildcard-expired", 8),
        ask("known name, no key for it", "trusted.ranks.example")
            .on("strict")
            .by(Kind::RsaOnly)
            .without_key(),
        unnamed("no name is not refused").on("strict").default(),
        ask("IP literal is not refused", "192.0.2.1")
            .no_name()
            .on("strict")
            .default(),
        unnamed("an unknown name assumed is not refused")
            .on("assumed-strict")
            .default(),
    ]);
}

#[test]
fn the_safe_order_puts_an_expired_name_after_usable_wildcards() {
    let ca = ca();
    let pairs = of_every_rank(&ca);
    Bench::start(&ca, &pairs, "").try_all(&[
        ask(
            "kerio: expired before a trusted wildcard",
            "expired.ranks.example",
        )
        .gets("exact-expired", 4),
        ask(
            "kerio: expired before a self-signed wildcard",
            "expired.six.example",
        )
        .gets("exact-expired", 4),
        ask(
            "kerio: expired before a valid wildcard",
            "expired.seven.example",
        )
        .gets("exact-expired", 4),
        ask(
            "kerio: expired before an expired wildcard",
            "expired.eight.example",
        )
        .gets("exact-expired", 4),
    ]);
    Bench::start(&ca, &pairs, "order = \"safe\"\n").try_all(&[
        ask(
            "safe: trusted wildcard before expired",
            "expired.ranks.example",
        )
        .gets("wildcard-trusted", 5),
        ask(
            "safe: self-signed wildcard before expired",
            "expired.six.example",
        )
        .gets("wildcard-self-signed", 6),
        ask(
            "safe: valid wildcard before expired",
            "expired.seven.example",
        )
        .gets("wildcard-valid", 7),
        ask(
            "safe: expired before an expired wildcard",
            "expired.eight.example",
        )
        .gets("exact-expired", 4),
        ask("safe: trusted", "trusted.ranks.example").gets("exact-trusted", 1),
        ask(
            "safe: valid before a trusted wildcard",
            "valid.ranks.example",
        )
        .gets("exact-valid", 3),
        ask("safe: expired wildcard", "any.eight.example").gets("wildcard-expired", 8),
        ask("safe: unknown", "unknown.example").default(),
    ]);
}

/// Certificates with keys of every type.
fn of_every_key(ca: &TestCa) -> Vec<(&'static str, Pair)> {
    let rsa = ca.leaf(&["all.example"]).key(Key::Rsa2048).issue();
    // One RSA key is enough for all, and takes long to make.
    let with_rsa = |names: &[&str]| ca.leaf(names).key_of(&rsa);
    let newest = ca.leaf(&["only-ed.example"]).dates(-HOUR, 89 * DAY);
    vec![
        ("all-ecdsa", ca.leaf(&["all.example"]).issue()),
        ("all-rsa", rsa.clone()),
        (
            "all-ed25519",
            ca.leaf(&["all.example"]).key(Key::Ed25519).issue(),
        ),
        ("best-ecdsa", ca.leaf(&["best.example"]).issue()),
        ("best-rsa", with_rsa(&["best.example"]).self_signed()),
        (
            "best-rsa-expired",
            with_rsa(&["best.example"]).dates(-9 * DAY, -DAY).issue(),
        ),
        ("wild-rsa", with_rsa(&["*.wild.example"]).issue()),
        ("wild-ecdsa", ca.leaf(&["a.wild.example"]).issue()),
        (
            "curve-p384",
            ca.leaf(&["curve.example"]).key(Key::EcdsaP384).issue(),
        ),
        ("curve-rsa", with_rsa(&["curve.example"]).issue()),
        (
            "ed-ed25519",
            ca.leaf(&["ed.example"]).key(Key::Ed25519).issue(),
        ),
        ("ed-rsa", with_rsa(&["ed.example"]).issue()),
        ("only-ed25519", newest.key(Key::Ed25519).issue()),
        ("fallback", ca.leaf(&["default.example"]).self_signed()),
        ("fallback-rsa", with_rsa(&["default.example"]).self_signed()),
    ]
}

#[test]
fn what_the_client_can_verify() {
    let ca = ca();
    let bench = Bench::start(&ca, &of_every_key(&ca), "");
    bench.try_all(&[
        ask("ECDSA before RSA and Ed25519", "all.example").gets("all-ecdsa", 1),
        ask("ECDSA before RSA, TLS 1.2", "all.example")
            .by(Kind::Tls12)
            .gets("all-ecdsa", 1),
        ask("RSA only", "all.example")
            .by(Kind::RsaOnly)
            .gets("all-rsa", 1),
        ask("RSA only, TLS 1.2", "all.example")
            .by(Kind::RsaOnly12)
            .gets("all-rsa", 1),
        ask("ECDSA only", "all.example")
            .by(Kind::EcdsaOnly)
            .gets("all-ecdsa", 1),
        ask("ECDSA only, TLS 1.2", "all.example")
            .by(Kind::EcdsaOnly12)
            .gets("all-ecdsa", 1),
        ask("RSA suites only", "all.example")
            .by(Kind::RsaSuites)
            .gets("all-rsa", 1),
        ask("ECDSA suites only", "all.example")
            .by(Kind::EcdsaSuites)
            .gets("all-ecdsa", 1),
        ask("Ed25519 only", "all.example")
            .by(Kind::Ed25519Only)
            .gets("all-ed25519", 1),
        ask("rank before key", "best.example").gets("best-ecdsa", 1),
        ask("the best rank with RSA", "best.example")
            .by(Kind::RsaOnly)
            .gets("best-rsa", 2),
        ask("the best rank with RSA, TLS 1.2", "best.example")
            .by(Kind::RsaOnly12)
            .gets("best-rsa", 2),
        ask("exact with ECDSA", "a.wild.example").gets("wild-ecdsa", 1),
        ask("wildcard with RSA", "a.wild.example")
            .by(Kind::RsaOnly)
            .gets("wild-rsa", 5),
        ask("ECDSA with P-384", "curve.example").gets("curve-p384", 1),
        ask("ECDSA with P-384, TLS 1.2", "curve.example")
            .by(Kind::Tls12)
            .gets("curve-p384", 1),
        ask("no curve but P-256", "curve.example")
            .by(Kind::P256Curve)
            .gets("curve-rsa", 1),
        ask("RSA before Ed25519", "ed.example").gets("ed-rsa", 1),
        ask("Ed25519 where there is nothing else", "only-ed.example").gets("only-ed25519", 1),
        // Rank 9 for a client that cannot verify the default.
        ask("another one for the default's names", "only-ed.example")
            .by(Kind::RsaOnly)
            .gets("fallback-rsa", 9),
        unnamed("no name, another one for the default's names")
            .by(Kind::RsaOnly12)
            .gets("fallback-rsa", 9),
        ask("any that is usable", "unknown.example")
            .by(Kind::Ed25519Only)
            .gets("only-ed25519", 9),
        unnamed("no name, any that is usable")
            .by(Kind::Ed25519Only)
            .gets("only-ed25519", 9),
        ask("a name that is known is not refused", "only-ed.example")
            .on("strict")
            .by(Kind::RsaOnly)
            .gets("fallback-rsa", 9),
        ask("no usable key", "all.example")
            .by(Kind::P521Only)
            .without_key(),
        unnamed("no usable key, no name")
            .by(Kind::P521Only)
            .without_key(),
    ]);
    let failures =
        r#"gatepost_tls_handshake_failures_total{listener="plain",reason="no-usable-key"}"#;
    wait::until("both to be counted", || {
        bench.proxy.metric(failures) == Some(2.0)
    });
}

/// Certificates that begin and end within the next days.
fn that_come_and_go(ca: &TestCa) -> Vec<(&'static str, Pair)> {
    let short = ca.intermediate_until(HOUR);
    let gone = ca.intermediate_until(-DAY);
    vec![
        ("soon", ca.leaf(&["soon.example"]).dates(-DAY, 600).issue()),
        ("soon-next", ca.leaf(&["soon.example"]).self_signed()),
        ("hidden", ca.leaf(&["*.hidden.example"]).issue()),
        (
            "hiding",
            ca.leaf(&["a.hidden.example"]).dates(-DAY, 600).issue(),
        ),
        (
            "staged",
            ca.leaf(&["staged.example"]).dates(1_000, 90 * DAY).issue(),
        ),
        (
            "staged-old",
            ca.leaf(&["staged.example"]).dates(-DAY, 2_000).issue(),
        ),
        (
            "tomorrow",
            ca.leaf(&["tomorrow.example"]).dates(DAY, 90 * DAY).issue(),
        ),
        (
            "later-exact",
            ca.leaf(&["a.later.example"]).dates(DAY, 90 * DAY).issue(),
        ),
        (
            "later-wildcard",
            ca.leaf(&["*.later.example"]).dates(DAY, 90 * DAY).issue(),
        ),
        (
            "mixed-past",
            ca.leaf(&["*.mixed.example"]).dates(-9 * DAY, -DAY).issue(),
        ),
        (
            "mixed-future",
            ca.leaf(&["a.mixed.example"]).dates(DAY, 90 * DAY).issue(),
        ),
        ("demoted", ca.leaf(&["demoted.example"]).issued_by(&short)),
        ("demoted-next", ca.leaf(&["demoted.example"]).self_signed()),
        ("lonely", ca.leaf(&["lonely.example"]).issued_by(&short)),
        ("over", ca.leaf(&["over.example"]).issued_by(&gone)),
        (
            "incomplete",
            ca.leaf(&["incomplete.example"]).issue().without_chain(),
        ),
        (
            "incomplete-next",
            ca.leaf(&["incomplete.example"]).self_signed(),
        ),
        (
            "fallback",
            ca.leaf(&["default.example"]).dates(-DAY, 5 * DAY).issue(),
        ),
    ]
}

#[test]
fn certificates_come_and_go_while_the_process_runs() {
    let ca = ca();
    let bench = Bench::start(&ca, &that_come_and_go(&ca), "");
    bench.try_all(&[
        ask("before its last second", "soon.example").gets("soon", 1),
        ask("in its last second", "soon.example")
            .at(600)
            .gets("soon", 1),
        ask("after its last second", "soon.example")
            .at(601)
            .gets("soon-next", 2),
        ask("the clock steps back", "soon.example")
            .at(0)
            .gets("soon", 1),
        ask("after all is over", "soon.example")
            .at(90 * DAY)
            .gets("soon", 4),
        ask("in date beside a wildcard", "a.hidden.example").gets("hiding", 1),
        ask("expired beside a wildcard", "a.hidden.example")
            .at(601)
            .gets("hiding", 4),
        ask("the wildcard beside it", "b.hidden.example")
            .at(601)
            .gets("hidden", 5),
        ask("staged for later", "staged.example")
            .at(999)
            .gets("staged-old", 1),
        ask("in its first second", "staged.example")
            .at(1_000)
            .gets("staged", 1),
        ask("the old one is over", "staged.example")
            .at(2_001)
            .gets("staged", 1),
        ask("nothing but tomorrow's", "tomorrow.example").gets("tomorrow", 9),
        ask("a second before tomorrow", "tomorrow.example")
            .at(DAY - 1)
            .gets("tomorrow", 9),
        ask("tomorrow", "tomorrow.example")
            .at(DAY)
            .gets("tomorrow", 1),
        ask("not yet valid: exact before wildcard", "a.later.example").gets("later-exact", 9),
        ask(
            "not yet valid wildcard before the default",
            "b.later.example",
        )
        .gets("later-wildcard", 9),
        ask("both valid: exact before wildcard", "a.later.example")
            .at(DAY)
            .gets("later-exact", 1),
        ask("wildcard valid", "b.later.example")
            .at(DAY)
            .gets("later-wildcard", 5),
        ask(
            "expired wildcard before what is not yet valid",
            "a.mixed.example",
        )
        .gets("mixed-past", 8),
        ask(
            "what has become valid before an expired wildcard",
            "a.mixed.example",
        )
        .at(DAY)
        .gets("mixed-future", 1),
        ask("intermediate in date", "demoted.example").gets("demoted", 1),
        ask("intermediate in its last second", "demoted.example")
            .at(HOUR)
            .gets("demoted", 1),
        ask("intermediate expired", "demoted.example")
            .at(HOUR + 1)
            .gets("demoted-next", 2),
        ask("intermediate expired, nothing else there", "lonely.example")
            .at(HOUR + 1)
            .gets("lonely", 3),
        ask("intermediate expired long ago", "over.example").gets("over", 3),
        ask("intermediate missing", "incomplete.example").gets("incomplete-next", 2),
        ask("the default, expired", "unknown.example")
            .at(6 * DAY)
            .default(),
        unnamed("no name, the default expired")
            .at(6 * DAY)
            .default(),
    ]);
}

#[test]
fn what_decides_within_one_rank() {
    let ca = ca();
    let mut twins = [(); 2].map(|()| ca.leaf(&["twins.example"]).issue());
    twins.sort_by_key(|pair| digest(&SHA256, &pair.der()).as_ref().to_vec());
    let [twin_lowest, twin_highest] = twins;
    let old = -90 * DAY;
    let bench = Bench::start(
        &ca,
        &[
            (
                "new-short",
                ca.leaf(&["newest.example"]).dates(-HOUR, 30 * DAY).issue(),
            ),
            (
                "old-long",
                ca.leaf(&["newest.example"]).dates(-DAY, 300 * DAY).issue(),
            ),
            (
                "end-late",
                ca.leaf(&["latest.example"]).dates(-DAY, 31 * DAY).issue(),
            ),
            (
                "end-early",
                ca.leaf(&["latest.example"]).dates(-DAY, 30 * DAY).issue(),
            ),
            ("b-lowest", twin_lowest),
            ("a-highest", twin_highest),
            (
                "san-old",
                ca.leaf(&["cn.example"]).dates(-9 * DAY, DAY).self_signed(),
            ),
            (
                "cn-new",
                ca.leaf(&[]).common_name("cn.example").self_signed(),
            ),
            (
                "past-trusted",
                ca.leaf(&["past.example"]).dates(old, -9 * DAY).issue(),
            ),
            (
                "past-self",
                ca.leaf(&["past.example"]).dates(old, -DAY).self_signed(),
            ),
            (
                "past-valid",
                ca.leaf(&["past.example"])
                    .dates(old, -1)
                    .issue()
                    .without_chain(),
            ),
            (
                "stale",
                ca.leaf(&["stale.example"])
                    .dates(-8 * DAY, -2 * DAY)
                    .issue(),
            ),
            (
                "least-stale",
                ca.leaf(&["stale.example"]).dates(old, -DAY).issue(),
            ),
            (
                "was-self",
                ca.leaf(&["*.was.example"])
                    .dates(old, -9 * DAY)
                    .self_signed(),
            ),
            (
                "was-valid",
                ca.leaf(&["*.was.example"])
                    .dates(old, -1)
                    .issue()
                    .without_chain(),
            ),
            ("fallback", ca.leaf(&["default.example"]).self_signed()),
        ],
        "",
    );
    bench.try_all(&[
        ask("newest issued before longest lived", "newest.example").gets("new-short", 1),
        ask("issued in the same second: latest end", "latest.example").gets("end-late", 1),
        ask("nothing but the fingerprint", "twins.example").gets("b-lowest", 1),
        ask("SAN before a newer common name", "cn.example").gets("san-old", 2),
        ask("the common name, when the SAN is over", "cn.example")
            .at(DAY + 1)
            .gets("cn-new", 2),
        ask("expired: what was trusted", "past.example").gets("past-trusted", 4),
        ask("expired: the least stale", "stale.example").gets("least-stale", 4),
        ask("expired wildcard: what was self-signed", "a.was.example").gets("was-self", 8),
    ]);
}

#[test]
fn what_a_certificate_is_taken_for() {
    let ca = ca();
    let anchored = ca.leaf(&["anchored.example"]).self_signed();
    let anchored_cn = ca
        .leaf(&[])
        .common_name("anchored-cn.example")
        .self_signed();
    let site = Site::new(
        &ca,
        &[
            ("anchored", &anchored),
            ("anchored-cn", &anchored_cn),
            (
                "cn-issued",
                &ca.leaf(&[]).common_name("cn-issued.example").issue(),
            ),
            (
                "cn-self",
                &ca.leaf(&[]).common_name("cn-self.example").self_signed(),
            ),
            (
                "cn-wild",
                &ca.leaf(&[]).common_name("*.cn-wild.example").self_signed(),
            ),
            (
                "cn-shadow",
                &ca.leaf(&["shown.example"])
                    .common_name("shadow.example")
                    .issue(),
            ),
            (
                "cn-address",
                &ca.leaf(&["192.0.2.7"])
                    .common_name("cn-address.example")
                    .issue(),
            ),
            (
                "openssl",
                &ca.leaf(&["openssl.example"]).authority().self_signed(),
            ),
            (
                "ca-issued",
                &ca.leaf(&["ca-issued.example"]).authority().issue(),
            ),
            (
                "for-clients",
                &ca.leaf(&["for-clients.example"]).for_clients().issue(),
            ),
            (
                "both",
                &ca.leaf(&["*.both.example", "www.both.example"]).issue(),
            ),
            (
                "odd",
                &ca.leaf(&[
                    "odd.example",
                    "f*.odd.example",
                    "*.*.odd.example",
                    "a.*.odd.example",
                    "*",
                ])
                .issue(),
            ),
            ("fallback", &ca.leaf(&["default.example"]).self_signed()),
        ],
        LISTENERS,
    );
    fs::write(site.path("sslcert/default"), "fallback\n").unwrap();
    fs::create_dir(site.path("sslcert/trust")).unwrap();
    for (name, pair) in [("anchored", &anchored), ("anchored-cn", &anchored_cn)] {
        fs::write(
            site.path("sslcert/trust").join(format!("{name}.pem")),
            &pair.certificate,
        )
        .unwrap();
    }
    Bench::new(TestProxy::start_on(site, ca.now())).try_all(&[
        ask("self-signed, and a trust anchor", "anchored.example").gets("anchored", 1),
        ask("a trust anchor with no SAN", "anchored-cn.example").gets("anchored-cn", 2),
        ask("common name, issued by an authority", "cn-issued.example").gets("cn-issued", 3),
        ask("common name, self-signed", "cn-self.example").gets("cn-self", 2),
        ask("common name, upper case", "CN-SELF.Example").gets("cn-self", 2),
        ask("common name, wildcard", "a.cn-wild.example").gets("cn-wild", 6),
        ask("common name beside a SAN", "shadow.example").default(),
        ask("the SAN beside it", "shown.example").gets("cn-shadow", 1),
        ask("common name beside an address", "cn-address.example").default(),
        ask("an authority, self-signed", "openssl.example").gets("openssl", 2),
        ask("an authority, issued by another", "ca-issued.example").gets("ca-issued", 3),
        ask("for clients only", "for-clients.example").gets("for-clients", 3),
        ask("by name and by wildcard", "www.both.example").gets("both", 1),
        ask("by wildcard only", "ftp.both.example").gets("both", 5),
        ask("a star within a label", "foo.odd.example").default(),
        ask("two stars", "a.b.odd.example").default(),
        ask("a star that is not first", "a.a.odd.example").default(),
        ask("a bare star", "anything").default(),
        ask("the name beside them", "odd.example").gets("odd", 1),
    ]);
}

#[test]
fn international_names() {
    let ca = ca();
    let bench = Bench::start(
        &ca,
        &[
            ("a-label", ca.leaf(&["xn--bcher-kva.example"]).issue()),
            ("u-label", ca.leaf(&[]).raw_name("münchen.example").issue()),
            (
                "common-name",
                ca.leaf(&[]).common_name("Düsseldorf.example").self_signed(),
            ),
            ("zurich", ca.leaf(&["xn--zrich-kva.example"]).issue()),
            ("fallback", ca.leaf(&["default.example"]).self_signed()),
        ],
        "",
    );
    let wildcard = ca.leaf(&[]).raw_name("*.köln.example").issue();
    bench.proxy.admin(async |admin| {
        let import = api::Import {
            certificate_pem: Some(wildcard.chain),
            key_pem: Some(wildcard.key),
            name: Some("imported".to_owned()),
            ..api::Import::default()
        };
        admin.import(&import).await.unwrap();
        let new = api::New {
            hostnames: vec!["Müller.example".to_owned()],
            country: "DE".to_owned(),
            name: Some("created".to_owned()),
            ..api::New::default()
        };
        admin.create(&new).await.unwrap();
    });
    bench.try_all(&[
        ask("A-label", "xn--bcher-kva.example").gets("a-label", 1),
        ask("A-label, upper case", "XN--BCHER-KVA.EXAMPLE").gets("a-label", 1),
        ask("A-label, explained by U-label", "xn--bcher-kva.example")
            .asked_as("Bücher.example")
            .gets("a-label", 1),
        ask("U-label in a SAN", "xn--mnchen-3ya.example")
            .asked_as("MÜNCHEN.example")
            .gets("u-label", 1),
        ask("U-label in a wildcard, imported", "a.xn--kln-sna.example")
            .asked_as("a.köln.example")
            .gets("imported", 5),
        ask("U-label in a common name", "xn--dsseldorf-q9a.example").gets("common-name", 2),
        ask("U-label of a new certificate", "xn--mller-kva.example").gets("created", 2),
        unnamed("U-label in the configuration")
            .on("international")
            .gets("zurich", 1),
        ask("another name in A-labels", "xn--knigsberg-n4a.example").default(),
    ]);
}

#[test]
fn without_a_default_the_best_of_all_is_served() {
    let ca = ca();
    let pairs = [
        (
            "expired",
            ca.leaf(&["a.example"]).dates(-9 * DAY, -1).issue(),
        ),
        (
            "future",
            ca.leaf(&["b.example"]).dates(DAY, 9 * DAY).issue(),
        ),
        (
            "self-signed",
            ca.leaf(&["c.example"]).dates(-DAY, HOUR).self_signed(),
        ),
        ("trusted", ca.leaf(&["d.example"]).dates(-DAY, 600).issue()),
    ];
    let rows = [
        ask("trusted", "unknown.example").gets("trusted", 9),
        unnamed("no name, trusted").gets("trusted", 9),
        ask("self-signed", "unknown.example")
            .at(601)
            .gets("self-signed", 9),
        ask("expired, once trusted", "unknown.example")
            .at(HOUR + 1)
            .gets("trusted", 9),
        ask("what has become valid", "unknown.example")
            .at(DAY)
            .gets("future", 9),
    ];
    let names: Vec<_> = pairs.iter().map(|(name, pair)| (*name, pair)).collect();
    for default in [None, Some("not a certificate")] {
        let site = Site::new(&ca, &names, LISTENERS);
        // NAME of the default: there is no such certificate, or it is set aside.
        fs::write(site.path("sslcert/default"), "fallback\n").unwrap();
        if let Some(text) = default {
            fs::write(site.path("sslcert/fallback.crt"), text).unwrap();
        }
        Bench::new(TestProxy::start_on(site, ca.now())).try_all(&rows);
    }
}

/// A certificate of a random folder.
#[derive(Clone, Debug)]
struct Made {
    names: Vec<&'static str>,
    from: i64,
    until: i64,
    origin: Origin,
    key: usize,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Issued,
    Incomplete,
    SelfSigned,
    CommonName,
}

/// A random folder, and what is asked of it.
#[derive(Clone, Debug)]
struct Folder {
    certificates: Vec<Made>,
    /// NAME of the default: a number that may be nobody's.
    default: usize,
    safe: bool,
    rows: Vec<Row>,
}

const KEYS: [Key; 4] = [Key::EcdsaP256, Key::EcdsaP384, Key::Rsa2048, Key::Ed25519];

/// Few names and few seconds, so that much is equal.
fn folders() -> impl Strategy<Value = Folder> {
    const NAMES: [&str; 8] = [
        "a.x.example",
        "b.x.example",
        "*.x.example",
        "x.example",
        "*.a.x.example",
        "*.example",
        "self.ranks.example",
        "127.0.0.9",
    ];
    const ASKED: [&str; 7] = [
        "a.x.example",
        "b.x.example",
        "C.X.Example.",
        "x.example",
        "d.a.x.example",
        "y.example",
        "unknown.invalid",
    ];
    const LISTENERS: [&str; 4] = ["plain", "strict", "assumed", "address"];
    const CLIENTS: [Kind; 11] = [
        Kind::Modern,
        Kind::Tls12,
        Kind::RsaOnly,
        Kind::RsaOnly12,
        Kind::EcdsaOnly,
        Kind::EcdsaOnly12,
        Kind::RsaSuites,
        Kind::EcdsaSuites,
        Kind::P256Curve,
        Kind::Ed25519Only,
        Kind::P521Only,
    ];
    let origin = select(vec![
        Origin::Issued,
        Origin::Incomplete,
        Origin::SelfSigned,
        Origin::CommonName,
    ]);
    let made = (
        subsequence(NAMES.to_vec(), 1..4),
        select(vec![-40_i64, -20, 0, 20]),
        select(vec![-10_i64, 0, 10, 40]),
        origin,
        0..KEYS.len(),
    );
    let made = made.prop_map(|(names, from, until, origin, key)| Made {
        names,
        from,
        until,
        origin,
        key,
    });
    let sent = prop_oneof![1 => Just(None), 5 => select(ASKED.to_vec()).prop_map(Some)];
    let row = (
        sent,
        select(LISTENERS.to_vec()),
        select(CLIENTS.to_vec()),
        -45..45_i64,
    );
    let row = row.prop_map(|(sent, listener, kind, at)| {
        let row = sent.map_or_else(|| unnamed("random"), |name| ask("random", name));
        // What is sent letter by letter is sent by one kind of client.
        let kind = if row.is_whole() { kind } else { Kind::Tls12 };
        row.on(listener).by(kind).at(at)
    });
    (vec(made, 1..8), 0..10_usize, any::<bool>(), vec(row, 12)).prop_map(
        |(certificates, default, safe, rows)| Folder {
            certificates,
            default,
            safe,
            rows,
        },
    )
}

/// Writes it in the place of the folder that was there, and has it read.
fn put(bench: &Bench, ca: &TestCa, keys: &[Pair], folder: &Folder) {
    let site = &bench.proxy.site;
    let sslcert = site.path("sslcert");
    for entry in fs::read_dir(&sslcert).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "crt" || e == "key") {
            fs::remove_file(path).unwrap();
        }
    }
    for (number, made) in folder.certificates.iter().enumerate() {
        let names = match made.origin {
            Origin::CommonName => &[],
            _ => made.names.as_slice(),
        };
        let leaf = ca
            .leaf(names)
            .dates(made.from, made.until)
            .key_of(&keys[made.key]);
        let pair = match made.origin {
            Origin::Issued => leaf.issue(),
            Origin::Incomplete => leaf.issue().without_chain(),
            Origin::SelfSigned => leaf.self_signed(),
            Origin::CommonName => leaf.common_name(made.names[0]).self_signed(),
        };
        pair.write(&sslcert, &number.to_string());
    }
    fs::write(sslcert.join("default"), format!("{}\n", folder.default)).unwrap();
    let order = if folder.safe { "safe" } else { "kerio" };
    site.configure(&format!("order = \"{order}\"\n{LISTENERS}"));
    let handle = bench.proxy.server.handle();
    bench
        .proxy
        .run(async move { handle.reload().await })
        .unwrap();
}

/// What the handshake came to, in the words of an explanation that would be true.
fn told(bench: &Bench, got: &Got, explained: &Explained) -> Explained {
    let (outcome, winner) = match got {
        Got::Certificate(_) => {
            let rank = explained.winner.as_ref().map_or(0, |(_, rank, _)| *rank);
            (
                Outcome::Served,
                Some((bench.served(got), rank, fingerprint(got))),
            )
        }
        Got::Alert(UNRECOGNIZED_NAME) => (Outcome::Rejected, None),
        Got::Alert(ACCESS_DENIED) => (Outcome::NoUsableKey, None),
        Got::Alert(_) | Got::Nothing(_) => panic!("{got:?}, and {explained:?} was explained"),
    };
    Explained {
        outcome: outcome.as_str().to_owned(),
        winner,
    }
}

#[test]
fn what_is_explained_is_served_whatever_lies_in_the_folder() {
    let ca = ca();
    let keys = KEYS.map(|key| ca.leaf(&["key.example"]).key(key).self_signed());
    let first = ca.leaf(&["first.example"]).self_signed();
    let bench = Bench::new(TestProxy::start(&ca, &[("0", &first)], LISTENERS));
    let cases = Cases {
        cases: 40,
        failure_persistence: None,
        ..Cases::default()
    };
    let tried = TestRunner::new(cases).run(&folders(), |folder| {
        put(&bench, &ca, &keys, &folder);
        for row in &folder.rows {
            bench.proxy.set_clock(row.at);
            let explained = bench.explain(row);
            let got = row.shake_hands(bench.proxy.address(row.listener));
            let told = told(&bench, &got, &explained);
            prop_assert_eq!(&told, &explained, "{:?}", row);
            if let Some(commanded) = bench.explain_over_socket(row) {
                prop_assert_eq!(&told, &commanded, "{:?} by the command", row);
            }
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
