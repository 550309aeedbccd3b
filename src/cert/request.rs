//! Certificate requests (PKCS#10, RFC 2986): made for a key that is kept, and read again when
//! the answer comes.
//!
//! Knows what a request says; which certificate answers it, and where both are kept, is for
//! `store`.

use std::net::IpAddr;

use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm as Algorithm, SigningKey};
use rustls::SignatureScheme;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::cert::issue::{alternative_names, distinguished_name, for_servers};
use crate::cert::presented::Presented;
use crate::cert::{Certificate, IssueError, KeyType, NamePattern, PrivateKey, Subject};
use crate::cert::{algorithm, distinguished_name as dn, short_id};

/// The label of its PEM block (RFC 7468 section 7).
const LABEL: &str = "CERTIFICATE REQUEST";

/// Largest request in bytes.
const MAX_DER: usize = 64 * 1024;

/// Largest PEM text that is read, in bytes.
const MAX_TEXT: usize = 1024 * 1024;

/// Whom a certificate is for: what a request says.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// DNS names; the first is the common name (an address if there is no name).
    pub names: Vec<NamePattern>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// The rest of the distinguished name.
    pub subject: Subject,
}

impl Identity {
    /// That of a certificate, for one that is to follow it. The common name comes first, so that
    /// it stays what it is.
    pub fn of_certificate(certificate: &Certificate) -> Self {
        let x509 = crate::cert::certificate::parse(&certificate.der);
        let (common, subject) = match &x509 {
            Ok(x509) => (
                dn::common_names(x509.subject()),
                dn::subject(x509.subject()),
            ),
            // It was read before, or there would be no certificate.
            Err(_) => (Vec::new(), Subject::default()),
        };
        Self {
            names: first(&certificate.names, &common),
            addresses: certificate.addresses.clone(),
            subject,
        }
    }

    /// Says what is wrong with it before a key is made for it.
    pub fn check(&self) -> Result<(), IssueError> {
        alternative_names(&self.names, &self.addresses)?;
        distinguished_name(self).map(drop)
    }
}

/// The names with the one first that is among the common names.
fn first(names: &[NamePattern], common: &[String]) -> Vec<NamePattern> {
    let mut names = names.to_vec();
    let is_common = |name: &NamePattern| {
        let name = name.to_string();
        common
            .iter()
            .any(|common| common.eq_ignore_ascii_case(&name))
    };
    names.sort_by_key(|name| !is_common(name));
    names
}

/// A certificate request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The request itself.
    pub der: CertificateSigningRequestDer<'static>,
    /// Subject, RFC 4514 text.
    pub subject: String,
    /// The subject's attributes, in their order: what each is called, and its value.
    pub subject_fields: Vec<(String, String)>,
    /// Whom it asks a certificate for.
    pub identity: Identity,
    /// Kind of the public key.
    pub key_type: KeyType,
    /// DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// Signature algorithm, as `openssl req` names it.
    pub signature_algorithm: String,
}

/// Why bytes are not a certificate request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No block, or one that is damaged.
    #[error("no certificate request in it, expected PEM (-----BEGIN CERTIFICATE REQUEST-----)")]
    NoBlock,
    /// Larger than any request.
    #[error("certificate request of {found} bytes, at most {limit} are read")]
    TooLarge {
        /// Its size.
        found: usize,
        /// Largest that is read.
        limit: usize,
    },
    /// Not PKCS#10.
    #[error("not a certificate request (PKCS#10)")]
    Malformed(#[source] X509Error),
    /// More bytes than the request has.
    #[error("{found} bytes follow the end of the certificate request")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
}

impl Request {
    /// Reads the first request of a PEM text (`CERTIFICATE REQUEST` or, as some programs write
    /// it, `NEW CERTIFICATE REQUEST`).
    pub fn from_pem(text: &[u8]) -> Result<Self, RequestError> {
        if text.len() > MAX_TEXT {
            return Err(RequestError::TooLarge {
                found: text.len(),
                limit: MAX_TEXT,
            });
        }
        if let Ok(der) = CertificateSigningRequestDer::from_pem_slice(text) {
            return Self::from_der(der);
        }
        let new = String::from_utf8_lossy(text).replace("NEW CERTIFICATE REQUEST", LABEL);
        match CertificateSigningRequestDer::from_pem_slice(new.as_bytes()) {
            Ok(der) => Self::from_der(der),
            Err(_) => Err(RequestError::NoBlock),
        }
    }

