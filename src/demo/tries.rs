//! One try of everything: the three services, and one selection for each rank.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::certificates::Case;
use super::client::{Client, Shown};
use super::upstream::{GREETING, Service};
use crate::cert::{
    CertIndex, ClientCapabilities, ClientKind, DnsName, Query, Selected, UnknownName,
};

/// The name that the three services are asked for.
pub(super) const HOST: &str = "mail.demo.test";
/// On loopback anything that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);
const MAX_ANSWER: u64 = 64 << 10;

/// What was tried, and what came of it.
#[derive(Debug)]
pub struct Try {
    /// As in "IMAP over TLS: log in, fetch a message".
    pub what: &'static str,
    /// What was seen, or why it failed.
    pub outcome: Result<String, TryError>,
}

/// One selection of a certificate.
#[derive(Debug)]
pub struct RankTry {
    /// The rank expected, 1 to 9.
    pub rank: u8,
    /// What the rank is for.
    pub meaning: &'static str,
    /// The name asked for.
    pub asked: &'static str,
    /// What was served, or why the try failed.
    pub outcome: Result<Served, TryError>,
}

/// The certificate that a handshake served.
#[derive(Debug, Eq, PartialEq)]
pub struct Served {
    /// Its NAME.
    pub name: String,
    /// What a careful client says of it.
    pub verdict: String,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// The connection failed.
    #[error("connection failed")]
    Io(#[from] io::Error),
    /// TLS could not be set up.
    #[error("no TLS")]
    Tls(#[from] rustls::Error),
    /// The verifier could not be made.
    #[error("no verifier")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// Nothing happened in time.
    #[error("no answer within {} seconds", LIMIT.as_secs())]
    TimedOut(#[from] tokio::time::error::Elapsed),
    /// The handshake ended without a certificate.
    #[error("no certificate was shown")]
    NoCertificate,
    /// Another answer than the one expected.
    #[error("expected {expected}, found {found:?}")]
    Unexpected {
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
}

/// Tries one service.
pub(super) async fn service(client: &Client, service: Service, address: SocketAddr) -> Try {
    let (what, outcome) = match service {
        Service::Web => (
            "Web: fetch the page",
            timeout(LIMIT, fetch_page(client, address)).await,
        ),
        Service::Imap => (
            "IMAP: log in, fetch a message",
            timeout(LIMIT, read_mail(client, address)).await,
        ),
        Service::Smtp => (
            "SMTP: send a message",
            timeout(LIMIT, send_mail(client, address)).await,
        ),
    };
    let outcome = outcome.map_err(TryError::from).flatten();
    Try { what, outcome }
}

/// Asks for a name, and compares what is served with what the index says and what was expected.
pub(super) async fn rank(
    client: &Client,
    case: &Case,
    address: SocketAddr,
    index: &CertIndex,
    now: UnixTime,
) -> RankTry {
    let outcome = match timeout(LIMIT, client.look(address, case.asked)).await {
        Ok(shown) => shown.and_then(|shown| compare(case, &shown, index, now)),
        Err(elapsed) => Err(elapsed.into()),
    };
    RankTry {
        rank: case.rank,
        meaning: case.meaning,
        asked: case.asked,
        outcome,
    }
}

fn compare(
    case: &Case,
    shown: &Shown,
    index: &CertIndex,
    now: UnixTime,
) -> Result<Served, TryError> {
    let name = index
        .credentials()
        .find(|credential| credential.certificate.der == shown.certificate)
        .map_or("a stranger", |credential| &credential.name);
    expect(name == case.name, case.name, name)?;
    let rank = rank_of(case.asked, index, now);
    expect(
        rank == Some(case.rank),
        format_args!("rank {}", case.rank),
        format!("{rank:?}"),
    )?;
    Ok(Served {
        name: name.to_owned(),
        verdict: shown.verdict(),
    })
}

fn rank_of(asked: &str, index: &CertIndex, now: UnixTime) -> Option<u8> {
    let server_name = DnsName::parse(asked).ok()?;
    let query = Query {
        server_name: Some(&server_name),
        assumed: None,
        local: None,
        client: ClientCapabilities::from(ClientKind::Modern),
        unknown_name: UnknownName::Default,
    };
    match index.select(&query, now) {
        Selected::Served(selection) => Some(selection.rank.number()),
        Selected::Rejected | Selected::NoUsableKey => None,
    }
}

async fn fetch_page(client: &Client, address: SocketAddr) -> Result<String, TryError> {
    let mut stream = client.connect(address, HOST).await?;
    let own = stream.get_ref().0.local_addr()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    expect(status.starts_with("HTTP/1.1 200 "), "HTTP/1.1 200", status)?;
    expect(answer.contains(GREETING), GREETING, &answer)?;
    seen(&answer, own)?;
    Ok(format!("200, and the server saw the client at {own}"))
}

async fn read_mail(client: &Client, address: SocketAddr) -> Result<String, TryError> {
    let mut dialog = Dialog::open(client, address).await?;
    let greeting = dialog.line().await?;
    expect(greeting.starts_with("* OK "), "a greeting", &greeting)?;
    seen(&greeting, dialog.own)?;
    dialog.imap("LOGIN demo demo").await?;
    dialog.imap("SELECT INBOX").await?;
    let message = dialog.imap("FETCH 1 BODY[]").await?;
    let subject = message
        .lines()
        .find_map(|line| line.strip_prefix("Subject: "))
        .ok_or_else(|| unexpected("a message with a subject", &message))?
        .to_owned();
    dialog.imap("LOGOUT").await?;
    let own = dialog.own;
    Ok(format!(
        "\"{subject}\", and the server saw the client at {own}"
    ))
}

async fn send_mail(client: &Client, address: SocketAddr) -> Result<String, TryError> {
    let mut dialog = Dialog::open(client, address).await?;
    dialog.smtp_reply("220").await?;
    let hello = dialog.smtp("EHLO client.demo.test", "250").await?;
    seen(&hello, dialog.own)?;
    dialog.smtp("MAIL FROM:<you@demo.test>", "250").await?;
    dialog.smtp("RCPT TO:<postmaster@demo.test>", "250").await?;
    dialog.smtp("DATA", "354").await?;
    let taken = dialog
        .smtp("Subject: A try\r\n\r\nSent over TLS.\r\n.", "250")
        .await?;
    expect(taken.contains("Message 1 taken"), "Message 1 taken", &taken)?;
    dialog.smtp("QUIT", "221").await?;
    let own = dialog.own;
    Ok(format!("taken, and the server saw the client at {own}"))
}

/// Lines to and from a mail server.
struct Dialog {
    stream: BufReader<TlsStream<TcpStream>>,
    own: SocketAddr,
}

impl Dialog {
    async fn open(client: &Client, address: SocketAddr) -> Result<Self, TryError> {
        let stream = client.connect(address, HOST).await?;
        let own = stream.get_ref().0.local_addr()?;
        let stream = BufReader::new(stream);
        Ok(Self { stream, own })
    }

    async fn line(&mut self) -> Result<String, TryError> {
        let mut line = String::new();
        (&mut self.stream)
            .take(MAX_ANSWER)
            .read_line(&mut line)
            .await?;
        expect(line.ends_with("\r\n"), "a whole line", &line)?;
        Ok(line)
    }

    async fn send(&mut self, line: &str) -> Result<(), TryError> {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await?;
        Ok(self.stream.flush().await?)
    }

    /// One command, and everything up to its OK.
    async fn imap(&mut self, command: &str) -> Result<String, TryError> {
        self.send(&format!("a {command}")).await?;
        let mut answer = String::new();
        loop {
            let line = self.line().await?;
            answer.push_str(&line);
            if line.starts_with("a ") {
                expect(
                    line.starts_with("a OK "),
                    format_args!("OK to {command}"),
                    line,
                )?;
                return Ok(answer);
            }
        }
    }

    /// One command, and the whole of a reply with this code.
    async fn smtp(&mut self, command: &str, code: &str) -> Result<String, TryError> {
        self.send(command).await?;
        self.smtp_reply(code).await
    }

    async fn smtp_reply(&mut self, code: &str) -> Result<String, TryError> {
        let mut answer = String::new();
        loop {
            let line = self.line().await?;
            expect(line.starts_with(code), code, &line)?;
            answer.push_str(&line);
            if line.get(3..4) != Some("-") {
                return Ok(answer);
            }
        }
    }
}

/// Whether the upstream was told the client's own address.
fn seen(answer: &str, own: SocketAddr) -> Result<(), TryError> {
    expect(
        answer.contains(&own.to_string()),
        format_args!("the client's own address, {own}"),
        answer,
    )
}

fn expect(
    holds: bool,
    expected: impl fmt::Display,
    found: impl Into<String>,
) -> Result<(), TryError> {
    if holds {
        Ok(())
    } else {
        Err(unexpected(expected, found))
    }
}

fn unexpected(expected: impl fmt::Display, found: impl Into<String>) -> TryError {
    TryError::Unexpected {
        expected: expected.to_string(),
        found: found.into(),
    }
}
