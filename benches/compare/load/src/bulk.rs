//! Many bytes one way, over some connections at once.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::client::TlsStream;

use crate::client::{self, Client};
use crate::server;

/// What is written, or read at the most, at once.
const CHUNK: usize = 64 * 1024;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    client: client::Options,
    #[arg(value_enum)]
    way: Way,
    /// MiB over all connections
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    #[arg(long, default_value_t = 4)]
    connections: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    Download,
    Upload,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let client = Client::new(&options.client)?;
    let tls = client.tls(false)?;
    let each = options.mib * 1024 * 1024 / options.connections;
    let mut streams = Vec::new();
    for _ in 0..options.connections {
        streams.push(client.connect(&tls).await?);
    }
    let chunk = Rc::new(vec![b'x'; CHUNK]);
    let begun = Instant::now();
    let transfers = streams.into_iter().map(|stream| {
        let chunk = Rc::clone(&chunk);
        spawn_local(async move {
            match options.way {
                Way::Download => download(stream, each).await,
                Way::Upload => upload(stream, each, &chunk).await,
            }
        })
    });
    for transfer in transfers.collect::<Vec<_>>() {
        transfer.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count = each * options.connections;
    let report = json!({
        "count": count,
        "seconds": seconds,
        "per_second": count as f64 / seconds,
    });
    println!("{report}");
    Ok(())
}

async fn download(mut stream: TlsStream<TcpStream>, size: u64) -> Result<()> {
    stream.write_all(&server::order(server::SEND, size)).await?;
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        let n = stream.read(&mut buffer).await? as u64;
        ensure!(n > 0, "closed by the proxy, {left} bytes too early");
        left = left.checked_sub(n).context("more bytes than ordered")?;
    }
    end(stream).await
}

async fn upload(mut stream: TlsStream<TcpStream>, size: u64, chunk: &[u8]) -> Result<()> {
    stream.write_all(&server::order(server::TAKE, size)).await?;
    let mut left = size;
    while left > 0 {
        let n = left.min(CHUNK as u64);
        stream.write_all(&chunk[..n as usize]).await?;
        left -= n;
    }
    stream.flush().await?;
    let receipt = stream.read_u8().await.context("no receipt")?;
    ensure!(receipt == server::TAKE, "the receipt is {receipt}");
    end(stream).await
}

async fn end(mut stream: TlsStream<TcpStream>) -> Result<()> {
    // The bytes are counted; how the connection ends is nothing to the measurement.
    let _ = stream.shutdown().await;
    Ok(())
}
