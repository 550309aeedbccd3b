//! ManageSieve sessions with a client that says anything until it is logged in.
//!
//! The first byte says where the client's words are cut, the next sixteen what the server does
//! where servers differ. The rest is what the client says.

#![no_main]

use gatepost::wire;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "each target needs the server of one protocol")]
#[path = "../../src/wire/guard/oracle/mod.rs"]
mod oracle;

fuzz_target!(|input: &[u8]| {
    if let Some(([split, moods @ ..], said)) = input.split_first_chunk::<17>() {
        oracle::hold::<oracle::managesieve::ManageSieve<'_>>(said, usize::from(*split), moods);
    }
});
