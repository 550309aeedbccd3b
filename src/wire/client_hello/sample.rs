//! ClientHellos as clients write them: for the tests here, and of the TLS that answers them.

use super::hello::{
    EC_POINT_FORMATS, KEY_SHARE, SERVER_NAME, SIGNATURE_ALGORITHMS, SUPPORTED_GROUPS,
    SUPPORTED_VERSIONS,
};
use super::{CLIENT_HELLO, ClientHello, HANDSHAKE, peek};

/// What a client is to say; [`Sample::record`] says it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) version: u16,
    pub(crate) suites: Vec<u16>,
    pub(crate) compressions: Vec<u8>,
    pub(crate) extensions: Vec<(u16, Vec<u8>)>,
}

impl Sample {
    /// A client that knows no extensions.
    pub(crate) fn new(version: u16, suites: &[u16]) -> Self {
        Self {
            version,
            suites: suites.to_vec(),
            compressions: vec![0],
            extensions: Vec::new(),
        }
    }

    pub(crate) fn suites(self, suites: &[u16]) -> Self {
        let suites = suites.to_vec();
        Self { suites, ..self }
    }

    /// In the place of one of the same kind.
    pub(crate) fn extension(self, kind: u16, value: &[u8]) -> Self {
        let mut changed = self.without(kind);
        changed.extensions.push((kind, value.to_vec()));
        changed
    }

    pub(crate) fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(other, _)| *other != kind);
        self
    }

    pub(crate) fn server_name(self, name: &[u8]) -> Self {
        self.extension(SERVER_NAME, &host_name(name))
    }

    pub(crate) fn groups(self, groups: &[u16]) -> Self {
        self.extension(SUPPORTED_GROUPS, &list(groups))
    }

    pub(crate) fn schemes(self, schemes: &[u16]) -> Self {
        self.extension(SIGNATURE_ALGORITHMS, &list(schemes))
    }

    pub(crate) fn versions(self, versions: &[u16]) -> Self {
        let value = list(versions);
        // The length has one byte only.
        self.extension(SUPPORTED_VERSIONS, &value[1..])
    }

    pub(crate) fn point_formats(self, formats: &[u8]) -> Self {
        let length = u8::try_from(formats.len()).unwrap();
        self.extension(EC_POINT_FORMATS, &[&[length], formats].concat())
    }

    /// With a share for X25519, or with none yet.
    pub(crate) fn key_share(self, x25519: bool) -> Self {
        match x25519 {
            false => self.extension(KEY_SHARE, &[0, 0]),
            true => {
                let entry = [&[0, 0x1d, 0, 32][..], &[9; 32]].concat();
                self.extension(KEY_SHARE, &[&[0, 36], &entry[..]].concat())
            }
        }
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        let extensions = self.extensions.iter();
        let extensions: Vec<u8> = extensions
            .flat_map(|(kind, value)| extension(*kind, value))
            .collect();
        let tail = match extensions.is_empty() {
            true => Vec::new(),
            false => [&u16_length(&extensions)[..], &extensions].concat(),
        };
        let compressions = u8::try_from(self.compressions.len()).unwrap();
        let body = [
            &self.version.to_be_bytes()[..],
            &[7; 32],
            &[0],
            &list(&self.suites),
            &[compressions],
            &self.compressions,
            &tail,
        ];
        message(&body.concat())
    }

    /// In one record.
    pub(crate) fn record(&self) -> Vec<u8> {
        records(&self.message(), 16384)
    }

    /// As it is read.
    pub(crate) fn hello(&self) -> ClientHello {
        peek(&self.record()).unwrap().unwrap()
    }
}

pub(super) fn u16_length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

pub(super) fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &u16_length(value), value].concat()
}

/// The value of a server_name extension.
pub(super) fn host_name(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &u16_length(name), name].concat();
    [&u16_length(&entry)[..], &entry].concat()
}

/// A list of numbers with its length.
pub(super) fn list(numbers: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    [&u16_length(&bytes)[..], &bytes].concat()
}

pub(super) fn message(body: &[u8]) -> Vec<u8> {
    let [high, low] = u16_length(body);
    [&[CLIENT_HELLO, 0, high, low][..], body].concat()
}

/// `message` in records of at most `size` bytes.
pub(super) fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for fragment in message.chunks(size) {
        records.extend_from_slice(&[HANDSHAKE, 3, 1]);
        records.extend_from_slice(&u16_length(fragment));
        records.extend_from_slice(fragment);
    }
    records
}
