//! The handshake with a client: what its ClientHello says, and TLS with the certificate chosen
//! there.

use std::sync::Arc;

use tokio::time::Instant;

use crate::cert::DnsName;
use crate::config::Legacy;
use crate::proxy::boundary::{Ciphertext, Client};
use crate::proxy::downstream::Downstream;
use crate::proxy::session::{Connection, Moment};
use crate::proxy::{SessionError, Stage};
use crate::tls::{Alert, Buffer, ServerTls, Session};
use crate::wire::client_hello::{self, ClientHello, HelloError};

/// What comes of a ClientHello.
pub(super) enum Answered {
    /// TLS is ours.
    Session {
        downstream: Downstream,
        /// Plaintext that came with the last message of the handshake.
        early: Option<Buffer>,
    },
    /// The client is too old for it, and the listener hands such clients over.
    Legacy(Client<Ciphertext>),
}

/// What is left when the handshake is done.
struct Shaken {
    /// What the client said together with its last message,
    plain: Buffer,
    /// and whether it has said close_notify with it.
    closed: bool,
    /// A message of ours that nobody waits for: the session ticket.
    ticket: Vec<u8>,
}

impl Connection<'_> {
    /// Waits for a whole ClientHello, and leaves it where it is.
    pub(super) async fn hello(
        &self,
        client: &mut Client<Ciphertext>,
    ) -> Result<ClientHello, SessionError> {
        loop {
            match client_hello::peek(client.unread()) {
                Ok(Some(hello)) => return Ok(hello),
                Ok(None) => self.fill(client).await?,
                Err(error) => return Err(SessionError::Hello(error)),
            }
        }
    }

    /// Notes the name asked for. What is not a name (an IP literal, say) counts as none.
    pub(super) fn name(&mut self, hello: &ClientHello) {
        let name = hello.server_name.as_deref().map(DnsName::parse);
        self.report.server_name = name.and_then(Result::ok).map(Arc::new);
    }

    /// TLS with the certificate chosen at the ClientHello.
    pub(super) async fn handshake(
        &mut self,
        tls: &ServerTls,
        mut client: Client<Ciphertext>,
        moment: Moment,
    ) -> Result<Answered, SessionError> {
        let begun = Instant::now();
        let hello = match self.hello(&mut client).await {
            Ok(hello) => hello,
            // Behind the go-ahead for STARTTLS this is plaintext that was to be smuggled in.
            Err(SessionError::Hello(HelloError::NotTls)) if moment == Moment::Late => {
                return Err(SessionError::Injection);
            }
            Err(error @ SessionError::Hello(_)) => {
                self.refuse_hello(tls, &mut client).await;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.name(&hello);
        if let Some(unsuited) = tls.unsuited(&hello) {
            self.report.offered = Some(hello.offered());
            if let Legacy::Passthrough(_) = self.active.config.legacy {
                return Ok(Answered::Legacy(client));
            }
            self.refuse(&mut client, &unsuited.alert().record()).await;
            return Err(SessionError::Unsuited(unsuited));
        }
        if let Some(name) = &self.report.server_name
            && tls.refuses(name)
        {
            self.refuse(&mut client, &Alert::UnrecognizedName.record())
                .await;
            return Err(SessionError::UnknownName);
        }
        let name = self.report.server_name.clone();
        let mut session = tls
            .session(&hello, name, self.local.ip())
            .map(Box::new)
            .map_err(SessionError::Handshake)?;
        let Shaken {
            plain,
            ticket,
            closed,
        } = self.shake_hands(&mut session, &mut client).await?;
        self.negotiated(&mut session, begun);
        Ok(Answered::Session {
            downstream: Downstream::tls(client, session, ticket, closed),
            early: (!plain.is_empty()).then_some(plain),
        })
    }

    /// Answers what is not a ClientHello with the alert that rustls has for it.
    async fn refuse_hello(&self, tls: &ServerTls, client: &mut Client<Ciphertext>) {
        let mut control = Vec::new();
        let session = tls.session(&ClientHello::default(), None, self.local.ip());
        let refused = session.and_then(|mut session| {
            session.open(client.unread_mut(), &mut Buffer::take(), &mut control)
        });
        // Where rustls sees less wrong with it than we do, or waits for the rest of what is
        // refused here already, its answer is not for the client; sometimes it has none.
        if refused.is_ok() || control.is_empty() {
            control = Alert::DecodeError.record().to_vec();
        }
        self.refuse(client, &control).await;
    }

    /// Sends an alert as the last word. The client may be gone, or not read: nothing more can be
    /// done for it.
    pub(super) async fn refuse(&self, client: &mut Client<Ciphertext>, alert: &[u8]) {
        if client.send(alert).await.is_ok() {
            client.linger().await;
        }
    }

    /// Runs the handshake to its end.
    async fn shake_hands(
        &self,
        session: &mut Session,
        client: &mut Client<Ciphertext>,
    ) -> Result<Shaken, SessionError> {
        let mut control = Vec::new();
        loop {
            let mut plain = Buffer::take();
            let opened = session.open(client.unread_mut(), &mut plain, &mut control);
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    drop(plain);
                    self.refuse(client, &control).await;
                    return Err(SessionError::Handshake(error));
                }
            };
            client.consume(opened.consumed);
            let done = !session.is_handshaking();
            // Before the end of the handshake nothing is said: who is waited for holds no buffer.
            let plain = done.then_some(plain);
            if !(done && session.ends_with_ticket()) {
                self.send(client, &control).await?;
                control.clear();
            }
            if let Some(plain) = plain {
                return Ok(Shaken {
                    plain,
                    ticket: control,
                    closed: opened.closed,
                });
            }
            if opened.closed {
                return Err(SessionError::Closed(Stage::Handshake));
            }
            self.fill(client).await?;
        }
    }

    fn negotiated(&mut self, session: &mut Session, begun: Instant) {
        let seconds = begun.elapsed().as_secs_f64();
        let metrics = &self.active.metrics;
        self.report.negotiated = session.negotiated();
        if let Some(tls) = &self.report.negotiated {
            metrics.handshake(tls.version, tls.resumed, seconds);
        }
        self.report.chosen = session.take_chosen();
        if let Some(chosen) = &self.report.chosen {
            metrics.selected(chosen.rank.number());
        }
    }
}
