//! Certificates for the tests of the choice: facts only, no bytes to parse, one shared key.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any};
use proptest::sample::{select, subsequence};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::cert::testing::{new_key, private_key};
use crate::cert::{
    CertIndex, Certificate, ClientCapabilities, ClientKind, Credential, DnsName, KeyType,
    NamePattern, NameSource, Order, PrivateKey, Query, Selected, Selection, Standing, UnknownName,
    Validity,
};

/// In date from 1000 to 1999, *valid*, ECDSA, and without names, unless told otherwise.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) names: Vec<&'static str>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) name_source: NameSource,
    pub(super) period: (i64, i64),
    pub(super) trusted: Option<(i64, i64)>,
    pub(super) self_signed: bool,
    pub(super) key_type: KeyType,
    pub(super) fingerprint: u8,
}

pub(super) fn sample(name: &str, names: &[&'static str]) -> Sample {
    Sample {
        name: name.to_owned(),
        names: names.to_vec(),
        addresses: Vec::new(),
        name_source: NameSource::SubjectAltName,
        period: (1000, 1999),
        trusted: None,
        self_signed: false,
        key_type: KeyType::EcdsaP256,
        fingerprint: 7,
    }
}

impl Sample {
    pub(super) fn trusted(self) -> Self {
        let trusted = Some(self.period);
        Self { trusted, ..self }
    }

    pub(super) fn self_signed(self) -> Self {
        Self {
            self_signed: true,
            ..self
        }
    }

    pub(super) fn common_name(self) -> Self {
        Self {
            name_source: NameSource::CommonName,
            ..self
        }
    }

    pub(super) fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.parse().unwrap());
        self
    }

    pub(super) fn period(self, not_before: i64, not_after: i64) -> Self {
        Self {
            period: (not_before, not_after),
            ..self
        }
    }

    pub(super) fn key(self, key_type: KeyType) -> Self {
        Self { key_type, ..self }
    }

    pub(super) fn fingerprint(self, fingerprint: u8) -> Self {
        Self {
            fingerprint,
            ..self
        }
    }

    pub(super) fn load(&self) -> Arc<Credential> {
        static KEY: LazyLock<PrivateKey> = LazyLock::new(|| private_key(&new_key()));
        let validity = |(not_before, not_after)| Validity {
            not_before,
            not_after,
        };
        let names = self.names.iter().map(|name| NamePattern::parse(name));
        Arc::new(Credential {
            name: self.name.as_str().into(),
            certificate: Certificate {
                der: CertificateDer::from(Vec::new()),
                names: names.map(Result::unwrap).collect(),
                addresses: self.addresses.clone(),
                name_source: self.name_source,
                validity: validity(self.period),
                key_type: self.key_type,
                spki: 0..0,
                self_signed: self.self_signed,
                sha256: [self.fingerprint; 32],
                problems: Vec::new(),
            },
            standing: Standing {
                validity: validity(self.period),
                trusted: self.trusted.map(validity).into_iter().collect(),
                self_signed: self.self_signed,
            },
            problems: Vec::new(),
            intermediates: Arc::default(),
            key: KEY.clone(),
            certified: OnceLock::new(),
        })
    }
}

pub(super) fn load(samples: &[Sample]) -> Vec<Arc<Credential>> {
    samples.iter().map(Sample::load).collect()
}

pub(super) fn at(second: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(second))
}

/// A [`Query`] that owns its names.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) server_name: Option<DnsName>,
    pub(super) assumed: Option<DnsName>,
    pub(super) local: Option<IpAddr>,
    pub(super) client: ClientCapabilities,
    pub(super) unknown_name: UnknownName,
}

impl Ask {
    /// A modern client that asks for `name`; for none if that is `-`.
    pub(super) fn name(name: &str) -> Self {
        let parse = |name| DnsName::parse(name).unwrap();
        Self {
            server_name: (name != "-").then(|| parse(name)),
            assumed: None,
            local: None,
            client: ClientCapabilities::ALL,
            unknown_name: UnknownName::Default,
        }
    }

    pub(super) fn client(self, kind: ClientKind) -> Self {
        Self {
            client: kind.into(),
            ..self
        }
    }

    pub(super) fn query(&self) -> Query<'_> {
        Query {
            server_name: self.server_name.as_ref(),
            assumed: self.assumed.as_ref(),
            local: self.local,
            client: self.client,
            unknown_name: self.unknown_name,
        }
    }
}

/// `NAME rank matched`, `rejected` or `no-usable-key`.
pub(super) fn answer(index: &CertIndex, ask: &Ask, now: u64) -> String {
    match index.select(&ask.query(), at(now)) {
        Selected::Served(Selection {
            credential,
            rank,
            matched,
        }) => format!("{} {rank} {}", credential.name, matched.as_str()),
        Selected::Rejected => "rejected".to_owned(),
        Selected::NoUsableKey => "no-usable-key".to_owned(),
    }
}

const PATTERNS: [&str; 6] = ["a.x", "b.x", "*.x", "x", "a.b.x", "*.b.x"];
const ADDRESSES: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
const KEYS: [KeyType; 4] = [
    KeyType::EcdsaP256,
    KeyType::EcdsaP384,
    KeyType::Rsa(2048),
    KeyType::Ed25519,
];

/// Times lie so close together that everything collides now and then.
fn period() -> impl Strategy<Value = (i64, i64)> {
    (0..12_i64, 0..12_i64).prop_map(|(start, length)| (start, start + length))
}

fn address() -> impl Strategy<Value = IpAddr> {
    select(&ADDRESSES[..]).prop_map(|address| address.parse().unwrap())
}

pub(super) fn any_sample() -> impl Strategy<Value = Sample> {
    let names = subsequence(&PATTERNS[..], 0..4);
    let source = select(vec![NameSource::SubjectAltName, NameSource::CommonName]);
    (
        (names, vec(address(), 0..2), source),
        (period(), option::of(period()), any::<bool>()),
        (select(&KEYS[..]), 0..3_u8),
    )
        .prop_map(
            |(
                (names, addresses, name_source),
                (period, trusted, self_signed),
                (key_type, fingerprint),
            )| Sample {
                name: String::new(),
                names,
                addresses,
                name_source,
                period,
                trusted,
                self_signed,
                key_type,
                fingerprint,
            },
        )
}

/// Up to `most` certificates whose NAMEs differ.
pub(super) fn any_samples(most: usize) -> impl Strategy<Value = Vec<Sample>> {
    vec(any_sample(), 0..=most).prop_map(|mut samples| {
        for (number, sample) in samples.iter_mut().enumerate() {
            sample.name = format!("certificate-{number}");
        }
        samples
    })
}

pub(super) fn any_order() -> impl Strategy<Value = Order> {
    select(vec![Order::Kerio, Order::Safe])
}

pub(super) fn any_ask() -> impl Strategy<Value = Ask> {
    let name = || {
        let names = select(vec!["a.x", "b.x", "c.x", "x", "a.b.x", "elsewhere.example"]);
        option::of(names.prop_map(|name| DnsName::parse(name).unwrap()))
    };
    let client = select(vec![
        ClientKind::Modern,
        ClientKind::Tls12,
        ClientKind::RsaOnly,
        ClientKind::EcdsaOnly,
    ]);
    let unknown_name = select(vec![UnknownName::Default, UnknownName::Reject]);
    (name(), name(), option::of(address()), client, unknown_name).prop_map(
        |(server_name, assumed, local, client, unknown_name)| Ask {
            server_name,
            assumed,
            local,
            client: client.into(),
            unknown_name,
        },
    )
}
