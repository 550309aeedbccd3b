//! Trust anchors, and the periods in which a path to one of them holds.
//!
//! webpki answers for one instant. Whether a path exists changes only where a validity
//! period of a certificate on it begins or ends, so asking at these instants is enough.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use crate::cert::certificate::{parse, validity};
use crate::cert::fingerprint::sha256;
use crate::cert::intermediates::{Intermediates, SharedIntermediates, Signatures};
use crate::cert::key::MIN_RSA_BITS;
use crate::cert::path::Step;
use crate::cert::{Certificate, CertificateError, KeyType, NameSource, Validity};

/// Where a trust anchor comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AnchorSource {
    /// The system's or a configured file's roots.
    Roots,
    /// The administrator's own folder `trust/`: a self-signed end-entity certificate in here
    /// is trusted as it is.
    Administrator,
}

/// The set of trust anchors.
#[derive(Debug, Default)]
pub struct TrustAnchors {
    /// As webpki takes them: in one slice, ready for any number of certificates.
    anchors: Vec<TrustAnchor<'static>>,
    /// What else is known of each, in the same order.
    facts: Vec<Facts>,
    /// DER content of their names.
    subjects: HashSet<Box<[u8]>>,
    /// What lies between the certificates that were judged and these anchors.
    shared: SharedIntermediates,
}

#[derive(Debug)]
struct Facts {
    source: AnchorSource,
    /// webpki does not look at a root's own dates; Mozilla's list has none.
    validity: Option<Validity>,
    sha256: Option<[u8; 32]>,
}

impl TrustAnchors {
    /// No anchor at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Mozilla's roots as compiled in (webpki-roots).
    pub fn add_mozilla(&mut self) {
        for anchor in webpki_roots::TLS_SERVER_ROOTS {
            let facts = Facts {
                source: AnchorSource::Roots,
                validity: None,
                sha256: None,
            };
            self.push(anchor.clone(), facts);
        }
    }

    /// Adds a root certificate; `false` if it cannot serve as an anchor.
    pub fn add(&mut self, der: CertificateDer<'static>, source: AnchorSource) -> bool {
        let (Ok(anchor), Ok(x509)) = (anchor_from_trusted_cert(&der), parse(&der)) else {
            return false;
        };
        let facts = Facts {
            source,
            validity: Some(validity(&x509)),
            sha256: Some(sha256(&der)),
        };
        match self
            .facts
            .iter_mut()
            .find(|known| known.sha256 == facts.sha256)
        {
            Some(known) if source == AnchorSource::Administrator => known.source = source,
            Some(_) => {}
            None => self.push(anchor.to_owned(), facts),
        }
        true
    }

    fn push(&mut self, anchor: TrustAnchor<'static>, facts: Facts) {
        self.subjects.insert(anchor.subject.as_ref().into());
        self.anchors.push(anchor);
        self.facts.push(facts);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The periods in which a path exists from `certificate` through `intermediates` to an
    /// anchor, in order and not touching; empty if it is never trusted.
    pub fn trusted_periods(
        &self,
        certificate: &Certificate,
        intermediates: &[CertificateDer<'static>],
    ) -> Box<[Validity]> {
        let readable = intermediates.iter().filter_map(|der| {
            let intermediate = EndEntityCert::try_from(der).ok()?;
            Some(intermediate.issuer().to_vec())
        });
        let issuers: Vec<Vec<u8>> = readable.collect();
        let periods: Vec<_> = intermediates.iter().map(|der| period_of(der)).collect();
        let below = Below {
            certificates: intermediates,
            periods: &periods,
            issuers: issuers.iter().map(Vec::as_slice).collect(),
            signatures: &Signatures::default(),
        };
        self.periods(certificate, &below)
    }

    /// The same through intermediates that others have too.
    pub(super) fn trusted_through(
        &self,
        certificate: &Certificate,
        intermediates: &Intermediates,
    ) -> Box<[Validity]> {
        let below = Below {
            certificates: &intermediates.certificates,
            periods: &intermediates.periods,
            issuers: intermediates.steps.iter().map(Step::issuer).collect(),
            signatures: &intermediates.signatures,
        };
        self.periods(certificate, &below)
    }

    /// The intermediates, kept once for all certificates that are judged by these anchors.
    pub(super) fn share(
        &self,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<Intermediates>, (usize, CertificateError)> {
        self.shared.share(intermediates)
    }

    fn periods(&self, certificate: &Certificate, below: &Below<'_>) -> Box<[Validity]> {
        if !is_acceptable(certificate) {
            return Box::default();
        }
        if self.is_administered(certificate) {
            return Box::new([certificate.validity]);
        }
        let Ok(end_entity) = EndEntityCert::try_from(&certificate.der) else {
            return Box::default();
        };
        // A path ends at an anchor by name. Without one there is nothing to verify, and most of
        // webpki's work would be to fail once more for each anchor.
        let mut issuers = below.issuers.iter().copied().chain([end_entity.issuer()]);
        if !issuers.any(|issuer| self.names(issuer)) {
            return Box::default();
        }
        let algorithms = below.signatures.algorithms(below.certificates);
        let sweep = Sweep {
            anchors: self,
            end_entity: &end_entity,
            validity: certificate.validity,
            below,
            algorithms: algorithms.iter().map(|it| it as _).collect(),
        };
        sweep.run()
    }

    /// Whether an anchor has this subject (DER content of the name).
    pub(super) fn names(&self, subject: &[u8]) -> bool {
        self.subjects.contains(subject)
    }

    /// A self-signed certificate that is itself one of the administrator's anchors; the same
    /// name and key in a renewed certificate are enough.
    fn is_administered(&self, certificate: &Certificate) -> bool {
        if !certificate.self_signed {
            return false;
        }
        let Ok(own) = anchor_from_trusted_cert(&certificate.der) else {
            return false;
        };
        self.anchors.iter().zip(&self.facts).any(|(anchor, facts)| {
            facts.source == AnchorSource::Administrator
                && anchor.subject == own.subject
                && anchor.subject_public_key_info == own.subject_public_key_info
        })
    }

    fn validity_of(&self, anchor: &TrustAnchor<'_>) -> Option<Validity> {
        let at = self
            .anchors
            .iter()
            .position(|own| std::ptr::eq(own, anchor));
        at.and_then(|at| self.facts.get(at))?.validity
    }
}

/// What webpki does not look at: a name that clients read, and the size of the own key.
fn is_acceptable(certificate: &Certificate) -> bool {
    let strong = match certificate.key_type {
        KeyType::Rsa(bits) => bits >= MIN_RSA_BITS,
        KeyType::Other => false,
        _ => true,
    };
    strong && certificate.name_source == NameSource::SubjectAltName
}

/// The dates of an intermediate; one that cannot be read is on no path.
fn period_of(der: &CertificateDer<'_>) -> Option<Validity> {
    parse(der).ok().map(|x509| validity(&x509))
}

/// What lies between a certificate and the anchors.
struct Below<'b> {
    certificates: &'b [CertificateDer<'static>],
    /// Dates of `certificates`, in the same order.
    periods: &'b [Option<Validity>],
    /// DER content of the names of their issuers.
    issuers: Vec<&'b [u8]>,
    signatures: &'b Signatures,
}

/// One certificate, asked about at every instant at which the answer may change.
struct Sweep<'s> {
    anchors: &'s TrustAnchors,
    end_entity: &'s EndEntityCert<'s>,
    validity: Validity,
    below: &'s Below<'s>,
    algorithms: Vec<&'s dyn SignatureVerificationAlgorithm>,
}