    /// Reads one DER request.
    pub fn from_der(der: CertificateSigningRequestDer<'static>) -> Result<Self, RequestError> {
        if der.len() > MAX_DER {
            return Err(RequestError::TooLarge {
                found: der.len(),
                limit: MAX_DER,
            });
        }
        let (rest, request) = X509CertificationRequest::from_der(&der)
            .map_err(|error| RequestError::Malformed(error.into()))?;
        if !rest.is_empty() {
            let found = rest.len();
            return Err(RequestError::TrailingBytes { found });
        }
        let info = &request.certification_request_info;
        let extensions = request.requested_extensions().into_iter().flatten();
        let names = extensions.filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let presented = Presented::of(names.flatten(), &info.subject);
        Ok(Self {
            subject: dn::text(&info.subject),
            subject_fields: dn::fields(&info.subject),
            identity: Identity {
                names: first(&presented.names, &dn::common_names(&info.subject)),
                addresses: presented.addresses,
                subject: dn::subject(&info.subject),
            },
            key_type: algorithm::key_type(&info.subject_pki),
            spki: info.subject_pki.raw.to_vec(),
            signature_algorithm: algorithm::signature(&request.signature_algorithm).name,
            der,
        })
    }

    /// PEM text of the request.
    pub fn to_pem(&self) -> String {
        crate::cert::input::pem_text(LABEL, &self.der)
    }

    /// Enough of the SHA-256 over the public key to tell keys apart.
    pub fn key_id(&self) -> String {
        short_id(&self.spki)
    }
}

/// Makes a request for a key that there is.
pub fn request(identity: &Identity, key: &PrivateKey) -> Result<Request, IssueError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = alternative_names(&identity.names, &identity.addresses)?;
    params.distinguished_name = distinguished_name(identity)?;
    for_servers(&mut params);
    let made = params.serialize_request(&Signer::new(key)?)?;
    let der = made.der().clone();
    Request::from_der(der)
        .map_err(|_| IssueError::Failed(rcgen::Error::CouldNotParseCertificationRequest))
}

/// A private key as rcgen signs with it. It stays where it is: what signs is what serves.
struct Signer {
    algorithm: &'static Algorithm,
    public: Vec<u8>,
    signer: Box<dyn rustls::sign::Signer>,
}

