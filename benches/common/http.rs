//! A web server, and a client of both versions of HTTP.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::common;

/// A web server in threads of its own. `/N` is a page of N bytes.
pub(crate) fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound socket has one");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("loopback accepts");
            // A connection ends when the proxy closes it.
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        let target = line.split(' ').nth(1).expect("a request line");
        let size: usize = target.trim_start_matches('/').parse().expect("a number");
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        let mut page = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        page.resize(page.len() + size, b'x');
        stream.write_all(&page)?;
    }
    Ok(())
}

/// A client that keeps its connection.
pub(crate) enum Client {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    /// Connects to the proxy.
    pub(crate) async fn connect(address: SocketAddr, mut tls: ClientConfig, http2: bool) -> Self {
        let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        tls.alpn_protocols = vec![protocol.to_vec()];
        let tcp = tokio::net::TcpStream::connect(address).await;
        let tcp = tcp.expect("the proxy accepts");
        tcp.set_nodelay(true).expect("a TCP option");
        let name = ServerName::try_from(common::NAME).expect("the name is one");
        let connector = TlsConnector::from(Arc::new(tls));
        let io = TokioIo::new(connector.connect(name, tcp).await.expect("TLS"));
        if http2 {
            let shaken = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = shaken.expect("the proxy speaks HTTP/2");
            tokio::spawn(connection);
            Self::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("nothing is said yet");
            tokio::spawn(connection);
            Self::Http1(sender)
        }
    }

    /// Gets a page of so many bytes.
    pub(crate) async fn get(&mut self, size: usize) {
        let answer = match self {
            Self::Http1(sender) => {
                let request = Request::get(format!("/{size}")).header("host", common::NAME);
                let request = request.body(Empty::new()).expect("a good request");
                sender.ready().await.expect("the proxy keeps connections");
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                let url = format!("https://{}/{size}", common::NAME);
                let request = Request::get(url).body(Empty::new());
                let request = request.expect("a good request");
                sender.ready().await.expect("the proxy keeps connections");
                sender.send_request(request).await
            }
        };
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        let mut body = answer.into_body();
        let mut got = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("a whole answer");
            got += frame.data_ref().map_or(0, Bytes::len);
        }
        assert_eq!(got, size);
    }
}
