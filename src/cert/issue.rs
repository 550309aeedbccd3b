//! New keys and self-signed certificates.
//!
//! Makes PEM text from what was asked for; where it is kept is for `store`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::rand;
use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};
use rustls_pki_types::{PrivateKeyDer, UnixTime};
use time::OffsetDateTime;

use crate::cert::{Identity, NamePattern, PrivateKey};

/// Longest period that is issued: a hundred years.
const MAX_DAYS: u32 = 36_500;

/// Longest common name, organisation and unit (RFC 5280 appendix A.1), in characters.
const MAX_NAME: usize = 64;

/// Longest city and state (RFC 5280 appendix A.1), in characters.
const MAX_PLACE: usize = 128;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Key algorithms that can be asked for (`--key-type`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyAlgorithm {
    /// `ecdsa-p256`
    #[default]
    EcdsaP256,
    /// `ecdsa-p384`
    EcdsaP384,
    /// `rsa-2048`
    Rsa2048,
    /// `rsa-3072`
    Rsa3072,
    /// `rsa-4096`
    Rsa4096,
    /// `ed25519`
    Ed25519,
}

impl KeyAlgorithm {
    /// All of them, the default first.
    pub const ALL: [Self; 6] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::Ed25519,
    ];

    /// The name in commands and in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Ed25519 => "ed25519",
        }
    }

    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        match self {
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = IssueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut known = Self::ALL.into_iter();
        known
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| IssueError::UnknownKeyType {
                found: text.to_owned(),
            })
    }
}

/// Fields of the distinguished name, as the dialogs ask for them.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Two letters.
    pub country: Option<String>,
    /// Organisation.
    pub organization: Option<String>,
    /// Organisational unit.
    pub unit: Option<String>,
    /// Locality.
    pub city: Option<String>,
    /// State or province.
    pub state: Option<String>,
}

/// What a new certificate is to say.
#[derive(Clone, Debug)]
pub struct NewCertificate {
    /// DNS names; the first is the common name (an address if there is no name).
    pub names: Vec<NamePattern>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The rest of the distinguished name.
    pub subject: Subject,
    /// Days from now; default 730.
    pub days: u32,
    /// Which key to make.
    pub key: KeyAlgorithm,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A certificate for nobody.
    #[error("no host name and no IP address, at least one is needed")]
    NoName,
    /// Not an ISO 3166 code.
    #[error("country {found:?} is not two letters, expected a code such as \"DE\"")]
    BadCountry {
        /// What was given.
        found: String,
    },
    /// No period, or one beyond reason.
    #[error("a validity of {found} days, expected 1 to {MAX_DAYS}")]
    BadDays {
        /// What was given.
        found: u32,
    },
    /// A field of the distinguished name that X.509 has no room for.
    #[error("{field} of {found} characters, at most {limit} are allowed")]
    LongField {
        /// Which field.
        field: &'static str,
        /// Its length.
        found: usize,
        /// Longest allowed.
        limit: usize,
    },
    /// Not one of the names of [`KeyAlgorithm`].
    #[error(
        "unknown key type {found:?}, expected one of {}",
        KeyAlgorithm::ALL.map(KeyAlgorithm::as_str).join(", ")
    )]
    UnknownKeyType {
        /// What was given.
        found: String,
    },
    /// A period that ends after the last date X.509 can write.
    #[error("the validity period cannot be written as dates")]
    BadDate(#[from] time::error::ComponentRange),
    /// The system gave no random bytes.
    #[error("no random bytes for the serial number")]
    NoRandom(#[from] aws_lc_rs::error::Unspecified),
    /// The key or the certificate could not be made.
    #[error("the certificate could not be made")]
    Failed(#[from] rcgen::Error),
}

/// Makes a key and a self-signed certificate; returns certificate PEM and key PEM (PKCS#8).
/// RSA keys take seconds: call it off the runtime's threads.
pub fn self_signed(new: &NewCertificate, now: UnixTime) -> Result<(String, String), IssueError> {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = period(new.days, now)?;
    params.serial_number = Some(random_serial()?);
    params.subject_alt_names = alternative_names(&new.names, &new.addresses)?;
    params.distinguished_name = distinguished_name(&Identity {
        names: new.names.clone(),
        addresses: new.addresses.clone(),
        subject: new.subject.clone(),
    })?;
    params.is_ca = IsCa::ExplicitNoCa;
    for_servers(&mut params);
    // The slow step comes last, when nothing is left to refuse.
    let key = new.key.generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Makes a key alone. RSA keys take seconds: call it off the runtime's threads.
pub fn new_key(algorithm: KeyAlgorithm) -> Result<PrivateKey, IssueError> {
    let der = PrivateKeyDer::Pkcs8(algorithm.generate()?.serialize_der().into());
    PrivateKey::from_der(der).map_err(|_| IssueError::Failed(rcgen::Error::CouldNotParseKeyPair))
}

/// What a server's certificate may be used for, and nothing else.
pub(super) fn for_servers(params: &mut CertificateParams) {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

fn period(days: u32, now: UnixTime) -> Result<(OffsetDateTime, OffsetDateTime), IssueError> {
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(IssueError::BadDays { found: days });
    }
    let begin = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let end = begin.saturating_add(i64::from(days) * SECONDS_PER_DAY);
    Ok((
        OffsetDateTime::from_unix_timestamp(begin)?,
        OffsetDateTime::from_unix_timestamp(end)?,
    ))
}

/// 127 random bits: positive, and never the same twice (RFC 5280 section 4.1.2.2).
fn random_serial() -> Result<SerialNumber, IssueError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial)?;
    serial[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&serial))
}

