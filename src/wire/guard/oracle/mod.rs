//! A guard at work between a client and a server, for tests and fuzz targets.

pub(crate) mod imap;
pub(crate) mod managesieve;
pub(crate) mod pop3;

#[cfg(test)]
use proptest::prelude::*;

use crate::wire::guard::{Guard, GuardError, Mode};
use crate::wire::mail::MailProtocol;

/// What a server does where servers differ, at the will of a test; as if zeros followed.
pub(crate) struct Moods<'a>(&'a [u8]);

impl Moods<'_> {
    /// One of `n` things to do.
    fn next(&mut self, n: u8) -> u8 {
        let (mood, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        mood % n
    }
}

/// What came of a session.
#[derive(Debug, Eq, PartialEq)]
struct Outcome {
    /// All that went to the server.
    server: Vec<u8>,
    /// All that went to the client.
    client: Vec<u8>,
    /// How the guard ended the session.
    error: Option<GuardError>,
    /// Whether the client got in.
    is_done: bool,
}

/// How bytes come in.
enum Pieces {
    /// What the client says in two pieces, what the server says at once.
    SplitAt(usize),
    /// One by one.
    Single,
}

/// The server of a session.
pub(crate) trait Server<'a> {
    /// What it speaks.
    const PROTOCOL: MailProtocol;

    /// What of its words no client is to see.
    const WITHHELD: &'static [&'static str];

    /// One that has greeted, in these moods.
    fn new(moods: Moods<'a>) -> Self;

    /// What it says to what it has heard.
    fn answer(&mut self, heard: &[u8]) -> Vec<u8>;
}

/// Holds a session with a client that says `said`, in two pieces and byte by byte.
pub(crate) fn hold<'a, S: Server<'a>>(said: &[u8], split: usize, moods: &'a [u8]) {
    let outcome = play::<S>(said, Pieces::SplitAt(split), Moods(moods));
    assert_eq!(outcome, play::<S>(said, Pieces::Single, Moods(moods)));
    for word in S::WITHHELD {
        let mut windows = outcome.client.windows(word.len());
        let shown = windows.any(|window| window == word.as_bytes());
        assert!(!shown, "{word} in {}", outcome.client.escape_ascii());
    }
}

fn play<'a, S: Server<'a>>(said: &[u8], pieces: Pieces, moods: Moods<'a>) -> Outcome {
    let mut server = S::new(moods);
    let mut session = Session::new(S::PROTOCOL);
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
struct Session {
    guard: Guard,
    pending: Vec<u8>,
    /// What has gone to the server and was not looked at yet.
    server: Vec<u8>,
    /// What has gone to the client.
    client: Vec<u8>,
    /// How the guard ended the session.
    error: Option<GuardError>,
}

impl Session {
    /// A session whose server has greeted.
    fn new(protocol: MailProtocol) -> Self {
        Self {
            guard: Guard::new(protocol, Mode::Closed, &[]),
            pending: Vec::new(),
            server: Vec::new(),
            client: Vec::new(),
            error: None,
        }
    }

    /// Whether the guard is done or has ended the session.
    fn is_over(&self) -> bool {
        self.error.is_some() || self.guard.is_done()
    }

    /// The client says something.
    fn hear_client(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.advance();
    }

    /// The server says something.
    fn hear_server(&mut self, bytes: &[u8]) {
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

/// Who speaks, `C` or `S`, what, what the server is to get then, and what the client.
#[cfg(test)]
pub(crate) type Turn<'a> = (char, &'a str, &'a str, &'a str);

/// Plays a dialogue as it stands and byte by byte. Returns whether the client got in, and how
/// the guard ended the session.
#[cfg(test)]
pub(crate) fn dialogue(protocol: MailProtocol, turns: &[Turn<'_>]) -> (bool, Option<GuardError>) {
    let [end, again] = [usize::MAX, 1].map(|size| {
        let mut session = Session::new(protocol);
        for (who, said, server, client) in turns {
            for piece in said.as_bytes().chunks(size) {
                match who {
                    'C' => session.hear_client(piece),
                    _ => session.hear_server(piece),
                }
            }
            let seen = (
                String::from_utf8(std::mem::take(&mut session.server)).unwrap(),
                String::from_utf8(std::mem::take(&mut session.client)).unwrap(),
            );
            let expected = (server.to_string(), client.to_string());
            assert_eq!(seen, expected, "{who} {said:?}");
        }
        (session.guard.is_done(), session.error)
    });
    assert_eq!(end, again);
    end
}

/// What clients might say, well-meaning and otherwise: these words, and anything.
#[cfg(test)]
pub(crate) fn sayings(words: Vec<&'static str>) -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let any = prop::collection::vec(any::<u8>(), 1..4);
    prop::collection::vec(prop_oneof![9 => known, 1 => any], 0..24).prop_map(|words| words.concat())
}
