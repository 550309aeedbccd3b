//! Which certificate is served: tables of selections, each of them a handshake over TCP with a proxy
//! that runs. In every row, what `cert explain` says is held against what was served, and what was
//! counted against both.

mod bench;
mod random;
mod table;

use std::fs;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use gatepost::admin::api;
use rustls_pki_types::UnixTime;

use crate::common::ca::TestCa;
use crate::common::proxy::TestProxy;
use bench::Bench;
use table::{Made, Table};

/// Sunday, 12 January 2025, 02:13:20 UTC: what is tried is the same on every day.
const START: Duration = Duration::from_secs(1_736_648_000);

fn ca() -> TestCa {
    TestCa::new(UnixTime::since_unix_epoch(START))
}

fn ranks() -> Table {
    Table::new(include_str!("../data/selection/ranks.txt"))
}

/// Tries the rows of one title on the certificates of the file.
#[track_caller]
fn try_all(table: &Table, title: &str) {
    let ca = ca();
    Bench::start(&ca, &table.certificates(&ca), "").try_all(&table.rows(title));
}

#[test]
fn the_nine_ranks_and_how_names_are_read() {
    try_all(&ranks(), "names");
}

#[test]
fn what_the_listener_assumes_and_refuses() {
    try_all(&ranks(), "listeners");
}

#[test]
fn an_expired_name_comes_before_every_wildcard() {
    try_all(&ranks(), "kerio");
}

#[test]
fn the_safe_order_puts_an_expired_name_after_usable_wildcards() {
    let (ca, table) = (ca(), ranks());
    let bench = Bench::start(&ca, &table.certificates(&ca), "order = \"safe\"\n");
    bench.try_all(&table.rows("safe"));
}

#[test]
fn what_the_client_can_verify() {
    try_all(
        &Table::new(include_str!("../data/selection/clients.txt")),
        "clients",
    );
}

#[test]
fn certificates_come_and_go_while_the_process_runs() {
    try_all(
        &Table::new(include_str!("../data/selection/time.txt")),
        "time",
    );
}

#[test]
fn what_a_certificate_is_taken_for() {
    try_all(
        &Table::new(include_str!("../data/selection/kinds.txt")),
        "kinds",
    );
}

#[test]
fn what_decides_within_one_rank() {
    let (ca, table) = (ca(), Table::new(include_str!("../data/selection/ties.txt")));
    let mut certificates = table.certificates(&ca);
    let mut twins = [(); 2].map(|()| ca.leaf(&["twins.example"]).issue());
    twins.sort_by_key(|pair| digest(&SHA256, &pair.der()).as_ref().to_vec());
    let names = ["b-lowest", "a-highest"];
    certificates.extend(names.into_iter().zip(twins).map(|(name, pair)| Made {
        name,
        pair,
        anchor: false,
    }));
    Bench::start(&ca, &certificates, "").try_all(&table.rows("ties"));
}

#[test]
fn international_names() {
    let (ca, table) = (
        ca(),
        Table::new(include_str!("../data/selection/international.txt")),
    );
    let bench = Bench::start(&ca, &table.certificates(&ca), "");
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
    bench.try_all(&table.rows("names"));
}

#[test]
fn without_a_default_the_best_of_all_is_served() {
    let (ca, table) = (
        ca(),
        Table::new(include_str!("../data/selection/no-default.txt")),
    );
    for set_aside in [None, Some("not a certificate")] {
        let site = Bench::site(&ca, &table.certificates(&ca), "");
        if let Some(text) = set_aside {
            fs::write(site.path("sslcert/fallback.crt"), text).unwrap();
        }
        let bench = Bench::new(TestProxy::start_on(site, ca.now()));
        bench.try_all(&table.rows("best"));
    }
}
