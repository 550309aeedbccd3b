//! The TLS of one listener: versions, groups, ALPN, tickets.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni, ServerConfig};
use rustls::version::{TLS12, TLS13};

use crate::cert::{ClientCapabilities, DnsName, LiveIndex, Query, Selected, UnknownName};
use crate::config::{Listener, Protocol, Tls, TlsVersion};
use crate::time::Clock;
use crate::tls::resolver::ConnectionResolver;
use crate::tls::{Handshake, Ticketer, TlsError, Unsuited};
use crate::wire::client_hello::ClientHello;

const FROM_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const FROM_1_3: &[&SupportedProtocolVersion] = &[&TLS13];

/// The cryptography of the process; one for all listeners of one configuration.
#[derive(Clone, Debug)]
pub struct Provider {
    pub(super) crypto: Arc<CryptoProvider>,
    /// The best first.
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
}

impl Provider {
    /// aws-lc-rs, with the groups and versions that `[tls]` asks for.
    pub fn new(tls: &Tls) -> Self {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};

        let mut crypto = aws_lc_rs::default_provider();
        crypto.kx_groups = vec![X25519, SECP256R1, SECP384R1];
        if tls.post_quantum {
            crypto.kx_groups.insert(0, X25519MLKEM768);
        }
        let versions = match tls.min_version {
            TlsVersion::V1_2 => FROM_1_2,
            TlsVersion::V1_3 => FROM_1_3,
        };
        Self {
            crypto: Arc::new(crypto),
            versions,
        }
    }
}

/// Everything that the TLS of a listener's connections has in common.
#[derive(Debug)]
pub struct ServerTls {
    provider: Provider,
    config: ServerConfig,
    index: LiveIndex,
    clock: Clock,
    hostname: Option<Arc<DnsName>>,
    unknown_name: UnknownName,
}

impl ServerTls {
    /// Puts the TLS of `listener` together.
    ///
    /// # Errors
    /// If rustls finds versions and suites of the provider at odds.
    pub fn new(
        provider: &Provider,
        listener: &Listener,
        ticketer: Arc<Ticketer>,
        index: LiveIndex,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let mut config = ServerConfig::builder_with_details(
            Arc::clone(&provider.crypto),
            Arc::new(clock.clone()),
        )
        .with_protocol_versions(provider.versions)?
        .with_no_client_auth()
        // Every connection brings its own resolver; this one has nothing to give.
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        config.alpn_protocols = alpn(listener.protocol)
            .iter()
            .map(|name| name.to_vec())
            .collect();
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // A client uses a ticket once, and gets a new one with the connection that used it.
        config.send_tls13_tickets = 1;
        // What comes after a handshake is a `Session`'s, which needs the keys.
        config.enable_secret_extraction = true;
        Ok(Self {
            provider: provider.clone(),
            config,
            index,
            clock,
            hostname: listener.hostname.clone().map(Arc::new),
            unknown_name: listener.unknown_name,
        })
    }

    /// The handshake of one new connection, whose ClientHello was looked at.
    ///
    /// # Errors
    /// If rustls refuses the configuration.
    pub fn handshake(
        &self,
        hello: &ClientHello,
        server_name: Option<Arc<DnsName>>,
        local: IpAddr,
    ) -> Result<Box<Handshake>, TlsError> {
        let resolver = Arc::new(ConnectionResolver {
            index: self.index.clone(),
            clock: self.clock.clone(),
            server_name,
            assumed: self.hostname.clone(),
            local,
            unknown_name: self.unknown_name,
            tls12: !hello.offers_tls13,
            chosen: OnceLock::new(),
            sent: OnceLock::new(),
            received: OnceLock::new(),
        });
        let mut config = self.config.clone();
        config.cert_resolver = Arc::clone(&resolver) as _;
        config.key_log = Arc::clone(&resolver) as _;
        let handshake = Handshake::new(Arc::new(config), resolver)?;
        Ok(Box::new(handshake))
    }

    /// Why a client with this ClientHello cannot be served, whatever name it asks for.
    pub fn unsuited(&self, hello: &ClientHello) -> Option<Unsuited> {
        self.provider.unsuited(hello)
    }

    /// Whether the name is one that this listener refuses at once.
    pub fn refuses(&self, server_name: &DnsName) -> bool {
        if self.unknown_name == UnknownName::Default {
            return false;
        }
        let query = Query {
            server_name: Some(server_name),
            assumed: None,
            local: None,
            client: ClientCapabilities::ALL,
            unknown_name: self.unknown_name,
        };
        let index = self.index.load();
        matches!(index.select(&query, self.clock.now()), Selected::Rejected)
    }
}

/// What ALPN may name on a listener of this protocol, the best first (IANA's registry; SMTP has
/// no entry, and its clients say one of two). A `tcp` listener knows nothing of what it carries.
fn alpn(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Imap => &[b"imap"],
        Protocol::Pop3 => &[b"pop3"],
        Protocol::Smtp | Protocol::Submission => &[b"smtp", b"esmtp"],
        Protocol::ManageSieve => &[b"managesieve"],
        Protocol::Http => &[b"h2", b"http/1.1"],
        Protocol::Tcp => &[],
    }
}
