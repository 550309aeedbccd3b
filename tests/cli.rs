//! The command line: what goes to standard output, what to standard error, and the exit status.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::ca::{DAY, TestCa};
use crate::common::gatepost::{PROGRAM, Site};
use crate::common::process::{Outcome, run};

const FAILED: i32 = 1;
const USAGE: i32 = 64;
const CONFIG: i32 = 78;

/// One listener, one upstream; its port is never connected to.
const ONE_LISTENER: &str = r#"
[[listener]]
name = "imaps"
bind = ["127.0.0.1:0"]
protocol = "imap"
tls = "implicit"
hostname = "mail.example.org"
upstream = "old-mail"
[[upstream]]
name = "old-mail"
servers = ["127.0.0.1:143"]
"#;

fn gatepost(arguments: &str) -> Outcome {
    run(PROGRAM, arguments.split_whitespace(), b"")
}

/// A site with a trusted certificate for `mail.example.org`, and the authority.
fn site() -> (Site, TestCa) {
    let ca = TestCa::today();
    let pair = ca.leaf(&["mail.example.org"]).issue();
    let site = Site::new(&ca, &[("mail.example.org", &pair)], ONE_LISTENER);
    (site, ca)
}

fn command(site: &Site, arguments: &str) -> Outcome {
    site.command(&arguments.split_whitespace().collect::<Vec<_>>())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The names of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        }
        files.push(path.display().to_string());
    }
    files.sort();
    files
}