impl Sweep<'_> {
    fn run(&self) -> Box<[Validity]> {
        let boundaries = self.boundaries();
        let mut trusted = Vec::new();
        // Times before 1970 are none to webpki, and to no clock of today.
        let mut next = Some(self.validity.not_before.max(0));
        while let Some(at) = next.filter(|at| *at <= self.validity.not_after) {
            next = match self.trusted_until(at) {
                Some(end) => {
                    let not_after = end.max(at);
                    extend(
                        &mut trusted,
                        Validity {
                            not_before: at,
                            not_after,
                        },
                    );
                    not_after.checked_add(1)
                }
                None => boundaries.iter().copied().find(|boundary| *boundary > at),
            };
        }
        trusted.into()
    }

    /// Every instant at which a certificate comes into its period or leaves it, in order.
    fn boundaries(&self) -> Vec<i64> {
        let anchors = self.possible_anchors();
        let mut boundaries: Vec<i64> = self
            .below
            .periods
            .iter()
            .copied()
            .flatten()
            .chain(anchors)
            .flat_map(|period| [period.not_before, period.not_after.saturating_add(1)])
            .collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        boundaries
    }

    /// Dates of the anchors that the path may end at.
    fn possible_anchors(&self) -> impl Iterator<Item = Validity> {
        let own = self.end_entity.issuer();
        let names = move |subject: &[u8]| own == subject || self.below.issuers.contains(&subject);
        let known = self.anchors.anchors.iter().zip(&self.anchors.facts);
        known
            .filter(move |(anchor, _)| names(anchor.subject.as_ref()))
            .filter_map(|(_, facts)| facts.validity)
    }

    /// Whether a path holds at `at`, and until when that very path does.
    fn trusted_until(&self, at: i64) -> Option<i64> {
        let seconds = u64::try_from(at).ok()?;
        let in_date = |path: &VerifiedPath<'_>| match self.anchors.validity_of(path.anchor()) {
            Some(period) if !contains(period, at) => Err(Error::UnknownIssuer),
            _ => Ok(()),
        };
        let path = self
            .end_entity
            .verify_for_usage(
                &self.algorithms,
                &self.anchors.anchors,
                self.below.certificates,
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                KeyUsage::server_auth(),
                None,
                Some(&in_date),
            )
            .ok()?;
        let anchor = self.anchors.validity_of(path.anchor());
        let below = path.intermediate_certificates().filter_map(|on_path| {
            let der = on_path.der();
            let mut certificates = self.below.certificates.iter();
            let at = certificates.position(|own| *own == der)?;
            *self.below.periods.get(at)?
        });
        let ends = below.chain(anchor).map(|period| period.not_after);
        ends.chain([self.validity.not_after]).min()
    }
}

fn contains(period: Validity, at: i64) -> bool {
    period.not_before <= at && at <= period.not_after
}

/// Appends a period, as part of the last one if it follows without a gap.
fn extend(periods: &mut Vec<Validity>, period: Validity) {
    match periods.last_mut() {
        Some(last) if last.not_after.saturating_add(1) >= period.not_before => {
            last.not_after = period.not_after;
        }
        _ => periods.push(period),
    }
}

#[cfg(test)]
mod tests;
