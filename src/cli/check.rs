//! `gatepost check`: everything that is wrong, and nothing changed.

use std::path::Path;
use std::process::ExitCode;

use super::backend::{Access, folder};
use super::output::{complain, print};
use super::{CONFIG, FAILED, Failure, probe};
use crate::admin::api::{Certificates, Kind};
use crate::config::{self, Config, ConfigErrors, Diagnostic, Severity};
use crate::probe::host_lacks;

/// Reports on the configuration and the certificate folder, and, if asked to, on the servers.
pub(super) fn run(named: Option<&Path>, with_servers: bool) -> Result<ExitCode, Failure> {
    let path = config::find(named)?;
    let (config, warnings) = match config::load(&path) {
        Ok(loaded) => loaded,
        Err(ConfigErrors(diagnostics)) => return wrong(&path, &diagnostics),
    };
    warnings.iter().for_each(complain);
    let contents = summary(&config);
    let lacking = lacking(&config);
    let servers = match with_servers {
        true => Some(probe::run(&config)?),
        false => None,
    };
    let context = folder(config, Access::Read)?;
    let untrusted = context.mx_warnings();
    for warning in &untrusted {
        complain(format_args!("warning: {warning}"));
    }
    let list = context.list();
    let (set_aside, reported) = report(&list);
    let certificates = count_of(&list, Kind::Certificate);
    let mut warnings = warnings.len() + reported + lacking + untrusted.len();
    let mut broken = 0;
    if let Some(servers) = &servers {
        print(&probe::text(servers))?;
        warnings += servers.warnings();
        broken = servers.broken();
    }
    print(&format!(
        "{}: {contents}, {}: {}\n",
        path.display(),
        count(certificates, "certificate"),
        verdict(set_aside, broken, warnings)
    ))?;
    Ok(match set_aside + broken {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(FAILED),
    })
}

/// All of it in a few words.
fn verdict(set_aside: usize, broken: usize, warnings: usize) -> String {
    let parts = [
        (set_aside, format!("{set_aside} set aside")),
        (
            broken,
            format!("{} would not work", count(broken, "server")),
        ),
        (warnings, count(warnings, "warning")),
    ];
    let said = parts.into_iter().filter(|(number, _)| *number > 0);
    let said: Vec<_> = said.map(|(_, text)| text).collect();
    match said.is_empty() {
        true => "all well".to_owned(),
        false => said.join(", "),
    }
}

/// Says what this host lacks for what the configuration asks of it; how many things.
fn lacking(config: &Config) -> usize {
    let findings = host_lacks(config);
    for found in &findings {
        let mut text = String::new();
        probe::finding(&mut text, "", found);
        complain(text.trim_end());
    }
    findings.len()
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
