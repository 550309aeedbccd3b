//! Trust anchors, and the periods in which a path to one of them holds.
//!
//! webpki answers for one instant. Whether a path exists changes only where a validity
//! period of a certificate on it begins or ends, so asking at these instants is enough.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use crate::cert::certificate::{parse, validity};
use crate::cert::fingerprint::sha256;
use crate::cert::intermediates::{Intermediates, SharedIntermediates, Signatures};
use crate::cert::key::MIN_RSA_BITS;
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
            self.anchors.push(anchor.clone());
            self.facts.push(Facts {
                source: AnchorSource::Roots,
                validity: None,
                sha256: None,
            });
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
            None => {
                self.anchors.push(anchor.to_owned());
                self.facts.push(facts);
            }
        }
        true
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
            issuers: intermediates
                .steps
                .iter()
                .map(|step| &*step.issuer)
                .collect(),
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
        self.anchors
            .iter()
            .any(|anchor| anchor.subject.as_ref() == subject)
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
mod tests {
    use rcgen::{CertifiedIssuer, ExtendedKeyUsagePurpose, Issuer, KeyPair};

    use super::*;
    use crate::cert::read_bundle;
    use crate::cert::testing::{
        Authority, Leaf, NOW, ca_params, days, intermediate, issued, new_key, openssl_self_signed,
        params, root, same_key, self_signed,
    };

    fn anchors(all: &[&Authority]) -> TrustAnchors {
        let mut anchors = TrustAnchors::new();
        for authority in all {
            assert!(anchors.add(authority.der().clone(), AnchorSource::Roots));
        }
        anchors
    }

    fn leaf(period: Validity, issuer: &Issuer<'_, KeyPair>) -> Leaf {
        issued(&params("leaf", &["mail.example.com"], period), issuer)
    }

    fn periods(anchors: &TrustAnchors, leaf: &Leaf, below: &[&Authority]) -> Vec<Validity> {
        let certificate = Certificate::from_der(leaf.der.clone()).unwrap();
        let below: Vec<_> = below.iter().map(|step| step.der().clone()).collect();
        let periods = anchors.trusted_periods(&certificate, &below);
        // Shared with others, whose signatures may be known already, they are the same.
        let shared = anchors.share(below).unwrap();
        for _ in 0..2 {
            assert_eq!(anchors.trusted_through(&certificate, &shared), periods);
        }
        periods.into_vec()
    }

    #[test]
    fn a_path_holds_as_long_as_each_certificate_on_it() {
        let top = root("Root", days(-100, 100));
        let middle = intermediate("Middle", days(-50, 20), new_key(), &top);
        for (root_period, middle_period, expected) in [
            (days(-100, 100), days(-50, 50), vec![days(-5, 30)]),
            (days(-100, 100), days(-50, 20), vec![days(-5, 20)]),
            (days(-100, 100), days(2, 50), vec![days(2, 30)]),
            (days(-100, 10), days(-50, 50), vec![days(-5, 10)]),
            (days(3, 100), days(-50, 20), vec![days(3, 20)]),
            (days(-100, 100), days(-50, -6), vec![]),
            (days(-100, -6), days(-50, 50), vec![]),
            (days(31, 100), days(-50, 50), vec![]),
        ] {
            let top =
                CertifiedIssuer::self_signed(ca_params("Root", root_period), same_key(top.key()))
                    .unwrap();
            let middle = intermediate("Middle", middle_period, same_key(middle.key()), &top);
            let leaf = leaf(days(-5, 30), &middle);
            assert_eq!(periods(&anchors(&[&top]), &leaf, &[&middle]), expected);
        }
    }

    #[test]
    fn a_path_needs_its_intermediates_and_its_anchor() {
        let top = root("Root", days(-100, 100));
        let middle = intermediate("Middle", days(-50, 50), new_key(), &top);
        let low = intermediate("Low", days(-50, 50), new_key(), &middle);
        let leaf = leaf(days(0, 10), &low);
        let trusting = anchors(&[&top]);
        let whole = vec![days(0, 10)];
        assert_eq!(periods(&trusting, &leaf, &[&low, &middle]), whole);
        assert_eq!(periods(&trusting, &leaf, &[&middle, &low, &top]), whole);
        assert_eq!(periods(&trusting, &leaf, &[&middle]), []);
        assert_eq!(periods(&trusting, &leaf, &[]), []);
        assert_eq!(
            periods(&TrustAnchors::new(), &leaf, &[&low, &middle, &top]),
            []
        );
        // Any certificate may be an anchor, as far as the administrator is concerned.
        assert_eq!(periods(&anchors(&[&low]), &leaf, &[]), whole);
        let other = root("Root", days(-100, 100));
        assert_eq!(periods(&anchors(&[&other]), &leaf, &[&low, &middle]), []);
    }

    #[test]
    fn one_path_follows_another() {
        let (old, new) = (root("Old", days(-100, 100)), root("New", days(-100, 100)));
        let key = new_key();
        for (first, second, expected) in [
            (days(-10, 5), days(6, 20), vec![days(0, 20)]),
            (days(-10, 8), days(4, 12), vec![days(0, 12)]),
            (days(-10, 5), days(8, 20), vec![days(0, 5), days(8, 20)]),
            (days(8, 12), days(3, 5), vec![days(3, 5), days(8, 12)]),
            (days(-10, 50), days(3, 5), vec![days(0, 30)]),
        ] {
            let by_old = intermediate("Middle", first, same_key(&key), &old);
            let by_new = intermediate("Middle", second, same_key(&key), &new);
            let leaf = leaf(days(0, 30), &by_old);
            let trusting = anchors(&[&old, &new]);
            assert_eq!(periods(&trusting, &leaf, &[&by_old, &by_new]), expected);
            assert_eq!(periods(&trusting, &leaf, &[&by_new, &by_old]), expected);
        }
    }

