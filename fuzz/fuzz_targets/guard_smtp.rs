//! SMTP sessions with a client that says anything.
//!
//! The first byte is the kind of server, the second the kind of session, the next eight decide
//! what the server answers and where the bytes are cut. The rest is what the client says.

#![no_main]

use gatepost::wire::guard::{Guard, GuardError, Mode};
use gatepost::wire::mail::MailProtocol;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/wire/guard/smtp/tests/oracle.rs"]
mod oracle;

fuzz_target!(|bytes: &[u8]| {
    let Some(([server, session, choices @ ..], client)) = bytes.split_first_chunk::<10>() else {
        return;
    };
    let setting = oracle::Setting {
        mode: if session & 1 == 0 {
            Mode::Closed
        } else {
            Mode::Open
        },
        known: session & 2 != 0,
        server: oracle::Server::from_bits(*server),
        choices: choices.to_vec(),
        cut: session & 4 != 0,
    };
    let outcome = oracle::hold(&setting, client);
    assert!(outcome.error.is_none() || !outcome.start_tls);
});
