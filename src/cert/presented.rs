//! Presented identifiers: the names and addresses that a certificate is for (RFC 9525
//! section 6.2), from its subjectAltName or, for want of any, its common names.

use std::collections::HashSet;
use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use crate::cert::distinguished_name;
use crate::cert::{CertificateError, NamePattern, NameSource, Problem, ProblemCode};

/// Tag of a dNSName in GeneralName (RFC 5280 section 4.2.1.6).
const DNS_NAME_TAG: u32 = 2;

/// The presented identifiers of a certificate.
pub(super) struct Presented {
    pub(super) names: Vec<NamePattern>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) source: NameSource,
    pub(super) problems: Vec<Problem>,
}

impl Presented {
    pub(super) fn read(x509: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let extension =
            x509.subject_alternative_name()
                .map_err(|source| CertificateError::BadExtension {
                    extension: "subjectAltName",
                    source,
                })?;
        let names = extension.iter().flat_map(|san| &san.value.general_names);
        Ok(Self::of(names, x509.subject()))
    }

    /// From the names of a subjectAltName and, for want of any, a subject.
    pub(super) fn of<'n>(
        names: impl Iterator<Item = &'n GeneralName<'n>>,
        subject: &X509Name<'_>,
    ) -> Self {
        let mut presented = Self {
            names: Vec::new(),
            addresses: Vec::new(),
            source: NameSource::CommonName,
            problems: Vec::new(),
        };
        for name in names {
            presented.add_general_name(name);
        }
        if presented.source == NameSource::CommonName {
            presented.add_common_names(subject);
        }
        if presented.names.len() > 1 {
            // A certificate may have thousands of names, and some twice.
            let mut seen = HashSet::new();
            presented.names.retain(|name| seen.insert(name.clone()));
        }
        presented
    }

    fn add_general_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(text) => {
                self.source = NameSource::SubjectAltName;
                self.add_name(text);
            }
            GeneralName::IPAddress(octets) => {
                self.source = NameSource::SubjectAltName;
                self.add_address(octets);
            }
            GeneralName::Invalid(tag, octets) if tag.0 == DNS_NAME_TAG => {
                self.source = NameSource::SubjectAltName;
                self.add_name(&String::from_utf8_lossy(octets));
            }
            _ => {}
        }
    }

    fn add_common_names(&mut self, subject: &X509Name<'_>) {
        let message = "no subjectAltName: named by its common name alone, \
                       which no current client accepts"
            .to_owned();
        let code = ProblemCode::NoSubjectAltName;
        self.problems.push(Problem { code, message });
        for name in distinguished_name::common_names(subject) {
            self.add_name(&name);
        }
    }

    fn add_name(&mut self, text: &str) {
        match NamePattern::parse(text) {
            Ok(name) => self.names.push(name),
            Err(error) => self.report_unusable(error.to_string()),
        }
    }

    fn add_address(&mut self, octets: &[u8]) {
        if let Ok(v4) = <[u8; 4]>::try_from(octets) {
            self.addresses.push(v4.into());
        } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
            self.addresses.push(v6.into());
        } else {
            let found = octets.len();
            self.report_unusable(format!("iPAddress of {found} bytes, expected 4 or 16"));
        }
    }

    fn report_unusable(&mut self, message: String) {
        let code = ProblemCode::UnusableName;
        self.problems.push(Problem { code, message });
    }
}
