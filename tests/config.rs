//! The configuration file: the exact text of every error and warning, the shipped `proxy.toml`
//! and the examples.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use gatepost::config;

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Everything that is said about a configuration, one diagnostic a line.
fn said_about(text: &str, shown_as: &str) -> String {
    let mut said = match config::parse(text, Path::new(shown_as)) {
        Ok((_, warnings)) => {
            assert!(
                warnings
                    .iter()
                    .all(|w| w.severity == config::Severity::Warning)
            );
            config::ConfigErrors(warnings).to_string()
        }
        Err(errors) => {
            assert!(
                errors
                    .0
                    .iter()
                    .any(|e| e.severity == config::Severity::Error)
            );
            errors.to_string()
        }
    };
    if !said.is_empty() {
        said.push('\n');
    }
    said
}

/// The lines that only one of the two has, in their order.
fn difference(expected: &str, found: &str) -> String {
    let mut difference = String::new();
    for line in expected
        .lines()
        .filter(|line| !found.lines().any(|l| l == *line))
    {
        let _ = writeln!(difference, "  - {line}");
    }
    for line in found
        .lines()
        .filter(|line| !expected.lines().any(|l| l == *line))
    {
        let _ = writeln!(difference, "  + {line}");
    }
    if difference.is_empty() {
        difference.push_str("  the same lines in another order\n");
    }
    difference
}

#[test]
fn each_configuration_gets_exactly_these_messages() {
    let mut failures = String::new();
    let (mut broken, mut good) = (0, 0);
    for entry in fs::read_dir(package("tests/data/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some(OsStr::new("toml")) {
            continue;
        }
        let shown_as = path.file_name().unwrap().to_str().unwrap();
        let found = said_about(&fs::read_to_string(&path).unwrap(), shown_as);
        match found.lines().all(|line| line.contains(": warning: ")) {
            true => good += 1,
            false => broken += 1,
        }
        let expected = path.with_extension("txt");
        match fs::read_to_string(&expected) {
            Err(error) => {
                let _ = writeln!(
                    failures,
                    "{}: {error}; it would be\n{found}",
                    expected.display()
                );
            }
            Ok(expected) if expected == found => {}
            Ok(expected) => {
                let difference = difference(&expected, &found);
                let _ = writeln!(failures, "{shown_as}: expected -, found +\n{difference}");
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    assert!(
        broken >= 45 && good >= 12,
        "only {broken} broken and {good} good ones were read"
    );
}

#[test]
fn the_shipped_configuration_is_faultless_and_complete() {
    let text = fs::read_to_string(package("proxy.toml")).unwrap();
    assert_eq!(said_about(&text, "proxy.toml"), "");
    let mut missing = Vec::new();
    for (section, keys) in config::known_keys() {
        // A section's keys stand below its headers, and above the next section's.
        let written: Vec<&str> = text
            .split("\n[")
            .filter(|part| {
                part.trim_start_matches('[')
                    .starts_with(section.trim_matches(['[', ']']))
            })
            .flat_map(str::lines)
            .map(|line| line.trim_start_matches("# "))
            .collect();
        let absent = |key: &&&str| {
            !written
                .iter()
                .any(|line| line.starts_with(&format!("{key} = ")))
        };
        missing.extend(
            keys.iter()
                .filter(absent)
                .map(|key| format!("{section} {key}")),
        );
    }
    assert!(missing.is_empty(), "proxy.toml does not show {missing:?}");
}

#[test]
fn the_examples_are_faultless() {
    let mut examples = 0;
    for entry in fs::read_dir(package("docs/examples")).unwrap() {
        let path = entry.unwrap().path();
        let shown_as = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(path.extension(), Some(OsStr::new("toml")), "{shown_as}");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(said_about(&text, shown_as), "", "{shown_as}");
        examples += 1;
    }
    assert_ne!(examples, 0);
}

#[test]
fn the_reference_names_every_key() {
    let text = fs::read_to_string(package("docs/configuration.md")).unwrap();
    let mut missing = Vec::new();
    for (section, keys) in config::known_keys() {
        let heading = format!("## `{section}`\n");
        let part = text.split_once(&heading).map_or("", |(_, rest)| rest);
        let part = part.split("\n## ").next().unwrap_or_default();
        let absent = |key: &&&str| !part.contains(&format!("| `{key}` |"));
        missing.extend(
            keys.iter()
                .filter(absent)
                .map(|key| format!("{section} {key}")),
        );
    }
    assert!(
        missing.is_empty(),
        "docs/configuration.md does not explain {missing:?}"
    );
}

#[test]
fn the_benchmark_configuration_is_accepted() {
    let text = r#"
        [runtime]
        threads = 1
        [certificates]
        directory = "split"
        [admin]
        socket = "admin.sock"
        [metrics]
        listen = "127.0.0.1:0"
        [log]
        level = "warn"
        access = false
        [limits]
        connections = 20000
        connections_per_client = 20000
        [[listener]]
        name = "ecdsa"
        bind = ["127.0.0.1:4443"]
        protocol = "tcp"
        upstream = "plain"
        [[upstream]]
        name = "plain"
        servers = ["127.0.0.1:4080"]
        health_interval = "0s"
    "#;
    assert_eq!(said_about(text, "many.toml"), "");
}
