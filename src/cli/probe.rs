//! `gatepost check --probe`: what the servers say, and what to change.

use std::fmt::Write;
use std::time::Duration;

use tokio::runtime::Builder;

use super::Failure;
use crate::config::{Config, Protocol};
use crate::probe::{self, Finding, Manner, Remedy, Report, ServerReport, Severity};
use crate::server::host_name;
use crate::time::Clock;

/// Speaks to every server.
pub(super) fn run(config: &Config) -> Result<Report, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let report = runtime.block_on(probe::run(config, &host_name(), &Clock::System));
    // A name that is still looked up is nobody's any more.
    runtime.shutdown_background();
    Ok(report)
}

/// All that was found, server by server.
pub(super) fn text(report: &Report) -> String {
    report.servers.iter().map(server).collect()
}

fn server(report: &ServerReport) -> String {
    let manner = match report.manner {
        Manner::Encrypted => "",
        Manner::Clear => ", clients in clear",
        Manner::Untouched => ", TLS untouched",
    };
    let verdict = match report.works() {
        true => "works",
        false => "does not work",
    };
    let mut text = format!(
        "upstream {:?}, server {}, {}{manner}: {verdict}{}\n",
        report.upstream,
        report.server,
        report.protocol.as_str(),
        pace(report)
    );
    for found in &report.findings {
        finding(&mut text, "  ", found);
    }
    text
}

fn pace(report: &ServerReport) -> String {
    let Some(pace) = &report.pace else {
        return String::new();
    };
    let greets = report.protocol != Protocol::Tcp && report.manner != Manner::Untouched;
    let what = match greets {
        true => "greeting",
        false => "connected",
    };
    let answer = pace
        .answer
        .map(|answer| format!(", an answer in {}", milliseconds(answer)));
    format!(
        " ({what} in {}{})",
        milliseconds(pace.greeting),
        answer.unwrap_or_default()
    )
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// One finding, and below it what can be done.
pub(super) fn finding(text: &mut String, indent: &str, found: &Finding) {
    let severity = match found.severity {
        Severity::Note => String::new(),
        severity => format!("{severity}: "),
    };
    let _ = writeln!(text, "{indent}{severity}{}: {}", found.subject, found.text);
    for (n, remedy) in found.remedies.iter().enumerate() {
        let first = match n {
            0 => "in",
            _ => "or in",
        };
        one_remedy(text, indent, first, remedy);
    }
}

fn one_remedy(text: &mut String, indent: &str, first: &str, remedy: &Remedy) {
    for (n, change) in remedy.0.iter().enumerate() {
        let word = match n {
            0 => first,
            _ => "and in",
        };
        let _ = writeln!(text, "{indent}  {word} {}:", change.place);
        for line in &change.lines {
            let _ = writeln!(text, "{indent}      {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Change, Pace, Place};

    fn report(findings: Vec<Finding>, pace: Option<Pace>) -> ServerReport {
        ServerReport {
            upstream: "mx".to_owned(),
            server: "10.0.0.6:25".to_owned(),
            protocol: Protocol::Smtp,
            manner: Manner::Encrypted,
            pace,
            findings,
        }
    }

    fn change(place: Place, line: &str) -> Change {
        Change {
            place,
            lines: vec![line.to_owned()],
        }
    }

    #[test]
    fn lines_stand_below_what_they_are_for() {
        let proxy = || Place::Proxy("mx".to_owned());
        let relay = Finding {
            severity: Severity::Error,
            subject: "relay",
            text: "open".to_owned(),
            remedies: vec![
                Remedy(vec![change(Place::PostfixMaster(25), "  -o mynetworks=")]),
                Remedy(vec![
                    change(Place::Exim, "hosts_proxy = 10.0.0.1"),
                    change(proxy(), "client_address = \"proxy-v2\""),
                ]),
            ],
        };
        let note = Finding {
            severity: Severity::Note,
            subject: "STARTTLS",
            text: "not offered".to_owned(),
            remedies: Vec::new(),
        };
        let pace = Pace {
            greeting: Duration::from_micros(1_230),
            answer: Some(Duration::from_micros(300)),
        };
        let servers = vec![
            report(vec![note.clone(), relay], Some(pace)),
            report(vec![note], None),
        ];
        assert_eq!(
            text(&Report { servers }),
            "upstream \"mx\", server 10.0.0.6:25, smtp: does not work (greeting in 1.2 ms, an answer in 0.3 ms)\n\
             \x20 STARTTLS: not offered\n\
             \x20 error: relay: open\n\
             \x20   in Postfix's master.cf, below the service on port 25:\n\
             \x20         -o mynetworks=\n\
             \x20   or in Exim's configuration, before the first \"begin\":\n\
             \x20       hosts_proxy = 10.0.0.1\n\
             \x20   and in proxy.toml, [[upstream]] \"mx\":\n\
             \x20       client_address = \"proxy-v2\"\n\
             upstream \"mx\", server 10.0.0.6:25, smtp: works\n\
             \x20 STARTTLS: not offered\n"
        );
    }
}
