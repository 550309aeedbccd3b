//! A client of an SMTP listener with STARTTLS, before TLS.

#![no_main]

mod preamble;

use gatepost::wire::mail::MailProtocol;
use libfuzzer_sys::fuzz_target;

const TARGET: preamble::Target = preamble::Target {
    protocol: MailProtocol::Smtp,
    kept: 12_288,
    is_answer: |line| {
        let (code, text) = line.split_at(3);
        code.iter().all(u8::is_ascii_digit)
            && matches!(text, [b' ' | b'-', _, ..])
            && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
    },
};

fuzz_target!(|input: &[u8]| TARGET.run(input));
