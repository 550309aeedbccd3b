//! The import direction drawn in ARCHITECTURE.md, and who may speak to the user.

use std::fs;
use std::path::{Path, PathBuf};

/// Every top-level module, and the modules of this crate that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("causes", &[]),
    ("cert", &[]),
    ("wire", &[]),
    ("metrics", &[]),
    ("time", &[]),
    ("config", &["cert", "wire"]),
    ("log", &["config", "time"]),
    ("store", &["causes", "cert", "time"]),
    ("tls", &["cert", "config", "metrics", "time", "wire"]),
    (
        "proxy",
        &["causes", "cert", "config", "metrics", "time", "tls", "wire"],
    ),
    (
        "admin",
        &["causes", "cert", "config", "metrics", "store", "time"],
    ),
    (
        "server",
        &[
            "admin", "causes", "cert", "config", "log", "metrics", "proxy", "store", "time", "tls",
            "wire",
        ],
    ),
    (
        "probe",
        &["causes", "cert", "config", "proxy", "time", "tls", "wire"],
    ),
    (
        "demo",
        &["admin", "cert", "config", "server", "store", "time", "wire"],
    ),
    (
        "cli",
        &[
            "admin", "causes", "cert", "config", "demo", "log", "probe", "server", "store", "time",
        ],
    ),
];

/// Not modules, but the two roots that put the modules together.
const ROOTS: &[&str] = &["lib", "main"];

/// The modules that a user started at a terminal.
const MAY_PRINT: &[&str] = &["cli", "demo"];

/// One file of the crate: the top-level module it belongs to, its path and its text.
struct Source {
    module: String,
    file: String,
    text: String,
}

impl Source {
    /// Its lines of code with their numbers; a comment imports and prints nothing.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..)
            .zip(self.text.lines())
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(&src).unwrap().display().to_string();
            let module = file.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            sources.push(Source { module, file, text });
        }
    }
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What follows each `crate::` in a line: the name of a top-level module, or nothing if it is a
/// brace, behind which anything could hide.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|path| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        path.split(|c| !is_name(c)).next().unwrap_or_default()
    })
}

/// The upward imports of a file, as `file:line: module imports other`.
fn upward_imports(source: &Source) -> Vec<String> {
    let Source { module, file, .. } = source;
    let allowed = MAY_IMPORT.iter().find(|(name, _)| name == module);
    let allowed = allowed.map_or(&[][..], |(_, allowed)| *allowed);
    let mut wrong = Vec::new();
    for (number, line) in source.code() {
        for target in imported(line) {
            if target != module && !allowed.contains(&target) {
                wrong.push(format!("{file}:{number}: {module} imports {target:?}"));
            }
        }
    }
    wrong
}

#[test]
fn modules_import_only_downwards() {
    let wrong = sources()
        .iter()
        .filter(|source| !ROOTS.contains(&source.module.as_str()))
        .flat_map(upward_imports)
        .collect::<Vec<_>>();
    assert!(wrong.is_empty(), "upward imports:\n{}", wrong.join("\n"));
}

#[test]
fn an_upward_import_is_noticed() {
    let wrong = |module: &str, line: &str| {
        let source = Source {
            module: module.to_owned(),
            file: format!("{module}.rs"),
            text: format!("//! See crate::server.\n{line}\n"),
        };
        upward_imports(&source)
    };
    for (module, line) in [
        ("wire", "use crate::config::Listener;"),
        ("store", "    let x = crate::admin::api::Status::new();"),
        ("tls", "use crate::{proxy, cert};"),
        ("proxy", "fn f(a: crate::cert::A, b: crate::cli::B) {}"),
        ("unknown", "use crate::cert::DnsName;"),
    ] {
        let found = wrong(module, line);
        assert_eq!(found.len(), 1, "{line}");
        assert!(found[0].starts_with(&format!("{module}.rs:2: ")));
    }
    assert_eq!(
        wrong("wire", "use crate::wire::mail::MailProtocol;"),
        [""; 0]
    );
    assert_eq!(wrong("proxy", "use crate::tls::Accepted;"), [""; 0]);
}

#[test]
fn the_table_has_no_circle() {
    for (n, (module, allowed)) in MAY_IMPORT.iter().enumerate() {
        let below = &MAY_IMPORT[..n];
        for target in *allowed {
            assert!(
                below.iter().any(|(name, _)| name == target),
                "{module} may import {target}, which is not below it"
            );
        }
    }
}

#[test]
fn every_module_is_in_the_table() {
    let mut unknown = sources()
        .into_iter()
        .map(|source| source.module)
        .filter(|module| !ROOTS.contains(&module.as_str()))
        .filter(|module| MAY_IMPORT.iter().all(|(name, _)| name != module))
        .collect::<Vec<_>>();
    unknown.sort();
    unknown.dedup();
    assert!(unknown.is_empty(), "not in MAY_IMPORT: {unknown:?}");
}

#[test]
fn only_commands_print() {
    const MACROS: [&str; 5] = ["print!(", "println!(", "eprint!(", "eprintln!(", "dbg!("];
    let mut wrong = Vec::new();
    for source in sources() {
        if MAY_PRINT.contains(&source.module.as_str()) {
            continue;
        }
        for (number, line) in source.code() {
            if MACROS.iter().any(|name| line.contains(name)) {
                wrong.push(format!("{}:{number}: {}", source.file, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "printed outside cli and demo:\n{}",
        wrong.join("\n")
    );
}