/// Panics unless the outcome has this status, says `error` on standard error only, and nothing
/// on standard output.
#[track_caller]
fn refused(outcome: &Outcome, status: i32, error: &str) {
    assert_eq!(outcome.status.code(), Some(status), "{outcome:#?}");
    assert!(outcome.stderr.contains(error), "{outcome:#?}");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn wrong_usage_ends_with_64() {
    for arguments in [
        "bogus",
        "cert",
        "cert bogus",
        "status --yaml",
        "check extra",
        "completions tcsh",
        "cert show",
        "cert new --hostname a.example.org",
        "cert new --country DE",
        "cert new --hostname a.example.org --country DE --days 0",
        "cert new --hostname a.example.org --country DE --key-type rsa-1024",
        "cert import",
        "cert export a",
        "cert export a --key --chain",
        "cert export a --key",
        "cert export a --chain --force",
        "cert request --hostname a.example.org",
        "cert request --from a --key-type rsa-2048",
        "cert import-signed",
        "cert remove a --request --force",
        "cert explain a --client old",
        "cert explain a --at yesterday",
        "run --config",
    ] {
        let outcome = gatepost(arguments);
        assert_eq!(outcome.status.code(), Some(USAGE), "{arguments}");
        assert_eq!(outcome.stdout, "", "{arguments}");
        assert!(outcome.stderr.contains("Usage:") || outcome.stderr.starts_with("error: "));
    }
}

#[test]
fn wrong_usage_that_is_found_late_ends_with_64_too() {
    let (site, _) = site();
    let new = "cert new --hostname a.example.org --country DE";
    let wrong = [
        "cert explain a..example.org".to_owned(),
        "cert explain *.example.org".to_owned(),
        "cert explain a --at 1969-12-31T23:59:59Z".to_owned(),
        "cert new --hostname a.example.org --country Germany".to_owned(),
        "cert new --hostname a..example.org --country DE".to_owned(),
        format!("{new} --name ../a"),
        format!("{new} --days 4000000000"),
        format!("{new} --city {}", "x".repeat(999)),
    ];
    let failing = [
        "cert explain a.example.org --listener nobody",
        "cert show nobody",
        "cert remove nobody",
        "cert set-default nobody",
    ];
    let try_all = |site: &Site| {
        for arguments in &wrong {
            refused(&command(site, arguments), USAGE, "gatepost: ");
        }
        for arguments in failing {
            refused(&command(site, arguments), FAILED, "nobody");
        }
    };
    try_all(&site);
    try_all(&site.start().site);
}

#[test]
fn help_and_version_are_results() {
    assert_eq!(
        gatepost("--version").ok(),
        concat!("gatepost ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for arguments in ["--help", "-h", "help", "cert --help", "cert new --help"] {
        let outcome = gatepost(arguments);
        assert_eq!(outcome.stderr, "", "{arguments}");
        assert!(outcome.ok().contains("Usage: gatepost"), "{arguments}");
    }
}

#[test]
fn what_is_promised_for_later_says_so() {
    let (site, _) = site();
    let init = command(&site, "init --upstream old.example.org");
    refused(&init, FAILED, "gatepost: \"init\" is not in this version\n");
}

#[test]
fn without_a_configuration_the_status_is_78() {
    let missing = "--config /nonexistent/proxy.toml";
    for arguments in ["", "run", "check", "status", "cert list"] {
        let outcome = gatepost(&format!("{arguments} {missing}"));
        refused_or_verdict(&outcome, "/nonexistent/proxy.toml: cannot be read: ");
    }
}

/// `check` has a verdict on standard output, the others have nothing.
#[track_caller]
fn refused_or_verdict(outcome: &Outcome, error: &str) {
    assert_eq!(outcome.status.code(), Some(CONFIG), "{outcome:#?}");
    assert!(outcome.stderr.starts_with(error), "{outcome:#?}");
    assert!(outcome.stdout.is_empty() || outcome.stdout.ends_with("proxy.toml: 1 error\n"));
}

#[test]
fn check_finds_all_well_and_changes_nothing() {
    let (site, _) = site();
    let before = files(&site.path(""));
    let outcome = command(&site, "check");
    assert_eq!(outcome.stderr, "");
    let verdict = outcome.ok();
    assert!(
        verdict.ends_with("proxy.toml: 1 listener, 1 upstream, 1 certificate: all well\n"),
        "{verdict}"
    );
    assert_eq!(files(&site.path("")), before);
}

#[test]
fn check_of_a_fresh_machine_makes_nothing() {
    let (site, _) = site();
    fs::remove_dir_all(site.path("sslcert")).unwrap();
    let before = files(&site.path(""));
    let verdict = command(&site, "check").ok();
    assert!(verdict.ends_with("0 certificates: all well\n"), "{verdict}");
    assert_eq!(files(&site.path("")), before);
}

#[test]
fn check_names_every_file_set_aside() {
    let (site, ca) = site();
    let other = ca.leaf(&["other.example.org"]).issue();
    fs::write(site.path("sslcert/nokey.crt"), &other.chain).unwrap();
    fs::write(site.path("sslcert/junk.crt"), "junk").unwrap();
    let outcome = command(&site, "check");
    assert_eq!(outcome.status.code(), Some(FAILED));
    for name in ["nokey", "junk"] {
        let expected = format!("{name}: set aside: {name}.crt: ");
        assert!(outcome.stderr.contains(&expected), "{outcome:#?}");
    }
    assert!(outcome.stdout.ends_with("1 certificate: 2 set aside\n"));
}

#[test]
fn check_warns_of_what_is_served_and_should_not_be() {
    let (site, ca) = site();
    let folder = site.path("sslcert");
    let past = ca.leaf(&["old.example.org"]).dates(-90 * DAY, -DAY).issue();
    past.write(&folder, "old");
    ca.leaf(&["*.example.org"]).issue().write(&folder, "wild");
    fs::write(folder.join("default"), "old\n").unwrap();
    let outcome = command(&site, "check");
    assert!(outcome.status.success());
    for expected in [
        "old: warning: the default certificate: expired on ",
        "served for old.example.org before the wildcard of \"wild\", which is in date",
    ] {
        assert!(outcome.stderr.contains(expected), "{outcome:#?}");
    }
    assert!(outcome.stdout.ends_with("3 certificates: 2 warnings\n"));
}

#[test]
fn check_of_a_wrong_configuration_ends_with_78() {
    let (site, _) = site();
    site.configure(&ONE_LISTENER.replace("\"imap\"", "\"imapp\""));
    let outcome = command(&site, "check");
    assert_eq!(outcome.status.code(), Some(CONFIG));
    assert_eq!(outcome.stderr.lines().count(), 1);
    assert!(outcome.stderr.contains("listener \"imaps\": `protocol` is"));
    assert!(outcome.stdout.ends_with("proxy.toml: 1 error\n"));
    let named = site.path("proxy.toml").display().to_string();
    assert!(outcome.stderr.starts_with(&format!("{named}:")));
}

#[test]
fn certificates_are_managed_without_a_running_proxy() {
    let (site, _) = site();
    let new = "cert new --hostname *.example.net --hostname 192.0.2.7 --country DE \
               --organization Example --key-type rsa-2048 --days 30";
    assert_eq!(command(&site, new).ok(), "_.example.net\n");

    let list = json(&command(&site, "cert list --json").ok());
    let entries = list["certificates"].as_array().unwrap();
    let names: Vec<_> = entries.iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["_.example.net", "mail.example.org"]);
    assert_eq!(entries[0]["standing"], "self-signed");
    assert_eq!(entries[0]["key_type"], "rsa-2048");
    assert_eq!(entries[1]["standing"], "trusted");

    let text = command(&site, "cert list").ok();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("NAME "));
    assert!(lines.next().unwrap().starts_with("_.example.net "));
    assert!(lines.next().unwrap().starts_with("mail.example.org "));
    assert_eq!(lines.next(), Some(""));
    let change = lines.next().unwrap();
    assert!(change.starts_with("next change: ") && change.ends_with("is expired"));
    assert_eq!(lines.next(), None);

    let shown = command(&site, "cert show _.example.net").ok();
    for expected in [
        "O=Example",
        "192.0.2.7",
        "3 1 1 ",
        "*.example.net: not trusted",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
    let shown = json(&command(&site, "cert show _.example.net --json").ok());
    assert_eq!(shown["sha256"], entries[0]["sha256"]);

    let explained = command(&site, "cert explain a.example.net").ok();
    assert!(
        explained.contains("served: _.example.net, rank 6 (self-signed, wildcard)"),
        "{explained}"
    );
    let explained = json(&command(&site, "cert explain - --listener imaps --json").ok());
    assert_eq!(explained["winner"]["name"], "mail.example.org");
    let at = "cert explain a.example.net --client ecdsa-only --at 2100-01-01T00:00:00Z --json";
    let explained = json(&command(&site, at).ok());
    assert_eq!(explained["at"], "2100-01-01T00:00:00Z");
    assert_eq!(explained["winner"]["name"], "mail.example.org");

    assert_eq!(command(&site, "cert set-default _.example.net").ok(), "");
    refused(
        &command(&site, "cert remove _.example.net"),
        FAILED,
        "gatepost: \"_.example.net\" is the default certificate: make another one the default first, or remove it with --force\n",
    );
    assert_eq!(command(&site, "cert remove mail.example.org").ok(), "");
    assert!(!site.path("sslcert/mail.example.org.key").exists());
    assert_eq!(command(&site, "cert remove _.example.net --force").ok(), "");
    assert_eq!(
        json(&command(&site, "cert list --json").ok())["certificates"],
        json("[]")
    );
    refused(
        &command(&site, "cert show mail.example.org"),
        FAILED,
        "gatepost: no certificate \"mail.example.org\"",
    );
}

#[test]
fn a_certificate_is_imported_with_its_key_and_its_problems() {
    let (site, ca) = site();
    let pair = ca.leaf(&["pop.example.org"]).issue();
    fs::write(site.path("key.pem"), &pair.key).unwrap();
    fs::write(site.path("leaf.pem"), &pair.certificate).unwrap();
    fs::write(site.path("issuer.pem"), ca.intermediate()).unwrap();
    let path = |name: &str| site.path(name).display().to_string();
    let (leaf, issuer, key) = (path("leaf.pem"), path("issuer.pem"), path("key.pem"));

    let outcome = command(&site, &format!("cert import {leaf} {issuer} --key {key}"));
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.ok(), "pop.example.org\n");
    let shown = json(&command(&site, "cert show pop.example.org --json").ok());
    assert_eq!(shown["standing"], "trusted");

    let past = ca.leaf(&["past.example.org"]).dates(-9 * DAY, -DAY).issue();
    fs::write(site.path("all.pem"), past.key + &past.chain).unwrap();
    let all = path("all.pem");
    let outcome = command(&site, &format!("cert import {all} --name past"));
    assert!(outcome.stderr.starts_with("past: warning: expired"));
    assert_eq!(outcome.ok(), "past\n");

    let another = ca.leaf(&["pop.example.org"]).issue();
    fs::write(site.path("another.pem"), &another.key).unwrap();
    let another = path("another.pem");
    let outcome = command(&site, &format!("cert import {leaf} --key {another}"));
    let error = "gatepost: the key that was given (key id ";
    refused(&outcome, FAILED, error);
    let outcome = command(&site, "cert import missing.pem");
    refused(
        &outcome,
        FAILED,
        "gatepost: missing.pem: cannot be read: No such file",
    );
}

