//! What the files of one NAME amount to: a certificate, a request that waits, or a problem.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use aws_lc_rs::digest;

use crate::causes;
use crate::cert::{
    Certificate, Credential, CredentialError, PrivateKey, Problem, ProblemCode, TrustAnchors,
    end_entity_first, read_bundle,
};
use crate::store::atomic::{Contents, OpenFolder, read_regular};
use crate::store::layout::Files;
use crate::store::requests;
use crate::store::stamp::{Look, Stamp};

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
    /// What the files say that cannot be used, where nothing is served in their place.
    pub(super) unusable: Option<Arc<Certificate>>,
    /// The files as they were before they were read.
    stamp: Stamp,
}

/// A slot that is shared by one reading of the folder and the next.
#[derive(Clone, Debug)]
pub(super) struct SharedSlot(pub(super) Arc<Slot>);

impl Deref for SharedSlot {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.0
    }
}

impl PartialEq for SharedSlot {
    /// Whether it is the very same one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Slot {
    /// All that is set aside.
    pub(super) fn set_aside(&self) -> impl Iterator<Item = &Problem> {
        let request = self.request.as_ref();
        let request = request.and_then(|request| request.as_ref().err());
        self.problem.iter().chain(request)
    }

    /// What can be served.
    pub(super) fn credential(&self) -> Option<&Arc<Credential>> {
        self.loaded.as_ref().map(|loaded| &loaded.credential)
    }

    /// Whether the files are still those that it was made of. May be wrong only the one way.
    pub(super) fn holds(&self, directory: &Path, name: &str, files: Files) -> bool {
        let looks = Look::at(directory, files.all(name));
        self.stamp.holds(Stamp::of(&looks))
    }
}

/// Where and against what the files are read.
pub(super) struct Scan<'a> {
    pub(super) directory: &'a Path,
    /// FOLDER, if it is a folder of another's.
    pub(super) label: Option<&'a str>,
    pub(super) anchors: &'a TrustAnchors,
    /// Whether what was loaded before was judged by the same anchors.
    pub(super) same_anchors: bool,
}

