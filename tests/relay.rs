//! Bytes pass unchanged, in any sizes, and an end on one side is an end on the other.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::ca::TestCa;
use crate::common::client;
use crate::common::proxy::TestProxy;
use crate::common::wait;

const NAME: &str = "mail.example.test";

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Numbers that look random and are the same every time (Steele, Lea and Flood, SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> usize {
        usize::try_from(self.next() % limit).unwrap()
    }
}

/// What one side says, known to both: who says it is part of the seed.
fn speech(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let length = match random.below(10) {
        0 => 0,
        1..=5 => random.below(2_000),
        6..=8 => random.below(100_000),
        _ => random.below(1_000_000),
    };
    std::iter::repeat_with(|| random.next().to_le_bytes())
        .flatten()
        .take(length)
        .collect()
}

/// Says all of it in pieces of random sizes, and then that there is no more.
async fn say(mut to: impl AsyncWrite + Unpin, speech: &[u8], seed: u64) -> io::Result<()> {
    let mut random = Random(seed ^ 0x55);
    let mut rest = speech;
    while !rest.is_empty() {
        let piece = (1 + random.below(40_000)).min(rest.len());
        to.write_all(&rest[..piece]).await?;
        if random.below(4) == 0 {
            tokio::task::yield_now().await;
        }
        rest = &rest[piece..];
    }
    to.shutdown().await
}

async fn hear(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    from.read_to_end(&mut heard).await?;
    Ok(heard)
}

/// The order in which a side speaks and listens: at once, or first one and then the other. With
/// both sides listening first nothing would ever be said.
#[derive(Clone, Copy)]
enum Manner {
    AtOnce,
    SpeakFirst,
    ListenFirst,
}

impl Manner {
    fn of(seed: u64) -> (Self, Self) {
        match Random(seed ^ 0xaa).below(4) {
            0 => (Self::SpeakFirst, Self::ListenFirst),
            1 => (Self::ListenFirst, Self::SpeakFirst),
            _ => (Self::AtOnce, Self::AtOnce),
        }
    }

    async fn talk(
        self,
        stream: impl AsyncRead + AsyncWrite,
        speech: &[u8],
        seed: u64,
    ) -> io::Result<Vec<u8>> {
        let (from, to) = tokio::io::split(stream);
        match self {
            Self::AtOnce => {
                let (said, heard) = tokio::join!(say(to, speech, seed), hear(from));
                said?;
                heard
            }
            Self::SpeakFirst => {
                say(to, speech, seed).await?;
                hear(from).await
            }
            Self::ListenFirst => {
                let heard = hear(from).await?;
                say(to, speech, seed).await?;
                Ok(heard)
            }
        }
    }
}

/// The configuration of one listener, with these lines more.
fn listener(protocol: &str, upstream: SocketAddr, more: &str) -> String {
    format!(
        r#"
[[listener]]
name = "relay"
bind = ["127.0.0.1:0"]
protocol = "{protocol}"
upstream = "behind"
{more}
[[upstream]]
name = "behind"
servers = ["{upstream}"]
connect_timeout = "5m"
health_interval = "0s"
"#
    )
}

async fn connect(address: SocketAddr, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    connector.connect(name, tcp).await.unwrap()
}

struct Bench {
    proxy: TestProxy,
    upstream: TcpListener,
    connector: TlsConnector,
}

impl Bench {
    async fn new(more: &str) -> Self {
        Self::of("tcp", more).await
    }

    async fn of(protocol: &str, more: &str) -> Self {
        let ca = TestCa::today();
        let pair = ca.leaf(&[NAME]).issue();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = listener(protocol, upstream.local_addr().unwrap(), more);
        let proxy = TestProxy::start(&ca, &[("mail", &pair)], &text);
        let connector = TlsConnector::from(client::config(&ca));
        Self {
            proxy,
            upstream,
            connector,
        }
    }

    /// A connection through the proxy, both ends of it.
    async fn pair(&self) -> (TlsStream<TcpStream>, TcpStream) {
        let address = self.proxy.address("relay");
        let connect = connect(address, &self.connector);
        let (client, server) = tokio::join!(connect, self.upstream.accept());
        (client, server.unwrap().0)
    }

    fn series(name: &str, side: &str) -> String {
        format!("gatepost_{name}_bytes_total{{listener=\"relay\",side=\"{side}\"}}")
    }
}

