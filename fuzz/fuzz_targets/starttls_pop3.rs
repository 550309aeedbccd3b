//! A client of a POP3 listener with STLS, before TLS.

#![no_main]

mod preamble;

use gatepost::wire::mail::MailProtocol;
use libfuzzer_sys::fuzz_target;

const TARGET: preamble::Target = preamble::Target {
    protocol: MailProtocol::Pop3,
    kept: 2048,
    is_answer: |line| {
        let is_status = line.starts_with(b"+OK ") || line.starts_with(b"-ERR ");
        let timestamp = is_status && line.iter().any(|byte| matches!(byte, b'<' | b'>'));
        // Lines of CAPA have no form of their own, but only the last begins with a dot.
        let is_end = line == b".";
        !timestamp
            && line.iter().all(|byte| matches!(byte, b' '..=b'~'))
            && (is_end || !line.is_empty() && !line.starts_with(b"."))
    },
};

fuzz_target!(|input: &[u8]| TARGET.run(input));
