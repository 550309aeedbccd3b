//! Certificates for the tests of this module, made on the spot.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;

use crate::cert::{PrivateKey, Validity};

/// The day on which the tests take place.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) const DAY: i64 = 24 * 60 * 60;

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// An end-entity certificate and its key.
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl Leaf {
    pub(crate) fn private_key(&self) -> PrivateKey {
        private_key(&self.key)
    }
}

/// From the beginning of one day to the end of another, counted from [`NOW`].
pub(crate) fn days(first: i64, last: i64) -> Validity {
    Validity {
        not_before: NOW + first * DAY,
        not_after: NOW + (last + 1) * DAY - 1,
    }
}

pub(crate) fn at(seconds: i64) -> UnixTime {
    let seconds = u64::try_from(seconds).unwrap();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(crate) fn same_key(key: &KeyPair) -> KeyPair {
    KeyPair::try_from(key.serialized_der()).unwrap()
}

pub(crate) fn private_key(key: &KeyPair) -> PrivateKey {
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    PrivateKey::from_der(der).unwrap()
}

pub(crate) fn params(common_name: &str, names: &[&str], period: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    params.not_before = OffsetDateTime::from_unix_timestamp(period.not_before).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(period.not_after).unwrap();
    params
}

pub(crate) fn ca_params(name: &str, period: Validity) -> CertificateParams {
    let mut params = params(name, &[], period);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub(crate) fn root(name: &str, period: Validity) -> Authority {
    CertifiedIssuer::self_signed(ca_params(name, period), new_key()).unwrap()
}

/// An intermediate with a key of its own, or with that of another certificate.
pub(crate) fn intermediate(
    name: &str,
    period: Validity,
    key: KeyPair,
    issuer: &Issuer<'_, KeyPair>,
) -> Authority {
    CertifiedIssuer::signed_by(ca_params(name, period), key, issuer).unwrap()
}

pub(crate) fn issued(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Leaf {
    let key = new_key();
    let der = params.signed_by(&key, issuer).unwrap().der().clone();
    Leaf { der, key }
}

pub(crate) fn self_signed(params: &CertificateParams) -> Leaf {
    let key = new_key();
    let der = params.self_signed(&key).unwrap().der().clone();
    Leaf { der, key }
}

/// What `openssl` prints; it makes what our own libraries rightly refuse to.
pub(crate) fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("the program openssl is needed to run this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {errors}");
    output.stdout
}

/// A self-signed certificate and its key as PEM, made by `openssl req -x509`.
pub(crate) fn openssl_self_signed(arguments: &[&str]) -> Vec<u8> {
    let mut all = vec!["req", "-x509", "-nodes", "-days", "30", "-keyout", "-"];
    all.extend(arguments);
    openssl(&all)
}
