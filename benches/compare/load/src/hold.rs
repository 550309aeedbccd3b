//! Connections that say nothing any more, for as long as standard input is open.

use std::cell::Cell;
use std::io::{Read, stdin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustls::ClientConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use crate::client::{self, Client, PATIENCE, Talk};
use crate::quantiles::Durations;
use crate::server::allow_all_descriptors;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    client: client::Options,
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Handshakes at a time
    #[arg(long, default_value_t = 64)]
    at_a_time: usize,
    /// How far each goes before it falls silent
    #[arg(long, value_enum, default_value = "talked")]
    stage: Stage,
    /// What a connection says that goes as far as that
    #[arg(long, value_enum, default_value = "echo")]
    talk: Talk,
    /// Bytes of an echo
    #[arg(long, default_value_t = 1024)]
    size: usize,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// The server's greeting, in clear
    Greeted,
    /// TLS stands
    Encrypted,
    /// Something was said, and answered
    Talked,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

pub(crate) async fn run(options: Options) -> Result<()> {
    allow_all_descriptors()?;
    let options = Rc::new(options);
    let client = Rc::new(Client::new(&options.client)?);
    let tls = client.tls(false)?;
    let left = Rc::new(Cell::new(options.connections));
    let begun = Instant::now();
    let mut openers = Vec::new();
    for _ in 0..options.at_a_time {
        let (options, client) = (Rc::clone(&options), Rc::clone(&client));
        let (tls, left) = (tls.clone(), Rc::clone(&left));
        openers.push(spawn_local(async move {
            let mut streams = Vec::new();
            while let Some(fewer) = left.get().checked_sub(1) {
                left.set(fewer);
                let stream = timeout(PATIENCE, open(&client, &tls, &options)).await;
                streams.push(stream.context("no answer for ten seconds")??);
            }
            anyhow::Ok(streams)
        }));
    }
    let mut streams = Vec::new();
    for opener in openers {
        streams.append(&mut opener.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({ "held": streams.len(), "seconds": seconds }));

    // One more connection shows what all those cost one that talks.
    let mut probed = Durations::default();
    let mut over = spawn_blocking(|| stdin().read(&mut [0]));
    if options.stage == Stage::Talked {
        let mut probe = client.connect(&tls).await?;
        while !over.is_finished() {
            let begun = Instant::now();
            options.talk.on(&mut probe, 64).await?;
            probed.add(begun.elapsed());
            sleep(Duration::from_millis(10)).await;
        }
    }
    (&mut over).await?.context("standard input")?;
    let mut lost = 0;
    for stream in &mut streams {
        // Nobody was asked: whatever can be read is the end of the connection.
        let read = timeout(Duration::ZERO, stream.read_u8()).await;
        lost += usize::from(read.is_ok());
    }
    let report = json!({
        "count": streams.len(),
        "lost": lost,
        "microseconds": probed.summary(),
    });
    println!("{report}");
    Ok(())
}

async fn open(
    client: &Client,
    tls: &Arc<ClientConfig>,
    options: &Options,
) -> Result<Box<dyn Stream>> {
    if options.stage == Stage::Greeted {
        let mut socket = client.dial().await?;
        client::answer(&mut socket, b"* OK").await?;
        return Ok(Box::new(socket));
    }
    let mut stream = client.connect(tls).await?;
    ensure!(!stream.get_ref().1.is_handshaking(), "no handshake");
    if options.stage == Stage::Talked {
        options.talk.on(&mut stream, options.size).await?;
    }
    Ok(Box::new(stream))
}
