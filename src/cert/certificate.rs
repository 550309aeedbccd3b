//! One end-entity certificate, read once, with all that is shown and decided about it.
//!
//! Knows what the certificate says by itself; whether anybody trusts it is for `trust`.

use std::net::IpAddr;
use std::ops::Range;

use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::cert::fingerprint::sha256;
use crate::cert::path::Step;
use crate::cert::presented::Presented;
use crate::cert::{KeyType, NamePattern, Problem, ProblemCode, Validity, hex};
use crate::cert::{algorithm, distinguished_name};

/// Largest certificate in bytes; what TLS clients read ends there too.
const MAX_DER: usize = 64 * 1024;

/// Where the names of a certificate come from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NameSource {
    /// subjectAltName.
    SubjectAltName,
    /// The common name, for want of any dNSName or iPAddress.
    CommonName,
}

/// What an end-entity certificate says. First comes what a choice looks at, see
/// [`crate::cert::Credential`].
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Certificate {
    /// Kind of the public key.
    pub key_type: KeyType,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// DNS names covered; patterns that match nothing are left out and reported.
    pub names: Vec<NamePattern>,
    /// IP addresses covered.
    pub addresses: Vec<IpAddr>,
    /// Where `names` come from.
    pub name_source: NameSource,
    /// notBefore to notAfter.
    pub validity: Validity,
    /// Where in `der` the SubjectPublicKeyInfo stands.
    pub(super) spki: Range<usize>,
    /// issuer = subject, and the signature verifies under its own key.
    pub self_signed: bool,
    /// SHA-256 over the DER.
    pub sha256: [u8; 32],
    /// What is odd about it; it is served all the same.
    pub problems: Vec<Problem>,
}

/// Why bytes are not a certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Larger than clients read.
    #[error("certificate of {found} bytes, at most {MAX_DER} are read")]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not X.509.
    #[error("not an X.509 certificate")]
    Malformed(#[source] X509Error),
    /// More bytes than the certificate has.
    #[error("{found} bytes follow the end of the certificate")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
    /// An extension that cannot be read, or is there twice.
    #[error("the certificate's {extension} extension cannot be read")]
    BadExtension {
        /// Name of the extension.
        extension: &'static str,
        /// What is wrong with it.
        source: X509Error,
    },
}

impl Certificate {
    /// Reads one DER certificate.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        Self::read(der).map(|(certificate, _)| certificate)
    }

    /// The same, and the certificate as the first step of its path.
    pub(super) fn read(der: CertificateDer<'static>) -> Result<(Self, Step), CertificateError> {
        let x509 = parse(&der)?;
        let mut found = Presented::read(&x509)?;
        found.names.shrink_to_fit();
        found.addresses.shrink_to_fit();
        let key_type = algorithm::key_type(x509.public_key());
        let signature = algorithm::signature(&x509.signature_algorithm);
        let mut problems = found.problems;
        problems.extend(oddities(&x509, &signature));
        let step = Step::new(&x509);
        let certificate = Self {
            names: found.names,
            addresses: found.addresses,
            name_source: found.source,
            validity: validity(&x509),
            key_type,
            spki: place_in(&der, x509.public_key().raw),
            self_signed: algorithm::is_self_signed(&x509, key_type),
            sha256: sha256(&der),
            problems,
            der,
        };
        Ok((certificate, step))
    }

    /// Subject, RFC 4514 text.
    pub fn subject(&self) -> String {
        self.text(|x509| distinguished_name::text(x509.subject()))
    }

    /// Issuer, RFC 4514 text.
    pub fn issuer(&self) -> String {
        self.text(|x509| distinguished_name::text(x509.issuer()))
    }

    /// Serial number, lower-case hexadecimal.
    pub fn serial(&self) -> String {
        self.text(|x509| serial_text(x509.raw_serial()))
    }

    /// Signature algorithm, as `openssl x509` names it.
    pub fn signature_algorithm(&self) -> String {
        self.text(|x509| algorithm::signature(&x509.signature_algorithm).name)
    }

    /// What is only shown is not kept, but read again; it could be read before.
    fn text(&self, text: impl FnOnce(&X509Certificate<'_>) -> String) -> String {
        parse(&self.der).map_or_else(|_| String::new(), |x509| text(&x509))
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        self.der.get(self.spki.clone()).unwrap_or_default()
    }

    /// SHA-256 over the SubjectPublicKeyInfo: the pin, and the data of TLSA 3 1 1.
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(self.spki())
    }

    /// The pin as it is written (RFC 7469 section 2.4).
    pub fn spki_pin(&self) -> String {
        BASE64.encode(&self.spki_sha256())
    }

    /// The SHA-256 fingerprint as it is shown.
    pub fn fingerprint(&self) -> String {
        hex(&self.sha256)
    }
}