    #[test]
    fn a_root_that_was_issued_again_counts_with_both_its_periods() {
        let key = new_key();
        let issue = |period| {
            CertifiedIssuer::self_signed(ca_params("Root", period), same_key(&key)).unwrap()
        };
        let (first, second) = (issue(days(-100, 5)), issue(days(3, 100)));
        let leaf = leaf(days(0, 30), &first);
        for order in [[&first, &second], [&second, &first]] {
            assert_eq!(periods(&anchors(&order), &leaf, &[]), [days(0, 30)]);
        }
    }

    #[test]
    fn what_clients_would_not_accept_is_never_trusted() {
        let top = root("Root", days(-100, 100));
        let trusting = anchors(&[&top]);
        let good = params("leaf", &["mail.example.com"], days(0, 10));
        assert_eq!(periods(&trusting, &issued(&good, &top), &[]), [days(0, 10)]);

        let nameless = params("mail.example.com", &[], days(0, 10));
        assert_eq!(periods(&trusting, &issued(&nameless, &top), &[]), []);
        let mut for_clients = good.clone();
        for_clients.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert_eq!(periods(&trusting, &issued(&for_clients, &top), &[]), []);
        let mut authority = ca_params("leaf", days(0, 10));
        authority.subject_alt_names = good.subject_alt_names.clone();
        assert_eq!(periods(&trusting, &issued(&authority, &top), &[]), []);
        // An end-entity certificate is no CA for others.
        let poser = CertifiedIssuer::signed_by(good, new_key(), &top).unwrap();
        assert_eq!(
            periods(&trusting, &leaf(days(0, 10), &poser), &[&poser]),
            []
        );
    }

    #[test]
    fn the_administrator_may_trust_a_self_signed_certificate() {
        // CA:TRUE, which is no end-entity certificate to clients.
        let named = |names: &[&str]| {
            let mut own = ca_params("own", days(0, 10));
            own.subject_alt_names = params("own", names, days(0, 10)).subject_alt_names;
            self_signed(&own)
        };
        let own = named(&["mail.example.com"]);
        let add = |leaf: &Leaf, source| {
            let mut anchors = TrustAnchors::new();
            assert!(anchors.add(leaf.der.clone(), source));
            anchors
        };
        let administered = add(&own, AnchorSource::Administrator);
        assert_eq!(periods(&administered, &own, &[]), [days(0, 10)]);
        assert_eq!(periods(&add(&own, AnchorSource::Roots), &own, &[]), []);
        assert_eq!(
            periods(&administered, &named(&["mail.example.com"]), &[]),
            []
        );

        let mut both = add(&own, AnchorSource::Roots);
        assert!(both.add(own.der.clone(), AnchorSource::Administrator));
        assert!(both.add(own.der.clone(), AnchorSource::Roots));
        assert_eq!(both.len(), 1);
        assert_eq!(periods(&both, &own, &[]), [days(0, 10)]);

        let renewed = Leaf {
            der: params("own", &["mail.example.com"], days(5, 20))
                .self_signed(&own.key)
                .unwrap()
                .der()
                .clone(),
            key: same_key(&own.key),
        };
        assert_eq!(periods(&administered, &renewed, &[]), [days(5, 20)]);

        let nameless = named(&[]);
        let administered = add(&nameless, AnchorSource::Administrator);
        assert_eq!(periods(&administered, &nameless, &[]), []);
    }

    #[test]
    fn a_certificate_of_openssl_req_is_trusted_if_the_administrator_says_so() {
        // CA:TRUE, as `openssl req -x509` makes them.
        let san = ["-subj", "/CN=x", "-addext", "subjectAltName=DNS:a.example"];
        let der = read_bundle(&openssl_self_signed(&san))
            .unwrap()
            .certificates
            .remove(0);
        let mut anchors = TrustAnchors::new();
        assert!(anchors.add(der.clone(), AnchorSource::Administrator));
        let certificate = Certificate::from_der(der).unwrap();
        assert_eq!(
            *anchors.trusted_periods(&certificate, &[]),
            [certificate.validity]
        );
    }

    #[test]
    fn times_that_no_clock_shows_do_no_harm() {
        let year_1950 = Validity {
            not_before: -631_152_000,
            not_after: NOW,
        };
        let year_9999 = Validity {
            not_before: NOW,
            not_after: 253_402_300_799,
        };
        let reversed = Validity {
            not_before: NOW,
            not_after: NOW - 1,
        };
        let top = root("Root", year_9999);
        let trusting = anchors(&[&top]);
        assert_eq!(periods(&trusting, &leaf(year_9999, &top), &[]), [year_9999]);
        assert_eq!(periods(&trusting, &leaf(year_1950, &top), &[]), []);
        assert_eq!(periods(&trusting, &leaf(reversed, &top), &[]), []);
    }

    #[test]
    fn what_is_no_certificate_is_no_anchor() {
        let mut anchors = TrustAnchors::new();
        assert!(!anchors.add(b"\x30\x03abc".to_vec().into(), AnchorSource::Roots));
        assert!(anchors.is_empty());
        anchors.add_mozilla();
        assert!(anchors.len() > 100);
    }
}
