//! What clients send that is broken, foreign or too much, and where connections go that are none of
//! these.

mod hello;
mod limits;
mod proxy_header;
mod routes;

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::common::ca::TestCa;
use crate::common::client::connect;
use crate::common::handshake::Kind;
use crate::common::net::CLIENT;
use crate::common::proxy::TestProxy;
use crate::common::wait;

/// An address that is not [`CLIENT`].
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

const NAME: &str = "mail.example.com";

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A proxy with a certificate for [`NAME`] and `*.example.com`.
fn start(configuration: &str) -> TestProxy {
    let ca = TestCa::today();
    let pair = ca.leaf(&[NAME, "*.example.com"]).issue();
    TestProxy::start(&ca, &[("mail", &pair)], configuration)
}

/// A listener on a free port of loopback, with these keys beside.
fn listener(name: &str, protocol: &str, more: &str) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\nbind = [\"127.0.0.1:0\"]\nprotocol = \"{protocol}\"\n\
         {more}\n"
    )
}

fn upstream(name: &str, server: SocketAddr, client_address: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nservers = [\"{server}\"]\n\
         client_address = \"{client_address}\"\nhealth_interval = \"0s\"\n"
    )
}

/// TLS over a connection that there is, asking for `name` or for none, with a certificate of any kind.
fn tls_over(socket: TcpStream, name: Option<&str>, mut config: ClientConfig) -> TlsStream {
    config.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("unnamed").to_owned()).unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(client, socket)
}

/// A client of today from [`CLIENT`].
fn tls(to: SocketAddr, name: Option<&str>) -> TlsStream {
    tls_over(connect(to, CLIENT).unwrap(), name, Kind::Modern.config())
}

/// Everything up to the end of the stream, which may be a reset.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("{error} after {rest:?}"),
    }
}

/// The same in text.
fn words(stream: &mut impl Read) -> String {
    String::from_utf8(rest(stream)).unwrap()
}

/// Waits until a series has this value.
#[track_caller]
fn counts(proxy: &TestProxy, series: &str, value: u32) {
    let mut last = None;
    let reached = wait::holds(|| {
        last = proxy.metric(series);
        last == Some(f64::from(value))
    });
    assert!(reached, "{series} is {last:?}, expected {value}");
}
