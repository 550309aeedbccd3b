//! What mail servers say before it is the client's turn, and to a question after that. Two bytes
//! choose the protocol and what is to be done; 0xff ends what the server says at once, where TLS
//! may begin.

#![no_main]

use gatepost::wire::mail::MailProtocol;
use gatepost::wire::opening::{
    Client, Inquiry, Opened, Opening, Plan, Reply, Step, Tell, announced,
};
use libfuzzer_sys::fuzz_target;

const PROTOCOLS: [MailProtocol; 5] = [
    MailProtocol::Smtp,
    MailProtocol::Imap,
    MailProtocol::Pop3,
    MailProtocol::ManageSieve,
    MailProtocol::Submission,
];

/// The most that all commands of an opening come to.
const MAX_SAID: usize = 1024;

fuzz_target!(|input: &[u8]| {
    let [protocol, wishes, spoken @ ..] = input else {
        return;
    };
    let protocol = PROTOCOLS[usize::from(*protocol) % PROTOCOLS.len()];
    let whole = converse(protocol, plan(*wishes), spoken, usize::MAX);
    for piece in [1, 3] {
        let parts = converse(protocol, plan(*wishes), spoken, piece);
        assert_eq!(whole, parts);
    }
    assert!(whole.0.len() <= MAX_SAID);
    if let Ok(Some(opened)) = &whole.1 {
        let said = announced(protocol, opened);
        let is_printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(is_printable(&said.banner) && said.banner.len() <= 200);
        assert!(said.capabilities.iter().all(|entry| is_printable(entry)));
    }
    assert_eq!(
        inquire(protocol, spoken, usize::MAX),
        inquire(protocol, spoken, 1)
    );
});

/// The answer to a question, and how much of what is said it takes.
fn inquire(
    protocol: MailProtocol,
    spoken: &[u8],
    piece: usize,
) -> Result<(usize, Option<Reply>), String> {
    let mut said = Vec::new();
    let mut inquiry = Inquiry::capabilities(protocol, "gate.example.net", &mut said);
    let mut taken = 0;
    for piece in spoken.chunks(piece) {
        let (length, reply) = inquiry.receive(piece).map_err(|error| error.to_string())?;
        taken += length;
        if reply.is_some() {
            return Ok((taken, reply));
        }
    }
    Ok((taken, None))
}

fn plan(wishes: u8) -> Plan {
    let client = Client {
        source: ([192, 0, 2, 44], 4711).into(),
        destination: ([198, 51, 100, 1], 993).into(),
    };
    let wish = |bit: u8| wishes & 1 << bit != 0;
    Plan {
        own_name: "gate.example.net".to_owned(),
        starttls: wish(0),
        handover: wish(1),
        probe: wish(2),
        tell: match (wish(3), wish(4)) {
            (false, _) => Tell::Nothing,
            (true, false) => Tell::Xclient(client),
            (true, true) => Tell::ImapId(client),
        },
        hello: wish(5).then(|| b"EHLO client.example\r\n".to_vec()),
    }
}

/// All that is said to the server, and what comes of it; `None` if it has not said enough.
fn converse(
    protocol: MailProtocol,
    plan: Plan,
    spoken: &[u8],
    piece: usize,
) -> (Vec<u8>, Result<Option<Opened>, String>) {
    let mut opening = Opening::new(protocol, plan);
    let mut said = Vec::new();
    for turn in spoken.split(|&byte| byte == 0xff) {
        let mut step = Step::More;
        for piece in turn.chunks(piece) {
            match opening.receive(piece, &mut said) {
                Ok(received) => step = received.step,
                Err(error) => return (said, Err(error.to_string())),
            }
            if matches!(step, Step::Done(_)) {
                break;
            }
        }
        if matches!(step, Step::StartTls) {
            match opening.encrypted(&mut said) {
                Ok(next) => step = next,
                Err(error) => return (said, Err(error.to_string())),
            }
        }
        if let Step::Done(opened) = step {
            return (said, Ok(Some(opened)));
        }
    }
    let closed = opening.closed();
    (said, Ok(closed))
}
