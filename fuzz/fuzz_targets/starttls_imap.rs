//! A client of an IMAP listener with STARTTLS, before TLS.

#![no_main]

mod preamble;

use gatepost::wire::mail::MailProtocol;
use libfuzzer_sys::fuzz_target;

const TARGET: preamble::Target = preamble::Target {
    protocol: MailProtocol::Imap,
    kept: 8192,
    is_answer: |line| {
        let mut words = line.split(|byte| *byte == b' ');
        let (tag, word) = (words.next(), words.next());
        let word = word.expect("a tag is not all");
        line.iter().all(|byte| matches!(byte, b' '..=b'~'))
            && match tag {
                Some(b"*") => matches!(word, b"OK" | b"BAD" | b"BYE" | b"CAPABILITY" | b"ID"),
                Some(tag) => !tag.is_empty() && matches!(word, b"OK" | b"NO" | b"BAD"),
                None => false,
            }
    },
};

fuzz_target!(|input: &[u8]| TARGET.run(input));
