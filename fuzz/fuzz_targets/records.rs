//! Records of a client after the handshake, under good keys and not.

#![no_main]

use gatepost::tls::{Buffer, Session, Traffic};
use libfuzzer_sys::fuzz_target;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, SupportedCipherSuite};

const SUITES: [SupportedCipherSuite; 4] = [
    TLS13_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS13_CHACHA20_POLY1305_SHA256,
];

/// One end, whose keys are made of these bytes.
fn end(suite: SupportedCipherSuite, received: u8, sent: u8) -> Session {
    let is_chacha = format!("{:?}", suite.suite()).contains("CHACHA");
    let keys = |byte: u8| {
        let (key, iv) = ([byte; 32].into(), [byte; 12].into());
        let secrets = match is_chacha {
            true => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
            false => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        };
        (0, secrets)
    };
    let secrets = ExtractedSecrets {
        tx: keys(sent),
        rx: keys(received),
    };
    let length = if is_chacha { 32 } else { 48 };
    let traffic = Traffic::new(&vec![received; length], &vec![sent; length]);
    Session::new(suite, secrets, traffic).expect("suites of ours")
}

/// What the server makes of it: plaintext, answers, and how it ends.
fn heard(suite: SupportedCipherSuite, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, String) {
    let mut server = end(suite, 1, 2);
    let (mut plain, mut control, mut held) = (Buffer::take(), Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        match server.open(&held, &mut plain, &mut control) {
            Ok(opened) => {
                held.drain(..opened.consumed);
                if opened.closed {
                    return (plain.filled().to_vec(), control, "closed".to_owned());
                }
            }
            Err(error) => {
                let before = control.len();
                server.close(&mut control).expect("nothing is said");
                assert_eq!(control.len(), before, "the alert was the last");
                return (plain.filled().to_vec(), control, format!("{error:?}"));
            }
        }
    }
    (plain.filled().to_vec(), control, String::new())
}

fuzz_target!(|input: &[u8]| {
    let [suite, cut, input @ ..] = input else {
        return;
    };
    let suite = SUITES[usize::from(*suite) % SUITES.len()];
    let mut client = end(suite, 2, 1);
    let (mut wire, mut said) = (Vec::new(), Vec::new());
    let mut rest = input;
    // Each: a type, a length, and the content; the type 255 stands for bytes as they are.
    while let [typ, length, more @ ..] = rest {
        let (content, more) = more.split_at(usize::from(*length).min(more.len()));
        match typ {
            255 => wire.extend_from_slice(content),
            typ => client.say(*typ, content, &mut wire).expect("keys last"),
        }
        // In TLS 1.3 a type of zero is padding, and the type stands before it.
        let padded = content.iter().rposition(|byte| *byte != 0);
        match (*typ, padded) {
            (23, _) => said.extend_from_slice(content),
            (0, Some(end)) if suite.tls13().is_some() && content[end] == 23 => {
                said.extend_from_slice(&content[..end]);
            }
            _ => {}
        }
        rest = more;
    }
    let whole = heard(suite, &[&wire]);
    assert!(whole.0.len() <= wire.len() && said.starts_with(&whole.0));
    let at = usize::from(*cut) * wire.len() / 256;
    assert_eq!(
        heard(suite, &[&wire[..at], &wire[at..]]),
        whole,
        "in two pieces"
    );
});
