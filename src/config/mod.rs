//! `proxy.toml`, resolved: every default filled in, every name looked up.
//!
//! Three steps: `file` reads the text and keeps positions, `resolve` gives each table its
//! meaning, `checks` looks at how they fit together. Every error and every warning is found in
//! one go, and what is handed out has no impossible states left to check.
//!
//! Refuses to know whether a path leads anywhere or an address can be bound: that changes
//! while the file stays the same.

mod checks;
mod error;
mod file;
mod load;
mod nearest;
mod network;
mod resolve;
mod sections;
mod tables;
mod value;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use error::{ConfigErrors, Diagnostic, Severity};
pub use load::{admin_socket, find, load, parse};
pub use nearest::nearest;
pub use network::{Network, NetworkError};
pub use sections::known_keys;

use crate::cert::{DnsName, NamePattern, Order, UnknownName};
use crate::wire::mail::MailProtocol;

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
    /// Folders of other programs, read and never written. No two have the same last component,
    /// which stands before the NAMEs of their certificates.
    pub also: Vec<PathBuf>,
    /// Order of preference.
    pub order: Order,
    /// What makes a certificate trusted.
    pub trust: Vec<TrustSource>,
    /// What happens to a name that no certificate matches, where no listener is asked that
    /// says otherwise.
    pub unknown_name: UnknownName,
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
    /// STARTTLS: the whole of the plaintext phase.
    pub preamble_timeout: Duration,
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
    /// ManageSieve.
    ManageSieve,
    /// HTTP/1.1, HTTP/2 and WebSocket.
    Http,
    /// Anything over TCP.
    Tcp,
}

/// What a listener does about TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// TLS from the first byte.
    Implicit,
    /// In clear until the client says STARTTLS, which it must before anything private.
    StartTls,
    /// In clear until the client says STARTTLS, if it ever does: port 25.
    StartTlsOptional,
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
    /// What becomes of clients that are too old for our TLS.
    pub legacy: Legacy,
    /// Whether it is named in MX records, where senders may pin keys and demand trust.
    pub mx: bool,
    /// Networks whose clients may say on whose behalf they ask (http).
    pub trusted_proxies: Vec<Network>,
    /// Longest body of a request in bytes (http); `None`: any.
    pub max_body: Option<u64>,
    /// Networks whose clients are served; none: all.
    pub allow: Vec<Network>,
    /// Networks whose clients are not served, whatever `allow` says.
    pub deny: Vec<Network>,
}

/// `legacy`: what becomes of clients that are too old for our TLS.
#[derive(Clone, Debug)]
pub enum Legacy {
    /// They are refused, with the alert that is true.
    Refuse,
    /// They are handed over untouched, to this upstream's own TLS; `None`: to that of the
    /// upstream that their name is routed to.
    Passthrough(Option<Arc<Upstream>>),
}

/// `[[route]]`
#[derive(Clone, Debug)]
pub struct Route {
    /// Names it takes.
    pub names: Vec<NamePattern>,
    /// Names of the listeners it holds on; `None`: all.
    pub listeners: Option<Vec<String>>,
    /// What paths begin with that it takes (http).
    pub path: Box<str>,
    /// What becomes of its connections or requests.
    pub target: Target,
    /// How long browsers are to come by TLS alone (http).
    pub hsts: Option<Duration>,
}

/// What becomes of what a route takes.
#[derive(Clone, Debug)]
pub enum Target {
    /// It goes to this upstream.
    Upstream(Arc<Upstream>),
    /// It is sent to the same place by TLS (http); the port there.
    Redirect(u16),
    /// It is answered with this status (http).
    Respond(u16),
}

/// `[[upstream]]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    /// Unique name.
    pub name: String,
    /// At least one.
    pub servers: Vec<ServerAddress>,
    /// What is done about TLS towards it.
    pub encryption: UpstreamEncryption,
    /// What its certificate must be.
    pub verification: Verification,
    /// How it is told who the client is.
    pub client_address: ClientAddress,
    /// How long a connect may take, its TLS included.
    pub connect_timeout: Duration,
    /// How long a server may take to greet, and to answer what is said before the client's turn.
    pub greeting_timeout: Duration,
    /// Which of several servers gets a connection.
    pub balance: Balance,
    /// How often each server is asked whether it is there; `None`: never.
    pub health_interval: Option<Duration>,
    /// What a web server is told to be called, instead of what clients call it.
    pub host: Option<String>,
    /// What is asked of a web server to see whether it works.
    pub health_path: Option<String>,
}

/// `tls` of an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamEncryption {
    /// None.
    Off,
    /// TLS from the first byte (after a PROXY header).
    Implicit,
    /// TLS after STARTTLS; a server that does not offer it is not used in clear.
    StartTls,
}