#[test]
fn without_a_running_proxy_only_the_folder_can_be_managed() {
    let (site, _) = site();
    let socket = site.path("gatepost.sock").display().to_string();
    let nobody = format!("gatepost: no proxy listens at {socket}: ");
    for arguments in ["status", "status --json", "reload", "drain", "stop"] {
        refused(&command(&site, arguments), FAILED, &nobody);
    }
    // A socket that was named is meant: nothing is done behind that proxy's back.
    let before = files(&site.path(""));
    for arguments in ["cert list", "cert new --hostname a --country DE"] {
        let outcome = gatepost(&format!("{arguments} --socket {socket}"));
        refused(&outcome, FAILED, &nobody);
    }
    assert_eq!(files(&site.path("")), before);
}

#[test]
fn commands_speak_to_the_running_proxy() {
    let (site, _) = site();
    let mut gatepost = site.start();
    let socket = gatepost.site.path("gatepost.sock").display().to_string();
    let ask = |arguments: &str| self::gatepost(&format!("{arguments} --socket {socket}"));

    let address = gatepost.address("imaps").to_string();
    let status = ask("status").ok();
    assert!(status.contains(&address), "{status}");
    assert!(status.contains("\ndefault certificate: mail.example.org\n"));

    let new = ask("cert new --hostname pop.example.org --country DE");
    assert_eq!(new.ok(), "pop.example.org\n");
    let list = command(&gatepost.site, "cert list --json").ok();
    assert_eq!(list, ask("cert list --json").ok());
    assert!(list.contains("pop.example.org"));
    assert_eq!(ask("cert set-default pop.example.org").ok(), "");
    refused(
        &ask("cert remove pop.example.org"),
        FAILED,
        "gatepost: \"pop.example.org\" is the default certificate: make another one the default first, or remove it with --force\n",
    );
    assert_eq!(ask("cert remove mail.example.org").ok(), "");

    assert_eq!(ask("reload").ok(), "reloaded\n");
    gatepost.site.configure("[[listener]]\n");
    refused(&ask("reload"), CONFIG, "listener");
    gatepost.site.configure(ONE_LISTENER);
    assert_eq!(ask("drain").ok(), "drained\n");
    assert_eq!(ask("stop").ok(), "stopped\n");
    assert!(gatepost.server.end().success());
}

