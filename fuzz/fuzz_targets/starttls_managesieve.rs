//! A client of a ManageSieve listener with STARTTLS, before TLS.

#![no_main]

mod preamble;

use gatepost::wire::mail::MailProtocol;
use libfuzzer_sys::fuzz_target;

const TARGET: preamble::Target = preamble::Target {
    protocol: MailProtocol::ManageSieve,
    // A line, or a literal and the line behind it.
    kept: 4096 + 2048,
    is_answer: |line| {
        let starts: [&[u8]; 6] = [
            b"\"",
            b"OK \"",
            b"OK (TAG \"",
            b"NO \"",
            b"NO (ENCRYPT-NEEDED) \"",
            b"BYE \"",
        ];
        starts.iter().any(|start| line.starts_with(start)) && line.ends_with(b"\"")
    },
};

fuzz_target!(|input: &[u8]| TARGET.run(input));
