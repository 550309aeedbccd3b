//! What changes while the proxy runs: certificates over the admin socket, the configuration by a reload,
//! and what a start finds and makes. No handshake fails meanwhile, and none begun after an answer sees
//! what was before.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gatepost::admin::{ClientError, SocketError, api};
use gatepost::server::StartError;

use crate::common::ca::{DAY, Pair, TestCa};
use crate::common::gatepost::Site;
use crate::common::handshake::{Got, Kind, shake_hands};
use crate::common::proxy::TestProxy;
use crate::common::{scrape, wait};

const LISTENER: &str = r#"
[[listener]]
name = "tcp"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
"#;

fn import(name: &str, pair: &Pair) -> api::Import {
    api::Import {
        certificate_pem: Some(pair.chain.clone()),
        key_pem: Some(pair.key.clone()),
        name: Some(name.to_owned()),
        ..api::Import::default()
    }
}

/// Certificates in the order in which they are taken into use, and how many of them are so far.
struct Series {
    asked: &'static str,
    pairs: Vec<Pair>,
    numbers: HashMap<Vec<u8>, usize>,
    /// How many changes have been answered.
    answered: AtomicUsize,
}

impl Series {
    fn new(asked: &'static str, pairs: Vec<Pair>) -> Self {
        let numbers = pairs.iter().enumerate();
        Self {
            asked,
            numbers: numbers.map(|(n, pair)| (pair.der().to_vec(), n)).collect(),
            pairs,
            answered: AtomicUsize::new(0),
        }
    }

    /// A handshake that must show the last one answered before it began, or a later one.
    fn try_one(&self, proxy: &TestProxy, kind: Kind) -> Result<(), String> {
        let oldest = self.answered.load(Ordering::SeqCst);
        let got = shake_hands(proxy.address("tcp"), kind, Some(self.asked));
        let Got::Certificate(der) = &got else {
            return Err(format!("{}: {got:?}", self.asked));
        };
        match self.numbers.get(der) {
            Some(&number) if number >= oldest => Ok(()),
            number => Err(format!(
                "{}: certificate {number:?} after the change to {oldest} was answered",
                self.asked
            )),
        }
    }

    /// Notes that a change was answered. The very next handshake shows it.
    #[track_caller]
    fn answered(&self, proxy: &TestProxy, number: usize) {
        self.answered.store(number, Ordering::SeqCst);
        let got = shake_hands(proxy.address("tcp"), Kind::Modern, Some(self.asked));
        let expected = Got::Certificate(self.pairs[number].der().to_vec());
        assert_eq!(got, expected, "{} after change {number}", self.asked);
    }
}

