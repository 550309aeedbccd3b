//! `proxy.toml`, resolved: every default filled in, every name looked up.
//!
//! Two steps: `file` reads the text and keeps positions, `resolve` gives it meaning. Only
//! these two can fail; what they hand out has no impossible states left to check.

mod error;
mod file;
mod resolve;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::{ConfigErrors, Diagnostic, Severity};

use crate::cert::{DnsName, NamePattern, Order, UnknownName};

/// The resolved configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// `[certificates]`
    pub certificates: Certificates,
    /// `[runtime] threads`; 0 is resolved to the number of cores.
    pub threads: usize,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics] listen`
    pub metrics: SocketAddr,
    /// `[log]`
    pub log: Log,
    /// `[limits]`
    pub limits: Limits,
    /// `[tls]`
    pub tls: Tls,
    /// `[[listener]]`, in the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// `[[upstream]]`, in the order of the file.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// `[certificates]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificates {
    /// The folder, absolute or relative to the working directory.
    pub directory: PathBuf,
    /// Order of preference.
    pub order: Order,
    /// What makes a certificate trusted.
    pub trust: Vec<TrustSource>,
}

/// One entry of `trust`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrustSource {
    /// The operating system's roots.
    System,
    /// Mozilla's roots, compiled in.
    Mozilla,
    /// A PEM file.
    File(PathBuf),
}

/// `[admin]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Its mode.
    pub mode: u32,
}

/// `[log]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// A `tracing_subscriber::EnvFilter` directive list, checked.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
    /// One line a finished connection.
    pub access: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// In all; 0: as many as the descriptor limit allows.
    pub connections: usize,
    /// Per client address.
    pub connections_per_client: usize,
    /// From accept (or STARTTLS) to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// After SIGTERM or `drain`.
    pub drain_timeout: Duration,
}

/// `[tls]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tls {
    /// Oldest version spoken.
    pub min_version: TlsVersion,
    /// X25519MLKEM768 offered first.
    pub post_quantum: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// Protocols spoken in this version.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// IMAP4
    Imap,
    /// POP3
    Pop3,
    /// SMTP between servers.
    Smtp,
    /// Message submission.
    Submission,
    /// Anything over TCP.
    Tcp,
}

/// What a listener does about TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// TLS from the first byte.
    Implicit,
    /// The ClientHello is read, and everything passed on untouched.
    Passthrough,
    /// None.
    Off,
}

/// `[[listener]]`
#[derive(Clone, Debug)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Addresses to bind.
    pub bind: Vec<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
    /// What is done about TLS.
    pub encryption: Encryption,
    /// The name assumed when the client sends none.
    pub hostname: Option<DnsName>,
    /// Where connections go that no route takes.
    pub upstream: Option<Arc<Upstream>>,
    /// Networks from which a PROXY header is required and believed.
    pub accept_proxy_from: Vec<Network>,
    /// What happens to a name that no certificate matches.
    pub unknown_name: UnknownName,
    /// How long nothing may be said in either direction.
    pub idle_timeout: Duration,
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Names it takes.
    pub names: Vec<NamePattern>,
    /// Names of the listeners it holds on; `None`: all.
    pub listeners: Option<Vec<String>>,
    /// Where its connections go.
    pub upstream: Arc<Upstream>,
}

/// `[[upstream]]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Unique name.
    pub name: String,
    /// At least one.
    pub servers: Vec<ServerAddress>,
    /// How it is told who the client is.
    pub client_address: ClientAddress,
    /// How long a connect may take.
    pub connect_timeout: Duration,
}

/// `HOST`, `HOST:PORT` or `unix:/path`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ServerAddress {
    /// A host, by name or address; without a port, the protocol's plaintext port.
    Tcp {
        /// Name or address (an IPv6 address without brackets).
        host: String,
        /// Port, if one is written.
        port: Option<u16>,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ServerAddress {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => {
                match host.contains(':') {
                    true => write!(f, "[{host}]")?,
                    false => f.write_str(host)?,
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How an upstream is told who the client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAddress {
    /// Not at all.
    None,
    /// PROXY header, version 1.
    ProxyV1,
    /// PROXY header, version 2, with what is known of TLS.
    ProxyV2,
}

/// An IP network, `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Its address, host bits zero.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

impl Network {
    /// Whether the address (not in IPv4-mapped form) lies in this network.
    pub fn contains(&self, _address: IpAddr) -> bool {
        todo!()
    }
}

impl Protocol {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Tcp => "tcp",
        }
    }

    /// The port of an upstream that names none; `tcp` has none.
    pub fn plaintext_port(self) -> Option<u16> {
        match self {
            Self::Imap => Some(143),
            Self::Pop3 => Some(110),
            Self::Smtp => Some(25),
            Self::Submission => Some(587),
            Self::Tcp => None,
        }
    }
}

/// Reads and resolves a file. Every error and every warning is found in one go.
pub fn load(_path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigErrors> {
    todo!()
}

/// Resolves a text, as if it had been read from `path`.
pub fn parse(_text: &str, _path: &Path) -> Result<(Config, Vec<Diagnostic>), ConfigErrors> {
    todo!()
}