impl Signer {
    fn new(key: &PrivateKey) -> Result<Self, rcgen::Error> {
        let (_, spki) = SubjectPublicKeyInfo::from_der(key.spki())
            .map_err(|_| rcgen::Error::UnsupportedSignatureAlgorithm)?;
        let (algorithm, scheme) = match algorithm::key_type(&spki) {
            KeyType::EcdsaP256 => (
                &rcgen::PKCS_ECDSA_P256_SHA256,
                SignatureScheme::ECDSA_NISTP256_SHA256,
            ),
            KeyType::EcdsaP384 => (
                &rcgen::PKCS_ECDSA_P384_SHA384,
                SignatureScheme::ECDSA_NISTP384_SHA384,
            ),
            KeyType::EcdsaP521 => (
                &rcgen::PKCS_ECDSA_P521_SHA512,
                SignatureScheme::ECDSA_NISTP521_SHA512,
            ),
            KeyType::Rsa(_) => (&rcgen::PKCS_RSA_SHA256, SignatureScheme::RSA_PKCS1_SHA256),
            KeyType::Ed25519 => (&rcgen::PKCS_ED25519, SignatureScheme::ED25519),
            KeyType::Other => return Err(rcgen::Error::UnsupportedSignatureAlgorithm),
        };
        let signer = key.signing_key().choose_scheme(&[scheme]);
        Ok(Self {
            algorithm,
            public: spki.subject_public_key.data.to_vec(),
            signer: signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?,
        })
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static Algorithm {
        self.algorithm
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.signer.sign(message);
        signed.map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cert::testing::{days, openssl, params, self_signed};
    use crate::cert::{KeyAlgorithm, NameSource, new_key, read_bundle};

    fn wanted() -> Identity {
        Identity {
            names: ["mail.example.com", "*.example.com", "bücher.example"]
                .map(|name| NamePattern::parse(name).unwrap())
                .to_vec(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            subject: Subject {
                country: Some("DE".to_owned()),
                organization: Some("Example, Inc.".to_owned()),
                unit: Some("Post".to_owned()),
                city: Some("Köln".to_owned()),
                state: Some("NRW".to_owned()),
            },
        }
    }

    /// Every kind of key, those too that are not made here.
    fn keys() -> Vec<PrivateKey> {
        let p521 = openssl(&["ecparam", "-genkey", "-name", "secp521r1"]);
        let sec1 = openssl(&["ecparam", "-genkey", "-name", "prime256v1"]);
        let pkcs1 = openssl(&["genrsa", "-traditional", "2048"]);
        let theirs = [p521, sec1, pkcs1].map(|pem| read_bundle(&pem).unwrap().keys.remove(0));
        let ours = KeyAlgorithm::ALL.map(|algorithm| new_key(algorithm).unwrap());
        ours.into_iter().chain(theirs).collect()
    }

    #[test]
    fn openssl_verifies_a_request_for_every_kind_of_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csr");
        let file = path.to_str().unwrap();
        for key in keys() {
            let made = request(&wanted(), &key).unwrap();
            let kind = made.key_type.to_string();
            assert_eq!(made.spki, key.spki(), "{kind}");
            std::fs::write(&path, made.to_pem()).unwrap();
            let text = openssl(&["req", "-verify", "-noout", "-text", "-in", file]);
            let text = String::from_utf8(text).unwrap();
            for expected in [
                "DNS:mail.example.com, DNS:*.example.com, DNS:xn--bcher-kva.example, \
                 IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1",
                "TLS Web Server Authentication",
                "Digital Signature",
                &format!("Signature Algorithm: {}", made.signature_algorithm),
            ] {
                assert!(text.contains(expected), "{kind}: {text}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let key = new_key(KeyAlgorithm::EcdsaP384).unwrap();
        let made = request(&wanted(), &key).unwrap();
        let read = Request::from_pem(made.to_pem().as_bytes()).unwrap();
        assert_eq!(read.der, made.der);
        assert_eq!(read.identity.names, wanted().names);
        assert_eq!(read.identity.addresses, wanted().addresses);
        assert_eq!(read.key_type, KeyType::EcdsaP384);
        assert_eq!(
            read.subject,
            r"CN=mail.example.com,OU=Post,O=Example\, Inc.,L=Köln,ST=NRW,C=DE"
        );
        let field = |name: &str| {
            let mut fields = read.subject_fields.iter();
            fields.find(|(label, _)| label == name).unwrap().1.as_str()
        };
        assert_eq!((field("O"), field("L")), ("Example, Inc.", "Köln"));
        let subject = &read.identity.subject;
        assert_eq!(subject.organization.as_deref(), Some("Example, Inc."));
        assert_eq!(subject.state.as_deref(), Some("NRW"));
        assert_eq!(read.key_id(), short_id(key.spki()));
    }

    #[test]
    fn requests_of_others_are_read() {
        let make = |arguments: &[&str]| {
            let new = ["req", "-new", "-nodes", "-keyout", "/dev/null"];
            let made = openssl(&[&new[..], arguments].concat());
            String::from_utf8(made).unwrap()
        };
        let by_name = make(&["-subj", "/O=Old/CN=Mail.example.com"]);
        let read = Request::from_pem(by_name.as_bytes()).unwrap();
        assert_eq!(read.identity.names[0].to_string(), "mail.example.com");
        let new = by_name.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
        assert_eq!(Request::from_pem(new.as_bytes()).unwrap().der, read.der);
        let names = "subjectAltName=DNS:a.example,DNS:b.example";
        let listed = make(&["-subj", "/CN=b.example", "-addext", names]);
        let read = Request::from_pem(listed.as_bytes()).unwrap();
        let names: Vec<_> = read
            .identity
            .names
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            names,
            ["b.example", "a.example"],
            "the common name stays what it is"
        );
    }

    #[test]
    fn a_successor_is_for_the_same() {
        let mut of = params("b.example", &["a.example", "b.example"], days(0, 1));
        of.distinguished_name
            .push(rcgen::DnType::OrganizationName, "Old");
        of.distinguished_name.push(rcgen::DnType::CountryName, "AT");
        let certificate = Certificate::from_der(self_signed(&of).der).unwrap();
        assert_eq!(certificate.name_source, NameSource::SubjectAltName);
        let identity = Identity::of_certificate(&certificate);
        let key = new_key(KeyAlgorithm::default()).unwrap();
        let made = request(&identity, &key).unwrap();
        assert_eq!(made.subject, "CN=b.example,O=Old,C=AT");
        assert_eq!(made.identity.names.len(), 2);
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        let key = new_key(KeyAlgorithm::default()).unwrap();
        let good = request(&wanted(), &key).unwrap().der.to_vec();
        let longer = [&good[..], b"more"].concat();
        for (der, error) in [
            (
                good[..good.len() - 1].to_vec(),
                "not a certificate request (PKCS#10)",
            ),
            (longer, "4 bytes follow the end of the certificate request"),
            (
                vec![0x30; 70_000],
                "certificate request of 70000 bytes, at most 65536 are read",
            ),
        ] {
            let found = Request::from_der(der.into()).unwrap_err();
            assert_eq!(found.to_string(), error);
        }
        let certificate = self_signed(&params("a", &["a.example"], days(0, 1))).der;
        let certificate = crate::cert::chain_pem(&[certificate]);
        for text in ["", "hello", &certificate] {
            let found = Request::from_pem(text.as_bytes()).unwrap_err();
            let expected = "no certificate request in it, \
                            expected PEM (-----BEGIN CERTIFICATE REQUEST-----)";
            assert_eq!(found.to_string(), expected);
        }
        let nobody = Identity::default();
        let found = request(&nobody, &key).unwrap_err().to_string();
        assert_eq!(
            found,
            "no host name and no IP address, at least one is needed"
        );
        assert_eq!(nobody.check().unwrap_err().to_string(), found);
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            static SAMPLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                let key = new_key(KeyAlgorithm::default()).unwrap();
                request(&wanted(), &key).unwrap().der.to_vec()
            });
            let mut der = SAMPLE.clone();
            for (at, byte) in damage {
                let at = at.index(der.len());
                der[at] = byte;
            }
            if let Ok(request) = Request::from_der(der.into()) {
                prop_assert_eq!(request.key_id().len(), 16);
            }
        }
    }
}
