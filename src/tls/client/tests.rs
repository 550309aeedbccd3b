//! Handshakes with servers of all kinds, in memory.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use rcgen::{CertificateParams, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::cert::testing::{
    Authority, Leaf, NOW, at, ca_params, days, intermediate, issued, new_key, openssl, params,
    root, self_signed,
};
use crate::cert::{sha256, spki_of};
use crate::config::{Balance, ClientAddress, TrustSource, UpstreamEncryption, Verification};

const HOST: &str = "mail.example.com";

/// A folder with the trust anchors of a test.
struct World {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let authority = root("Test CA", days(-100, 100));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { authority, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn verified(&self) -> Verification {
        Verification {
            verify: true,
            trust: vec![TrustSource::File(self.file("ca.pem"))],
            server_name: None,
            pin: None,
        }
    }

    fn leaf(&self, params: &CertificateParams) -> Leaf {
        issued(params, &self.authority)
    }

    /// A good one.
    fn usual(&self) -> Leaf {
        self.leaf(&params("mail", &[HOST, "*.example.org"], days(-1, 30)))
    }
}

fn pinned(pin: [u8; 32]) -> Verification {
    Verification {
        verify: true,
        trust: vec![TrustSource::File("/does/not/exist".into())],
        server_name: None,
        pin: Some(pin),
    }
}

fn unverified() -> Verification {
    Verification {
        verify: false,
        pin: None,
        ..pinned([0; 32])
    }
}

fn upstream(verification: Verification) -> Upstream {
    Upstream {
        name: "old".into(),
        servers: Vec::new(),
        encryption: UpstreamEncryption::Implicit,
        verification,
        client_address: ClientAddress::None,
        connect_timeout: Duration::from_secs(5),
        greeting_timeout: Duration::from_secs(5),
        balance: Balance::LeastConnections,
        health_interval: None,
        host: None,
        health_path: None,
    }
}

fn client(verification: Verification) -> ClientTls {
    let clock = Clock::manual(at(NOW));
    ClientTls::new(&upstream(verification), clock).unwrap()
}

/// A server that shows these certificates and signs with this key, whether it fits or not.
fn server_of(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let key = aws_lc_rs::sign::any_supported_type(key).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    TlsAcceptor::from(Arc::new(config))
}

fn key_of(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(leaf.key.serialize_der().into())
}

fn server(leaf: &Leaf) -> TlsAcceptor {
    server_of(vec![leaf.der.clone()], &key_of(leaf), &[&TLS13, &TLS12])
}

/// What the server saw of a handshake.
struct Seen {
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
}

/// Both ends of one handshake, and one word each way.
async fn shake(
    client: &ClientTls,
    host: &str,
    server: &TlsAcceptor,
) -> (
    Result<TlsStream<DuplexStream>, UpstreamTlsError>,
    Option<Seen>,
) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let mut stream = server.accept(far).await.ok()?;
        stream.write_all(b"220 hello\r\n").await.ok()?;
        let connection = stream.get_ref().1;
        Some(Seen {
            server_name: connection.server_name().map(str::to_owned),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        })
    };
    let connect = async {
        let mut stream = client.connect(host, near).await?;
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 hello\r\n");
        Ok(stream)
    };
    tokio::join!(connect, serve)
}

async fn failure(client: &ClientTls, host: &str, server: &TlsAcceptor) -> UpstreamTlsError {
    let (got, _) = shake(client, host, server).await;
    got.map(|_| ()).unwrap_err()
}

