//! Echoes at a fixed rate. The next one is sent when it is due, whether or not those before it
//! have come back, and its time counts from then: a proxy that stalls is late with all of them.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConfig, ClientConnection};
use serde_json::json;

use crate::client::{self, Client, PATIENCE};
use crate::quantiles::Durations;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    client: client::Options,
    /// Echoes a second, over all connections
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    #[arg(long, default_value_t = 20)]
    connections: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Bytes of an echo
    #[arg(long, default_value_t = 128)]
    size: usize,
}

/// One connection, and when the echoes that are on their way were due.
struct Line {
    socket: TcpStream,
    tls: ClientConnection,
    due: VecDeque<Instant>,
    heard: usize,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let client = Client::new(&options.client)?;
    let tls = client.tls(false)?;
    // The kernel delays a thread's timers by 50 µs otherwise, to wake less often.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("timer slack")?;
    let mut lines = Vec::new();
    for _ in 0..options.connections {
        lines.push(Line::open(&client, &tls, options.size)?);
    }
    let echoes = (options.seconds * options.rate) as u32;
    let interval = Duration::from_secs_f64(1.0 / options.rate);
    let begin = Instant::now() + Duration::from_millis(20);
    let mut took = Durations::default();
    let mut sent = 0;
    while took.count() < echoes as usize {
        let now = Instant::now();
        while sent < echoes && begin + interval * sent <= now {
            let line = sent as usize % lines.len();
            lines[line].send(begin + interval * sent, options.size)?;
            sent += 1;
        }
        let wait = match sent < echoes {
            true => (begin + interval * sent).saturating_duration_since(Instant::now()),
            false => PATIENCE,
        };
        for line in ready(&lines, wait)? {
            lines[line].receive(options.size, &mut took)?;
        }
        let oldest = lines.iter().filter_map(|line| line.due.front()).min();
        let late = oldest.is_some_and(|due| due.elapsed() > PATIENCE);
        ensure!(!late, "no echo for ten seconds");
    }
    let seconds = begin.elapsed().as_secs_f64();
    let report = json!({
        "count": took.count(),
        "seconds": seconds,
        "per_second": took.count() as f64 / seconds,
        "microseconds": took.summary(),
    });
    println!("{report}");
    Ok(())
}

/// Which connections have something to read, after `wait` at the latest.
fn ready(lines: &[Line], wait: Duration) -> Result<Vec<usize>> {
    let sockets = lines
        .iter()
        .map(|line| PollFd::new(&line.socket, PollFlags::IN));
    let mut sockets: Vec<_> = sockets.collect();
    poll(&mut sockets, Some(&Timespec::try_from(wait)?))?;
    let with_number = sockets.iter().enumerate();
    let ready = with_number.filter(|(_, socket)| !socket.revents().is_empty());
    Ok(ready.map(|(number, _)| number).collect())
}

impl Line {
    /// A connection that has echoed once.
    fn open(client: &Client, tls: &Arc<ClientConfig>, size: usize) -> Result<Self> {
        let mut socket = TcpStream::connect(client.address()).context("connect")?;
        socket.set_nodelay(true)?;
        let mut tls = ClientConnection::new(Arc::clone(tls), client.name())?;
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let mut bytes = vec![b'e'; size];
        stream.write_all(&bytes).context("handshake")?;
        stream.read_exact(&mut bytes).context("first echo")?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            tls,
            due: VecDeque::new(),
            heard: 0,
        })
    }

    fn send(&mut self, due: Instant, size: usize) -> Result<()> {
        self.tls.writer().write_all(&vec![b'e'; size])?;
        while self.tls.wants_write() {
            let sent = self.tls.write_tls(&mut self.socket);
            sent.context("the proxy takes no more")?;
        }
        self.due.push_back(due);
        Ok(())
    }

    fn receive(&mut self, size: usize, took: &mut Durations) -> Result<()> {
        let n = self.tls.read_tls(&mut self.socket).context("an echo")?;
        ensure!(n > 0, "closed by the proxy");
        let state = self.tls.process_new_packets()?;
        let mut bytes = vec![0; state.plaintext_bytes_to_read()];
        self.tls.reader().read_exact(&mut bytes)?;
        self.heard += bytes.len();
        while self.heard >= size {
            self.heard -= size;
            let due = self.due.pop_front().context("more than was sent")?;
            took.add(due.elapsed());
        }
        Ok(())
    }
}
