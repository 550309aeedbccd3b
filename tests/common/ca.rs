//! A certificate authority for tests: root, intermediate, and end-entity certificates with the names,
//! dates and keys that a test asks for, relative to a time that the test chooses.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use gatepost::time::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

/// A day in seconds, for dates relative to now.
pub(crate) const DAY: i64 = 86_400;

/// Which key a certificate gets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Key {
    #[default]
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Ed25519,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The end-entity certificate, and below it what a client needs to trust it.
    pub(crate) chain: String,
    /// The end-entity certificate alone.
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// The same without what a client needs to trust it.
    pub(crate) fn without_chain(mut self) -> Self {
        self.chain.clone_from(&self.certificate);
        self
    }

    /// The end-entity certificate, DER.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }

    /// Writes `NAME.crt` and `NAME.key` (0600, the key first) into a certificate folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        let mut key = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(format!("{name}.key")))
            .unwrap();
        key.write_all(self.key.as_bytes()).unwrap();
        fs::write(folder.join(format!("{name}.crt")), &self.chain).unwrap();
    }
}

/// Who signs certificates.
pub(crate) type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Root and intermediate.
pub(crate) struct TestCa {
    now: i64,
    root: Issuer,
    intermediate: Issuer,
}

impl TestCa {
    /// An authority that was founded ten years before `now`.
    pub(crate) fn new(now: UnixTime) -> Self {
        let now = i64::try_from(now.as_secs()).unwrap();
        let root =
            CertifiedIssuer::self_signed(authority(now, "Test Root"), Key::default().generate())
                .unwrap();
        let intermediate = CertifiedIssuer::signed_by(
            authority(now, "Test Intermediate"),
            Key::default().generate(),
            &root,
        )
        .unwrap();
        Self {
            now,
            root,
            intermediate,
        }
    }

    /// An authority of today, by the system's clock.
    pub(crate) fn today() -> Self {
        Self::new(Clock::System.now())
    }

    /// The time that everything about it is relative to.
    pub(crate) fn now(&self) -> UnixTime {
        let since_epoch = Duration::from_secs(u64::try_from(self.now).unwrap());
        UnixTime::since_unix_epoch(since_epoch)
    }

    /// The trust anchor, PEM.
    pub(crate) fn root(&self) -> String {
        self.root.pem()
    }

    /// The issuer of end-entity certificates, PEM.
    pub(crate) fn intermediate(&self) -> String {
        self.intermediate.pem()
    }

    /// Another intermediate, whose last second is this one, relative to the authority's now.
    pub(crate) fn intermediate_until(&self, until: i64) -> Issuer {
        let mut params = authority(self.now, "Test Intermediate With An End");
        params.not_after = date(self.now + until);
        CertifiedIssuer::signed_by(params, Key::default().generate(), &self.root).unwrap()
    }

    /// A certificate for these names (addresses become iPAddress names): from yesterday on for 90 days.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf<'_> {
        let names = names.iter().map(|&name| name.to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Leaf {
            ca: self,
            params,
            key: Key::default(),
            key_pem: None,
            from: -DAY,
            until: 89 * DAY,
        }
    }
}

/// A certificate about to be issued.
pub(crate) struct Leaf<'a> {
    ca: &'a TestCa,
    params: CertificateParams,
    key: Key,
    key_pem: Option<String>,
    from: i64,
    until: i64,
}

impl Leaf<'_> {
    /// Its first and its last second, relative to the authority's now.
    pub(crate) fn dates(mut self, from: i64, until: i64) -> Self {
        (self.from, self.until) = (from, until);
        self
    }

    pub(crate) fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    pub(crate) fn common_name(mut self, name: &str) -> Self {
        self.params
            .distinguished_name
            .push(DnType::CommonName, name);
        self
    }

    /// With a key that there is already.
    pub(crate) fn key_of(mut self, pair: &Pair) -> Self {
        self.key_pem = Some(pair.key.clone());
        self
    }

    /// With these bytes as the only name, whether a certificate may hold them or not.
    pub(crate) fn raw_name(mut self, name: &str) -> Self {
        const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
        const SEQUENCE: u8 = 0x30;
        const DNS_NAME: u8 = 0x82;
        let length = u8::try_from(name.len()).unwrap();
        let content = [&[SEQUENCE, length + 2, DNS_NAME, length], name.as_bytes()].concat();
        self.params.subject_alt_names.clear();
        self.params.custom_extensions =
            vec![CustomExtension::from_oid_content(SUBJECT_ALT_NAME, content)];
        self
    }

    /// As `openssl req -x509` makes it: an authority, and a server at the same time.
    pub(crate) fn authority(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// For clients, not for servers.
    pub(crate) fn for_clients(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self
    }

    /// Signed by the intermediate.
    pub(crate) fn issue(self) -> Pair {
        let ca = self.ca;
        self.issued_by(&ca.intermediate)
    }

    /// Signed by this intermediate.
    pub(crate) fn issued_by(self, issuer: &Issuer) -> Pair {
        let key = self.make_key();
        let certificate = self.dated().signed_by(&key, issuer).unwrap().pem();
        Pair {
            chain: format!("{certificate}{}", issuer.pem()),
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// Signed with its own key.
    pub(crate) fn self_signed(self) -> Pair {
        let key = self.make_key();
        let certificate = self.dated().self_signed(&key).unwrap().pem();
        Pair {
            chain: certificate.clone(),
            certificate,
            key: key.serialize_pem(),
        }
    }

    fn make_key(&self) -> KeyPair {
        match &self.key_pem {
            Some(pem) => KeyPair::from_pem(pem).unwrap(),
            None => self.key.generate(),
        }
    }

    fn dated(&self) -> CertificateParams {
        let mut params = self.params.clone();
        params.not_before = date(self.ca.now + self.from);
        params.not_after = date(self.ca.now + self.until);
        params
    }
}

impl Key {
    fn generate(self) -> KeyPair {
        match self {
            Self::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
        .unwrap()
    }
}

fn authority(now: i64, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(now - 3_650 * DAY);
    params.not_after = date(now + 3_650 * DAY);
    params
}

fn date(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}
