//! The trust anchors of an upstream.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::ClientTlsError;
use crate::config::TrustSource;

/// All that `trust` names.
pub(super) fn read(sources: &[TrustSource]) -> Result<RootCertStore, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    for source in sources {
        match source {
            TrustSource::System => add_system(&mut roots),
            TrustSource::Mozilla => add_mozilla(&mut roots),
            TrustSource::File(path) => add_file(&mut roots, path)?,
        }
    }
    Ok(roots)
}

fn add_mozilla(roots: &mut RootCertStore) {
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
}

/// A host without anchors of its own gets Mozilla's. What `[certificates] trust` finds there is
/// the same, and that tells of the parts that cannot be read.
fn add_system(roots: &mut RootCertStore) {
    let found = rustls_native_certs::load_native_certs();
    if roots.add_parsable_certificates(found.certs) == (0, 0) {
        add_mozilla(roots);
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), ClientTlsError> {
    let file = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| ClientTlsError::Read {
        path: file(),
        source,
    })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|source| ClientTlsError::NotPem {
        path: file(),
        source,
    })?;
    match roots.add_parsable_certificates(found) {
        (0, _) => Err(ClientTlsError::NoAnchor { path: file() }),
        _ => Ok(()),
    }
}
