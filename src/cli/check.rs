//! `gatepost check`: everything that is wrong, and nothing changed.

use std::path::Path;
use std::process::ExitCode;

use super::backend::{Access, folder};
use super::output::{complain, print};
use super::{CONFIG, FAILED, Failure};
use crate::admin::api::{Certificates, Kind};
use crate::config::{self, Config, ConfigErrors, Diagnostic, Severity};

/// Reports on the configuration and the certificate folder.
pub(super) fn run(named: Option<&Path>) -> Result<ExitCode, Failure> {
    let path = config::find(named)?;
    let (config, warnings) = match config::load(&path) {
        Ok(loaded) => loaded,
        Err(ConfigErrors(diagnostics)) => return wrong(&path, &diagnostics),
    };
    warnings.iter().for_each(complain);
    let contents = summary(&config);
    let list = folder(config, Access::Read)?.list();
    let (set_aside, reported) = report(&list);
    let certificates = count_of(&list, Kind::Certificate);
    let warnings = warnings.len() + reported;
    let verdict = match (set_aside, warnings) {
        (0, 0) => "all well".to_owned(),
        (0, warnings) => count(warnings, "warning"),
        (set_aside, 0) => format!("{set_aside} set aside"),
        (set_aside, warnings) => format!("{set_aside} set aside, {}", count(warnings, "warning")),
    };
    print(&format!(
        "{}: {contents}, {}: {verdict}\n",
        path.display(),
        count(certificates, "certificate")
    ))?;
    Ok(match set_aside {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    })
}

/// The verdict on a configuration that cannot be used.
fn wrong(path: &Path, diagnostics: &[Diagnostic]) -> Result<ExitCode, Failure> {
    diagnostics.iter().for_each(complain);
    let is_error = |one: &&Diagnostic| one.severity == Severity::Error;
    let errors = diagnostics.iter().filter(is_error).count();
    let warnings = diagnostics.len() - errors;
    let mut verdict = count(errors, "error");
    if warnings > 0 {
        verdict.push_str(", ");
        verdict.push_str(&count(warnings, "warning"));
    }
    print(&format!("{}: {verdict}\n", path.display()))?;
    Ok(ExitCode::from(CONFIG))
}

fn summary(config: &Config) -> String {
    format!(
        "{}, {}",
        count(config.listeners.len(), "listener"),
        count(config.upstreams.len(), "upstream")
    )
}

/// Says every problem of the folder; how many things cannot be used, and how many are odd.
fn report(list: &Certificates) -> (usize, usize) {
    let mut odd = 0;
    for certificate in &list.certificates {
        let set_aside = certificate.kind == Kind::SetAside;
        for problem in &certificate.problems {
            if set_aside {
                complain(format_args!(
                    "{}: set aside: {}",
                    certificate.name, problem.message
                ));
                continue;
            }
            odd += 1;
            complain(format_args!(
                "{}: warning: {}{}",
                certificate.name,
                if certificate.default && problem.code == "expired" {
                    "the default certificate: "
                } else {
                    ""
                },
                problem.message
            ));
        }
    }
    (count_of(list, Kind::SetAside), odd)
}

fn count_of(list: &Certificates, kind: Kind) -> usize {
    let of_kind = list.certificates.iter().filter(|one| one.kind == kind);
    of_kind.count()
}

/// `1 listener`, `2 listeners`.
fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}
