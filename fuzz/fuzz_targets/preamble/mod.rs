//! One plaintext phase, fed as a client that wishes us no good would feed it.

use gatepost::wire::announced::Announced;
use gatepost::wire::mail::MailProtocol;
use gatepost::wire::starttls::{Policy, Preamble, Reason, Step};

/// One protocol, and what must hold for it.
pub struct Target {
    pub protocol: MailProtocol,
    /// The most that may be kept of a command.
    pub kept: usize,
    /// Whether a server of the protocol may say this line.
    pub is_answer: fn(&[u8]) -> bool,
}

/// What a phase came to.
struct Run {
    answer: Vec<u8>,
    consumed: usize,
    step: Step,
}

impl Target {
    /// `input`: a byte that chooses policy and sizes of pieces; if there is a byte 0xFF, what a
    /// server announces stands before it, the banner in the first line; then what the client says.
    pub fn run(&self, input: &[u8]) {
        let Some((&control, input)) = input.split_first() else {
            return;
        };
        let (announced, said) = match input.iter().position(|byte| *byte == 0xff) {
            Some(end) => (Some(announced(&input[..end])), &input[end + 1..]),
            None => (None, input),
        };
        let policy = match control % 2 {
            0 => Policy::Required,
            _ => Policy::Optional,
        };
        let new = || {
            Preamble::new(
                self.protocol,
                policy,
                "mail.example.com",
                announced.as_ref(),
            )
        };
        self.check_lines(&new().greeting());
        let whole = self.feed(new(), [said].into_iter());
        let pieces = self.feed(new(), pieces(said, control));
        self.check_lines(&whole.answer);
        match (&whole.step, &pieces.step) {
            // Cut just behind STARTTLS: what comes then is not for the phase to see.
            (Step::Close(Reason::Injection), Step::StartTls) => {
                assert!(pieces.consumed < said.len());
            }
            (step, other) => assert_eq!((step, &whole.answer), (other, &pieces.answer)),
        }
        match &whole.step {
            Step::Forward(forward) => {
                assert_eq!(pieces.consumed, whole.consumed);
                assert!(said[..whole.consumed].ends_with(&forward.command));
            }
            _ => assert_eq!(whole.consumed, said.len()),
        }
    }

    fn feed<'a>(&self, mut preamble: Preamble, pieces: impl Iterator<Item = &'a [u8]>) -> Run {
        let mut run = Run {
            answer: Vec::new(),
            consumed: 0,
            step: Step::More,
        };
        for piece in pieces {
            let received = preamble.receive(piece, &mut run.answer);
            assert!(preamble.kept() <= self.kept);
            assert!(received.consumed <= piece.len());
            run.consumed += received.consumed;
            run.step = received.step;
            if run.step != Step::More {
                break;
            }
            assert_eq!(received.consumed, piece.len());
        }
        run
    }

    fn check_lines(&self, answer: &[u8]) {
        let mut rest = answer;
        while let Some(end) = rest
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            let (line, after) = rest.split_at(end);
            assert!((self.is_answer)(line), "{}", line.escape_ascii());
            rest = after.strip_prefix(b"\r\n").expect("a line ends in CRLF");
        }
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }
}

fn announced(text: &[u8]) -> Announced {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split('\n').map(str::to_owned);
    Announced {
        banner: lines.next().unwrap_or_default(),
        capabilities: lines.collect(),
    }
}

/// `said` in pieces of sizes that differ from seed to seed.
fn pieces(said: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    let mut rest = said;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let largest = [1, 4, 64, 4096][usize::from(seed / 2 % 4)];
        let size = (state >> 16) as usize % largest + 1;
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
