//! Work whose instructions are counted: `benches/count` runs this under `valgrind
//! --tool=callgrind` and holds what it counts against `benches/instructions.toml`.
//!
//! Each kind of work is called through a function of its own in [`counted`], never inlined, so
//! that it is found in callgrind's output by name. What else happens (certificates, clients, the
//! upstream) is not counted. For each kind a line on standard output says how often it was done.
//! Without `--count` everything is done once, to show that it can be.

mod common;
#[path = "common/http.rs"]
mod http;
#[path = "common/names.rs"]
mod names;
#[path = "common/wire.rs"]
mod said;
#[path = "common/tls.rs"]
mod tls;
#[path = "common/whole.rs"]
mod whole;

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gatepost::cert::{ClientCapabilities, KeyAlgorithm, Query, UnknownName};
use gatepost::tls::{Buffer, ServerTls};
use gatepost::wire::proxy_protocol::{encode_v1, encode_v2};
use rcgen::KeyPair;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion};
use tls::Meter;
use tokio::runtime::Runtime;

/// The functions that are looked for. Each holds its own name, so that no two are the same to
/// the compiler.
mod counted {
    use std::hint::black_box;

    macro_rules! counted {
        ($($name:ident),* $(,)?) => {
            $(
                #[inline(never)]
                pub(super) fn $name<T>(work: impl FnOnce() -> T) -> T {
                    black_box(stringify!($name));
                    work()
                }
            )*
        };
    }

    counted! {
        handshake_full_tls13,
        handshake_full_hybrid,
        handshake_resumed_tls13,
        handshake_full_tls12,
        handshake_resumed_tls12,
        download,
        upload,
        select_exact,
        select_wildcard,
        select_unknown,
        starttls_imap,
        starttls_smtp,
        proxy_header_v1,
        proxy_header_v2,
        whole_proxy_few,
        whole_proxy_many,
        http1_request_few,
        http1_request_many,
        http2_request_few,
        http2_request_many,
    }
}

/// How often things are done, and how large they are.
struct Amounts {
    handshakes: u32,
    bytes: usize,
    names: usize,
    selections: u32,
    texts: u32,
    few: u32,
    many: u32,
    /// As `few` and `many`, of requests.
    requests: (u32, u32),
}

const COUNTED: Amounts = Amounts {
    handshakes: 20,
    bytes: 8 * 1024 * 1024,
    names: 100_000,
    selections: 4096,
    texts: 200,
    few: 4,
    many: 24,
    requests: (10, 210),
};

const SHOWN: Amounts = Amounts {
    handshakes: 1,
    bytes: 128 * 1024,
    names: 200,
    selections: 1,
    texts: 1,
    few: 0,
    many: 1,
    requests: (0, 1),
};

fn main() {
    let amounts = match common::told("--count") {
        true => COUNTED,
        false => SHOWN,
    };
    // In this order, the small before the large: what the allocator does for one depends on what those
    // before it have left behind.
    texts(amounts.texts);
    let pem = common::certificate(KeyAlgorithm::EcdsaP256);
    let server = tls::server(&pem);
    handshakes(&server, &pem, amounts.handshakes);
    bulk(&server, &pem, amounts.bytes);
    connections(&pem, &amounts);
    requests(&pem, amounts.requests);
    selections(amounts.names, amounts.selections);
}

/// Says how often something was done.
fn report(name: &str, times: usize) {
    let mut out = std::io::stdout();
    writeln!(out, "{name} {times}").expect("standard output is open");
}

/// Calls what the proxy does through the counted function of that name.
macro_rules! through {
    ($name:ident) => {{
        struct Counted;
        impl Meter for Counted {
            fn proxy<T>(&mut self, work: impl FnOnce() -> T) -> T {
                counted::$name(work)
            }
        }
        Counted
    }};
}

