//! A guard at work between a client and a server, for tests and fuzz targets.

pub(crate) mod imap;

use crate::wire::guard::{Guard, GuardError, Mode};
use crate::wire::mail::MailProtocol;

/// What came of a session.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// All that went to the server.
    pub(crate) server: Vec<u8>,
    /// All that went to the client.
    pub(crate) client: Vec<u8>,
    /// How the guard ended the session.
    pub(crate) error: Option<GuardError>,
    /// Whether the client got in.
    pub(crate) is_done: bool,
}

/// How bytes come in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pieces {
    /// What the client says in two pieces, what the server says at once.
    SplitAt(usize),
    /// One by one.
    Single,
}

/// The server of a session.
pub(crate) trait Server {
    /// What it says to what it has heard.
    fn answer(&mut self, heard: &[u8]) -> Vec<u8>;
}

/// Lets a client say `said` to a server that has greeted.
pub(crate) fn play(
    protocol: MailProtocol,
    said: &[u8],
    server: &mut impl Server,
    pieces: Pieces,
) -> Outcome {
    let mut session = Session::new(protocol);
    let (size, (first, second)) = match pieces {
        Pieces::SplitAt(at) => (usize::MAX, said.split_at(at.min(said.len()))),
        Pieces::Single => (1, (said, &[][..])),
    };
    let mut heard = Vec::new();
    for piece in [first, second].iter().flat_map(|part| part.chunks(size)) {
        session.hear_client(piece);
        while !session.is_over() && !session.server.is_empty() {
            let answer = server.answer(&session.server);
            heard.append(&mut session.server);
            answer
                .chunks(size)
                .for_each(|part| session.hear_server(part));
        }
    }
    heard.append(&mut session.server);
    Outcome {
        server: heard,
        is_done: session.guard.is_done(),
        client: session.client,
        error: session.error,
    }
}

/// A session as its two ends see it.
pub(crate) struct Session {
    guard: Guard,
    pending: Vec<u8>,
    /// What has gone to the server and was not looked at yet.
    pub(crate) server: Vec<u8>,
    /// What has gone to the client.
    pub(crate) client: Vec<u8>,
    /// How the guard ended the session.
    pub(crate) error: Option<GuardError>,
}

impl Session {
    /// A session whose server has greeted.
    pub(crate) fn new(protocol: MailProtocol) -> Self {
        Self {
            guard: Guard::new(protocol, Mode::Closed, &[]),
            pending: Vec::new(),
            server: Vec::new(),
            client: Vec::new(),
            error: None,
        }
    }

    /// Whether the guard is done or has ended the session.
    pub(crate) fn is_over(&self) -> bool {
        self.error.is_some() || self.guard.is_done()
    }

    /// The client says something.
    pub(crate) fn hear_client(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.advance();
    }

    /// The server says something.
    pub(crate) fn hear_server(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.guard.server(bytes, &mut self.client).err();
            self.advance();
        }
    }

    fn advance(&mut self) {
        while !self.is_over() && !self.pending.is_empty() {
            let taken = self
                .guard
                .client(&self.pending, &mut self.server, &mut self.client);
            match taken {
                Ok(taken) if taken.consumed == 0 => return,
                Ok(taken) => drop(self.pending.drain(..taken.consumed)),
                Err(error) => self.error = Some(error),
            }
        }
    }
}