pub(super) fn alternative_names(
    names: &[NamePattern],
    addresses: &[IpAddr],
) -> Result<Vec<SanType>, IssueError> {
    if names.is_empty() && addresses.is_empty() {
        return Err(IssueError::NoName);
    }
    let name = |name: &NamePattern| Ia5String::try_from(name.to_string()).map(SanType::DnsName);
    let addresses = addresses.iter().copied().map(SanType::IpAddress);
    let names = names.iter().map(name);
    Ok(names.chain(addresses.map(Ok)).collect::<Result<_, _>>()?)
}

pub(super) fn distinguished_name(of: &Identity) -> Result<DistinguishedName, IssueError> {
    let subject = &of.subject;
    let mut name = DistinguishedName::new();
    if let Some(country) = non_empty(&subject.country) {
        name.push(DnType::CountryName, country_code(country)?);
    }
    let fields = [
        (
            "state",
            DnType::StateOrProvinceName,
            &subject.state,
            MAX_PLACE,
        ),
        ("city", DnType::LocalityName, &subject.city, MAX_PLACE),
        (
            "organization",
            DnType::OrganizationName,
            &subject.organization,
            MAX_NAME,
        ),
        (
            "unit",
            DnType::OrganizationalUnitName,
            &subject.unit,
            MAX_NAME,
        ),
    ];
    for (field, kind, value, limit) in fields {
        if let Some(value) = non_empty(value) {
            let found = value.chars().count();
            if found > limit {
                return Err(IssueError::LongField {
                    field,
                    found,
                    limit,
                });
            }
            name.push(kind, value);
        }
    }
    if let Some(common_name) = common_name(of) {
        name.push(DnType::CommonName, common_name);
    }
    Ok(name)
}

fn non_empty(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|value| !value.is_empty())
}

fn country_code(country: &str) -> Result<DnValue, IssueError> {
    let bad = || IssueError::BadCountry {
        found: country.to_owned(),
    };
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(bad());
    }
    let code = PrintableString::try_from(country.to_ascii_uppercase()).map_err(|_| bad())?;
    Ok(DnValue::PrintableString(code))
}