fn handshakes(server: &ServerTls, pem: &(String, String), times: u32) {
    macro_rules! shake_hands {
        ($name:ident, $group:expr, $version:expr, $resumption:expr) => {
            let mut config = client(pem, $group, $version);
            config.resumption = $resumption;
            let config = Arc::new(config);
            // Fills what is filled once, and gives the session that the others resume.
            tls::handshake(server, &config, &mut Uncounted);
            for _ in 0..times {
                tls::handshake(server, &config, &mut through!($name));
            }
            report(stringify!($name), times as usize);
        };
    }
    let (none, some) = (Resumption::disabled, || Resumption::in_memory_sessions(4));
    shake_hands!(handshake_full_tls13, X25519, &TLS13, none());
    shake_hands!(handshake_full_hybrid, X25519MLKEM768, &TLS13, none());
    shake_hands!(handshake_resumed_tls13, X25519, &TLS13, some());
    shake_hands!(handshake_full_tls12, X25519, &TLS12, none());
    shake_hands!(handshake_resumed_tls12, X25519, &TLS12, some());
}

/// A client that agrees on keys in one way alone.
fn client(
    pem: &(String, String),
    group: &'static dyn SupportedKxGroup,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let provider = CryptoProvider {
        // With TLS 1.2 the list has to name the curve of the certificate's key as well.
        kx_groups: vec![group, SECP256R1],
        ..aws_lc_rs::default_provider()
    };
    common::client_with(provider, pem, version)
}

/// Measures nothing.
struct Uncounted;