/// The SubjectPublicKeyInfo of a certificate of which nothing else counts.
pub fn spki_of(der: &[u8]) -> Result<Vec<u8>, CertificateError> {
    Ok(parse(der)?.public_key().raw.to_vec())
}

/// Where in `whole` its `part` stands.
fn place_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
    start..start.wrapping_add(part.len())
}

/// Reads the structure of a certificate, and nothing but it.
pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > MAX_DER {
        return Err(CertificateError::TooLarge { found: der.len() });
    }
    let (rest, x509) = X509Certificate::from_der(der)
        .map_err(|error| CertificateError::Malformed(error.into()))?;
    match rest.len() {
        0 => Ok(x509),
        found => Err(CertificateError::TrailingBytes { found }),
    }
}

pub(super) fn validity(x509: &X509Certificate<'_>) -> Validity {
    Validity {
        not_before: x509.validity().not_before.timestamp(),
        not_after: x509.validity().not_after.timestamp(),
    }
}

fn serial_text(raw: &[u8]) -> String {
    match raw {
        // DER puts a zero before a number that would else be negative.
        [0, number @ ..] if !number.is_empty() => hex(number),
        _ => hex(raw),
    }
}

/// The extensions that all clients know: keyUsage, subjectAltName, basicConstraints,
/// nameConstraints, cRLDistributionPoints and extKeyUsage.
const KNOWN_EXTENSIONS: [&str; 6] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.37",
];

