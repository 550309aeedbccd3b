//! The small servers behind the proxy: each takes a PROXY header, then speaks its protocol.
//!
//! They accept on loopback only, believe whoever connects, and forget everything.

mod imap;
mod lines;
mod smtp;
mod web;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::wire::proxy_protocol::{self, Received};

pub(super) use web::GREETING;

/// Signature, version and command, family, length of the rest.
const FIXED_PART: usize = 16;
const PP2_TYPE_AUTHORITY: u8 = 0x02;
const PP2_TYPE_SSL: u8 = 0x20;
const PP2_SUBTYPE_SSL_VERSION: u8 = 0x21;
/// A client that says nothing for this long is let go.
const SESSION_LIMIT: Duration = Duration::from_secs(3600);

/// A connection as the protocols see it: buffered, its PROXY header read.
type Stream = BufReader<TcpStream>;

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    /// A web page over HTTP/1.1.
    Web,
    /// A mailbox of two messages.
    Imap,
    /// Takes every message and keeps none.
    Smtp,
}

/// A running upstream; dropping it ends it and its sessions.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Binds a loopback port of the system's choice and serves on it.
    pub(super) async fn start(service: Service) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, service));
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: Service) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    sessions.spawn(timeout(SESSION_LIMIT, serve(stream, service)));
                }
                // Out of descriptors, most likely: wait for a session to end.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, service: Service) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let client = Client::read(&mut stream).await?;
    match service {
        Service::Web => web::serve(stream, client).await,
        Service::Imap => imap::serve(stream, client).await,
        Service::Smtp => smtp::serve(stream, client).await,
    }
}

/// Who the PROXY header says the client is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Client {
    /// Its address; none if the proxy speaks for itself.
    address: Option<SocketAddr>,
    /// Version of TLS on its side of the proxy.
    tls: Option<String>,
    /// The name that it asked for.
    server_name: Option<String>,
}

impl Client {
    /// Reads a PROXY header of version 2; there is no serving without one.
    async fn read(stream: &mut Stream) -> io::Result<Self> {
        let mut header = vec![0; FIXED_PART];
        stream.read_exact(&mut header).await?;
        // Refuses what is no header, and one that announces too much.
        proxy_protocol::parse(&header).map_err(malformed)?;
        let (Some(b'\r'), Some(&[high, low])) = (header.first(), header.get(14..FIXED_PART)) else {
            return Err(malformed("expected a PROXY header of version 2"));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        header.resize(FIXED_PART + length, 0);
        let rest = header.get_mut(FIXED_PART..).unwrap_or_default();
        stream.read_exact(rest).await?;
        Self::parse(&header)
    }

    fn parse(header: &[u8]) -> io::Result<Self> {
        let received = proxy_protocol::parse(header).map_err(malformed)?;
        let Some((Received::Proxied { source, .. }, _)) = received else {
            return Ok(Self::default());
        };
        let addresses = if source.is_ipv4() { 12 } else { 36 };
        let tlvs = header.get(FIXED_PART + addresses..).unwrap_or_default();
        // Flags and the verdict on a client certificate come before what we want to know.
        let ssl = tlv(tlvs, PP2_TYPE_SSL).and_then(|ssl| ssl.get(5..));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self {
            address: Some(source),
            tls: ssl
                .and_then(|ssl| tlv(ssl, PP2_SUBTYPE_SSL_VERSION))
                .map(text),
            server_name: tlv(tlvs, PP2_TYPE_AUTHORITY).map(text),
        })
    }

    /// As in "127.0.0.1:50312 over TLSv1.3, asking for mail.demo.test".
    fn describe(&self) -> String {
        let mut text = match self.address {
            Some(address) => address.to_string(),
            None => "the proxy itself".to_owned(),
        };
        if let Some(tls) = &self.tls {
            text.push_str(" over ");
            text.push_str(tls);
        }
        if let Some(name) = &self.server_name {
            text.push_str(", asking for ");
            text.push_str(name);
        }
        text
    }
}

/// The value of the first TLV of this type.
fn tlv(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [kind, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(length)?;
        if *kind == wanted {
            return Some(value);
        }
        bytes = rest;
    }
    None
}

fn malformed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Sends a header and `input` to a fresh upstream; everything it answers until it closes.
    pub(super) async fn converse(service: Service, input: &str) -> String {
        let upstream = Upstream::start(service).await.unwrap();
        let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
        stream.write_all(&header()).await.unwrap();
        stream.write_all(input.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(20), stream.read_to_string(&mut answer))
            .await
            .expect("the upstream closes")
            .unwrap();
        answer
    }

    fn header() -> Vec<u8> {
        let mut ssl = SslInfo::new(true, false, false, 1);
        ssl.append_tlv(Tlv::SslVersion("TLSv1.3".into()));
        let address = ProxiedAddress::stream(
            "192.0.2.7:4711".parse().unwrap(),
            "192.0.2.1:993".parse().unwrap(),
        );
        let tlvs = [Tlv::Authority("mail.demo.test".into()), Tlv::Ssl(ssl)];
        let mut bytes = Vec::new();
        ProxyHeader::with_tlvs(Some(address), tlvs)
            .encode_v2(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn the_header_says_who_the_client_is() {
        assert_eq!(
            Client::parse(&header()).unwrap().describe(),
            "192.0.2.7:4711 over TLSv1.3, asking for mail.demo.test"
        );
        let mut local = Vec::new();
        ProxyHeader::with_local().encode_v2(&mut local).unwrap();
        assert_eq!(
            Client::parse(&local).unwrap().describe(),
            "the proxy itself"
        );
    }

    #[tokio::test]
    async fn nobody_is_served_without_a_header() {
        for garbage in [
            "a1 CAPABILITY\r\na2 LOGOUT\r\n".as_bytes(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 993\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            let upstream = Upstream::start(Service::Imap).await.unwrap();
            let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let mut answer = Vec::new();
            // Closed with bytes unread: an end or a reset, and nothing said.
            let closed = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            assert!(closed.is_ok());
            assert!(answer.is_empty());
        }
    }
}
