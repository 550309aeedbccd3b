//! `gatepost demo`: every try goes well, and nothing is left behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common;
use crate::common::gatepost::PROGRAM;
use crate::common::process::{Server, run};

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn every_try_goes_well() {
    let folder = common::folder();
    let variable = format!("TMPDIR={}", folder.path().display());
    let text = run("env", [variable.as_str(), PROGRAM, "demo", "--once"], b"").ok();
    for expected in [
        "  Web: fetch the page            ok  200,",
        "  IMAP: log in, fetch a message  ok  \"It works\",",
        "  SMTP: send a message           ok  taken,",
        "  1     trusted, exact name      mail.demo.test   ok  mail.demo.test ",
        "  2     self-signed, exact name  self.demo.test   ok  self.demo.test ",
        "  3     valid, exact name        valid.demo.test  ok  valid.demo.test ",
        "  4     expired, exact name      old.demo.test    ok  old.demo.test ",
        "  5     trusted, wildcard        any.demo.test    ok  _.demo.test ",
        "  6     self-signed, wildcard    any.self.test    ok  _.self.test ",
        "  7     valid, wildcard          any.valid.test   ok  _.valid.test ",
        "  8     expired, wildcard        any.old.test     ok  _.old.test ",
        "  9     default certificate      unknown.test     ok  server ",
        "All 12 tries went well.",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    assert!(is_empty(folder.path()));
}

#[test]
fn it_stays_until_it_is_told_to_go_and_its_advice_is_good() {
    let folder = common::folder();
    let site = common::folder();
    let log = site.path().join("output");
    let mut command = Command::new(PROGRAM);
    command.arg("demo").env("TMPDIR", folder.path());
    let mut demo = Server::start("the demo", &mut command, &log);
    demo.logged(&["Ctrl-C ends it."]);
    let commands = demo.log().replace("\\\n", "");

    let advice = |start: &str| {
        let is_it = |line: &&str| line.trim_start().starts_with(start);
        let found = commands.lines().find(is_it);
        found.unwrap_or_else(|| panic!("no {start:?} in\n{commands}"))
    };
    for (start, expected) in [
        ("curl", "It works."),
        ("openssl s_client", "CN = self.demo.test"),
        ("echo Hello | curl", ""),
    ] {
        let shell = format!("{} 2>&1", advice(start));
        let said = run("sh", ["-c", &shell], b"").ok();
        assert!(said.contains(expected), "{shell}: {said}");
    }
    for (command, expected) in [
        ("cert list", "\nmail.demo.test "),
        ("cert explain old.demo.test", "rank 4 (expired, exact name)"),
        ("status", "\nimaps "),
    ] {
        let shell = advice(&format!("{PROGRAM} {command}"));
        let said = run("sh", ["-c", shell], b"").ok();
        assert!(said.contains(expected), "{shell}: {said}");
    }

    demo.signal(Signal::INT);
    assert!(demo.end().success());
    assert!(is_empty(folder.path()));
}