/// What clients of today would not accept.
fn oddities(x509: &X509Certificate<'_>, signature: &algorithm::Signature) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |code, message| problems.push(Problem { code, message });
    if signature.weak {
        let name = &signature.name;
        let message = format!("signed with {name}, clients expect SHA-256 or better");
        report(ProblemCode::WeakSignature, message);
    }
    if x509.version() != X509Version::V3 {
        let version = u64::from(x509.version().0) + 1;
        let message = format!("X.509 version {version}, clients expect version 3");
        report(ProblemCode::OldVersion, message);
    }
    if x509.is_ca() {
        let message = "a CA certificate (CA:TRUE) used as a server's, \
                       which clients may refuse"
            .to_owned();
        report(ProblemCode::CaCertificate, message);
    }
    for extension in x509.extensions().iter().filter(|it| it.critical) {
        let oid = extension.oid.to_id_string();
        if !KNOWN_EXTENSIONS.contains(&oid.as_str()) {
            let message = format!(
                "critical extension {oid}: clients that do not know it refuse the certificate"
            );
            report(ProblemCode::UnknownCriticalExtension, message);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use rcgen::string::{BmpString, TeletexString};
    use rcgen::{DnType, DnValue, KeyPair, PKCS_ECDSA_P521_SHA512, SanType};

    use super::*;
    use crate::cert::read_bundle;
    use crate::cert::testing::{
        Leaf, ca_params, days, issued, openssl, openssl_self_signed, params, root, self_signed,
    };

    fn read(leaf: &Leaf) -> Certificate {
        Certificate::from_der(leaf.der.clone()).unwrap()
    }

    fn read_pem(pem: &[u8]) -> Certificate {
        // The key beside it may be one that is refused.
        let start = pem
            .windows(27)
            .position(|part| part == b"-----BEGIN CERTIFICATE-----");
        let der = read_bundle(&pem[start.unwrap()..])
            .unwrap()
            .certificates
            .remove(0);
        Certificate::from_der(der).unwrap()
    }

    fn texts(certificate: &Certificate) -> Vec<String> {
        certificate.names.iter().map(ToString::to_string).collect()
    }

    fn codes(certificate: &Certificate) -> Vec<ProblemCode> {
        certificate
            .problems
            .iter()
            .map(|problem| problem.code)
            .collect()
    }

    #[test]
    fn all_that_it_says_is_read() {
        let authority = root("Test CA", days(-10, 100));
        let mut params = params(
            "mail.example.com",
            &["Mail.example.com", "*.example.org", "mail.example.com"],
            days(-1, 30),
        );
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        params
            .subject_alt_names
            .extend(addresses.map(SanType::IpAddress));
        params
            .subject_alt_names
            .push(SanType::Rfc822Name("a@b.example".try_into().unwrap()));
        params.serial_number = Some(vec![0x80, 1].into());
        let leaf = issued(&params, &authority);
        let certificate = read(&leaf);
        assert_eq!(certificate.subject(), "CN=mail.example.com");
        assert_eq!(certificate.issuer(), "CN=Test CA");
        assert_eq!(certificate.serial(), "8001");
        assert_eq!(texts(&certificate), ["mail.example.com", "*.example.org"]);
        assert_eq!(certificate.addresses, addresses);
        assert_eq!(certificate.name_source, NameSource::SubjectAltName);
        assert_eq!(certificate.validity, days(-1, 30));
        assert_eq!(certificate.key_type, KeyType::EcdsaP256);
        assert_eq!(certificate.spki(), leaf.private_key().spki());
        assert_eq!(certificate.signature_algorithm(), "ecdsa-with-SHA256");
        assert!(!certificate.self_signed);
        assert_eq!(certificate.problems, []);
    }

    #[test]
    fn fingerprints_are_those_of_openssl() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.crt");
        let file = path.to_str().unwrap();
        std::fs::write(&path, openssl_self_signed(&["-subj", "/CN=a.example"])).unwrap();
        let certificate = read_pem(&std::fs::read(&path).unwrap());
        let x509 = |arguments: &[&str]| {
            let output = openssl(&[&["x509", "-noout", "-in", file], arguments].concat());
            let text = String::from_utf8(output).unwrap().to_lowercase();
            let (_, value) = text.trim().split_once('=').unwrap();
            value.replace(':', "")
        };
        assert_eq!(
            certificate.fingerprint(),
            x509(&["-fingerprint", "-sha256"])
        );
        assert_eq!(certificate.serial(), x509(&["-serial"]));
        let public = folder.path().join("a.pub");
        std::fs::write(&public, certificate.spki()).unwrap();
        let digest = openssl(&["dgst", "-sha256", "-r", public.to_str().unwrap()]);
        let digest = String::from_utf8(digest).unwrap();
        assert!(digest.starts_with(&hex(&certificate.spki_sha256())));
    }

    #[test]
    fn the_common_name_counts_only_without_any_name_or_address() {
        let period = days(0, 1);
        let bare = read(&self_signed(&params("Bücher.example", &[], period)));
        assert_eq!(texts(&bare), ["xn--bcher-kva.example"]);
        assert_eq!(bare.name_source, NameSource::CommonName);
        assert_eq!(codes(&bare), [ProblemCode::NoSubjectAltName]);

        let mut by_mail = params("a.example", &[], period);
        by_mail.subject_alt_names = vec![SanType::Rfc822Name("a@b.example".try_into().unwrap())];
        assert_eq!(texts(&read(&self_signed(&by_mail))), ["a.example"]);

        let unusable = read(&self_signed(&params("a.example", &["f*.x"], period)));
        assert_eq!(texts(&unusable), [""; 0]);
        assert_eq!(unusable.name_source, NameSource::SubjectAltName);
        assert_eq!(codes(&unusable), [ProblemCode::UnusableName]);
        assert!(unusable.problems[0].message.contains("\"f*.x\""));

        let mut by_address = params("a.example", &[], period);
        by_address.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().unwrap())];
        assert_eq!(texts(&read(&self_signed(&by_address))), [""; 0]);

        let words = read(&self_signed(&params("My Server", &[], period)));
        assert_eq!(
            codes(&words),
            [ProblemCode::NoSubjectAltName, ProblemCode::UnusableName]
        );
    }

    #[test]
    fn names_are_read_in_every_string_type() {
        let ucs2 = BmpString::try_from("ä.example").unwrap();
        let teletex = TeletexString::try_from("t.example").unwrap();
        for (value, expected) in [
            (DnValue::BmpString(ucs2), "xn--4ca.example"),
            (DnValue::TeletexString(teletex), "t.example"),
        ] {
            let mut params = params("x", &[], days(0, 1));
            params.distinguished_name.remove(DnType::CommonName);
            params.distinguished_name.push(DnType::CommonName, value);
            assert_eq!(texts(&read(&self_signed(&params))), [expected]);
        }
        // Many have U-labels in a dNSName, where only A-labels belong.
        let made = openssl_self_signed(&[
            "-subj",
            "/CN=x",
            "-addext",
            "subjectAltName=DNS:bücher.example",
        ]);
        assert_eq!(texts(&read_pem(&made)), ["xn--bcher-kva.example"]);
    }

    #[test]
    fn subjects_are_rfc_4514_text() {
        let subject = r"/C=DE/O=Ex\, Inc. <x>/OU= #1 /CN=a.example/emailAddress=a@b.example";
        let made = openssl_self_signed(&["-subj", subject]);
        assert_eq!(
            read_pem(&made).subject(),
            r"emailAddress=a@b.example,CN=a.example,OU=\ #1\ ,O=Ex\, Inc. \<x\>,C=DE"
        );
        let made = openssl_self_signed(&[
            "-subj",
            "/pseudonym=x/O=\x1b[31m\n/CN=a+OU=b",
            "-multivalue-rdn",
        ]);
        assert_eq!(
            read_pem(&made).subject(),
            r"CN=a+OU=b,O=\1b[31m\0a,2.5.4.65=#0c0178"
        );
    }

    #[test]
    fn oddities_are_reported_and_served_all_the_same() {
        let san = ["-addext", "subjectAltName=DNS:a.example"];
        let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let make = |arguments: &[&str]| {
            read_pem(&openssl_self_signed(
                &[&["-subj", "/CN=a.example"], arguments].concat(),
            ))
        };
        let rsa = |bits| ["-newkey", bits];
        let sha1 = make(&[&rsa("rsa:2048")[..], &["-sha1"], &san, &leaf].concat());
        assert_eq!(codes(&sha1), [ProblemCode::WeakSignature]);
        assert_eq!(sha1.signature_algorithm(), "sha1WithRSAEncryption");
        assert!(sha1.self_signed);

        let md5 = make(&[&rsa("rsa:2048")[..], &["-md5"], &san, &leaf].concat());
        assert_eq!(codes(&md5), [ProblemCode::WeakSignature]);

        let small = make(&[&rsa("rsa:1024")[..], &san, &leaf].concat());
        assert_eq!(small.key_type, KeyType::Rsa(1024));

        let ca = make(&[&rsa("rsa:2048")[..], &san].concat());
        assert_eq!(codes(&ca), [ProblemCode::CaCertificate]);
        assert!(ca.self_signed);

        let pss = [
            "-sigopt",
            "rsa_padding_mode:pss",
            "-sigopt",
            "rsa_pss_saltlen:digest",
        ];
        let modern = make(&[&rsa("rsa:2048")[..], &pss, &san, &leaf].concat());
        assert_eq!(codes(&modern), []);
        assert_eq!(modern.signature_algorithm(), "rsassaPss");
        assert!(modern.self_signed);
        let old = make(&[&rsa("rsa:2048")[..], &pss, &["-sha1"], &san, &leaf].concat());
        assert_eq!(codes(&old), [ProblemCode::WeakSignature]);

        let ed448 = make(&["-newkey", "ed448"]);
        assert_eq!(ed448.key_type, KeyType::Other);
    }

    #[test]
    fn version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (key, request) = (file("key"), file("request"));
        openssl(&[
            "req",
            "-new",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &request,
            "-subj",
            "/CN=a.example",
        ]);
        let made = openssl(&["x509", "-req", "-in", &request, "-signkey", &key]);
        let certificate = read_pem(&made);
        assert_eq!(
            codes(&certificate),
            [ProblemCode::NoSubjectAltName, ProblemCode::OldVersion]
        );
        assert!(certificate.self_signed);
        assert_eq!(texts(&certificate), ["a.example"]);
    }

    #[test]
    fn self_signed_means_by_its_own_key() {
        let authority = root("Same Name", days(0, 10));
        let impostor = issued(&params("Same Name", &["a.example"], days(0, 1)), &authority);
        assert_eq!(read(&impostor).subject(), read(&impostor).issuer());
        assert!(!read(&impostor).self_signed);

        let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
        let der = params("a", &["a.example"], days(0, 1))
            .self_signed(&key)
            .unwrap();
        let certificate = Certificate::from_der(der.der().clone()).unwrap();
        assert_eq!(certificate.key_type, KeyType::EcdsaP521);
        assert!(certificate.self_signed);
    }

    #[test]
    fn what_is_no_certificate_is_refused_in_words() {
        let good = self_signed(&ca_params("a", days(0, 1))).der.to_vec();
        let longer = [&good[..], b"more"].concat();
        for (der, error) in [
            (Vec::new(), "not an X.509 certificate"),
            (good[..good.len() - 1].to_vec(), "not an X.509 certificate"),
            (longer, "4 bytes follow the end of the certificate"),
            (
                vec![0x30; 70_000],
                "certificate of 70000 bytes, at most 65536 are read",
            ),
        ] {
            let found = Certificate::from_der(der.into()).unwrap_err();
            assert_eq!(found.to_string(), error);
        }
        let mut twice = params("a", &["a.example"], days(0, 1));
        let san = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
        twice.custom_extensions.push(san);
        let found = Certificate::from_der(self_signed(&twice).der).unwrap_err();
        assert_eq!(
            found.to_string(),
            "the certificate's subjectAltName extension cannot be read"
        );
    }

    static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let names = ["a.example", "*.b.example"];
        self_signed(&params("Größe", &names, days(0, 1)))
            .der
            .to_vec()
    });

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut der = SAMPLE.clone();
            for (at, byte) in damage {
                let at = at.index(der.len());
                der[at] = byte;
            }
            if let Ok(certificate) = Certificate::from_der(der.into()) {
                prop_assert_eq!(certificate.fingerprint().len(), 64);
            }
        }
    }
}
