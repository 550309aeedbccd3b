//! Whether a server would take mail from anybody for anybody.

use std::net::{IpAddr, Ipv4Addr};

use tokio::time::timeout;

use crate::config::{ClientAddress, Upstream};
use crate::probe::visit::{Destination, PATIENCE, Talk, TalkError, Trouble};

/// A client from outside (RFC 5737): nobody's address, in no network of anybody's.
pub(super) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Senders: one from elsewhere, and, where servers look senders up, nobody (RFC 5321 section
/// 4.5.5).
const SENDERS: [&str; 2] = ["probe@example.com", ""];

/// A recipient elsewhere (RFC 2606).
pub(super) const RECIPIENT: &str = "probe@example.net";

/// What a server says to foreign mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Relay {
    /// It takes it; its words.
    Open(String),
    /// It does not; its words.
    Refused(String),
    /// It wants TLS first; its words.
    WantsTls(String),
}

/// Whether the server can be told who the client is, so that a stranger can be played.
pub(super) fn is_told(upstream: &Upstream) -> bool {
    matches!(
        upstream.client_address,
        ClientAddress::ProxyV1 | ClientAddress::ProxyV2 | ClientAddress::Xclient
    )
}

/// Offers mail from elsewhere to elsewhere, as a client from outside would, and takes it back.
pub(super) async fn try_relay(
    destination: &Destination,
    upstream: &Upstream,
) -> Result<Option<Relay>, Trouble> {
    let source = match is_told(upstream) {
        true => STRANGER,
        false => destination.us,
    };
    let Some(mut talk) = destination.talk(upstream, source).await? else {
        return Ok(None);
    };
    let found = match timeout(PATIENCE, offer(&mut talk)).await {
        Ok(found) => found?,
        Err(_) => return Err(TalkError::Late.into()),
    };
    talk.leave().await;
    Ok(Some(found))
}

async fn offer(talk: &mut Talk<'_>) -> Result<Relay, TalkError> {
    talk.capabilities().await?;
    let mut refused = String::new();
    for sender in SENDERS {
        let mail = talk.smtp(&format!("MAIL FROM:<{sender}>")).await?;
        if !mail.yes {
            if wants_tls(&mail.words) {
                return Ok(Relay::WantsTls(mail.words));
            }
            refused = mail.words;
            continue;
        }
        let recipient = talk.smtp(&format!("RCPT TO:<{RECIPIENT}>")).await?;
        talk.smtp("RSET").await?;
        // 251: it will be forwarded (RFC 5321 section 3.4).
        if recipient.yes || recipient.words.starts_with("251") {
            return Ok(Relay::Open(recipient.words));
        }
        refused = recipient.words;
    }
    Ok(Relay::Refused(refused))
}

/// Whether that is `530 Must issue a STARTTLS command first` (RFC 3207 section 4).
fn wants_tls(said: &str) -> bool {
    said.starts_with("530") && said.to_ascii_uppercase().contains("STARTTLS")
}
