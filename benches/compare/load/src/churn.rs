//! One connection after the other, several at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustls::{ClientConfig, HandshakeKind};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::client::{self, Client, PATIENCE, Talk};
use crate::quantiles::Durations;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    client: client::Options,
    /// Connections at a time
    #[arg(long, default_value_t = 16)]
    at_a_time: usize,
    /// How long new ones are opened
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Open just this many instead
    #[arg(long)]
    count: Option<usize>,
    /// Resume a session with each
    #[arg(long)]
    resume: bool,
    /// What is said on each
    #[arg(long, value_enum, default_value = "echo")]
    talk: Talk,
}

#[derive(Default)]
struct Tally {
    begun: usize,
    took: Durations,
    resumed: usize,
    errors: BTreeMap<String, usize>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let client = Rc::new(Client::new(&options.client)?);
    let mut settings = Vec::new();
    for _ in 0..options.at_a_time {
        // Tickets are for one use: each line of connections has its own.
        let tls = client.tls(options.resume)?;
        if options.resume {
            let first = one(&client, &tls, options.talk).await;
            first.context("the connection whose session is to be resumed")?;
        }
        settings.push(tls);
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(options.seconds);
    let (limit, talk) = (options.count, options.talk);
    let lines = settings.into_iter().map(|tls| {
        let (client, tally) = (Rc::clone(&client), Rc::clone(&tally));
        spawn_local(async move {
            while go_on(&tally, limit, end) {
                let begun = Instant::now();
                let result = timeout(PATIENCE, one(&client, &tls, talk)).await;
                let result = result.context("no answer for ten seconds").flatten();
                tally.borrow_mut().count(begun.elapsed(), result);
            }
        })
    });
    for line in lines.collect::<Vec<_>>() {
        line.await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let tally = tally.take();
    let count = tally.took.count();
    let report = json!({
        "count": count,
        "seconds": seconds,
        "per_second": count as f64 / seconds,
        "resumed": tally.resumed,
        "microseconds": tally.took.summary(),
        "errors": tally.errors,
    });
    println!("{report}");
    Ok(())
}

fn go_on(tally: &RefCell<Tally>, limit: Option<usize>, end: Instant) -> bool {
    let mut tally = tally.borrow_mut();
    let more = match limit {
        Some(limit) => tally.begun < limit,
        None => Instant::now() < end,
    };
    tally.begun += usize::from(more);
    more
}

/// One connection from its beginning to its end.
async fn one(client: &Client, tls: &Arc<ClientConfig>, talk: Talk) -> Result<bool> {
    let mut stream = client.connect(tls).await?;
    talk.on(&mut stream, 1).await?;
    let kind = stream.get_ref().1.handshake_kind();
    // A proxy may close first: it has answered, and that counts.
    let _ = stream.shutdown().await;
    Ok(kind == Some(HandshakeKind::Resumed))
}

impl Tally {
    fn count(&mut self, took: Duration, result: Result<bool>) {
        match result {
            Ok(resumed) => {
                self.took.add(took);
                self.resumed += usize::from(resumed);
            }
            Err(error) => *self.errors.entry(format!("{error:#}")).or_default() += 1,
        }
    }
}