/// Clients that come at a steady pace until they are told to stop.
struct Load<'a> {
    proxy: &'a TestProxy,
    series: &'a [Series],
    begun: Instant,
    next: AtomicUsize,
    done: AtomicUsize,
    stop: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl<'a> Load<'a> {
    /// Between two clients: 200 of them a second.
    const PACE: Duration = Duration::from_millis(5);
    const CLIENTS: usize = 8;

    fn new(proxy: &'a TestProxy, series: &'a [Series]) -> Self {
        Self {
            proxy,
            series,
            begun: Instant::now(),
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failures: Mutex::default(),
        }
    }

    /// One of the clients, again and again.
    fn run(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            wait::for_time(self.begun + Self::PACE * u32::try_from(number).unwrap());
            let series = &self.series[number % self.series.len()];
            let kind = match number % 3 {
                0 => Kind::Tls12,
                _ => Kind::Modern,
            };
            if let Err(failure) = series.try_one(self.proxy, kind) {
                self.failures.lock().unwrap().push(failure);
            }
            self.done.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until as many more clients have been served.
    #[track_caller]
    fn goes_on_for(&self, more: usize) {
        let goal = self.done.load(Ordering::SeqCst) + more;
        wait::until("clients to be served", || {
            self.done.load(Ordering::SeqCst) >= goal
        });
    }
}

#[test]
fn no_handshake_fails_and_none_is_behind_while_certificates_change() {
    const CHANGES: usize = 25;
    let ca = TestCa::today();
    let issue = |name: String| ca.leaf(&[&name]).issue();
    let imported = (0..CHANGES).map(|_| issue("replaced.example".to_owned()));
    let defaults = (0..CHANGES).map(|number| issue(format!("default-{number}.example")));
    let series = [
        Series::new("replaced.example", imported.collect()),
        Series::new("unknown.example", defaults.collect()),
    ];
    let [replaced, default] = &series;
    let first = [
        ("replaced", &replaced.pairs[0]),
        ("default-0", &default.pairs[0]),
    ];
    let site = Site::new(&ca, &first, LISTENER);
    fs::write(site.path("sslcert/default"), "default-0\n").unwrap();
    let proxy = TestProxy::start_on(site, ca.now());
    let load = Load::new(&proxy, &series);
    thread::scope(|threads| {
        for _ in 0..Load::CLIENTS {
            threads.spawn(|| load.run());
        }
        // Also if a change fails: else the clients would go on for ever.
        let _stop = Stop(&load.stop);
        for number in 1..CHANGES {
            load.goes_on_for(5);
            let pair = import("replaced", &replaced.pairs[number]);
            proxy
                .admin(async |admin| admin.import(&pair).await)
                .unwrap();
            replaced.answered(&proxy, number);

            load.goes_on_for(5);
            let (old, new) = (
                format!("default-{}", number - 1),
                format!("default-{number}"),
            );
            let pair = import(&new, &default.pairs[number]);
            proxy
                .admin(async |admin| admin.import(&pair).await)
                .unwrap();
            proxy
                .admin(async |admin| admin.set_default(&new).await)
                .unwrap();
            default.answered(&proxy, number);
            proxy
                .admin(async |admin| admin.remove(&old, false).await)
                .unwrap();
        }
        load.goes_on_for(20);
    });
    let failures = load.failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
    let folder = folder(&proxy.site);
    let names: Vec<_> = folder
        .keys()
        .filter(|name| name.ends_with(".crt"))
        .collect();
    let last = format!("default-{}.crt", CHANGES - 1);
    assert_eq!(names, [last.as_str(), "replaced.crt"]);
}

/// Sets a flag when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Names and contents of the files in the certificate folder.
fn folder(site: &Site) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(site.path("sslcert")).unwrap();
    let files = entries.map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A proxy with three certificates, of which `fallback` is the default.
fn with_three(ca: &TestCa) -> TestProxy {
    let site = Site::new(
        ca,
        &[
            ("mail", &ca.leaf(&["mail.example"]).issue()),
            ("wild", &ca.leaf(&["*.example"]).issue()),
            ("fallback", &ca.leaf(&["fallback.invalid"]).self_signed()),
        ],
        LISTENER,
    );
    fs::write(site.path("sslcert/default"), "fallback\n").unwrap();
    TestProxy::start_on(site, ca.now())
}

/// The status and the words of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> (u16, String) {
    match outcome {
        Err(ClientError::Refused(problem)) => (problem.status, problem.detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_removed_is_served_no_more() {
    let ca = TestCa::today();
    let proxy = with_three(&ca);
    let remove = |name: &str, force| proxy.admin(async |admin| admin.remove(name, force).await);

    assert_eq!(proxy.serves("tcp", Some("mail.example")), "mail");
    remove("mail", false).unwrap();
    assert_eq!(proxy.serves("tcp", Some("mail.example")), "wild");
    remove("wild", false).unwrap();
    assert_eq!(proxy.serves("tcp", Some("mail.example")), "fallback");
    let files = folder(&proxy.site);
    assert!(
        !files
            .keys()
            .any(|name| name.starts_with("mail") || name.starts_with("wild"))
    );

    let (status, detail) = refusal(remove("mail", true));
    assert_eq!(
        (status, detail.as_str()),
        (404, r#"no certificate "mail" (known: fallback)"#)
    );
    let (status, detail) = refusal(remove("fallback", false));
    assert_eq!(status, 409, "{detail}");
    assert!(
        detail.starts_with(r#""fallback" is the default certificate"#),
        "{detail}"
    );
    assert_eq!(folder(&proxy.site), files);
    assert_eq!(proxy.serves("tcp", None), "fallback");
}

#[test]
fn a_broken_import_changes_nothing() {
    let ca = TestCa::today();
    let proxy = with_three(&ca);
    let (own, other) = (
        ca.leaf(&["mail.example"]).issue(),
        ca.leaf(&["a.example"]).issue(),
    );
    let with = |certificate: &str, key: Option<&str>, name: &str| api::Import {
        certificate_pem: Some(certificate.to_owned()),
        key_pem: key.map(str::to_owned),
        name: Some(name.to_owned()),
        ..api::Import::default()
    };
    let cut = &own.certificate[..own.certificate.len() / 2];
    let swapped = own.certificate.replacen("MII", "IIM", 1);
    let broken = [
        (api::Import::default(), "certificate_pem"),
        (with("", None, "mail"), "that was given: empty"),
        (
            with("letters", Some(&own.key), "mail"),
            "certificate that was given: no PEM block found",
        ),
        (
            with(cut, Some(&own.key), "mail"),
            "cannot read the certificate",
        ),
        (
            with(&swapped, Some(&own.key), "mail"),
            "certificate 1 of what was given cannot be read",
        ),
        (with(&own.key, None, "mail"), "found no certificate"),
        (with(&own.chain, None, "mail"), "no key was given"),
        (
            with(&own.chain, Some("letters"), "mail"),
            "key that was given: no PEM block found",
        ),
        (
            with(&own.chain, Some(&own.certificate), "mail"),
            "found no private key",
        ),
        (
            with(&own.chain, Some(&other.key), "mail"),
            "is not the key of",
        ),
        (
            with(&own.chain, Some(&own.key), "../mail"),
            "cannot name a certificate",
        ),
        (
            with(&own.chain, Some(&own.key), "default"),
            "cannot name a certificate",
        ),
        (
            with(&own.chain, Some(&own.key), ""),
            "cannot name a certificate",
        ),
        (
            api::Import {
                pkcs12_base64: Some("MII=".to_owned()),
                ..api::Import::default()
            },
            "cannot read the PKCS#12 file that was given: no PEM block found",
        ),
    ];
    let list = || {
        proxy
            .admin(async |admin| admin.certificates().await)
            .unwrap()
    };
    let before = (folder(&proxy.site), list());
    let mut others = Vec::new();
    for (import, expected) in broken {
        let (status, detail) = refusal(proxy.admin(async |admin| admin.import(&import).await));
        assert!(status != 500, "{status} {detail}");
        if !detail.contains(expected) {
            others.push(format!("{detail:?}, expected {expected:?}"));
        }
        assert_eq!((folder(&proxy.site), list()), before, "after {detail:?}");
    }
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(proxy.serves("tcp", Some("mail.example")), "mail");
    let unknown = refusal(proxy.admin(async |admin| admin.set_default("nobody").await));
    assert_eq!(unknown.0, 404, "{}", unknown.1);
    assert_eq!(proxy.serves("tcp", None), "fallback");
}

#[test]
fn a_reload_takes_up_what_is_right_and_nothing_else() {
    let ca = TestCa::today();
    let expired = ca.leaf(&["old.example"]).dates(-9 * DAY, -DAY).issue();
    let wildcard = ca.leaf(&["*.example"]).issue();
    let certificates = [("expired", &expired), ("wildcard", &wildcard)];
    let proxy = TestProxy::start(&ca, &certificates, LISTENER);
    let reload = || proxy.admin(async |admin| admin.reload().await);
    let serves = |name: &str| proxy.serves("tcp", Some(name));
    let reloads = |outcome: &str| {
        proxy.metric(&format!(
            r#"gatepost_config_reloads_total{{outcome="{outcome}"}}"#
        ))
    };
    let address = proxy.address("tcp");
    assert_eq!(serves("old.example"), "expired");

    proxy
        .site
        .configure(&format!("order = \"safe\"\n{LISTENER}"));
    assert_eq!(serves("old.example"), "expired", "not reloaded yet");
    reload().unwrap();
    assert_eq!(serves("old.example"), "wildcard");

    proxy
        .site
        .configure(&format!("order = \"kerio\"\nordre = \"safe\"\n{LISTENER}"));
    let (status, detail) = refusal(reload());
    assert_eq!(status, 422);
    assert!(
        detail.contains("proxy.toml") && detail.contains("ordre"),
        "{detail}"
    );
    assert_eq!(serves("old.example"), "wildcard", "nothing was taken up");

    // A listener whose address cannot be had: not even the order is taken up.
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = holder.local_addr().unwrap().to_string();
    let with_another = |address: &str| {
        format!(
            "order = \"kerio\"\n{LISTENER}{}",
            LISTENER
                .replace("tcp\"\nbind", "another\"\nbind")
                .replace("127.0.0.1:0", address)
        )
    };
    proxy.site.configure(&with_another(&held));
    let (status, detail) = refusal(reload());
    assert_eq!(status, 422);
    assert!(detail.contains(&held), "{detail}");
    assert_eq!(serves("old.example"), "wildcard", "nothing was taken up");

    proxy.site.configure(&with_another("127.0.0.1:0"));
    reload().unwrap();
    assert_eq!(serves("old.example"), "expired");
    assert_eq!(proxy.address("tcp"), address, "the socket is the same one");
    let got = shake_hands(proxy.address("another"), Kind::Modern, Some("old.example"));
    assert_eq!(proxy.name_of(&got), "expired", "the new listener");
    assert_eq!((reloads("ok"), reloads("error")), (Some(2.0), Some(2.0)));
}

#[test]
fn a_start_with_no_certificate_makes_one() {
    let ca = TestCa::today();
    let site = Arc::new(Site::new(&ca, &[], LISTENER));
    let proxy = TestProxy::start_on(Arc::clone(&site), ca.now());
    let made = folder(&site);
    for (file, mode) in [("server.key", 0o600), ("server.crt", 0o644)] {
        let path = site.path("sslcert").join(file);
        let found = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{file} has mode {found:o}");
    }
    assert_eq!(made["default"], b"server\n");
    for (name, rank) in [
        (Some("localhost"), 2),
        (Some("unknown.example"), 9),
        (None, 9),
    ] {
        assert_eq!(proxy.serves("tcp", name), "server");
        let asked = api::Explain {
            host: name.map(str::to_owned),
            ..api::Explain::default()
        };
        let explained = proxy
            .admin(async |admin| admin.explain(&asked).await)
            .unwrap();
        assert_eq!(explained.winner.unwrap().rank, rank, "{name:?}");
    }
    let shown = proxy
        .admin(async |admin| admin.certificate("server").await)
        .unwrap();
    let certificate = shown.certificate;
    assert_eq!(certificate.standing.as_deref(), Some("self-signed"));
    assert_eq!(certificate.key_type.as_deref(), Some("ecdsa-p256"));
    assert!(certificate.names.contains(&"localhost".to_owned()));
    let days = (certificate.not_after.unwrap().0 - certificate.not_before.unwrap().0) / DAY;
    assert!((730..=731).contains(&days), "{days} days");
    proxy.stop();

    let proxy = TestProxy::start_on(Arc::clone(&site), ca.now());
    assert_eq!(folder(&site), made);
    assert_eq!(proxy.serves("tcp", None), "server");
    proxy
        .admin(async |admin| admin.remove("server", true).await)
        .unwrap();
    let handshake = shake_hands(proxy.address("tcp"), Kind::Modern, None);
    assert!(
        matches!(handshake, Got::Alert(_)),
        "there is nothing to serve: {handshake:?}"
    );
    proxy.stop();

    let proxy = TestProxy::start_on(Arc::clone(&site), ca.now());
    assert_eq!(proxy.serves("tcp", None), "server");
    assert_ne!(folder(&site)["server.crt"], made["server.crt"]);
    proxy.stop();
}

#[test]
fn a_second_instance_keeps_away_and_leaves_the_first_alone() {
    let ca = TestCa::today();
    let proxy = with_three(&ca);
    let socket = proxy.site.path("gatepost.sock");
    let admin = format!("\n[admin]\nsocket = \"{}\"\n{LISTENER}", socket.display());
    let second = Site::new(&ca, &[], &admin);
    let Err(error) = TestProxy::try_start_on(second, ca.now()) else {
        panic!("a second instance started");
    };
    let StartError::Admin(SocketError::InUse { path }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(path, socket);
    let status = proxy.admin(async |admin| admin.status().await).unwrap();
    assert_eq!(status.default.as_deref(), Some("fallback"));
    assert_eq!(proxy.serves("tcp", Some("mail.example")), "mail");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn selections_and_certificates_are_scraped() {
    let ca = TestCa::today();
    let proxy = with_three(&ca);
    let metrics = proxy.site.metrics();
    let is = |series: &str, value: f64| {
        wait::until(&format!("{series} {value}"), || {
            scrape::metric(metrics, series) == Some(value)
        });
    };
    for (name, times) in [
        ("mail.example", 3),
        ("other.example", 2),
        ("unknown.invalid", 1),
    ] {
        for _ in 0..times {
            proxy.serves("tcp", Some(name));
        }
    }
    let selections = "gatepost_certificate_selections_total";
    for (rank, times) in [
        ("1", 3.0),
        ("5", 2.0),
        ("9", 1.0),
        ("2", 0.0),
        ("none", 0.0),
    ] {
        is(
            &format!(r#"{selections}{{listener="tcp",rank="{rank}"}}"#),
            times,
        );
    }
    is(
        r#"gatepost_tls_handshakes_total{listener="tcp",resumed="false",version="1.3"}"#,
        6.0,
    );
    is("gatepost_certificate_index_names", 3.0);
    is("gatepost_certificate_index_updates_total", 1.0);
    is("gatepost_certificates_set_aside", 0.0);

    let certificates = proxy
        .admin(async |admin| admin.certificates().await)
        .unwrap();
    let info = "gatepost_certificate_info";
    for certificate in certificates.certificates {
        let (name, standing) = (certificate.name, certificate.standing.unwrap());
        let default = certificate.default;
        is(
            &format!(r#"{info}{{default="{default}",name="{name}",standing="{standing}"}}"#),
            1.0,
        );
        let end = certificate.not_after.unwrap().0;
        let series =
            format!(r#"gatepost_certificate_not_after_timestamp_seconds{{name="{name}"}}"#);
        assert_eq!(
            proxy.metric(&series).map(|seconds| seconds as i64),
            Some(end)
        );
    }

    // What happens to them is seen by the next scrape.
    fs::write(proxy.site.path("sslcert/broken.crt"), "letters").unwrap();
    let more = import("more", &ca.leaf(&["more.example", "most.example"]).issue());
    proxy
        .admin(async |admin| admin.import(&more).await)
        .unwrap();
    is("gatepost_certificates_set_aside", 1.0);
    is("gatepost_certificate_index_names", 5.0);
    is("gatepost_certificate_index_updates_total", 2.0);
    proxy.set_clock(90 * DAY);
    is(
        &format!(r#"{info}{{default="false",name="more",standing="expired"}}"#),
        1.0,
    );
    assert!(!scrape::page(metrics).contains(r#"name="more",standing="trusted""#));
    proxy
        .admin(async |admin| admin.remove("more", false).await)
        .unwrap();
    is("gatepost_certificate_index_names", 3.0);
    assert!(!scrape::page(metrics).contains(r#"name="more""#));
}
