//! What takes an hour, with a clock that does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{KEEP_ALIVE, Routes, STALL_TIMEOUT, Visitor, serve};
use crate::config::{self, Balance, ClientAddress, Encryption, Legacy, Listener, Protocol};
use crate::config::{ServerAddress, TrustSource, UpstreamEncryption, Verification};
use crate::metrics::Metrics;
use crate::proxy::boundary::Client;
use crate::proxy::downstream::Downstream;
use crate::proxy::limits::ClientLimit;
use crate::proxy::listener::Ending;
use crate::proxy::report::Report;
use crate::proxy::session::Active;
use crate::proxy::socket::Socket;
use crate::proxy::{RouteTable, SessionError, Upstream};
use crate::time::Clock;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A server that waits before it answers, and between the pieces of an answer.
struct Server {
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    _folder: TempDir,
}

impl Server {
    /// `answer`: pieces, each after a pause.
    fn start(answer: &[(Duration, &'static str)]) -> Self {
        let answer: Arc<[_]> = answer.into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&answer)));
            }
        });
        let config = config::Upstream {
            name: "web".to_owned(),
            servers: vec![ServerAddress::Unix(path)],
            encryption: UpstreamEncryption::Off,
            verification: Verification {
                verify: true,
                trust: vec![TrustSource::System],
                server_name: None,
                pin: None,
            },
            client_address: ClientAddress::None,
            connect_timeout: Duration::from_secs(5),
            greeting_timeout: Duration::from_secs(5),
            balance: Balance::LeastConnections,
            health_interval: None,
            host: None,
            health_path: None,
        };
        let metrics = Metrics::new("0");
        Self {
            upstream: Upstream::new(Arc::new(config), &metrics, Clock::System).unwrap(),
            metrics,
            _folder: folder,
        }
    }

    fn active(&self) -> Arc<Active> {
        let listener = Listener {
            name: "http".into(),
            bind: Vec::new(),
            protocol: Protocol::Http,
            encryption: Encryption::Off,
            hostname: None,
            upstream: None,
            accept_proxy_from: Vec::new(),
            unknown_name: crate::cert::UnknownName::Default,
            idle_timeout: HOUR,
            legacy: Legacy::Refuse,
            mx: false,
            trusted_proxies: Vec::new(),
            max_body: None,
            allow: Vec::new(),
            deny: Vec::new(),
        };
        let route = |name| self.metrics.route("http", name);
        let default = (Arc::clone(&self.upstream), route("listener"));
        Arc::new(Active {
            config: Arc::new(listener),
            tls: None,
            routes: RouteTable::new(None),
            web: Some(Routes::new(Some(default), route("none"))),
            retired: Ending::default(),
            metrics: self.metrics.listener("http"),
            client_limit: ClientLimit::new(1),
            legacy: None,
            handshake_timeout: MINUTE,
            preamble_timeout: MINUTE,
            hostname: "proxy.example".into(),
            access: false,
        })
    }

    /// A client, and what becomes of its connection.
    fn connect(&self) -> (UnixStream, JoinHandle<Result<(), SessionError>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 4711));
        let visitor = Visitor::new(self.active(), &Report::new(address), address);
        let downstream = Downstream::plain(Client::new(Socket::Unix(theirs)).in_clear());
        let served = tokio::spawn(async move {
            let ending = Ending::default();
            serve(downstream, None, visitor, &ending).await
        });
        (ours, served)
    }
}

