//! The plaintext server behind the proxy.
//!
//! The first byte of a connection says what it is to be: [`SEND`] or [`TAKE`] with a number of
//! bytes, `G` of an HTTP request, anything else an echo. An IMAP server has an address of its own,
//! because it speaks first.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::spawn_local;

/// Send as many bytes as the number says.
pub(crate) const SEND: u8 = b's';

/// Take as many bytes as the number says, then send this one as a receipt.
pub(crate) const TAKE: u8 = b't';

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

const CHUNK: usize = 256 * 1024;

const PAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Address for echoes, bytes and HTTP
    #[arg(long)]
    plain: SocketAddr,
    /// Address for IMAP
    #[arg(long)]
    imap: SocketAddr,
}

/// The first bytes of a bulk transfer.
pub(crate) fn order(kind: u8, size: u64) -> [u8; 9] {
    let mut order = [kind; 9];
    order[1..].copy_from_slice(&size.to_be_bytes());
    order
}

/// Raises the number of descriptors this process may have as far as it can.
pub(crate) fn allow_all_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).context("descriptor limit")
}

pub(crate) async fn run(options: Options) -> Result<()> {
    allow_all_descriptors()?;
    let imap = listen(options.imap)?;
    spawn_local(async move {
        while let Ok((stream, _)) = imap.accept().await {
            // A connection that breaks is the proxy's affair.
            spawn_local(serve_imap(stream));
        }
    });
    let plain = listen(options.plain)?;
    loop {
        let (stream, _) = plain.accept().await?;
        spawn_local(serve(stream, options.imap));
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Inherited by the connections.
    socket.set_nodelay(true)?;
    let bound = socket.bind(address);
    bound.with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(BACKLOG)?)
}

async fn serve(mut stream: TcpStream, imap: SocketAddr) -> Result<()> {
    let mut heard = Vec::with_capacity(2048);
    stream.read_buf(&mut heard).await?;
    match heard.first() {
        None => Ok(()),
        Some(&SEND) => {
            let size = ordered(&mut stream, &mut heard).await?;
            send(&mut stream, size).await
        }
        Some(&TAKE) => {
            let size = ordered(&mut stream, &mut heard).await?;
            let more = heard.len() as u64 - 9;
            take(&mut stream, size.saturating_sub(more)).await
        }
        Some(b'G') => serve_http(stream, heard, imap).await,
        Some(_) => loop {
            stream.write_all(&heard).await?;
            heard.clear();
            if stream.read_buf(&mut heard).await? == 0 {
                return Ok(());
            }
        },
    }
}

/// The number behind the first byte.
async fn ordered(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Result<u64> {
    while heard.len() < 9 {
        if stream.read_buf(heard).await? == 0 {
            anyhow::bail!("closed within an order");
        }
    }
    Ok(u64::from_be_bytes(heard[1..9].try_into()?))
}

async fn send(stream: &mut TcpStream, mut left: u64) -> Result<()> {
    let chunk = vec![b'x'; CHUNK];
    while left > 0 {
        let n = left.min(CHUNK as u64);
        stream.write_all(&chunk[..n as usize]).await?;
        left -= n;
    }
    Ok(())
}

async fn take(stream: &mut TcpStream, mut left: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        left = left.saturating_sub(n as u64);
    }
    stream.write_all(&[TAKE]).await?;
    Ok(())
}

/// Answers every request, none of which has a body, with the same page, or with a large one; and nginx, which asks
/// over HTTP which IMAP server to take, with ours.
async fn serve_http(mut stream: TcpStream, mut heard: Vec<u8>, imap: SocketAddr) -> Result<()> {
    let advice = format!(
        "HTTP/1.1 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {}\r\nAuth-Port: {}\r\nContent-Length: 0\r\n\r\n",
        imap.ip(),
        imap.port()
    );
    let mut answers = Vec::new();
    let mut large = Vec::new();
    loop {
        let mut taken = 0;
        while let Some(size) = heard[taken..].windows(4).position(|end| end == b"\r\n\r\n") {
            let request = &heard[taken..];
            let answer = if request.starts_with(b"GET /auth ") {
                advice.as_bytes()
            } else if request.starts_with(b"GET /mib ") {
                if large.is_empty() {
                    large = large_page();
                }
                &large
            } else {
                PAGE
            };
            answers.extend_from_slice(answer);
            taken += size + 4;
        }
        heard.drain(..taken);
        stream.write_all(&answers).await?;
        answers.clear();
        if stream.read_buf(&mut heard).await? == 0 {
            return Ok(());
        }
    }
}

/// A page of 1 MiB.
fn large_page() -> Vec<u8> {
    const SIZE: usize = 1024 * 1024;
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n");
    let mut page = head.into_bytes();
    page.resize(page.len() + SIZE, b'x');
    page
}

/// As much IMAP as it takes to log in.
async fn serve_imap(mut stream: TcpStream) -> Result<()> {
    stream
        .write_all(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        .await?;
    let mut heard = Vec::with_capacity(512);
    // Of a login whose arguments come as literals, which is how nginx sends them.
    let mut login: Option<Vec<u8>> = None;
    loop {
        while let Some(end) = heard.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = heard.drain(..=end).collect();
            let line = line.trim_ascii_end();
            let mut words = line.split(|&byte| byte == b' ');
            let tag = words.next().unwrap_or_default().to_vec();
            let command = words.next().unwrap_or_default().to_ascii_uppercase();
            let answer = if line.ends_with(b"}") {
                login.get_or_insert(tag);
                b"+ go on\r\n".to_vec()
            } else if let Some(tag) = login.take() {
                [&tag[..], b" OK logged in\r\n"].concat()
            } else if command == b"CAPABILITY" {
                [b"* CAPABILITY IMAP4rev1\r\n", &tag[..], b" OK done\r\n"].concat()
            } else {
                [&tag[..], b" OK done\r\n"].concat()
            };
            stream.write_all(&answer).await?;
        }
        if stream.read_buf(&mut heard).await? == 0 {
            return Ok(());
        }
    }
}
