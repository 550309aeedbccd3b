//! What a certificate says besides whom it is for and how long: as browsers show it.
//!
//! For people only; what a handshake depends on is read by `certificate` and `trust`.

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::der::parse_der_sequence;
use x509_parser::extensions::{
    AuthorityInfoAccess, BasicConstraints, CRLDistributionPoint, DistributionPointName,
    ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension, X509Extension,
};

use crate::cert::certificate::parse;
use crate::cert::{CertificateError, distinguished_name, hex};

/// id-ad-ocsp (RFC 5280 section 4.2.2.1).
const OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// id-ad-caIssuers (RFC 5280 section 4.2.2.1).
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
/// id-pe-tlsfeature (RFC 7633).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
/// status_request, as a feature "must staple".
const STATUS_REQUEST: u32 = 5;

/// Policies of the CA/Browser Forum.
const POLICIES: [(&str, &str); 4] = [
    ("2.23.140.1.1", "extended validation"),
    ("2.23.140.1.2.1", "domain validated"),
    ("2.23.140.1.2.2", "organization validated"),
    ("2.23.140.1.2.3", "individual validated"),
];

/// What else a certificate says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// X.509 version, 1 to 3.
    pub version: u32,
    /// The subject's attributes in their order: what each is called, and its value.
    pub subject: Vec<(String, String)>,
    /// The same of the issuer.
    pub issuer: Vec<(String, String)>,
    /// Names of RFC 5280 section 4.2.1.3.
    pub key_usage: Vec<String>,
    /// Names of RFC 5280 section 4.2.1.12, else object identifiers.
    pub extended_key_usage: Vec<String>,
    /// Whether it is a CA's, and how many CAs may stand between it and a server.
    pub basic_constraints: Option<(bool, Option<u32>)>,
    /// subjectKeyIdentifier, hexadecimal.
    pub subject_key_id: Option<String>,
    /// authorityKeyIdentifier, hexadecimal.
    pub authority_key_id: Option<String>,
    /// Where to ask whether it is revoked.
    pub ocsp: Vec<String>,
    /// Where its issuer's certificate is.
    pub ca_issuers: Vec<String>,
    /// Where lists of revoked certificates are.
    pub crl: Vec<String>,
    /// Object identifiers of policies, with what they mean if that is known.
    pub policies: Vec<String>,
    /// Signed certificate timestamps in it.
    pub scts: usize,
    /// Whether clients are to insist on a stapled OCSP response.
    pub must_staple: bool,
    /// Object identifiers of what is in it besides, and whether that is critical.
    pub others: Vec<(String, bool)>,
    /// SHA-1 over the DER, for those who still compare that.
    pub sha1: String,
}

impl Extensions {
    /// Reads them from one DER certificate. Extensions that cannot be read count among the others.
    pub fn of(der: &[u8]) -> Result<Self, CertificateError> {
        let x509 = parse(der)?;
        let mut found = Self {
            version: x509.version().0.saturating_add(1),
            subject: distinguished_name::fields(x509.subject()),
            issuer: distinguished_name::fields(x509.issuer()),
            sha1: hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            ..Self::default()
        };
        found.read(&x509);
        Ok(found)
    }

    fn read(&mut self, x509: &X509Certificate<'_>) {
        for extension in x509.extensions() {
            if !self.read_one(extension) {
                let oid = extension.oid.to_id_string();
                self.others.push((oid, extension.critical));
            }
        }
    }

    fn read_one(&mut self, extension: &X509Extension<'_>) -> bool {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => self.key_usage = key_usage(usage),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usage = extended_key_usage(usage);
            }
            ParsedExtension::BasicConstraints(BasicConstraints {
                ca,
                path_len_constraint,
            }) => self.basic_constraints = Some((*ca, *path_len_constraint)),
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(hex(id.0)),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| hex(id.0));
            }
            ParsedExtension::AuthorityInfoAccess(access) => self.read_access(access),
            ParsedExtension::CRLDistributionPoints(points) => {
                self.crl = points.iter().flat_map(crl_urls).collect();
            }
            ParsedExtension::CertificatePolicies(policies) => {
                let ids = policies
                    .iter()
                    .map(|policy| policy.policy_id.to_id_string());
                self.policies = ids.map(policy).collect();
            }
            ParsedExtension::SCT(timestamps) => self.scts = timestamps.len(),
            // Shown as names.
            ParsedExtension::SubjectAlternativeName(_) => {}
            _ if extension.oid.to_id_string() == TLS_FEATURE => {
                self.must_staple = features(extension.value).contains(&STATUS_REQUEST);
            }
            _ => return false,
        }
        true
    }

    fn read_access(&mut self, access: &AuthorityInfoAccess<'_>) {
        for description in access.iter() {
            let Some(url) = url(&description.access_location) else {
                continue;
            };
            match description.access_method.to_id_string().as_str() {
                OCSP => self.ocsp.push(url),
                CA_ISSUERS => self.ca_issuers.push(url),
                _ => {}
            }
        }
    }
}

fn key_usage(usage: &KeyUsage) -> Vec<String> {
    let flags = [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "nonRepudiation"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ];
    set(&flags)
}

