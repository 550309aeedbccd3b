//! `gatepost demo`: starts it, tells what runs, what was tried, and what to try.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::output::{chain, print, table};
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
    let failures = services.iter().filter(|t| t.outcome.is_err()).count()
        + ranks.iter().filter(|t| t.outcome.is_err()).count();
    print(&tried(&services, &ranks))?;
    if once {
        let count = services.len() + ranks.len();
        print(&match failures {
            0 => format!("\nAll {count} tries went well.\n"),
            failed => format!("\n{failed} of {count} tries FAILED.\n"),
        })?;
        return Ok(ExitCode::from(u8::from(failures > 0)));
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

/// "ok" and what was seen, or "FAILED" and why.
fn verdict<T, E: Error>(outcome: &Result<T, E>, seen: impl Fn(&T) -> String) -> (String, String) {
    match outcome {
        Ok(value) => ("ok".to_owned(), seen(value)),
        Err(error) => ("FAILED".to_owned(), chain(error)),
    }
}

/// Commands to be copied, with the right ports.
fn to_try(demo: &Demo) -> String {
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("gatepost");
    let host = demo.host();
    let ca = demo.ca();
    let ca = ca.display();
    let config = demo.config();
    let config = config.display();
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
