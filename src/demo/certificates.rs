//! A certificate of every rank, made on the spot.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

/// Who signs a certificate of the demo.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Signer {
    /// The demo's CA.
    Trusted,
    /// A CA that nobody knows.
    Unknown,
    /// Its own key.
    Itself,
}

/// One line of the selection table, and how to see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// 1 to 9.
    pub(super) rank: u8,
    /// What the rank is for.
    pub(super) meaning: &'static str,
    /// The certificate expected, as `cert list` calls it.
    pub(super) name: &'static str,
    /// A name that gets it.
    pub(super) asked: &'static str,
}

/// NAME of the certificate that is served where no other matches.
const DEFAULT: &str = "server";

/// All nine ranks. The expired exact name lies under the trusted wildcard, and wins all the
/// same: that is the documented order.
pub(super) const CASES: [Case; 9] = [
    case(1, "trusted, exact name", "mail.demo.test", "mail.demo.test"),
    case(
        2,
        "self-signed, exact name",
        "self.demo.test",
        "self.demo.test",
    ),
    case(3, "valid, exact name", "valid.demo.test", "valid.demo.test"),
    case(4, "expired, exact name", "old.demo.test", "old.demo.test"),
    case(5, "trusted, wildcard", "_.demo.test", "any.demo.test"),
    case(6, "self-signed, wildcard", "_.self.test", "any.self.test"),
    case(7, "valid, wildcard", "_.valid.test", "any.valid.test"),
    case(8, "expired, wildcard", "_.old.test", "any.old.test"),
    case(9, "default certificate", DEFAULT, "unknown.test"),
];

const fn case(rank: u8, meaning: &'static str, name: &'static str, asked: &'static str) -> Case {
    Case {
        rank,
        meaning,
        name,
        asked,
    }
}

/// Why the certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// No key or no signature.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The folder could not be written.
    #[error("cannot write the certificate folder")]
    Write(#[from] io::Error),
    /// The clock says something that no certificate can.
    #[error("the system's clock is out of range")]
    Clock(#[from] time::error::ComponentRange),
}

/// Fills `directory` with a certificate for every rank; the CA that signs the trusted ones goes to
/// the file `ca`, and is returned.
pub(super) fn make(
    directory: &Path,
    ca: &Path,
    now: UnixTime,
) -> Result<CertificateDer<'static>, CertificatesError> {
    let now =
        OffsetDateTime::from_unix_timestamp(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))?;
    let trusted = authority("Gatepost demo CA", now)?;
    let unknown = authority("A CA that nobody knows", now)?;
    fs::create_dir_all(directory)?;
    fs::write(ca, trusted.pem())?;
    for case in &CASES {
        let key = KeyPair::generate()?;
        let params = end_entity(case, now)?;
        let certificate = match signer(case.rank) {
            Signer::Trusted => params.signed_by(&key, &trusted)?,
            Signer::Unknown => params.signed_by(&key, &unknown)?,
            Signer::Itself => params.self_signed(&key)?,
        };
        write_private(
            &directory.join(format!("{}.key", case.name)),
            &key.serialize_pem(),
        )?;
        fs::write(
            directory.join(format!("{}.crt", case.name)),
            certificate.pem(),
        )?;
    }
    fs::write(directory.join("default"), format!("{DEFAULT}\n"))?;
    Ok(trusted.der().clone())
}

fn signer(rank: u8) -> Signer {
    match rank {
        2 | 6 | 9 => Signer::Itself,
        3 | 7 => Signer::Unknown,
        _ => Signer::Trusted,
    }
}

fn authority(
    name: &str,
    now: OffsetDateTime,
) -> Result<CertifiedIssuer<'static, KeyPair>, CertificatesError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = now - Duration::from_secs(100 * DAY);
    params.not_after = now + Duration::from_secs(100 * DAY);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

const DAY: u64 = 86_400;

fn end_entity(case: &Case, now: OffsetDateTime) -> Result<CertificateParams, CertificatesError> {
    let covered = match case.name {
        DEFAULT => "localhost".to_owned(),
        name => name.replacen("_.", "*.", 1),
    };
    let expired = matches!(case.rank, 4 | 8);
    let mut params = CertificateParams::new([covered.clone()])?;
    params.distinguished_name = common_name(&covered);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - Duration::from_secs(30 * DAY);
    params.not_after = if expired {
        now - Duration::from_secs(DAY)
    } else {
        now + Duration::from_secs(60 * DAY)
    };
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// A key is for its owner alone from the first instant.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::time::Clock;

    #[test]
    fn every_rank_has_a_pair() {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        make(directory.path(), &ca, Clock::System.now()).unwrap();
        for case in CASES {
            let path = |extension| directory.path().join(format!("{}.{extension}", case.name));
            let certificate = fs::read_to_string(path("crt")).unwrap();
            assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
            let mode = fs::metadata(path("key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", case.name);
        }
    }

    #[test]
    fn the_cases_are_the_nine_ranks() {
        assert!(CASES.iter().map(|case| case.rank).eq(1..=9));
    }
}
