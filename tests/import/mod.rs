//! What other programs make is imported: by the command with the proxy running and without, and over
//! the admin API. What then counts is what a handshake shows.

mod chains;
mod forms;
mod refused;
mod terminal;
mod tools;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::ca::TestCa;
use crate::common::gatepost::{Gatepost, Site};
use crate::common::handshake::{Got, Kind, ask_in_clear, shake_hands};
use crate::common::process::{Outcome, run};

const LISTENER: &str = r#"
[[listener]]
name = "tcp"
bind = ["127.0.0.1:0"]
protocol = "tcp"
tls = "implicit"
"#;

/// A site with one certificate, which is the default and has nothing to do with the tests.
fn site(ca: &TestCa) -> Site {
    let other = ca.leaf(&["fallback.example"]).issue();
    Site::new(ca, &[("fallback", &other)], LISTENER)
}

/// Runs `gatepost cert …`, arguments in one line; words that begin with `@` are files of the site.
fn cert(site: &Site, line: &str) -> Outcome {
    let words = line.split(' ').map(|word| match word.strip_prefix('@') {
        Some(file) => site.path(file).into_os_string(),
        None => word.into(),
    });
    let arguments: Vec<_> = std::iter::once("cert".into()).chain(words).collect();
    site.command::<std::ffi::OsString>(&arguments)
}

/// Asks the admin API with `curl`; status and document.
fn post(site: &Site, path: &str, document: &Value) -> (u16, Value) {
    let body = site.path("body.json");
    fs::write(&body, document.to_string()).unwrap();
    let socket = site.path("gatepost.sock");
    let data = format!("@{}", body.display());
    let url = format!("http://gatepost{path}");
    let arguments = [
        OsStr::new("--silent"),
        OsStr::new("--show-error"),
        OsStr::new("--unix-socket"),
        socket.as_os_str(),
        OsStr::new("--write-out"),
        OsStr::new("\n%{http_code}"),
        OsStr::new("--data-binary"),
        OsStr::new(&data),
        OsStr::new(&url),
    ];
    let answer = run("curl", arguments, b"").ok();
    let (document, status) = answer.rsplit_once('\n').unwrap();
    (
        status.parse().unwrap(),
        serde_json::from_str(document).unwrap(),
    )
}

/// What a client sees that reads no certificate.
fn seen(gatepost: &Gatepost, name: &str) -> Got {
    ask_in_clear(gatepost.address("tcp"), name.as_bytes())
}

/// What a client gets that asks for this name.
fn served(gatepost: &Gatepost, name: &str) -> Got {
    shake_hands(gatepost.address("tcp"), Kind::Modern, Some(name))
}

/// The files of the certificate folder with their contents; its lock is none.
fn folder(site: &Site) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(site.path("sslcert")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| !path.ends_with(".lock"));
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The problem codes and messages of an answer.
fn problems(document: &Value) -> Vec<(String, String)> {
    let problems = document["problems"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problems
        .iter()
        .map(|problem| (text(&problem["code"]), text(&problem["message"])))
        .collect()
}

fn import_document(fields: &[(&str, &str)]) -> Value {
    let mut document = json!({});
    for (field, value) in fields {
        document[*field] = json!(value);
    }
    document
}
