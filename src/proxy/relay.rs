//! Passing bytes on, both ways, until both sides are done; through the guard of a mail session
//! as long as it has one.
//!
//! A direction reads into a pooled buffer, and gives it back when its bytes are written: a
//! silent connection holds none. An end is passed on as an end, a reset as a reset.

use std::future::poll_fn;
use std::io;
use std::ops::AddAssign;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::metrics::ListenerMetrics;
use crate::proxy::SessionError;
use crate::proxy::boundary::{Clear, Client};
use crate::proxy::downstream::{Downstream, DownstreamError};
use crate::proxy::guarded::{Guarded, Verdict};
use crate::proxy::socket::Socket;
use crate::tls::Buffer;

/// Buffers that one direction passes on before the other has its turn: a fast one of them must
/// not use up all that tokio allows a task at once, nor keep others waiting for long.
const TURN: usize = 8;

/// How long a session ticket waits for data to go with.
const TICKET_PATIENCE: Duration = Duration::from_millis(3);

/// How long a client may take to hear the end of its session.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Both ends of a connection.
#[derive(Debug)]
pub(super) struct Relay<'m> {
    downstream: Downstream,
    upstream: Socket,
    metrics: &'m ListenerMetrics,
    /// From the client, not yet written to the server.
    pending: Option<Buffer>,
    /// Stands between the two until login.
    guarded: Option<Box<Guarded>>,
    /// Whether the server has said something, or has ended: what the guard holds may now go up,
    /// or wait for nothing.
    answered: bool,
    /// Why nothing more can be written to the server. What it said before it went away still
    /// goes to the client: why it refuses a message, say, in the middle of it.
    broken: Option<io::Error>,
    /// Whether it has said something since. That is its last word, and the client is to get it.
    refused: bool,
    up: Direction,
    down: Direction,
    pub(super) bytes: Bytes,
}

/// How a relay ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// Both sides were done.
    Done,
    /// The client was told to go ahead with STARTTLS.
    StartTls,
}

/// What came of consulting the guard.
enum Consulted {
    /// Nothing is in the way.
    Go,
    /// The client's end got something to be flushed.
    Said,
    /// TLS begins with the client.
    StartTls,
}