/// The error with its causes.
fn whole(error: &UpstreamTlsError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn pin_of(leaf: &Leaf) -> [u8; 32] {
    sha256(&spki_of(&leaf.der).unwrap())
}

#[tokio::test]
async fn a_server_that_is_trusted() {
    let world = World::new();
    let mut for_addresses = params("mail", &[HOST], days(-1, 30));
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let address6: IpAddr = "2001:db8::1".parse().unwrap();
    for address in [address, address6] {
        let name = SanType::IpAddress(address);
        for_addresses.subject_alt_names.push(name);
    }
    let server = server(&world.leaf(&for_addresses));
    let named = Verification {
        server_name: Some(DnsName::parse(HOST).unwrap()),
        ..world.verified()
    };
    for (verification, host, asked) in [
        (world.verified(), HOST, Some(HOST)),
        (world.verified(), "MAIL.example.com.", Some(HOST)),
        (world.verified(), "192.0.2.1", None),
        (world.verified(), "2001:db8::1", None),
        (named.clone(), "192.0.2.9", Some(HOST)),
        (named, "inside_1", Some(HOST)),
    ] {
        let (got, seen) = shake(&client(verification), host, &server).await;
        let peer = Peer::of(&got.unwrap()).unwrap();
        assert_eq!(
            (peer.version, peer.suite),
            ("1.3", "TLS_AES_256_GCM_SHA384")
        );
        assert_eq!(peer.certificate.unwrap().subject(), "CN=mail");
        let seen = seen.unwrap();
        assert_eq!(seen.server_name.as_deref(), asked, "{host}");
        assert_eq!(seen.alpn, None);
    }
}

#[tokio::test]
async fn a_chain_and_tls_1_2() {
    let world = World::new();
    let issuer = intermediate("Middle", days(-1, 90), new_key(), &world.authority);
    let leaf = issued(&params("mail", &[HOST], days(-1, 30)), &issuer);
    let key = key_of(&leaf);
    let chain = vec![leaf.der.clone(), issuer.der().clone()];
    let client = client(world.verified());
    let (got, _) = shake(&client, HOST, &server_of(chain, &key, &[&TLS12])).await;
    let peer = Peer::of(&got.unwrap()).unwrap();
    let suite = "ECDHE-ECDSA-AES256-GCM-SHA384";
    assert_eq!((peer.version, peer.suite), ("1.2", suite));

    let alone = server_of(vec![leaf.der.clone()], &key, &[&TLS12]);
    let error = failure(&client, HOST, &alone).await;
    assert_eq!(error.reason(), "tls-untrusted");
}

#[tokio::test]
async fn servers_that_are_refused() {
    let world = World::new();
    let other = root("Other CA", days(-100, 100));
    let period = days(-1, 30);
    let own = self_signed(&params("own", &[HOST], period));
    let own_authority = self_signed(&ca_params("own CA", period));
    let many: Vec<_> = (0..20).map(|n| format!("host{n}.example.com")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let self_made = |leaf: &Leaf| {
        let pin = BASE64.encode(&pin_of(leaf));
        format!("it is self-signed and not trusted, `pin` would accept it: {pin}")
    };
    let (of_own, of_own_authority) = (self_made(&own), self_made(&own_authority));
    let cases = [
        (
            issued(&params("mail", &[HOST], period), &other),
            "tls-untrusted",
            "it is issued by \"CN=Other CA\", to which `trust` leads no way".to_owned(),
        ),
        (
            world.leaf(&params("mail", &["a.example", "*.b.example"], period)),
            "tls-name",
            "it is for a.example, *.b.example, expected \"mail.example.com\"".to_owned(),
        ),
        (
            world.leaf(&params("mail", &many, period)),
            "tls-name",
            "it is for host0.example.com, host1.example.com, host2.example.com, \
             host3.example.com, host4.example.com, host5.example.com, host6.example.com, \
             host7.example.com (12 more), expected \"mail.example.com\""
                .to_owned(),
        ),
        (
            world.leaf(&params(HOST, &[], period)),
            "tls-name",
            "it is for no name (no subjectAltName), expected \"mail.example.com\"".to_owned(),
        ),
        (
            world.leaf(&params("mail", &[HOST], days(-30, -1))),
            "tls-expired",
            "it, or one above it, expired at 2027-01-15T07:59:59Z".to_owned(),
        ),
        (
            world.leaf(&params("mail", &[HOST], days(1, 30))),
            "tls-expired",
            "it, or one above it, is not valid before 2027-01-16T08:00:00Z".to_owned(),
        ),
        (own, "tls-untrusted", of_own),
        (own_authority, "tls-untrusted", of_own_authority),
    ];
    let client = client(world.verified());
    for (leaf, reason, text) in cases {
        let error = failure(&client, HOST, &server(&leaf)).await;
        let expected = format!("the server's certificate is refused: {text}");
        assert_eq!((whole(&error), error.reason()), (expected, reason));
        assert_eq!(error.certificate().unwrap().der, leaf.der);
    }
}

#[tokio::test]
async fn time_is_that_of_the_clock() {
    let world = World::new();
    let clock = Clock::manual(at(NOW));
    let client = ClientTls::new(&upstream(world.verified()), clock.clone()).unwrap();
    let server = server(&world.usual());
    assert!(shake(&client, HOST, &server).await.0.is_ok());
    clock.set(at(days(0, 30).not_after + 1));
    let error = failure(&client, HOST, &server).await;
    assert_eq!(error.reason(), "tls-expired");
}

#[tokio::test]
async fn a_pin_counts_for_everything() {
    let world = World::new();
    let leaves = [
        world.leaf(&params("expired", &["other.example"], days(-30, -1))),
        self_signed(&params("own", &[], days(-1, 1))),
        self_signed(&ca_params("own CA", days(-1, 1))),
    ];
    for leaf in &leaves {
        let pin = pin_of(leaf);
        for version in [&TLS12, &TLS13] {
            let server = server_of(vec![leaf.der.clone()], &key_of(leaf), &[version]);
            // Not even a name is needed.
            for host in [HOST, "192.0.2.1", "/run/mail.sock"] {
                let (got, _) = shake(&client(pinned(pin)), host, &server).await;
                assert!(Peer::of(&got.unwrap()).is_some());
            }
            let error = failure(&client(pinned([7; 32])), HOST, &server).await;
            let certificate = error.certificate().unwrap();
            let expected = format!(
                "the server's certificate is refused: its SPKI pin is {}, \
                 expected the one that is configured",
                certificate.spki_pin()
            );
            assert_eq!((whole(&error), error.reason()), (expected, "tls-pin"));
        }
    }
    // What else is right does not make up for a wrong pin.
    let usual = world.usual();
    let verification = Verification {
        pin: Some([7; 32]),
        ..world.verified()
    };
    let error = failure(&client(verification), HOST, &server(&usual)).await;
    assert_eq!(error.reason(), "tls-pin");
}

/// A certificate that is not the signer's, whatever is asked of it.
#[tokio::test]
async fn the_key_must_be_the_servers_own() {
    let world = World::new();
    let (shown, signing) = (world.usual(), world.usual());
    let verifications = [world.verified(), pinned(pin_of(&shown)), unverified()];
    for version in [&TLS12, &TLS13] {
        let server = server_of(vec![shown.der.clone()], &key_of(&signing), &[version]);
        for verification in &verifications {
            let error = failure(&client(verification.clone()), HOST, &server).await;
            assert_eq!(error.reason(), "tls-untrusted");
            let cause = "it, or what was signed with its key, cannot be verified";
            assert!(whole(&error).contains(cause), "{}", whole(&error));
        }
    }
}

/// Certificates of version 1, and keys of each kind, made by OpenSSL.
#[tokio::test]
async fn old_certificates_are_accepted_where_nothing_but_the_key_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, request) = (path("a.key"), path("a.csr"));
    for kind in ["rsa:2048", "ec"] {
        let curve = "ec_paramgen_curve:P-384";
        let mut request_it = vec!["req", "-new", "-nodes", "-subj", "/CN=old", "-newkey", kind];
        request_it.extend(["-pkeyopt", curve].iter().filter(|_| kind == "ec"));
        request_it.extend(["-keyout", &key, "-out", &request]);
        openssl(&request_it);
        let pem = openssl(&["x509", "-req", "-in", &request, "-signkey", &key]);
        let key = PrivateKeyDer::from_pem_file(&key).unwrap();
        let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
        assert!(rustls::server::ParsedCertificate::try_from(&certificate).is_err());
        let pin = sha256(&spki_of(&certificate).unwrap());
        for version in [&TLS12, &TLS13] {
            let server = server_of(vec![certificate.clone()], &key, &[version]);
            for verification in [pinned(pin), unverified()] {
                let (got, _) = shake(&client(verification), HOST, &server).await;
                let peer = Peer::of(&got.unwrap()).unwrap();
                assert_eq!(peer.certificate.unwrap().subject(), "CN=old");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_of_ours() {
    let world = World::new();
    for (bytes, reason, begins) in [
        (
            &b"* OK IMAP4rev1 ready\r\n"[..],
            "tls",
            "the TLS handshake with the server failed: ",
        ),
        // Alerts: protocol_version, handshake_failure, internal_error.
        (
            b"\x15\x03\x01\0\x02\x02\x46",
            "tls",
            "the server speaks no TLS that is safe, ",
        ),
        (
            b"\x15\x03\x03\0\x02\x02\x28",
            "tls",
            "the server speaks no TLS that is safe, ",
        ),
        (
            b"\x15\x03\x03\0\x02\x02\x50",
            "tls",
            "the TLS handshake with the server failed: ",
        ),
        // A ServerHello of TLS 1.0.
        (
            b"\x16\x03\x01\0\x2a\x02\0\0\x26\x03\x01\
              0123456789abcdef0123456789abcdef\0\0\x2f\0",
            "tls",
            "the server speaks no TLS that is safe, ",
        ),
        (
            b"",
            "io",
            "the server's connection failed during the TLS handshake: ",
        ),
    ] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let error = client(world.verified()).connect(HOST, near).await;
        let error = error.map(|_| ()).unwrap_err();
        let text = whole(&error);
        assert!(text.starts_with(begins), "{text}");
        assert_eq!(error.reason(), reason, "{text}");
        assert!(error.certificate().is_none());
    }
}

#[tokio::test]
async fn a_name_is_needed_to_verify() {
    let world = World::new();
    let (near, _far) = tokio::io::duplex(64);
    let error = client(world.verified())
        .connect("/run/mail.sock", near)
        .await;
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(
        (whole(&error).as_str(), error.reason()),
        (
            "\"/run/mail.sock\" is no name that a certificate can be for, expected `server_name`",
            "tls-name"
        )
    );
}

#[test]
fn trust_that_cannot_be_read_is_named() {
    let world = World::new();
    let key = new_key().serialize_pem();
    for (name, content, expected) in [
        ("missing.pem", None, "cannot read the trust anchors "),
        (
            "empty.pem",
            Some(""),
            "no certificate in it that can be a trust anchor",
        ),
        (
            "key.pem",
            Some(&*key),
            "no certificate in it that can be a trust anchor",
        ),
        (
            "text.pem",
            Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
            "not PEM, expected certificates",
        ),
        (
            "nonsense.pem",
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "no certificate in it that can be a trust anchor",
        ),
    ] {
        let path = world.file(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let verification = Verification {
            trust: vec![TrustSource::Mozilla, TrustSource::File(path)],
            ..world.verified()
        };
        let error = ClientTls::new(&upstream(verification), Clock::System).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(expected), "{text}");
    }
}

#[test]
fn every_source_of_trust_gives_some() {
    let world = World::new();
    for (source, least) in [
        (TrustSource::Mozilla, 50),
        (TrustSource::System, 1),
        (TrustSource::File(world.file("ca.pem")), 1),
    ] {
        let found = roots::read(std::slice::from_ref(&source)).unwrap().len();
        assert!(found >= least, "{source:?}: {found}");
    }
}
