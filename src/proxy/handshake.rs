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
use crate::tls::{Alert, Buffer, Finished, Handshake, ServerTls, Session, TlsError};
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
    finished: Finished,
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
        let handshake = tls
            .handshake(&hello, name, self.local.ip())
            .map_err(SessionError::Handshake)?;
        let Shaken {
            finished,
            plain,
            ticket,
            closed,
        } = self.shake_hands(handshake, &mut client).await?;
        let session = self.negotiated(finished, begun);
        Ok(Answered::Session {
            downstream: Downstream::tls(client, session, ticket, closed),
            early: (!plain.is_empty()).then_some(plain),
        })
    }

    /// Answers what is not a ClientHello with the alert that rustls has for it.
    async fn refuse_hello(&self, tls: &ServerTls, client: &mut Client<Ciphertext>) {
        let mut control = Vec::new();
        let handshake = tls.handshake(&ClientHello::default(), None, self.local.ip());
        let refused = handshake
            .and_then(|mut handshake| handshake.advance(client.unread_mut(), &mut control));
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
        mut handshake: Box<Handshake>,
        client: &mut Client<Ciphertext>,
    ) -> Result<Shaken, SessionError> {
        let mut control = Vec::new();
        loop {
            let advanced = handshake.advance(client.unread_mut(), &mut control);
            let advanced = match advanced {
                Ok(advanced) => advanced,
                Err(error) => return self.fail(error, client, &control).await,
            };
            client.consume(advanced.consumed);
            if handshake.is_done() {
                break;
            }
            self.send(client, &control).await?;
            control.clear();
            if advanced.closed {
                return Err(SessionError::Closed(Stage::Handshake));
            }
            self.fill(client).await?;
        }
        if !handshake.ends_with_ticket() {
            self.send(client, &control).await?;
            control.clear();
        }
        let mut finished = handshake.finish().map_err(SessionError::Handshake)?;
        // What came together with the client's last message.
        let mut plain = Buffer::with_room(client.unread().len());
        let session = &mut finished.session;
        match session.open(client.unread(), &mut plain, &mut control) {
            Ok(opened) => {
                client.consume(opened.consumed);
                Ok(Shaken {
                    finished,
                    plain,
                    ticket: control,
                    closed: opened.closed,
                })
            }
            Err(error) => {
                drop(plain);
                self.fail(error, client, &control).await
            }
        }
    }

    /// Ends a handshake that failed, with the alert that says so.
    async fn fail<T>(
        &self,
        error: TlsError,
        client: &mut Client<Ciphertext>,
        alert: &[u8],
    ) -> Result<T, SessionError> {
        self.refuse(client, alert).await;
        Err(SessionError::Handshake(error))
    }

    fn negotiated(&mut self, finished: Finished, begun: Instant) -> Box<Session> {
        let seconds = begun.elapsed().as_secs_f64();
        let metrics = &self.active.metrics;
        let tls = finished.negotiated;
        metrics.handshake(tls.version, tls.resumed, seconds);
        if let Some(chosen) = &finished.chosen {
            metrics.selected(chosen.rank.number());
        }
        self.report.negotiated = Some(tls);
        self.report.chosen = finished.chosen;
        Box::new(finished.session)
    }
}