/// Plaintext bytes passed on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes {
    /// From the client to the server.
    pub(super) up: u64,
    /// From the server to the client.
    pub(super) down: u64,
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, more: Self) {
        self.up += more.up;
        self.down += more.down;
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Direction {
    Open,
    /// The source is at its end, which is still to be passed on.
    Ending,
    Done,
}

impl<'m> Relay<'m> {
    /// `early` is plaintext that came with the client's handshake.
    pub(super) fn new(
        downstream: Downstream,
        upstream: Socket,
        early: Option<Buffer>,
        guarded: Option<Box<Guarded>>,
        metrics: &'m ListenerMetrics,
    ) -> Self {
        let mut this = Self {
            downstream,
            upstream,
            metrics,
            pending: None,
            guarded,
            answered: false,
            broken: None,
            refused: false,
            up: Direction::Open,
            down: Direction::Open,
            bytes: Bytes::default(),
        };
        if let Some(early) = early {
            this.received(early);
        }
        this
    }

    /// Runs until both sides are done, one fails, nothing is said for `idle`, or the client
    /// begins TLS.
    pub(super) async fn run(&mut self, idle: Duration) -> Result<Ended, SessionError> {
        let patience = match self.downstream.is_holding() {
            true => TICKET_PATIENCE,
            false => idle,
        };
        let mut heard = Instant::now();
        let mut timer = pin!(sleep_until(heard + patience));
        poll_fn(|cx| {
            let before = (self.bytes.up, self.bytes.down);
            let done = self.poll(cx)?;
            if before != (self.bytes.up, self.bytes.down) {
                heard = Instant::now();
            }
            match done {
                Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                Poll::Pending => self.poll_timer(cx, timer.as_mut(), heard + idle),
            }
        })
        .await
    }

    /// One timer serves the ticket first and the idle limit from then on. It is not moved
    /// with every byte: when it rings, it is set to when it should have rung.
    fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        deadline: Instant,
    ) -> Poll<Result<Ended, SessionError>> {
        while timer.as_mut().poll(cx).is_ready() {
            if self.downstream.is_holding() {
                self.downstream.release();
                // What the socket does not take now goes with the next way down.
                if let Poll::Ready(Err(error)) = self.downstream.poll_flush(cx) {
                    return Poll::Ready(Err(SessionError::Downstream(error.into())));
                }
            } else if Instant::now() >= deadline {
                return Poll::Ready(Err(SessionError::Idle));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Result<Poll<Ended>, SessionError> {
        loop {
            // Upwards first: what TLS has to answer to what it read goes out with the way down.
            let up = self.poll_up(cx)?;
            let down = self.poll_down(cx)?;
            if down == Poll::Ready(Ended::StartTls) {
                return Ok(down);
            }
            // The server's answer may let go up what the client has said already.
            if std::mem::take(&mut self.answered) {
                continue;
            }
            if up.is_pending() || down.is_pending() {
                return Ok(Poll::Pending);
            }
            return match self.broken.take() {
                None => Ok(down),
                Some(error) => Err(SessionError::Upstream(error)),
            };
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SessionError> {
        let mut turn = 0..TURN;
        while self.up == Direction::Open {
            if turn.next().is_none() {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            match self.poll_write_up(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.pending = None;
                    self.broken = Some(error);
                    self.up = Direction::Done;
                    break;
                }
            }
            if self
                .guarded
                .as_ref()
                .is_some_and(|guarded| guarded.is_holding())
            {
                if self.down == Direction::Open {
                    return Ok(Poll::Pending);
                }
                // What is held waits for an answer that will not come.
                self.up = Direction::Done;
                break;
            }
            let mut plain = Buffer::take();
            match self.downstream.poll_recv(cx, &mut plain) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Err(error)) => return Err(SessionError::Downstream(error)),
                Poll::Ready(Ok(())) if plain.is_empty() => self.up = Direction::Ending,
                Poll::Ready(Ok(())) => self.received(plain),
            }
        }
        if self.up == Direction::Ending {
            // With the way down done as well, the close says all there is to say; but TLS has a
            // word for it, which servers miss in their logs.
            if (self.down != Direction::Done || self.upstream.is_tls())
                && self
                    .upstream
                    .poll_shutdown(cx)
                    .map_err(SessionError::Upstream)?
                    .is_pending()
            {
                return Ok(Poll::Pending);
            }
            self.up = Direction::Done;
        }
        Ok(Poll::Ready(()))
    }

    fn poll_write_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(guarded) = &mut self.guarded {
            while !guarded.up.is_empty() {
                let n = ready!(self.upstream.poll_write(cx, guarded.up.rest()))?;
                guarded.up.sent(n);
                self.bytes.up += n as u64;
                self.metrics.sent_upstream.inc_by(n as u64);
            }
        }
        if let Some(plain) = &mut self.pending {
            while !plain.is_empty() {
                let n = ready!(self.upstream.poll_write(cx, plain.filled()))?;
                plain.consume(n);
                self.bytes.up += n as u64;
                self.metrics.sent_upstream.inc_by(n as u64);
            }
            self.pending = None;
        }
        self.upstream.poll_flush(cx)
    }

    fn received(&mut self, plain: Buffer) {
        let n = plain.filled().len() as u64;
        self.metrics.received_downstream.inc_by(n);
        match &mut self.guarded {
            Some(guarded) => guarded.client_said(plain),
            None => self.pending = Some(plain),
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<Poll<Ended>, SessionError> {
        let failed = |error: DownstreamError| SessionError::Downstream(error);
        let mut turn = 0..TURN;
        loop {
            if turn.next().is_none() {
                cx.waker().wake_by_ref();
                return Ok(Poll::Pending);
            }
            let flushed = self.downstream.poll_flush(cx);
            if flushed.map_err(|e| failed(e.into()))?.is_pending() {
                return Ok(Poll::Pending);
            }
            match self.consult()? {
                Consulted::Go => {}
                Consulted::Said => continue,
                Consulted::StartTls => return Ok(Poll::Ready(Ended::StartTls)),
            }
            match self.down {
                Direction::Done => return Ok(Poll::Ready(Ended::Done)),
                Direction::Ending => {
                    // As above: a close that follows at once says it too.
                    if self.up != Direction::Done {
                        let shut = self.downstream.poll_shutdown(cx);
                        if shut.map_err(|e| failed(e.into()))?.is_pending() {
                            return Ok(Poll::Pending);
                        }
                    }
                    self.down = Direction::Done;
                    continue;
                }
                Direction::Open => {}
            }
            let mut plain = Buffer::take();
            match self.upstream.poll_read(cx, plain.plaintext_room()) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Err(error)) => return Err(SessionError::Upstream(error)),
                Poll::Ready(Ok(0)) => {
                    if let Some(error) = self.broken.take() {
                        return Err(SessionError::Upstream(error));
                    }
                    self.downstream.close().map_err(|e| failed(e.into()))?;
                    self.down = Direction::Ending;
                    self.answered = true;
                }
                Poll::Ready(Ok(n)) => {
                    plain.advance(n);
                    self.refused = self.broken.is_some();
                    self.bytes.down += n as u64;
                    self.metrics.received_upstream.inc_by(n as u64);
                    match &mut self.guarded {
                        Some(guarded) => {
                            guarded.server_said(plain.filled());
                            self.answered = true;
                        }
                        None => self.say(plain)?,
                    }
                }
            }
        }
    }

    /// Hands plaintext to the client's end, which has sent everything before.
    fn say(&mut self, plain: Buffer) -> Result<(), SessionError> {
        let n = plain.filled().len() as u64;
        let queued = self.downstream.queue(plain);
        queued.map_err(|error| SessionError::Downstream(error.into()))?;
        self.metrics.sent_downstream.inc_by(n);
        Ok(())
    }

    /// Says what the guard has to say to the client, or does what it wants next.
    fn consult(&mut self) -> Result<Consulted, SessionError> {
        let Some(guarded) = &mut self.guarded else {
            return Ok(Consulted::Go);
        };
        if guarded.is_found_disabled() {
            self.metrics.logins_disabled.inc();
        }
        if !guarded.down.is_empty() {
            let mut plain = Buffer::take();
            guarded.down.fill(&mut plain);
            self.say(plain)?;
            return Ok(Consulted::Said);
        }
        match guarded.verdict() {
            Verdict::Guard => Ok(Consulted::Go),
            Verdict::StartTls => Ok(Consulted::StartTls),
            Verdict::End(error) => Err(SessionError::Guard(error)),
            Verdict::Release(held) => {
                self.guarded = None;
                self.pending = held;
                self.answered = true;
                Ok(Consulted::Go)
            }
        }
    }

    /// The client's connection, for TLS to begin on it.
    pub(super) fn into_client(self) -> Client<Clear> {
        self.downstream.into_client()
    }

    /// Lets the other end know how this one ended: a TLS alert where TLS failed, a reset
    /// where there was one. `text` is the last word to the client, if it has got none.
    pub(super) async fn pass_on(&mut self, error: &SessionError, text: &[u8]) {
        match error {
            SessionError::Downstream(DownstreamError::Io(error)) if is_reset(error) => {
                self.upstream.reset_on_close();
            }
            SessionError::Upstream(error) if is_reset(error) && !self.refused => {
                self.downstream.reset_on_close();
            }
            SessionError::Upstream(_) if !self.refused => {}
            // A reset would take the client's last word away again.
            SessionError::Guard(_) | SessionError::Upstream(_) => {
                // In a box: what is rare does not make every session larger.
                let _ = Box::pin(timeout(LAST_WORD, self.downstream.say_last(text))).await;
            }
            SessionError::Downstream(_) | SessionError::Idle | SessionError::Drained(_) => {
                let _ = self.downstream.close();
                // What the socket takes at once: the connection is given up either way.
                let _ = poll_fn(|cx| Poll::Ready(self.downstream.poll_flush(cx))).await;
            }
            _ => {}
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::metrics::Metrics;
    use crate::wire::guard::{Guard, Mode};
    use crate::wire::mail::MailProtocol;

    const LONG: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_the_guard_holds_keeps_no_session_whose_server_is_gone() {
        let (mut client, downstream) = UnixStream::pair().unwrap();
        let (mut server, upstream) = UnixStream::pair().unwrap();
        // In a task of its own, which nothing wakes but what it waits for.
        let ended = tokio::spawn(async move {
            let metrics = Metrics::new("0").listener("imap");
            let downstream = Client::new(Socket::Unix(downstream)).in_clear();
            let guard = Guard::new(MailProtocol::Imap, Mode::Closed, &[]);
            let mut relay = Relay::new(
                Downstream::plain(downstream),
                Socket::Unix(upstream),
                None,
                Some(Box::new(Guarded::new(guard, Vec::new()))),
                &metrics,
            );
            relay.run(LONG).await
        });
        client.write_all(b"a NOOP\r\nb NOOP\r\n").await.unwrap();
        let mut first = [0; 8];
        server.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"a NOOP\r\n");
        drop(server);
        let ended = timeout(PATIENCE, ended).await;
        assert_eq!(ended.expect("it ends").unwrap().unwrap(), Ended::Done);
    }
}