#[test]
fn a_wrong_configuration_keeps_nobody_from_the_running_proxy() {
    let (site, _) = site();
    let mut gatepost = site.start();
    let ask = |arguments: &str| command(&gatepost.site, arguments);
    for wrong in ["[[listener]]\n", "[[listener\nname = "] {
        gatepost.site.configure(wrong);
        assert!(ask("status").ok().contains("imaps"));
        assert!(ask("cert list").ok().contains("mail.example.org"));
        refused(&ask("reload"), CONFIG, "proxy.toml:");
    }
    assert_eq!(ask("drain").ok(), "drained\n");
    assert_eq!(ask("stop").ok(), "stopped\n");
    // Without a proxy, the folder is where the whole configuration says.
    refused(&ask("cert list"), CONFIG, "proxy.toml:");
    refused(&ask("status"), FAILED, "gatepost: no proxy listens at ");
    assert!(gatepost.server.end().success());
}

#[test]
fn completions_are_printed_for_each_shell() {
    for (shell, sign) in [
        ("bash", "complete -F _gatepost"),
        ("zsh", "#compdef gatepost"),
        ("fish", "complete -c gatepost"),
    ] {
        let script = gatepost(&format!("completions {shell}")).ok();
        assert!(script.contains(sign), "{shell}");
        assert!(script.contains("set-default"), "{shell}");
    }
    let script = gatepost("completions bash").ok();
    let outcome = run("bash", ["-n"], script.as_bytes());
    assert_eq!(outcome.stderr, "");
    outcome.ok();
}

#[test]
fn the_manual_is_a_page() {
    let page = gatepost("man").ok();
    assert!(page.contains(".TH gatepost 1"));
    assert!(page.contains("gatepost cert set-default"));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut child = Command::new(PROGRAM)
        .arg("man")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
