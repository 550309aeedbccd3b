//! From a file on disk to a [`Config`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::error::{ConfigErrors, Diagnostic, Severity};
use super::file::{self, Report};
use super::{Config, resolve};

/// Where the configuration is looked for when none is named, in this order.
const USUAL_PLACES: [&str; 2] = ["proxy.toml", "/etc/gatepost/proxy.toml"];

/// Far above any configuration, and far below what would hurt.
const LARGEST: u64 = 16 << 20;

/// The configuration file: the one that is named, else the first of the usual places
/// at which there is one.
pub fn find(named: Option<&Path>) -> Result<PathBuf, ConfigErrors> {
    find_among(named, &USUAL_PLACES.map(Path::new))
}

fn find_among(named: Option<&Path>, places: &[&Path]) -> Result<PathBuf, ConfigErrors> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    // What cannot be looked at is there: reading it says what is wrong with it.
    let there = |path: &&&Path| !matches!(path.try_exists(), Ok(false));
    if let Some(path) = places.iter().find(there) {
        return Ok(path.to_path_buf());
    }
    let places: Vec<_> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let places = places.join(" nor ");
    Err(failure(
        Path::new("gatepost"),
        format!("no configuration: there is neither {places}; name one with --config FILE"),
    ))
}

/// Reads and resolves a file. Every error and every warning is found in one go.
pub fn load(path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigErrors> {
    let bytes = read(path).map_err(|error| failure(path, format!("cannot be read: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path),
        Err(error) => {
            let upto = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes().get(..upto).unwrap_or_default();
            let text = String::from_utf8_lossy(bytes);
            let report = Report::new(path.display().to_string(), &text);
            report.error(upto, "not UTF-8");
            Err(ConfigErrors(report.into_diagnostics()))
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?.take(LARGEST + 1);
    if file.read_to_end(&mut bytes)? as u64 > LARGEST {
        let message = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn failure(path: &Path, message: String) -> ConfigErrors {
    ConfigErrors(vec![Diagnostic {
        severity: Severity::Error,
        file: path.display().to_string(),
        position: None,
        message,
    }])
}

/// Resolves a text, as if it had been read from `path`.
pub fn parse(text: &str, path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigErrors> {
    let report = Report::new(path.display().to_string(), text);
    let config = match DeTable::parse(text) {
        Ok(root) => resolve::resolve(&file::File::new(root.get_ref(), &report), path),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            report.error(at, format_args!("not TOML: {}", error.message()));
            None
        }
    };
    let has_errors = report.has_errors();
    let diagnostics = report.into_diagnostics();
    match config {
        Some(config) if !has_errors => Ok((config, diagnostics)),
        _ => Err(ConfigErrors(diagnostics)),
    }
}
