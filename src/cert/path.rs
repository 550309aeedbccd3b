//! The certificates below the end-entity one: which of them lead towards a trust anchor,
//! and whose certificate is missing.

use std::sync::OnceLock;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Name;

use crate::cert::certificate::{parse, validity};
use crate::cert::{CertificateError, TrustAnchors, Validity};
use crate::cert::{algorithm, distinguished_name};

/// A certificate as a step of a path.
#[derive(Debug)]
pub(super) struct Step {
    subject: Name,
    issuer: Name,
    /// Its own dates.
    pub(super) validity: Validity,
    /// Where the issuer's certificate can be had, if it says so.
    pub(super) issuer_at: Option<String>,
    /// The signature algorithm, if clients refuse it on this step.
    pub(super) weak_signature: Option<String>,
}

/// A name as it stands in a certificate.
#[derive(Debug)]
struct Name {
    der: Box<[u8]>,
    /// RFC 4514; made when somebody is told: most names are only compared.
    text: OnceLock<String>,
}

impl Name {
    fn new(name: &X509Name<'_>) -> Self {
        Self {
            der: name.as_raw().into(),
            text: OnceLock::new(),
        }
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| {
            let read = X509Name::from_der(&self.der);
            read.map_or_else(
                |_| String::new(),
                |(_, name)| distinguished_name::text(&name),
            )
        })
    }
}

impl Step {
    pub(super) fn from_der(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        parse(der).map(|x509| Self::new(&x509))
    }

    pub(super) fn new(x509: &X509Certificate<'_>) -> Self {
        let signature = algorithm::signature(&x509.signature_algorithm);
        let step = Self {
            subject: Name::new(x509.subject()),
            issuer: Name::new(x509.issuer()),
            validity: validity(x509),
            issuer_at: ca_issuers(x509),
            weak_signature: None,
        };
        // Nobody verifies a root's own signature.
        let weak_signature = (signature.weak && !step.is_self_issued()).then_some(signature.name);
        Self {
            weak_signature,
            ..step
        }
    }

    /// Subject, RFC 4514 text.
    pub(super) fn subject_text(&self) -> &str {
        self.subject.text()
    }

    /// Issuer, RFC 4514 text.
    pub(super) fn issuer_text(&self) -> &str {
        self.issuer.text()
    }

    /// DER content of the issuer's name, without the outer SEQUENCE.
    pub(super) fn issuer(&self) -> &[u8] {
        content(&self.issuer.der)
    }

    /// issuer = subject: nothing lies above it.
    fn is_self_issued(&self) -> bool {
        self.subject.der == self.issuer.der
    }
}

/// The first address of the issuer's certificate (authorityInfoAccess, RFC 5280 section 4.2.2.1).
fn ca_issuers(x509: &X509Certificate<'_>) -> Option<String> {
    const LONGEST: usize = 300;
    let extensions = x509
        .extensions()
        .iter()
        .map(X509Extension::parsed_extension);
    let access = extensions.filter_map(|extension| match extension {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    });
    let mut offers = access.flat_map(|access| &access.accessdescs);
    offers.find_map(|offer| match offer.access_location {
        GeneralName::URI(uri)
            if offer.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS
                && uri.len() <= LONGEST
                && uri.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Some(uri.to_owned())
        }
        _ => None,
    })
}

/// The content of a DER element, without tag and length.
pub(super) fn content(element: &[u8]) -> &[u8] {
    const LONG_FORM: u8 = 0x80;
    let header = match element.get(1) {
        Some(length) if length & LONG_FORM != 0 => 2 + usize::from(length & !LONG_FORM),
        _ => 2,
    };
    element.get(header..).unwrap_or_default()
}

/// Where a walk from the end-entity certificate from issuer to issuer leads.
pub(super) struct Walk<'s> {
    /// For each of the steps below, whether it is on the way.
    pub(super) used: Vec<bool>,
    /// A certificate whose issuer is neither below it nor a trust anchor.
    pub(super) dead_end: Option<&'s Step>,
}

impl<'s> Walk<'s> {
    pub(super) fn new(end_entity: &'s Step, below: &'s [Step], anchors: &TrustAnchors) -> Self {
        let mut walk = Self {
            used: vec![false; below.len()],
            dead_end: None,
        };
        let mut waiting = vec![end_entity];
        while let Some(step) = waiting.pop() {
            if step.is_self_issued() {
                continue;
            }
            let mut leads_on = anchors.names(step.issuer());
            for (candidate, used) in below.iter().zip(&mut walk.used) {
                if candidate.subject.der == step.issuer.der {
                    leads_on = true;
                    if !std::mem::replace(used, true) {
                        waiting.push(candidate);
                    }
                }
            }
            if !leads_on {
                walk.dead_end.get_or_insert(step);
            }
        }
        walk
    }
}
