//! What the files of one NAME amount to: a certificate, a request that waits, or a problem.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::causes;
use crate::cert::{
    Credential, CredentialError, PrivateKey, Problem, ProblemCode, TrustAnchors, end_entity_first,
    read_bundle,
};
use crate::store::atomic::{Contents, read_regular};
use crate::store::layout::Files;
use crate::store::requests;

/// A certificate that can be served, and what is needed to know it again.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) credential: Arc<Credential>,
    /// The key that fits.
    pub(super) key: PrivateKey,
    /// SHA-256 over the files it was made of.
    fingerprint: [u8; 32],
}

/// What there is of one NAME.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What is served, from the files or, if they cannot be used, from before they changed.
    pub(super) loaded: Option<Loaded>,
    /// Why the certificate files cannot be used.
    pub(super) problem: Option<Problem>,
    /// A request, and why it cannot be used.
    pub(super) request: Option<Result<(), Problem>>,
}

/// Where and against what the files are read.
pub(super) struct Scan<'a> {
    pub(super) directory: &'a Path,
    pub(super) anchors: &'a TrustAnchors,
    /// Whether what was loaded before was judged by the same anchors.
    pub(super) same_anchors: bool,
}

impl Scan<'_> {
    /// Reads the files of one NAME; `None` if they are no certificate and no request.
    pub(super) fn slot(&self, name: &str, files: Files, previous: Option<&Slot>) -> Option<Slot> {
        let mut slot = Slot::default();
        if files.certificate() {
            let before = previous.and_then(|slot| slot.loaded.as_ref());
            match self.load(name, files, before) {
                Ok(loaded) => slot.loaded = Some(loaded),
                Err(reason) => {
                    slot.loaded = before.map(|before| self.judged_again(name, before));
                    slot.problem = Some(set_aside(reason));
                }
            }
        }
        if files.csr {
            slot.request = Some(
                requests::read(self.directory, name, files)
                    .map(|_| ())
                    .map_err(set_aside),
            );
        }
        (files.certificate() || files.csr).then_some(slot)
    }

    fn load(&self, name: &str, files: Files, before: Option<&Loaded>) -> Result<Loaded, String> {
        let material = Material::read(self.directory, name, files)?;
        let fingerprint = material.fingerprint();
        match before.filter(|before| self.same_anchors && before.fingerprint == fingerprint) {
            Some(before) => Ok(before.clone()),
            None => self.put_together(name, material, fingerprint),
        }
    }

    fn put_together(
        &self,
        name: &str,
        material: Material,
        fingerprint: [u8; 32],
    ) -> Result<Loaded, String> {
        let Material {
            certificate,
            key,
            mut problems,
        } = material;
        let found = |file: &SourceFile| {
            read_bundle(&file.contents.bytes)
                .map_err(|e| format!("{}: {}", file.name, causes::in_one_line(&e)))
        };
        let mut bundle = found(&certificate)?;
        if let Some(key) = &key {
            bundle.keys = found(key)?.keys;
        }
        let key_file = key.as_ref().map_or(&certificate.name, |key| &key.name);
        if bundle.certificates.is_empty() {
            return Err(format!(
                "{}: no certificate in it, only a key",
                certificate.name
            ));
        }
        if bundle.keys.is_empty() {
            return Err(format!("{key_file}: no private key in it"));
        }
        let put = |chain| Credential::new(name, chain, &bundle.keys, self.anchors);
        let made = match put(bundle.certificates.clone()) {
            Err(CredentialError::KeyMismatch { .. })
                if let Some(chain) = end_entity_first(&bundle.certificates, &bundle.keys) =>
            {
                put(chain)
            }
            made => made,
        };
        let mut credential = made.map_err(|error| match error {
            CredentialError::KeyMismatch { .. } => not_its_key(&certificate.name, key_file),
            error => format!("{}: {}", certificate.name, causes::in_one_line(&error)),
        })?;
        credential.problems.append(&mut problems);
        let key = fitting(&bundle.keys, credential.certificate.spki())
            .ok_or_else(|| not_its_key(&certificate.name, key_file))?
            .clone();
        Ok(Loaded {
            credential: Arc::new(credential),
            key,
            fingerprint,
        })
    }

    /// What was loaded before, under today's anchors.
    fn judged_again(&self, name: &str, before: &Loaded) -> Loaded {
        if self.same_anchors {
            return before.clone();
        }
        let chain = before.credential.chain().cloned().collect();
        match Credential::new(name, chain, std::slice::from_ref(&before.key), self.anchors) {
            Ok(credential) => Loaded {
                credential: Arc::new(credential),
                ..before.clone()
            },
            Err(_) => before.clone(),
        }
    }
}