/// A thousand handshakes at once take as long as the machine needs: no limit may decide.
///
/// The client says which session it is in 8 bytes; from then on both sides speak and listen as
/// that session has it, and each finds what it heard to be what the other said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_thousand_sessions_arrives_both_ways() {
    const SESSIONS: u64 = 1000;
    let Bench {
        proxy,
        upstream,
        connector,
    } = Bench::new("[limits]\nhandshake_timeout = \"5m\"").await;
    let address = proxy.address("relay");
    let mut all = JoinSet::new();
    all.spawn(async move {
        let mut servers = JoinSet::new();
        for _ in 0..SESSIONS {
            let (mut stream, _) = upstream.accept().await.unwrap();
            servers.spawn(async move {
                let seed = stream.read_u64().await.unwrap();
                let manner = Manner::of(seed).1;
                let answer = speech(seed ^ 1 << 63);
                let heard = manner.talk(stream, &answer, seed).await.unwrap();
                assert!(heard == speech(seed), "server of session {seed}");
            });
        }
        while let Some(server) = servers.join_next().await {
            server.unwrap();
        }
    });
    for seed in 0..SESSIONS {
        let connector = connector.clone();
        all.spawn(async move {
            let mut stream = connect(address, &connector).await;
            stream.write_u64(seed).await.unwrap();
            let manner = Manner::of(seed).0;
            let heard = manner.talk(stream, &speech(seed), seed).await.unwrap();
            assert!(heard == speech(seed ^ 1 << 63), "client of session {seed}");
        });
    }
    let done = async {
        while let Some(session) = all.join_next().await {
            session.unwrap();
        }
    };
    timeout(PATIENCE, done).await.unwrap();

    let up: usize = (0..SESSIONS).map(|seed| 8 + speech(seed).len()).sum();
    let down: usize = (0..SESSIONS).map(|seed| speech(seed ^ 1 << 63).len()).sum();
    let ended = "gatepost_connections_ended_total{listener=\"relay\",\
                 party=\"downstream\",reason=\"done\",stage=\"relay\"}";
    wait::until("all sessions to be counted", || {
        proxy.metric(ended) == Some(SESSIONS as f64)
    });
    for (name, side, expected) in [
        ("received", "downstream", up),
        ("sent", "upstream", up),
        ("received", "upstream", down),
        ("sent", "downstream", down),
    ] {
        let series = Bench::series(name, side);
        assert_eq!(proxy.metric(&series), Some(expected as f64), "{series}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_after_the_other_side_ended_still_arrives() {
    let bench = Bench::new("").await;
    let (mut client, mut server) = bench.pair().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    server.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer", "and close_notify, or the read had failed");

    let (mut client, mut server) = bench.pair().await;
    server.write_all(b"greeting").await.unwrap();
    server.shutdown().await.unwrap();
    let mut greeting = String::new();
    client.read_to_string(&mut greeting).await.unwrap();
    assert_eq!(greeting, "greeting");
    client.write_all(b"last word").await.unwrap();
    client.shutdown().await.unwrap();
    let mut last = String::new();
    server.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "last word");
}