/// The first name that has room in a common name; clients read the subjectAltName anyway.
fn common_name(of: &Identity) -> Option<String> {
    let names = of.names.iter().map(ToString::to_string);
    let addresses = of.addresses.iter().map(ToString::to_string);
    names.chain(addresses).find(|name| name.len() <= MAX_NAME)
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::ParsedExtension;

    use super::*;
    use crate::cert::certificate::parse;
    use crate::cert::testing::{DAY, NOW, at};
    use crate::cert::{Credential, TrustAnchors, Validity, read_bundle};

    fn wanted() -> NewCertificate {
        NewCertificate {
            names: vec![
                NamePattern::parse("mail.example.com").unwrap(),
                NamePattern::parse("*.example.com").unwrap(),
            ],
            addresses: vec!["192.0.2.1".parse().unwrap()],
            subject: Subject {
                country: Some("de".to_owned()),
                organization: Some("Example, Inc.".to_owned()),
                unit: Some("Post".to_owned()),
                city: Some("Köln".to_owned()),
                state: Some(String::new()),
            },
            days: 730,
            key: KeyAlgorithm::default(),
        }
    }

    fn make(new: &NewCertificate) -> Credential {
        let (certificate, key) = self_signed(new, at(NOW)).unwrap();
        let chain = read_bundle(certificate.as_bytes()).unwrap().certificates;
        let keys = read_bundle(key.as_bytes()).unwrap().keys;
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        Credential::new("server", chain, &keys, &TrustAnchors::new()).unwrap()
    }

    #[test]
    fn it_says_what_was_asked_for_and_nothing_is_odd_about_it() {
        let credential = make(&wanted());
        let certificate = &credential.certificate;
        assert_eq!(
            certificate.subject(),
            r"CN=mail.example.com,OU=Post,O=Example\, Inc.,L=Köln,C=DE"
        );
        assert_eq!(certificate.names, wanted().names);
        assert_eq!(certificate.addresses, wanted().addresses);
        let end = NOW + 730 * DAY;
        let validity = Validity {
            not_before: NOW,
            not_after: end,
        };
        assert_eq!(certificate.validity, validity);
        assert!(certificate.self_signed);
        assert_eq!(credential.problems, []);
        assert_ne!(certificate.serial(), make(&wanted()).certificate.serial());
    }

    #[test]
    fn it_is_for_servers_and_nothing_else() {
        let credential = make(&wanted());
        let x509 = parse(&credential.certificate.der).unwrap();
        let usage = x509.key_usage().unwrap().unwrap().value;
        assert_eq!(usage.flags, 1);
        let extended = x509.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth && !extended.any);
        let constraints =
            x509.extensions()
                .iter()
                .find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::BasicConstraints(constraints) => Some(constraints.ca),
                    _ => None,
                });
        assert_eq!(constraints, Some(false));
    }

    #[test]
    fn every_key_algorithm_is_made_and_has_one_name() {
        for key in KeyAlgorithm::ALL {
            let made = make(&NewCertificate { key, ..wanted() });
            assert_eq!(made.certificate.key_type.to_string(), key.to_string());
            made.certified_key().keys_match().unwrap();
            assert_eq!(key.to_string().parse::<KeyAlgorithm>().unwrap(), key);
        }
        assert_eq!(
            "rsa-1024".parse::<KeyAlgorithm>().unwrap_err().to_string(),
            "unknown key type \"rsa-1024\", expected one of \
             ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096, ed25519"
        );
    }

    #[test]
    fn the_common_name_is_the_first_that_has_room() {
        let address = NewCertificate {
            names: vec![],
            ..wanted()
        };
        assert!(
            make(&address)
                .certificate
                .subject()
                .starts_with("CN=192.0.2.1,")
        );
        let long = format!("{}.example", "a".repeat(60));
        let mut names = vec![NamePattern::parse(&long).unwrap()];
        names.extend(wanted().names);
        let made = make(&NewCertificate { names, ..wanted() });
        assert!(
            made.certificate
                .subject()
                .starts_with("CN=mail.example.com,")
        );
        assert_eq!(made.certificate.names.len(), 3);
        let nameless = NewCertificate {
            names: vec![NamePattern::parse(&long).unwrap()],
            addresses: vec![],
            subject: Subject::default(),
            ..wanted()
        };
        assert_eq!(make(&nameless).certificate.subject(), "");
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let subject = |change: fn(&mut Subject)| {
            let mut new = wanted();
            change(&mut new.subject);
            new
        };
        for (new, error) in [
            (
                NewCertificate {
                    names: vec![],
                    addresses: vec![],
                    ..wanted()
                },
                "no host name and no IP address, at least one is needed",
            ),
            (
                NewCertificate {
                    days: 0,
                    ..wanted()
                },
                "a validity of 0 days, expected 1 to 36500",
            ),
            (
                NewCertificate {
                    days: 36_501,
                    ..wanted()
                },
                "a validity of 36501 days, expected 1 to 36500",
            ),
            (
                subject(|subject| subject.country = Some("Germany".to_owned())),
                "country \"Germany\" is not two letters, expected a code such as \"DE\"",
            ),
            (
                subject(|subject| subject.country = Some("ö".to_owned())),
                "country \"ö\" is not two letters, expected a code such as \"DE\"",
            ),
            (
                subject(|subject| subject.organization = Some("ö".repeat(65))),
                "organization of 65 characters, at most 64 are allowed",
            ),
        ] {
            assert_eq!(self_signed(&new, at(NOW)).unwrap_err().to_string(), error);
        }
        let end_of_time = self_signed(&wanted(), at(i64::MAX)).unwrap_err();
        assert_eq!(
            end_of_time.to_string(),
            "the validity period cannot be written as dates"
        );
    }
}
