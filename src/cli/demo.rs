//! `gatepost demo`: starts it, tells what runs, what was tried, and what to try.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::{print, table};
use super::{FAILED, Failure};
use crate::causes;
use crate::demo::{Demo, DemoError, RankTry, Try};

/// Runs the demo to its end.
pub(super) fn run(once: bool) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let outcome = runtime.block_on(async {
        // Before anything is made, so that an impatient Ctrl-C leaves nothing behind.
        let mut signals = Signals::new().map_err(Failure::Runtime)?;
        tokio::select! {
            outcome = show(once) => outcome,
            () = signals.next() => {
                print("\n")?;
                Ok(ExitCode::SUCCESS)
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn show(once: bool) -> Result<ExitCode, Failure> {
    let demo = Demo::start().await?;
    print(&running(&demo))?;
    let (services, ranks) = attempt(&demo).await?;
    print(&tried(&services, &ranks))?;
    if once {
        let (verdict, status) = summary(&services, &ranks);
        print(&verdict)?;
        return Ok(ExitCode::from(status));
    }
    print(&to_try(&demo))?;
    demo.stopped().await;
    Ok(ExitCode::SUCCESS)
}

async fn attempt(demo: &Demo) -> Result<(Vec<Try>, Vec<RankTry>), DemoError> {
    Ok((demo.try_services().await?, demo.try_ranks().await?))
}

fn running(demo: &Demo) -> String {
    let rows = demo.endpoints().iter().map(|endpoint| {
        vec![
            format!("  {}", endpoint.listener),
            format!("TLS {}", endpoint.address),
            "->".to_owned(),
            endpoint.service.to_owned(),
            format!("plaintext {}", endpoint.upstream),
        ]
    });
    let metrics = match demo.metrics_address() {
        Some(address) => format!("  metrics      http://{address}/metrics\n"),
        None => String::new(),
    };
    format!(
        "Gatepost {} with three small servers behind it, all on loopback.\n\
         Everything lies in {} and goes when the demo ends.\n\n\
         {}{metrics}",
        env!("CARGO_PKG_VERSION"),
        demo.directory().display(),
        table(&["  LISTENER", "ADDRESS", "", "UPSTREAM", "ADDRESS"], rows),
    )
}

fn tried(services: &[Try], ranks: &[RankTry]) -> String {
    let services = services.iter().map(|one| {
        let (verdict, detail) = verdict(&one.outcome, Clone::clone);
        vec![format!("  {}", one.what), verdict, detail]
    });
    let ranks = ranks.iter().map(|one| {
        let (verdict, detail) = verdict(&one.outcome, |served| {
            format!("{:<17}{}", served.name, served.verdict)
        });
        vec![
            format!("  {}", one.rank),
            one.meaning.to_owned(),
            one.asked.to_owned(),
            verdict,
            detail,
        ]
    });
    format!(
        "\nOne try of each service, trusting only the demo's CA:\n\n{}\n\
         One certificate of each rank, by the name asked for:\n\n{}",
        table(&["  TRY", "", "OUTCOME"], services),
        table(
            &[
                "  RANK",
                "MEANING",
                "ASKED FOR",
                "",
                "SERVED           A CLIENT SAYS"
            ],
            ranks
        ),
    )
}

/// The last line of `--once`, and the exit status.
fn summary(services: &[Try], ranks: &[RankTry]) -> (String, u8) {
    let failed = services.iter().filter(|one| one.outcome.is_err()).count()
        + ranks.iter().filter(|one| one.outcome.is_err()).count();
    let count = services.len() + ranks.len();
    match failed {
        0 => (format!("\nAll {count} tries went well.\n"), 0),
        failed => (format!("\n{failed} of {count} tries FAILED.\n"), FAILED),
    }
}

/// "ok" and what was seen, or "FAILED" and why.
fn verdict<T, E: Error>(outcome: &Result<T, E>, seen: impl Fn(&T) -> String) -> (String, String) {
    match outcome {
        Ok(value) => ("ok".to_owned(), seen(value)),
        Err(error) => ("FAILED".to_owned(), causes::in_one_line(error)),
    }
}

/// Commands to be copied, with the right ports.
fn to_try(demo: &Demo) -> String {
    let program = std::env::args().next();
    let program = quoted(program.as_deref().unwrap_or("gatepost"));
    let host = demo.host();
    let ca = quoted(&demo.ca().display().to_string());
    let config = quoted(&demo.config().display().to_string());
    let mut text = String::from("\nTo try by hand, in another terminal:\n");
    for endpoint in demo.endpoints() {
        let port = endpoint.address.port();
        let ip = endpoint.address.ip();
        let curl = format!("curl -sS --cacert {ca} --resolve {host}:{port}:{ip}");
        text.push_str(&match endpoint.listener {
            "https" => format!("\n  {curl} https://{host}:{port}/\n"),
            "imaps" => format!(
                "\n  {curl} --user you:any 'imaps://{host}:{port}/INBOX;UID=2'\n\n  \
                 openssl s_client -connect {ip}:{port} -servername self.demo.test -brief </dev/null\n"
            ),
            _ => format!(
                "\n  echo Hello | {curl} smtps://{host}:{port} \\\n    \
                 --mail-from you@demo.test --mail-rcpt postmaster@demo.test --upload-file -\n"
            ),
        });
    }
    for command in [
        "cert list",
        "cert explain old.demo.test",
        "cert explain any.demo.test",
        "status",
    ] {
        text.push_str(&format!("\n  {program} {command} --config {config}\n"));
    }
    text.push_str("\nCtrl-C ends it.\n");
    text
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Served, TryError};

    #[test]
    fn a_try_that_fails_is_shown_and_is_the_exit_status() {
        let good = Try {
            what: "Web: fetch the page",
            outcome: Ok("200".to_owned()),
        };
        let bad = RankTry {
            rank: 1,
            meaning: "trusted, exact name",
            asked: "mail.demo.test",
            outcome: Err(TryError::Io(io::Error::other("reset"))),
        };
        let text = tried(&[good], &[bad]);
        assert!(text.contains("  Web: fetch the page  ok  200\n"), "{text}");
        assert!(
            text.contains("mail.demo.test  FAILED  connection failed: reset\n"),
            "{text}"
        );
    }

    #[test]
    fn the_exit_status_counts_every_try() {
        let try_of = |outcome| [Try { what: "x", outcome }];
        let rank_of = |outcome| {
            [RankTry {
                rank: 1,
                meaning: "x",
                asked: "x",
                outcome,
            }]
        };
        let good = || Ok("x".to_owned());
        let served = || {
            Ok(Served {
                name: "x".to_owned(),
                verdict: "x".to_owned(),
            })
        };
        for (services, ranks, expected) in [
            (
                try_of(good()),
                rank_of(served()),
                ("\nAll 2 tries went well.\n", 0),
            ),
            (
                try_of(Err(TryError::NoCertificate)),
                rank_of(served()),
                ("\n1 of 2 tries FAILED.\n", 1),
            ),
            (
                try_of(Err(TryError::NoCertificate)),
                rank_of(Err(TryError::NoCertificate)),
                ("\n2 of 2 tries FAILED.\n", 1),
            ),
        ] {
            let (text, status) = summary(&services, &ranks);
            assert_eq!((text.as_str(), status), expected);
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/tmp/a-b_c.1"), "/tmp/a-b_c.1");
        assert_eq!(quoted("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