impl Scan<'_> {
    /// Reads the files of one NAME if they changed since `previous`; `None` if they are no
    /// certificate and no request.
    pub(super) fn slot(
        &self,
        name: &str,
        files: Files,
        previous: Option<&SharedSlot>,
    ) -> Option<SharedSlot> {
        self.slot_in(None, name, files, previous)
    }

    /// The same, in the folder that is open.
    fn slot_in(
        &self,
        folder: Option<&OpenFolder>,
        name: &str,
        files: Files,
        previous: Option<&SharedSlot>,
    ) -> Option<SharedSlot> {
        if !files.slot() {
            return None;
        }
        let looks = match folder.filter(|_| files.plain() && previous.is_none()) {
            Some(folder) => Look::opening(folder, self.directory, files.all(name)),
            None => Look::at(self.directory, files.all(name)),
        };
        let stamp = Stamp::of(&looks);
        if let Some(previous) = previous
            && self.same_anchors
            && previous.stamp.holds(stamp)
        {
            return Some(previous.clone());
        }
        let previous = previous.map(Deref::deref);
        let mut slot = Slot {
            stamp,
            ..Slot::default()
        };
        if files.certificate() {
            let before = previous.and_then(|slot| slot.loaded.as_ref());
            match self.load(name, files, &looks, before) {
                Ok(loaded) => slot.loaded = Some(loaded),
                Err(reason) => {
                    slot.loaded = before.map(|before| self.judged_again(before));
                    slot.problem = Some(set_aside(reason));
                    if slot.loaded.is_none() {
                        slot.unusable = self.readable_part(name, files);
                    }
                }
            }
        }
        if files.csr {
            let waiting = requests::read(self.directory, name, files);
            slot.request = Some(waiting.map(|_| ()).map_err(set_aside));
        }
        Some(SharedSlot(Arc::new(slot)))
    }

    /// The same for many, on all processors.
    pub(super) fn slots(
        &self,
        names: &[(&String, &Files)],
        previous: impl Fn(&str) -> Option<SharedSlot> + Sync,
    ) -> Vec<Option<SharedSlot>> {
        let folder = OpenFolder::open(self.directory);
        in_parallel(names, |(name, files)| {
            self.slot_in(folder.as_ref(), name, **files, previous(name).as_ref())
        })
    }

    /// What the certificate is called.
    pub(super) fn full(&self, name: &str) -> String {
        full_name(self.label, name)
    }

    fn load(
        &self,
        name: &str,
        files: Files,
        looks: &[Look],
        before: Option<&Loaded>,
    ) -> Result<Loaded, String> {
        let material = Material::read(self, name, files, looks)?;
        let fingerprint = material.fingerprint();
        match before.filter(|before| self.same_anchors && before.fingerprint == fingerprint) {
            Some(before) => Ok(before.clone()),
            None => self.put_together(&self.full(name), material, fingerprint),
        }
    }

    /// The certificate of files that cannot be used, so that monitoring does not lose sight of it.
    fn readable_part(&self, name: &str, files: Files) -> Option<Arc<Certificate>> {
        let file = files.certificates(name).next()?;
        let file = SourceFile::read(self, file, &[]).ok()?;
        let mut bundle = read_bundle(&file.contents.bytes).ok()?;
        let first = (!bundle.certificates.is_empty()).then(|| bundle.certificates.swap_remove(0));
        Certificate::from_der(first?).ok().map(Arc::new)
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
    fn judged_again(&self, before: &Loaded) -> Loaded {
        if self.same_anchors {
            return before.clone();
        }
        let name = &before.credential.name;
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

/// The keys in `NAME.key` of our own folder; at least one.
pub(super) fn read_keys(directory: &Path, name: &str) -> Result<Vec<PrivateKey>, String> {
    let file = SourceFile::read_from(directory, format!("{name}.key"), &[])?;
    match read_bundle(&file.contents.bytes) {
        Ok(bundle) if bundle.keys.is_empty() => Err(format!("{}: no private key in it", file.name)),
        Ok(bundle) => Ok(bundle.keys),
        Err(error) => Err(format!("{}: {}", file.name, causes::in_one_line(&error))),
    }
}

/// `FOLDER/NAME` for the folders of others, NAME for our own.
pub(super) fn full_name(label: Option<&str>, name: &str) -> String {
    match label {
        Some(label) => format!("{label}/{name}"),
        None => name.to_owned(),
    }
}

/// Work that is worth a thread.
const FOR_A_THREAD: usize = 64;

/// What `work` makes of each item, in their order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(items.len() / FOR_A_THREAD).max(1);
    let all = |items: &[T]| items.iter().map(&work).collect::<Vec<R>>();
    if threads == 1 {
        return all(items);
    }
    let mut parts = items.chunks(items.len().div_ceil(threads));
    let own = parts.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(|| all(part))).collect();
        let mut made = all(own);
        for other in others {
            match other.join() {
                Ok(mut part) => made.append(&mut part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        made
    })
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
    /// As people are told of it.
    name: String,
    contents: Contents,
}

impl SourceFile {
    fn read(scan: &Scan<'_>, file: String, looks: &[Look]) -> Result<Self, String> {
        let read = Self::read_from(scan.directory, file, looks);
        match scan.label {
            None => read,
            Some(label) => match read {
                Ok(file) => Ok(Self {
                    name: format!("{label}/{}", file.name),
                    ..file
                }),
                Err(reason) => Err(format!("{label}/{reason}")),
            },
        }
    }

    /// What was looked at is not asked again what it is.
    fn read_from(directory: &Path, name: String, looks: &[Look]) -> Result<Self, String> {
        let read = match look(looks, &name) {
            Some(look) => look.read(directory),
            None => read_regular(&directory.join(&name)),
        };
        match read {
            Ok(contents) => Ok(Self { name, contents }),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }
}

fn look<'l>(looks: &'l [Look], file: &str) -> Option<&'l Look> {
    looks.iter().find(|look| look.file == file)
}

/// The files that a certificate is made of, unread.
struct Material {
    certificate: SourceFile,
    /// `None`: the key is in the certificate's file.
    key: Option<SourceFile>,
    problems: Vec<Problem>,
}

impl Material {
    fn read(scan: &Scan<'_>, name: &str, files: Files, looks: &[Look]) -> Result<Self, String> {
        let shown = |file: &str| full_name(scan.label, file);
        let mut certificates = files.certificates(name);
        let used = certificates.next().unwrap_or_default();
        let certificate = SourceFile::read(scan, used.clone(), looks)?;
        let missing = |file: &str| {
            let known = look(looks, file).is_some_and(Look::is_there);
            !known && scan.directory.join(file).symlink_metadata().is_err()
        };
        let key = match files.key_file(name) {
            None => None,
            Some(file) if missing(&file) => {
                let (used, file) = (shown(&used), shown(&file));
                return Err(format!("{used}: no key, {file} is missing"));
            }
            Some(file) => Some(SourceFile::read(scan, file, looks)?),
        };
        let mut problems = Vec::new();
        problems.extend(readable_by_others(key.as_ref().unwrap_or(&certificate)));
        problems.extend(certificates.map(|other| {
            let (used, other) = (shown(&used), shown(&other));
            Problem {
                code: ProblemCode::Shadowed,
                message: format!("{other} is not used: {used} comes before it"),
            }
        }));
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
