//! The guard of a session at work, with what waits on its two sides.

use crate::proxy::inbound::Inbound;
use crate::tls::Buffer;
use crate::wire::guard::{Guard, GuardError, Taken};

/// A guard between both ends, and the bytes that are on their way through it.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Guard,
    /// From the client, and not to be looked at before the server has said more.
    held: Inbound,
    /// To the server.
    pub(super) up: Queue,
    /// To the client.
    pub(super) down: Queue,
    /// How the guard ended, once what is to be said to the client is said.
    end: Option<Result<(), GuardError>>,
    /// Whether it was counted that the server takes no password.
    counted: bool,
}

/// Bytes that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    sent: usize,
}

/// What a guard lets a session do next.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Go on.
    Guard,
    /// Go on without it; what the client has said that is still to be passed on.
    Release(Option<Buffer>),
    /// Begin TLS with the client.
    StartTls,
    /// End.
    End(GuardError),
}

impl Guarded {
    /// `greeting` is what the client is told first.
    pub(super) fn new(guard: Guard, greeting: Vec<u8>) -> Self {
        Self {
            guard,
            held: Inbound::default(),
            up: Queue::default(),
            down: Queue {
                bytes: greeting,
                sent: 0,
            },
            end: None,
            counted: false,
        }
    }

    /// Takes plaintext of the client; nothing may be held then.
    pub(super) fn client_said(&mut self, plain: Buffer) {
        debug_assert!(
            self.held.filled().is_empty(),
            "the client is not read while bytes of it are held"
        );
        self.held = Inbound::from(plain);
        self.advance();
    }

    /// Takes bytes of the server.
    pub(super) fn server_said(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            if let Err(error) = self.guard.server(bytes, &mut self.down.bytes) {
                self.end = Some(Err(error));
            }
            self.advance();
        }
    }

    /// Passes on what is held, as far as that can be done without the server.
    fn advance(&mut self) {
        while self.end.is_none() && !self.guard.is_done() && !self.held.filled().is_empty() {
            let held = self.held.filled();
            let taken = self
                .guard
                .client(held, &mut self.up.bytes, &mut self.down.bytes);
            match taken {
                Err(error) => self.end = Some(Err(error)),
                Ok(taken) if taken.start_tls => {
                    self.held.consume(taken.consumed);
                    self.end = Some(Ok(()));
                }
                Ok(Taken { consumed: 0, .. }) => break,
                Ok(taken) => self.held.consume(taken.consumed),
            }
        }
        // In just its own size while the server is waited for.
        self.held.park();
    }

    /// Whether the server has said, and it was not counted yet, that it takes no password.
    pub(super) fn is_found_disabled(&mut self) -> bool {
        let before = std::mem::replace(&mut self.counted, self.guard.login_is_disabled());
        self.counted && !before
    }

    /// Whether no more of the client may be read now.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.filled().is_empty() || self.end.is_some()
    }

    /// What is next, once everything for the client is sent.
    pub(super) fn verdict(&mut self) -> Verdict {
        match self.end {
            Some(Ok(())) if self.held.filled().is_empty() => Verdict::StartTls,
            Some(Ok(())) => Verdict::End(GuardError::Injection),
            Some(Err(error)) => Verdict::End(error),
            None if self.guard.is_done() && self.up.is_empty() => {
                Verdict::Release(std::mem::take(&mut self.held).into_buffer())
            }
            None => Verdict::Guard,
        }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is still to be sent.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Notes that `n` bytes were sent. An empty queue holds no memory.
    pub(super) fn sent(&mut self, n: usize) {
        self.sent += n;
        if self.rest().is_empty() {
            *self = Self::default();
        }
    }

    /// Moves as much into an empty buffer as fits in there and may be sealed.
    pub(super) fn fill(&mut self, plain: &mut Buffer) {
        let room = plain.plaintext_room().len();
        let rest = self.rest();
        let n = plain.append(rest.get(..room).unwrap_or(rest));
        self.sent(n);
    }
}
