//! What is said before TLS to clients, and after it to servers.

use std::net::{Ipv4Addr, SocketAddr};

use gatepost::wire::announced::Announced;
use gatepost::wire::mail::MailProtocol;
use gatepost::wire::proxy_protocol::{Announcement, SslInfo};
use gatepost::wire::starttls::{Policy, Preamble, Step};

/// A client's way to STARTTLS: its protocol, what its server has said of itself, its commands.
pub(crate) struct Dialogue {
    protocol: MailProtocol,
    announced: Announced,
    commands: &'static [&'static [u8]],
}

/// As a mail program opens a session.
pub(crate) fn imap() -> Dialogue {
    Dialogue {
        protocol: MailProtocol::Imap,
        announced: announced(
            "mail.example.test ready",
            &["IMAP4rev1", "ID", "IDLE", "LITERAL+", "AUTH=PLAIN", "SORT"],
        ),
        commands: &[b"1 CAPABILITY\r\n", b"2 STARTTLS\r\n"],
    }
}

/// As another server delivers mail.
pub(crate) fn smtp() -> Dialogue {
    Dialogue {
        protocol: MailProtocol::Smtp,
        announced: announced(
            "ESMTP",
            &["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN"],
        ),
        commands: &[b"EHLO client.example.test\r\n", b"STARTTLS\r\n"],
    }
}

fn announced(banner: &str, capabilities: &[&str]) -> Announced {
    Announced {
        banner: banner.to_owned(),
        capabilities: capabilities.iter().map(|&line| line.to_owned()).collect(),
    }
}

impl Dialogue {
    /// The proxy's side of it, up to the go-ahead for TLS; all that it has said.
    pub(crate) fn hold(&self) -> Vec<u8> {
        let hostname = "mail.example.test";
        let mut preamble = Preamble::new(
            self.protocol,
            Policy::Required,
            hostname,
            Some(&self.announced),
        );
        let mut said = preamble.greeting();
        let mut last = Step::More;
        for command in self.commands {
            last = preamble.receive(command, &mut said).step;
        }
        assert_eq!(last, Step::StartTls, "the client may begin TLS");
        said
    }
}

/// What a server is told of a client on TLS.
pub(crate) fn announcement() -> Announcement<'static> {
    Announcement {
        source: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 33), 54_321)),
        destination: SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), 993)),
        ssl: Some(SslInfo {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
        }),
        authority: Some("mail.example.test"),
        alpn: Some(b"imap"),
    }
}
