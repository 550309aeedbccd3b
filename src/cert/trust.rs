//! Trust anchors, and the periods in which a path to one of them holds.

use rustls_pki_types::CertificateDer;

use crate::cert::{Certificate, Validity};

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
pub struct TrustAnchors {}

impl TrustAnchors {
    /// No anchor at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Mozilla's roots as compiled in (webpki-roots).
    pub fn add_mozilla(&mut self) {
        todo!()
    }

    /// Adds a root certificate; `false` if it cannot serve as an anchor.
    pub fn add(&mut self, _der: CertificateDer<'static>, _source: AnchorSource) -> bool {
        todo!()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The periods in which a path exists from `certificate` through `intermediates` to an
    /// anchor, in order and not touching; empty if it is never trusted.
    pub fn trusted_periods(
        &self,
        _certificate: &Certificate,
        _intermediates: &[CertificateDer<'static>],
    ) -> Box<[Validity]> {
        todo!()
    }
}
