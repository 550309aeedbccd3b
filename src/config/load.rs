//! From a file on disk to a [`Config`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::error::{ConfigErrors, Diagnostic, Severity};
use crate::config::file::{self, Report};
use crate::config::{Config, resolve, value};

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
    let bytes = read(path).map_err(|error| unreadable(path, &error))?;
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

fn unreadable(path: &Path, error: &io::Error) -> ConfigErrors {
    failure(path, format!("cannot be read: {error}"))
}

fn failure(path: &Path, message: String) -> ConfigErrors {
    ConfigErrors(vec![Diagnostic {
        severity: Severity::Error,
        file: path.display().to_string(),
        position: None,
        message,
    }])
}

/// Where the admin socket of a proxy with this configuration is. Whatever else is wrong with the
/// file does not matter: a proxy that runs is to be reached all the same. Where not even that
/// key can be made out, it is the default.
pub fn admin_socket(path: &Path) -> Result<PathBuf, ConfigErrors> {
    let bytes = read(path).map_err(|error| unreadable(path, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let report = Report::new(path.display().to_string(), &text);
    let (root, _) = DeTable::parse_recoverable(&text);
    Ok(resolve::admin_socket(
        &file::File::new(root.get_ref(), &report),
        path,
    ))
}

/// Resolves a text, as if it had been read from `path`.
pub fn parse(text: &str, path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigErrors> {
    let report = Report::new(path.display().to_string(), text);
    let config = match DeTable::parse(text) {
        Ok(root) => resolve::resolve(&file::File::new(root.get_ref(), &report), path),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let at = match text.get(span.clone()).unwrap_or_default() {
                "" => String::new(),
                found => format!(" at {}", value::quoted(found)),
            };
            report.error(
                span.start,
                format_args!("not TOML{at}: {}", error.message()),
            );
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::{any, proptest};

    use super::{LARGEST, admin_socket, find_among, load, parse};

    #[test]
    fn the_first_of_the_usual_places() {
        let folder = tempfile::tempdir().unwrap();
        let places: [PathBuf; 2] = ["a.toml", "b.toml"].map(|name| folder.path().join(name));
        let usual: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
        let nothing = find_among(None, &usual).unwrap_err().to_string();
        let (a, b) = (places[0].display(), places[1].display());
        let expected = format!(
            "gatepost: no configuration: there is neither {a} nor {b}; name one with --config FILE"
        );
        assert_eq!(nothing, expected);
        fs::write(&places[1], "").unwrap();
        assert_eq!(find_among(None, &usual).unwrap(), places[1]);
        fs::write(&places[0], "").unwrap();
        assert_eq!(find_among(None, &usual).unwrap(), places[0]);
        let named = Path::new("named.toml");
        assert_eq!(find_among(Some(named), &usual).unwrap(), named);
    }

    #[test]
    fn files_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        let said = || load(&path).unwrap_err().to_string();
        let shown = path.display();
        let missing = format!("{shown}: cannot be read: No such file or directory (os error 2)");
        assert_eq!(said(), missing);
        fs::write(&path, b"[log]\nlevel = \"\xff\"\n").unwrap();
        assert_eq!(said(), format!("{shown}:2:10: not UTF-8"));
        fs::File::create(&path)
            .unwrap()
            .set_len(LARGEST + 1)
            .unwrap();
        assert_eq!(
            said(),
            format!("{shown}: cannot be read: it is larger than 16 MiB")
        );
    }

    #[test]
    fn the_admin_socket_is_found_whatever_else_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        let missing = admin_socket(&path).unwrap_err().to_string();
        assert!(missing.contains("cannot be read: "), "{missing}");
        for (text, expected) in [
            ("", "gatepost.sock"),
            ("[admin]\nsocket = \"a.sock\"", "a.sock"),
            (
                "[[listener]]\nname = 1\n[admin]\nsoket = 1\nsocket = \"a.sock\"",
                "a.sock",
            ),
            ("[admin]\nsocket = 7", "gatepost.sock"),
            ("admin = 7", "gatepost.sock"),
            ("[admin]\nsocket = \"a.sock\"\n[log\nlevel = ", "a.sock"),
            ("this is not TOML", "gatepost.sock"),
        ] {
            fs::write(&path, text).unwrap();
            let found = admin_socket(&path).unwrap();
            assert_eq!(found, folder.path().join(expected), "{text}");
        }
        fs::write(&path, b"\xff[admin]").unwrap();
        let found = admin_socket(&path).unwrap();
        assert_eq!(found, folder.path().join("gatepost.sock"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse(&text, Path::new("proxy.toml"));
        }

        #[test]
        fn no_value_makes_it_panic(
            key in "(bind|names|servers|tls|mode|level|accept_proxy_from|idle_timeout|trust|server_name|pin|health_interval|[a-z]{1,3})",
            value in "(\"[^\"\\\\\n\r]{0,12}\"|-?[0-9_.e]{1,12}|\\[(\"[0-9a-f:./]{0,9}\",){0,3}\\]|true)",
            section in "(\\[\\[(listener|route|upstream)\\]\\]|\\[(log|limits|admin|tls)\\])",
        ) {
            let text = format!("{section}\n{key} = {value}\n");
            let _ = parse(&text, Path::new("proxy.toml"));
        }
    }
}
