//! Bytes through the whole proxy, over loopback sockets: from the client's TLS to an upstream
//! in clear and back.
//!
//! `cargo bench --bench relay`. Client, proxy and upstream share the machine's cores, so the
//! figures compare one version of this code with another, not one proxy with another.

mod common;
#[path = "common/whole.rs"]
mod whole;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use gatepost::cert::KeyAlgorithm;
use gatepost::server::Server;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pem = common::certificate(KeyAlgorithm::EcdsaP256);
    whole::write(&folder.path().join("sslcert"), &pem);
    let server = runtime.block_on(start(folder.path()));
    let mut client = common::client(&pem, &TLS13);
    client.resumption = Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(client));
    let connect = || runtime.block_on(connect(&server, &connector));

    let mut criterion = Criterion::default().configure_from_args();
    let sizes: &[usize] = match common::told("--bench") {
        true => &[1, 1024, 64 * 1024, 4 * 1024 * 1024],
        false => &[1, 64 * 1024],
    };
    let mut group = criterion.benchmark_group("echo");
    for &size in sizes {
        let mut stream = connect();
        group.throughput(Throughput::Bytes(2 * size as u64));
        group.bench_function(format!("{size} bytes"), |bencher| {
            bencher.iter_custom(|times| runtime.block_on(echo(&mut stream, size, times)));
        });
    }
    group.finish();
    criterion.bench_function("connection with one byte each way", |bencher| {
        bencher.iter(|| runtime.block_on(echo(&mut connect(), 1, 1)));
    });
    criterion.final_summary();
    runtime.block_on(server.handle().stop());
}

/// The proxy before an upstream that says everything back.
async fn start(folder: &Path) -> Server {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = upstream.local_addr().expect("a bound socket has one");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = upstream.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    whole::start(folder, address, "tcp").await
}

async fn connect(server: &Server, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let address = server.addresses("bench")[0];
    let tcp = TcpStream::connect(address)
        .await
        .expect("the proxy accepts");
    tcp.set_nodelay(true).expect("a TCP option");
    let name = ServerName::try_from(common::NAME).expect("the name is one");
    connector.connect(name, tcp).await.expect("TLS")
}

/// Sends `size` bytes and reads them back, `times` times.
async fn echo(stream: &mut TlsStream<TcpStream>, size: usize, times: u64) -> Duration {
    let payload = vec![b'x'; size];
    let mut back = vec![0; size];
    let begun = Instant::now();
    for _ in 0..times {
        let (mut from, mut to) = tokio::io::split(&mut *stream);
        let send = async {
            to.write_all(&payload).await.expect("the proxy takes it");
            to.flush().await.expect("the proxy takes it");
        };
        let receive = async { from.read_exact(&mut back).await.expect("it comes back") };
        tokio::join!(send, receive);
    }
    begun.elapsed()
}