/// Finished, all that the client has to say, and close_notify, at once; its socket stays open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_comes_with_the_handshake_is_an_end() {
    let bench = Bench::new("").await;
    let address = bench.proxy.address("relay");
    let config = Arc::clone(bench.connector.config());
    let client = tokio::task::spawn_blocking(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let mut tls = rustls::ClientConnection::new(config, name).unwrap();
        while tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut socket).unwrap();
            }
            tls.read_tls(&mut socket).unwrap();
            tls.process_new_packets().unwrap();
        }
        io::Write::write_all(&mut tls.writer(), b"question").unwrap();
        tls.send_close_notify();
        let mut all = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut all).unwrap();
        }
        io::Write::write_all(&mut socket, &all).unwrap();
        socket
    });
    let (mut server, _) = bench.upstream.accept().await.unwrap();
    let mut question = String::new();
    let heard = timeout(wait::PATIENCE, server.read_to_string(&mut question)).await;
    assert_eq!(heard.expect("the end arrives").unwrap(), 8);
    assert_eq!(question, "question");
    drop(client.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_is_passed_on_as_a_reset() {
    let bench = Bench::new("").await;
    let (mut client, mut server) = bench.pair().await;
    client.write_all(b"hello").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    client.get_ref().0.set_zero_linger().unwrap();
    drop(client);
    let error = timeout(PATIENCE, server.read(&mut [0; 1])).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (mut client, mut server) = bench.pair().await;
    client.write_all(b"hello").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    server.set_zero_linger().unwrap();
    drop(server);
    let error = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// As a mail server does that refuses a message in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_says_before_it_resets_an_upload_arrives() {
    let bench = Bench::new("").await;
    for _ in 0..20 {
        let (client, mut server) = bench.pair().await;
        let (mut from, mut to) = tokio::io::split(client);
        // More than all buffers on the way hold: it is stopped by the reset alone.
        let upload = tokio::spawn(async move { to.write_all(&vec![7; 64 << 20]).await });
        server.read_exact(&mut [0; 100_000]).await.unwrap();
        server.write_all(b"552 too much").await.unwrap();
        server.set_zero_linger().unwrap();
        drop(server);
        let mut refusal = [0; 12];
        let heard = timeout(PATIENCE, from.read_exact(&mut refusal)).await;
        heard.unwrap().unwrap();
        assert_eq!(&refusal, b"552 too much");
        upload.await.unwrap().unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_that_its_server_makes_no_sense() {
    let bench = Bench::of("pop3", "").await;
    let (mut client, mut server) = bench.pair().await;
    server.write_all(b"+OK\r\n+OK again\r\n").await.unwrap();
    let mut heard = String::new();
    let end = timeout(PATIENCE, client.read_to_string(&mut heard)).await;
    end.unwrap().unwrap();
    let mut lines = heard.lines();
    assert_eq!(lines.next(), Some("+OK"));
    let last = lines.next().unwrap_or_default();
    assert!(last.starts_with("-ERR [SYS/TEMP] "), "{heard:?}");
    assert_eq!(lines.next(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_the_server_and_not_its_own_uploads() {
    let bench = Bench::new("").await;
    let (client, mut server) = bench.pair().await;
    let much = Arc::new(vec![7_u8; 64 << 20]);
    let sending = tokio::spawn({
        let much = Arc::clone(&much);
        async move {
            let (mut from, mut to) = server.split();
            let upload = async {
                let mut upload = vec![0; 100_000];
                from.read_exact(&mut upload).await.unwrap();
                upload
            };
            let (upload, sent) = tokio::join!(upload, to.write_all(&much));
            sent.unwrap();
            upload
        }
    });
    let received = Bench::series("received", "upstream");
    // Some of it is on its way, and is held up: the rest waits with the server.
    wait::until("bytes to be on their way", || {
        bench.proxy.metric(&received) > Some(0.0)
    });
    let (mut from, mut to) = tokio::io::split(client);
    to.write_all(&vec![9; 100_000]).await.unwrap();
    to.flush().await.unwrap();
    wait::until("the upload to arrive", || {
        bench.proxy.metric(&Bench::series("sent", "upstream")) == Some(100_000.0)
    });
    assert!(bench.proxy.metric(&received) < Some((32 << 20) as f64));
    let mut all = vec![0; much.len()];
    from.read_exact(&mut all).await.unwrap();
    assert!(all == *much);
    assert_eq!(sending.await.unwrap(), vec![9; 100_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_ended_after_the_idle_limit() {
    let bench = Bench::new("idle_timeout = \"300ms\"").await;
    let (mut client, mut server) = bench.pair().await;
    let ended = timeout(PATIENCE, server.read(&mut [0; 1])).await.unwrap();
    assert_eq!(ended.unwrap(), 0);
    let ended = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert_eq!(ended.unwrap(), 0, "with close_notify");
    let series = "gatepost_connections_ended_total{listener=\"relay\",\
                  party=\"downstream\",reason=\"idle\",stage=\"relay\"}";
    wait::until("the end to be counted", || {
        bench.proxy.metric(series) == Some(1.0)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_and_then_cuts_off() {
    let bench = Bench::new("").await;
    let (mut client, mut server) = bench.pair().await;
    let handle = bench.proxy.server.handle();
    let draining = tokio::spawn(async move { handle.drain().await.unwrap() });
    let address = bench.proxy.address("relay");
    wait::until("nobody to be accepted any more", || {
        std::net::TcpStream::connect(address).is_err()
    });
    client.write_all(b"still here").await.unwrap();
    server.read_exact(&mut [0; 10]).await.unwrap();
    assert!(!draining.is_finished());
    drop((client, server));
    assert_eq!(draining.await.unwrap().cut_off, 0);
}

/// The second connection waits in the kernel's queue for the place of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_connections_that_have_no_place_yet() {
    let bench = Bench::new("[limits]\nconnections = 1").await;
    let (client, server) = bench.pair().await;
    let address = bench.proxy.address("relay");
    let waiting = TcpStream::connect(address).await.unwrap();
    let handle = bench.proxy.server.handle();
    let draining = tokio::spawn(async move { handle.drain().await.unwrap() });
    wait::until("the drain to begin", || {
        let handle = bench.proxy.server.handle();
        let status = bench.proxy.run(async move { handle.status().await });
        status.unwrap().draining
    });
    drop((client, server));

    let name = ServerName::try_from(NAME).unwrap();
    let connect = bench.connector.connect(name, waiting);
    let both = async { tokio::join!(connect, bench.upstream.accept()) };
    let (client, server) = timeout(PATIENCE, both).await.unwrap();
    let (mut client, (mut server, _)) = (client.unwrap(), server.unwrap());
    client.write_all(b"still here").await.unwrap();
    server.read_exact(&mut [0; 10]).await.unwrap();
    assert!(!draining.is_finished());
    drop((client, server));
    assert_eq!(draining.await.unwrap().cut_off, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ports_of_the_systems_choice_are_two_sockets() {
    let ca = TestCa::today();
    let pair = ca.leaf(&[NAME]).issue();
    let text = listener("tcp", "127.0.0.1:9".parse().unwrap(), "")
        .replace(r#"["127.0.0.1:0"]"#, r#"["127.0.0.1:0", "127.0.0.1:0"]"#);
    let proxy = TestProxy::start(&ca, &[("mail", &pair)], &text);
    let addresses = proxy.server.addresses("relay");
    assert_eq!(addresses.len(), 2);
    let handle = proxy.server.handle();
    proxy.run(async move { handle.drain().await.unwrap() });
    for address in addresses {
        wait::until("nobody to be accepted any more", || {
            std::net::TcpStream::connect(address).is_err()
        });
    }
}