fn extended_key_usage(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let flags = [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let mut names = set(&flags);
    names.extend(usage.other.iter().map(|oid| oid.to_id_string()));
    names
}

/// The names of the flags that are set.
fn set(flags: &[(bool, &str)]) -> Vec<String> {
    let set = flags.iter().filter(|(set, _)| *set);
    set.map(|(_, name)| (*name).to_owned()).collect()
}

fn policy(oid: String) -> String {
    match POLICIES.iter().find(|(known, _)| *known == oid) {
        Some((_, meaning)) => format!("{oid} ({meaning})"),
        None => oid,
    }
}

fn crl_urls(point: &CRLDistributionPoint<'_>) -> Vec<String> {
    match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => names.iter().filter_map(url).collect(),
        _ => Vec::new(),
    }
}

fn url(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(url) => Some((*url).to_owned()),
        _ => None,
    }
}

/// Features ::= SEQUENCE OF INTEGER
fn features(value: &[u8]) -> Vec<u32> {
    let Ok((_, sequence)) = parse_der_sequence(value) else {
        return Vec::new();
    };
    let features = sequence.as_sequence().map(|features| {
        let numbers = features.iter().filter_map(|number| number.as_u32().ok());
        numbers.collect()
    });
    features.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::cert::read_bundle;
    use crate::cert::testing::{openssl, openssl_self_signed};

    /// A certificate with every extension that is read, PEM.
    fn sample() -> Vec<u8> {
        let extension = |text: &'static str| ["-addext", text];
        let arguments = [
            ["-subj", "/C=DE/O=Example/CN=a.example"],
            extension("subjectAltName=DNS:a.example"),
            extension("basicConstraints=critical,CA:FALSE"),
            extension("keyUsage=critical,digitalSignature,keyEncipherment"),
            extension("extendedKeyUsage=serverAuth,clientAuth,1.2.3.4"),
            extension(
                "authorityInfoAccess=OCSP;URI:http://ocsp.example,caIssuers;URI:http://ca.example/i.der",
            ),
            extension(
                "crlDistributionPoints=URI:http://crl.example/1.crl,URI:http://crl.example/2.crl",
            ),
            extension("certificatePolicies=2.23.140.1.2.1,1.2.3"),
            extension("tlsfeature=status_request"),
            extension("1.3.6.1.4.1.99999.1=critical,ASN1:NULL"),
        ];
        openssl_self_signed(&arguments.concat())
    }

    #[test]
    fn everything_is_shown_as_openssl_shows_it() {
        let made = sample();
        let der = read_bundle(&made).unwrap().certificates.remove(0);
        let found = Extensions::of(&der).unwrap();
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|one| (*one).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found.version, 3);
        let subject = [("C", "DE"), ("O", "Example"), ("CN", "a.example")];
        let subject = subject.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            (&found.subject, &found.issuer),
            (&subject.to_vec(), &subject.to_vec())
        );
        assert_eq!(
            found.key_usage,
            texts(&["digitalSignature", "keyEncipherment"])
        );
        assert_eq!(
            found.extended_key_usage,
            texts(&["serverAuth", "clientAuth", "1.2.3.4"])
        );
        assert_eq!(found.basic_constraints, Some((false, None)));
        assert_eq!(found.ocsp, texts(&["http://ocsp.example"]));
        assert_eq!(found.ca_issuers, texts(&["http://ca.example/i.der"]));
        assert_eq!(
            found.crl,
            texts(&["http://crl.example/1.crl", "http://crl.example/2.crl"])
        );
        assert_eq!(
            found.policies,
            texts(&["2.23.140.1.2.1 (domain validated)", "1.2.3"])
        );
        assert!(found.must_staple);
        assert_eq!(found.scts, 0);
        assert_eq!(found.others, [("1.3.6.1.4.1.99999.1".to_owned(), true)]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.crt");
        std::fs::write(&path, &made).unwrap();
        let shown = |arguments: &[&str]| {
            let file = ["x509", "-noout", "-in", path.to_str().unwrap()];
            let text = openssl(&[&file[..], arguments].concat());
            let text = String::from_utf8(text).unwrap().to_lowercase();
            text.replace(':', "")
        };
        assert!(shown(&["-fingerprint", "-sha1"]).contains(&found.sha1));
        let ids = shown(&["-ext", "subjectKeyIdentifier,authorityKeyIdentifier"]);
        assert!(
            ids.contains(found.subject_key_id.as_ref().unwrap()),
            "{ids}"
        );
        assert_eq!(found.authority_key_id, found.subject_key_id);
    }

    #[test]
    fn a_certificate_without_any_has_none() {
        let bare = Extensions::default();
        assert_eq!((bare.basic_constraints, bare.must_staple), (None, false));
        assert!(Extensions::of(b"nothing").is_err());
    }

    static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        read_bundle(&sample())
            .unwrap()
            .certificates
            .remove(0)
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
            if let Ok(found) = Extensions::of(&der) {
                prop_assert_eq!(found.sha1.len(), 40);
            }
        }
    }
}