/// The keys in `NAME.key`; at least one.
pub(super) fn read_keys(directory: &Path, name: &str) -> Result<Vec<PrivateKey>, String> {
    let file = SourceFile::read(directory, format!("{name}.key"))?;
    match read_bundle(&file.contents.bytes) {
        Ok(bundle) if bundle.keys.is_empty() => Err(format!("{}: no private key in it", file.name)),
        Ok(bundle) => Ok(bundle.keys),
        Err(error) => Err(format!("{}: {}", file.name, causes::in_one_line(&error))),
    }
}

/// The key whose public half this is.
pub(super) fn fitting<'k>(keys: &'k [PrivateKey], spki: &[u8]) -> Option<&'k PrivateKey> {
    keys.iter().find(|key| key.spki() == spki)
}

pub(super) fn set_aside(message: String) -> Problem {
    Problem {
        code: ProblemCode::SetAside,
        message,
    }
}

fn not_its_key(certificate_file: &str, key_file: &str) -> String {
    format!("{certificate_file}: the certificate's key is not the key in {key_file}")
}

struct SourceFile {
    name: String,
    contents: Contents,
}

impl SourceFile {
    fn read(directory: &Path, name: String) -> Result<Self, String> {
        match read_regular(&directory.join(&name)) {
            Ok(contents) => Ok(Self { name, contents }),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }
}

/// The files that a certificate is made of, unread.
struct Material {
    certificate: SourceFile,
    /// `None`: the key is in the certificate's file.
    key: Option<SourceFile>,
    problems: Vec<Problem>,
}

impl Material {
    fn read(directory: &Path, name: &str, files: Files) -> Result<Self, String> {
        let ending = if files.crt { "crt" } else { "pem" };
        let certificate = SourceFile::read(directory, format!("{name}.{ending}"))?;
        let key = match (files.crt, files.key) {
            (true, true) => Some(SourceFile::read(directory, format!("{name}.key"))?),
            (true, false) => return Err(format!("{name}.crt: no key, {name}.key is missing")),
            (false, _) => None,
        };
        let mut problems = Vec::new();
        problems.extend(readable_by_others(key.as_ref().unwrap_or(&certificate)));
        if files.crt && files.pem {
            let message = format!("{name}.pem is not used: {name}.crt comes before it");
            problems.push(Problem {
                code: ProblemCode::Shadowed,
                message,
            });
        }
        Ok(Self {
            certificate,
            key,
            problems,
        })
    }

    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        let files = [Some(&self.certificate), self.key.as_ref()];
        let contents = files
            .into_iter()
            .flatten()
            .map(|file| file.contents.bytes.as_slice());
        let problems = self
            .problems
            .iter()
            .map(|problem| problem.message.as_bytes());
        for part in contents.chain(problems) {
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        fingerprint
    }
}

fn readable_by_others(key: &SourceFile) -> Option<Problem> {
    let mode = key.contents.mode;
    (mode & 0o077 != 0).then(|| Problem {
        code: ProblemCode::KeyReadable,
        message: format!(
            "{file} holds a private key and has mode {mode:04o}, expected 0600: chmod 0600 {file}",
            file = key.name
        ),
    })
}