impl Meter for Uncounted {
    fn proxy<T>(&mut self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// Bytes each way through the TLS of one connection, a buffer at a time as the relay has them.
fn bulk(server: &ServerTls, pem: &(String, String), bytes: usize) {
    const CHUNK: usize = 64 * 1024;
    let config = Arc::new(common::client(pem, &TLS13));
    let (mut client, mut session) = tls::handshake(server, &config, &mut Uncounted);
    client.set_buffer_limit(None);
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..bytes / CHUNK {
        let sealed = counted::download(|| {
            let mut sealed = Buffer::take();
            let result = session.seal(&chunk, &mut sealed);
            result.expect("there is room");
            sealed
        });
        let heard = tls::take(&mut client, sealed.filled());
        assert_eq!(heard, chunk, "what was sealed is heard");
    }
    report("download", bytes / 1024);

    let (mut wire, mut control) = (Vec::new(), Vec::new());
    for _ in 0..bytes / CHUNK {
        client.writer().write_all(&chunk).expect("no limit");
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a vector takes all");
        }
        let plain = counted::upload(|| {
            let mut plain = Buffer::take();
            let opened = session.open(&wire, &mut plain, &mut control);
            opened.expect("the client is a good one");
            plain
        });
        assert_eq!(plain.filled(), chunk, "what was said is heard");
        wire.clear();
    }
    report("upload", bytes / 1024);
}

fn selections(size: usize, times: u32) {
    let key = KeyPair::generate().expect("P-256 keys can always be made");
    let index = names::index(size, &key);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    macro_rules! select {
        ($name:ident, $asked:expr) => {
            let asked = names::spread(size, $asked);
            for name in asked.iter().cycle().take(times as usize) {
                let query = Query {
                    server_name: name.as_ref(),
                    assumed: None,
                    local: None,
                    client: ClientCapabilities::ALL,
                    unknown_name: UnknownName::Default,
                };
                counted::$name(|| black_box(index.select(black_box(&query), now)));
            }
            report(stringify!($name), times as usize);
        };
    }
    select!(select_exact, names::exact);
    select!(select_wildcard, names::below_wildcard);
    select!(select_unknown, names::unknown);
}

/// What is said in clear, and to servers.
fn texts(times: u32) {
    let (imap, smtp) = (said::imap(), said::smtp());
    let announcement = said::announcement();
    let mut header = Vec::with_capacity(1024);
    for _ in 0..times {
        counted::starttls_imap(|| black_box(imap.hold()));
        counted::starttls_smtp(|| black_box(smtp.hold()));
        header.clear();
        counted::proxy_header_v1(|| encode_v1(black_box(&announcement), &mut header));
        header.clear();
        counted::proxy_header_v2(|| encode_v2(black_box(&announcement), &mut header));
        black_box(&header);
    }
    for name in [
        "starttls_imap",
        "starttls_smtp",
        "proxy_header_v1",
        "proxy_header_v2",
    ] {
        report(name, times as usize);
    }
}

/// A whole proxy at work in a thread of its own, through the counted function of that name, while
/// `$work` is done with its address.
macro_rules! proxied {
    ($name:ident, $pem:expr, $upstream:expr, $protocol:expr, $work:expr) => {{
        let folder = tempfile::tempdir().expect("a temporary folder");
        whole::write(&folder.path().join("sslcert"), $pem);
        let (tell, address) = mpsc::channel();
        let (end, over) = tokio::sync::oneshot::channel();
        std::thread::scope(|scope| {
            let folder = folder.path();
            scope.spawn(move || {
                counted::$name(|| proxy(folder, $upstream, $protocol, &tell, over));
            });
            $work(address.recv().expect("the proxy starts"));
            end.send(()).expect("the proxy runs until now");
        });
    }};
}

/// Connections through a whole proxy, one after the other. Of two proxies, one that serves few of
/// them and one that serves many, the difference is what the rest of them cost.
fn connections(pem: &(String, String), amounts: &Amounts) {
    let upstream = echo();
    let mut config = client(pem, X25519, &TLS13);
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    macro_rules! serve {
        ($name:ident, $times:expr) => {
            proxied!($name, pem, upstream, "tcp", |address| {
                for _ in 0..$times {
                    connect(address, &config);
                }
            });
            report(stringify!($name), $times as usize);
        };
    }
    serve!(whole_proxy_few, amounts.few);
    serve!(whole_proxy_many, amounts.many);
}

/// Requests through a whole proxy, one after the other on one connection; counted like
/// [`connections`].
fn requests(pem: &(String, String), (few, many): (u32, u32)) {
    let upstream = http::serve();
    let runtime = runtime();
    macro_rules! serve {
        ($name:ident, $http2:expr, $times:expr) => {
            proxied!($name, pem, upstream, "http", |address| {
                runtime.block_on(async {
                    let tls = client(pem, X25519, &TLS13);
                    let mut client = http::Client::connect(address, tls, $http2).await;
                    for _ in 0..$times {
                        client.get(14).await;
                    }
                });
            });
            report(stringify!($name), $times as usize);
        };
    }
    serve!(http1_request_few, false, few);
    serve!(http1_request_many, false, many);
    serve!(http2_request_few, true, few);
    serve!(http2_request_many, true, many);
}

/// A runtime on this thread alone.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// A whole proxy on this thread alone, until it is told to end.
fn proxy(
    folder: &Path,
    upstream: SocketAddr,
    protocol: &str,
    tell: &mpsc::Sender<SocketAddr>,
    over: tokio::sync::oneshot::Receiver<()>,
) {
    runtime().block_on(async {
        let server = whole::start(folder, upstream, protocol).await;
        tell.send(server.addresses("bench")[0])
            .expect("is waited for");
        over.await.expect("somebody ends it");
        server.handle().stop().await;
    });
}

/// An upstream that says everything back, one connection after the other.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound socket has one");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("loopback accepts");
            let mut bytes = [0; 1024];
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..n]).expect("the proxy takes it");
            }
        }
    });
    address
}

/// One connection: a handshake, a byte each way, and the end of both sides.
fn connect(address: SocketAddr, config: &Arc<ClientConfig>) {
    let socket = TcpStream::connect(address).expect("the proxy accepts");
    socket.set_nodelay(true).expect("a TCP option");
    let name = ServerName::try_from(common::NAME).expect("the name is one");
    let client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut stream = StreamOwned::new(client, socket);
    let mut byte = *b"x";
    stream.write_all(&byte).expect("the proxy takes it");
    stream.read_exact(&mut byte).expect("it comes back");
    stream.conn.send_close_notify();
    stream.flush().expect("the proxy takes it");
    let shut = stream.sock.shutdown(std::net::Shutdown::Write);
    shut.expect("the connection stands");
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .expect("the proxy ends as well");
    assert!(rest.is_empty(), "one byte was said");
}