async fn converse(mut stream: UnixStream, answer: Arc<[(Duration, &'static str)]>) {
    let mut heard = Vec::new();
    while stream.read_buf(&mut heard).await.is_ok_and(|n| n > 0) {
        if !heard.ends_with(b"\r\n\r\n") {
            continue;
        }
        heard.clear();
        for (pause, text) in answer.iter() {
            sleep(*pause).await;
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n";

/// What a client hears until `end`, or the end of the connection.
async fn heard(client: &mut UnixStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) || end.is_empty() {
        if client.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(heard).unwrap()
}

const LATE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";

#[tokio::test(start_paused = true)]
async fn a_request_may_hang_for_55_minutes() {
    let server = Server::start(&[(Duration::from_secs(55 * 60), LATE)]);
    let (mut client, _served) = server.connect();
    let begun = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    let answer = heard(&mut client, "late").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(begun.elapsed() >= MINUTE * 55, "{:?}", begun.elapsed());
    // And the next one, on the same connection.
    client.write_all(REQUEST).await.unwrap();
    assert!(heard(&mut client, "late").await.ends_with("late"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_for_65_minutes_is_given_up_after_60() {
    let server = Server::start(&[(Duration::from_secs(65 * 60), LATE)]);
    let (mut client, served) = server.connect();
    let begun = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    let answer = heard(&mut client, "").await;
    assert!(
        answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
        "{answer}"
    );
    let waited = begun.elapsed();
    assert!(waited >= HOUR && waited < HOUR + MINUTE, "{waited:?}");
    served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_moves_within_the_hour_may_take_a_day() {
    const CHUNK: &str = "1\r\nx\r\n";
    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const END: &str = "0\r\n\r\n";
    let mut answer = [(HALF_AN_HOUR, CHUNK); 50];
    (answer[0].1, answer[49].1) = (HEAD, END);
    let server = Server::start(&answer);
    let (mut client, _served) = server.connect();
    let begun = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    let answer = heard(&mut client, END).await;
    assert_eq!(answer.matches(CHUNK).count(), 48);
    assert!(begun.elapsed() >= HALF_AN_HOUR * 50);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_is_cut_off_after_an_hour() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf";
    let server = Server::start(&[(Duration::ZERO, head), (HOUR * 2, "half")]);
    let (mut client, served) = server.connect();
    let begun = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    let answer = heard(&mut client, "").await;
    assert!(answer.ends_with("\r\n\r\nhalf"), "{answer}");
    let waited = begun.elapsed();
    assert!(waited >= HOUR && waited < HOUR + MINUTE, "{waited:?}");
    assert!(matches!(
        served.await.unwrap(),
        Err(SessionError::Upstream(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_kept_for_75_seconds() {
    let server = Server::start(&[(Duration::ZERO, LATE)]);
    for asked in [false, true] {
        let (mut client, served) = server.connect();
        if asked {
            client.write_all(REQUEST).await.unwrap();
            heard(&mut client, "late").await;
        }
        let begun = Instant::now();
        assert_eq!(heard(&mut client, "").await, "");
        let waited = begun.elapsed();
        assert!(
            waited >= KEEP_ALIVE && waited < KEEP_ALIVE + MINUTE,
            "{waited:?}"
        );
        served.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_has_15_seconds_however_it_trickles() {
    let server = Server::start(&[(Duration::ZERO, LATE)]);
    let (mut client, served) = server.connect();
    let begun = Instant::now();
    let (mut reading, mut writing) = client.split();
    let trickle = async {
        for byte in REQUEST.iter().cycle() {
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
            if begun.elapsed() > MINUTE {
                break;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        read = reading.read_to_end(&mut answer) => drop(read),
        () = trickle => {}
    }
    let waited = begun.elapsed();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!((15..20).contains(&waited.as_secs()), "{waited:?}");
    assert!(served.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_after_a_minute() {
    let piece = "x".repeat(1 << 20);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n";
    let mut answer = vec![(Duration::ZERO, head)];
    let piece: &'static str = Box::leak(piece.into_boxed_str());
    answer.extend((0..64).map(|_| (Duration::ZERO, piece)));
    let server = Server::start(&answer);
    let (mut client, served) = server.connect();
    let begun = Instant::now();
    client.write_all(REQUEST).await.unwrap();
    let ended = served.await.unwrap();
    let waited = begun.elapsed();
    assert_eq!(ended.unwrap_err().reason(), "stalled");
    assert!(
        waited >= STALL_TIMEOUT && waited < STALL_TIMEOUT + MINUTE,
        "{waited:?}"
    );
}