/// What an upstream's certificate must be: `verify`, `trust`, `server_name`, `pin`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verification {
    /// Whether it must be trusted, in date and for the right name.
    pub verify: bool,
    /// What it must chain to.
    pub trust: Vec<TrustSource>,
    /// The name it must be for (also the SNI sent); `None`: the server's host as it is written.
    pub server_name: Option<DnsName>,
    /// SHA-256 over the SubjectPublicKeyInfo that it must have; then nothing else counts.
    pub pin: Option<[u8; 32]>,
}

/// Which of several servers gets a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balance {
    /// The one with the fewest connections.
    LeastConnections,
    /// Always the same one for the same client address, as long as it is up.
    ClientAddress,
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
    /// XCLIENT: Postfix, and Dovecot for POP3, submission and ManageSieve.
    Xclient,
    /// IMAP ID with `x-originating-ip`: Dovecot.
    ImapId,
    /// The connection comes from the client's own address (IP_TRANSPARENT).
    Transparent,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// A number below [`Self::COUNT`] that is its own.
    pub fn index(self) -> usize {
        self as usize
    }

    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::ManageSieve => "managesieve",
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }

    /// How long nothing may be said, unless the listener says otherwise. An SMTP client waits
    /// 10 minutes for the answer to its message (RFC 5321 section 4.5.3.2.6).
    pub fn idle_timeout(self) -> Duration {
        let minutes = match self {
            Self::Imap | Self::ManageSieve => 35,
            Self::Pop3 => 10,
            Self::Smtp | Self::Submission => 11,
            Self::Http | Self::Tcp => 60,
        };
        Duration::from_secs(minutes * 60)
    }

    /// The port of an upstream that names none; `tcp` has none.
    pub fn plaintext_port(self) -> Option<u16> {
        match self {
            Self::Imap => Some(143),
            Self::Pop3 => Some(110),
            Self::Smtp => Some(25),
            Self::Submission => Some(587),
            Self::ManageSieve => Some(4190),
            Self::Http => Some(80),
            Self::Tcp => None,
        }
    }

    /// The port where a server speaks it with TLS from the first byte; ManageSieve has none of
    /// its own.
    pub fn tls_port(self) -> Option<u16> {
        match self {
            Self::Imap => Some(993),
            Self::Pop3 => Some(995),
            Self::Smtp | Self::Submission => Some(465),
            Self::Http => Some(443),
            Self::ManageSieve | Self::Tcp => None,
        }
    }

    /// The mail protocol; `http` and `tcp` are none.
    pub fn mail(self) -> Option<MailProtocol> {
        match self {
            Self::Imap => Some(MailProtocol::Imap),
            Self::Pop3 => Some(MailProtocol::Pop3),
            Self::Smtp => Some(MailProtocol::Smtp),
            Self::Submission => Some(MailProtocol::Submission),
            Self::ManageSieve => Some(MailProtocol::ManageSieve),
            Self::Http | Self::Tcp => None,
        }
    }
}

impl Encryption {
    /// Whether a client is first spoken to in clear.
    pub fn begins_in_clear(self) -> bool {
        match self {
            Self::StartTls | Self::StartTlsOptional | Self::Off => true,
            Self::Implicit | Self::Passthrough => false,
        }
    }

    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::StartTls => "starttls",
            Self::StartTlsOptional => "starttls-optional",
            Self::Passthrough => "passthrough",
            Self::Off => "off",
        }
    }

    /// Whether TLS is ended here, with a certificate of ours.
    pub fn ends_here(self) -> bool {
        self == Self::Implicit || self.is_starttls()
    }

    /// Whether a client begins in clear, and may say STARTTLS.
    pub fn is_starttls(self) -> bool {
        matches!(self, Self::StartTls | Self::StartTlsOptional)
    }
}

impl ClientAddress {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ProxyV1 => "proxy-v1",
            Self::ProxyV2 => "proxy-v2",
            Self::Xclient => "xclient",
            Self::ImapId => "imap-id",
            Self::Transparent => "transparent",
        }
    }

    /// Whether it is said in the mail protocol, and so never to a server to which the client
    /// speaks TLS itself.
    pub fn is_in_protocol(self) -> bool {
        matches!(self, Self::Xclient | Self::ImapId)
    }
}

impl Listener {
    /// Whether a client of this address is served.
    pub fn allows(&self, client: IpAddr) -> bool {
        let is_in = |networks: &[Network]| networks.iter().any(|it| it.contains(client));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

impl Config {
    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

impl Route {
    /// Whether it holds on this listener. What only a web server makes something of holds on
    /// listeners of http alone.
    pub fn holds_on(&self, listener: &Listener) -> bool {
        let listeners = self.listeners.as_ref();
        (listener.protocol == Protocol::Http || !self.is_for_http())
            && listeners.is_none_or(|names| names.contains(&listener.name))
    }

    /// The upstream it leads to.
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        match &self.target {
            Target::Upstream(upstream) => Some(upstream),
            Target::Redirect(_) | Target::Respond(_) => None,
        }
    }

    fn is_for_http(&self) -> bool {
        &*self.path != "/" || self.upstream().is_none()
    }
}
