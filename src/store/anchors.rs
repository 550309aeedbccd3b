//! Trust anchors: the configured roots, and the administrator's own in `trust/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::cert::{AnchorSource, Problem, ProblemCode, TrustAnchors};
use crate::store::atomic::{ReadError, read_regular};
use crate::store::layout::TRUST;
use crate::store::{RootSource, StoreError};

type Certificates = Vec<CertificateDer<'static>>;

/// The configured roots, read at the start and at a reload.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Roots {
    mozilla: bool,
    certificates: Certificates,
}

impl Roots {
    /// Reads all sources; a PEM file that is missing or holds no certificate is an error.
    pub(super) fn load(sources: &[RootSource]) -> Result<Self, StoreError> {
        let mut roots = Self::default();
        for source in sources {
            match source {
                RootSource::Mozilla => roots.mozilla = true,
                RootSource::System => roots.add_system(),
                RootSource::File(path) => roots.certificates.append(&mut read_file(path)?),
            }
        }
        Ok(roots)
    }

    fn add_system(&mut self) {
        let mut found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(error = %error, "system trust anchors: a part could not be read");
        }
        if found.certs.is_empty() {
            tracing::warn!("the system has no trust anchors, Mozilla's as compiled in are used");
            self.mozilla = true;
        }
        self.certificates.append(&mut found.certs);
    }
}

fn read_file(path: &Path) -> Result<Certificates, StoreError> {
    let bytes = std::fs::read(path)
        .map_err(|e| StoreError::io(path, "cannot read the trust anchors", e))?;
    match certificates(&bytes) {
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(StoreError::NoAnchor {
            path: path.display().to_string(),
        }),
    }
}

fn certificates(pem: &[u8]) -> Result<Certificates, String> {
    let found: Result<Certificates, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err("no certificate in it, expected PEM".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("not PEM: {error}")),
    }
}

/// What `trust/` holds, and all anchors together.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    files: BTreeMap<String, AnchorFile>,
    /// The roots and the folder's.
    pub(super) all: Arc<TrustAnchors>,
}

#[derive(Clone, Debug, Default)]
struct AnchorFile {
    certificates: Certificates,
    problem: Option<Problem>,
}

impl Anchors {
    /// Reads `trust/*.pem`. A file that cannot be used is set aside; what `previous` had of it
    /// still counts. The set is made anew only if it differs or the roots may.
    pub(super) fn read(
        directory: &Path,
        roots: &Roots,
        previous: Option<&Self>,
        roots_changed: bool,
    ) -> Result<Self, StoreError> {
        let files = read_folder(&directory.join(TRUST), previous)?;
        let same = |before: &&Self| !roots_changed && same_anchors(&before.files, &files);
        let all = match previous.filter(same) {
            Some(before) => Arc::clone(&before.all),
            None => Arc::new(build(roots, &files)),
        };
        Ok(Self { files, all })
    }

    /// Whether a file cannot be used that could be `before`, or cannot for another reason.
    pub(super) fn is_worse(&self, before: &Self) -> bool {
        self.set_aside().any(|(file, problem)| {
            let mut known = before.set_aside();
            !known.any(|known| known == (file.clone(), problem))
        })
    }

    /// The files that cannot be used, as `trust/NAME`.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = (String, &Problem)> {
        self.files.iter().filter_map(|(name, file)| {
            file.problem
                .as_ref()
                .map(|problem| (format!("{TRUST}/{name}"), problem))
        })
    }
}

fn same_anchors(a: &BTreeMap<String, AnchorFile>, b: &BTreeMap<String, AnchorFile>) -> bool {
    a.values()
        .flat_map(|file| &file.certificates)
        .eq(b.values().flat_map(|file| &file.certificates))
}

fn read_folder(
    folder: &Path,
    previous: Option<&Anchors>,
) -> Result<BTreeMap<String, AnchorFile>, StoreError> {
    let error = |source| StoreError::io(folder, "cannot list the folder", source);
    let mut files = BTreeMap::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(e) => return Err(error(e)),
    };
    for entry in entries {
        let file = entry
            .map_err(error)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let Some(name) = file
            .strip_suffix(".pem")
            .filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        let before = previous.and_then(|anchors| anchors.files.get(name));
        files.insert(
            name.to_owned(),
            read_anchor(&folder.join(&file), &file, before),
        );
    }
    Ok(files)
}

fn read_anchor(path: &Path, file: &str, before: Option<&AnchorFile>) -> AnchorFile {
    let read = read_regular(path).map_err(|e: ReadError| e.to_string());
    match read.and_then(|contents| certificates(&contents.bytes)) {
        Ok(certificates) => AnchorFile {
            certificates,
            problem: None,
        },
        Err(reason) => AnchorFile {
            certificates: before
                .map(|file| file.certificates.clone())
                .unwrap_or_default(),
            problem: Some(Problem {
                code: ProblemCode::SetAside,
                message: format!("{TRUST}/{file}: {reason}"),
            }),
        },
    }
}

fn build(roots: &Roots, files: &BTreeMap<String, AnchorFile>) -> TrustAnchors {
    let mut all = TrustAnchors::new();
    if roots.mozilla {
        all.add_mozilla();
    }
    for root in &roots.certificates {
        if !all.add(root.clone(), AnchorSource::Roots) {
            tracing::debug!("a configured root cannot serve as a trust anchor");
        }
    }
    for (name, file) in files {
        for certificate in &file.certificates {
            if !all.add(certificate.clone(), AnchorSource::Administrator) {
                tracing::warn!(file = %format_args!("{TRUST}/{name}.pem"), "a certificate in it cannot serve as a trust anchor");
            }
        }
    }
    all
}
