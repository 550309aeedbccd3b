//! A client that speaks lines over TLS (or in clear), from an address of its choice.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::ca::TestCa;
use super::net::CLIENT;
use super::wait;

/// What both kinds of connection can do.
pub(crate) trait Stream: Read + Write {
    /// The TCP connection underneath.
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// A connected client.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

impl Client {
    /// Over TLS from [`CLIENT`], which must end in a certificate for `name` that `ca` vouches for.
    #[track_caller]
    pub(crate) fn tls(address: SocketAddr, name: &str, ca: &TestCa) -> Self {
        Self::tls_from(CLIENT, address, name, ca)
    }

    /// The same from another address.
    #[track_caller]
    pub(crate) fn tls_from(from: IpAddr, address: SocketAddr, name: &str, ca: &TestCa) -> Self {
        Self::over_tls(connect(address, from).unwrap(), name, ca)
    }

    #[track_caller]
    fn over_tls(socket: TcpStream, name: &str, ca: &TestCa) -> Self {
        let connection = ClientConnection::new(config(ca), server_name(name)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self::new(Box::new(stream))
    }

    /// The same connection, over TLS from here on.
    #[track_caller]
    pub(crate) fn secure(self, name: &str, ca: &TestCa) -> Self {
        assert_eq!(self.stream.buffer(), b"", "said in clear before TLS");
        let socket = self.stream.get_ref().tcp().try_clone().unwrap();
        Self::over_tls(socket, name, ca)
    }

    /// In clear from [`CLIENT`].
    #[track_caller]
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::new(Box::new(connect(address, CLIENT).unwrap()))
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a line.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Sends these very bytes, in one segment if they are few.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// The next line, without its end; empty at the end of the stream.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next `n` bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a line, and returns the line that answers it.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.line()
    }

    /// Everything up to a line that begins so, with that line, which ends in nothing.
    #[track_caller]
    pub(crate) fn until(&mut self, start: &str) -> String {
        let mut lines = String::new();
        loop {
            let line = self.line();
            lines += &line;
            if line.starts_with(start) {
                return lines;
            }
            assert!(!line.is_empty(), "no {start:?} came after {lines:?}");
            lines.push('\n');
        }
    }

    /// An answer of SMTP, which may have several lines.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> String {
        let mut lines = String::new();
        loop {
            let line = self.line();
            lines += &line;
            if line.as_bytes().get(3) != Some(&b'-') {
                return lines;
            }
            lines.push('\n');
        }
    }

    /// Sends a line, and returns the answer of SMTP to it.
    #[track_caller]
    pub(crate) fn command(&mut self, line: &str) -> String {
        self.say(line);
        self.reply()
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest)?;
        Ok(rest)
    }

    /// The same, if it need not be text.
    pub(crate) fn rest_of_bytes(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A connection that is reset has ended all the same.
        drop(self.stream.read_to_end(&mut rest));
        rest
    }

    /// The address it comes from.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.get_ref().tcp().local_addr().unwrap()
    }
}

/// A TCP connection from a chosen address.
pub(crate) fn connect(to: SocketAddr, from: IpAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if from.is_ipv4() == to.is_ipv4() {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Trusts `ca` and nobody else.
pub(crate) fn config(ca: &TestCa) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(ca.root().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}
