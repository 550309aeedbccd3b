//! Notes about a change under way: what of the files of one NAME goes if the process that
//! changes them dies, so that whoever comes next finds the state before or the state after.
//!
//! A change of several files has one step that decides: before it, the files are those of the
//! state before, and perhaps a key too many; after it, they are those of the state after, and
//! perhaps files that are no longer wanted. The note is on the disk before the first step and gone
//! after the last. Readers pass over what it says is gone; the next writer removes it.
//!
//! Each line of a note says one thing, and nothing that is in use ever goes by it:
//!
//! ```text
//! key ID              goes from NAME.key, unless NAME.crt or NAME.csr is for it
//! key *               the same of whatever NAME.key holds
//! gone csr SUM SUM    the file of this ending with these contents, once NAME.crt has the others
//! default             the file `default` goes if it chooses NAME and there is no such certificate
//! ```

use std::fmt::Write as _;
use std::path::Path;

use crate::cert::{Request, hex, read_bundle, sha256, spki_of};
use crate::store::atomic::{Step, read_regular};
use crate::store::layout::{DEFAULT, Files, UNSETTLED};
use crate::store::scan::read_keys;

/// Whatever a key file holds.
const ANY: &str = "*";

/// What a note says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Note {
    /// SHA-256 over public keys, hexadecimal, or [`ANY`].
    keys: Vec<String>,
    gone: Vec<Gone>,
    /// Whether NAME was the default certificate, or was to be.
    default: bool,
    /// What it says could not be read: then nothing goes, and the note stays.
    unread: bool,
}

/// A file that is gone once `NAME.crt` is another.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Gone {
    ending: String,
    contents: String,
    once: String,
}

impl Note {
    /// The key with this SubjectPublicKeyInfo may be one too many.
    pub(super) fn key(&mut self, spki: &[u8]) {
        self.keys.push(hex(&sha256(spki)));
    }

    /// Whatever is in the key file is too many if there is no certificate and no request.
    pub(super) fn any_key(&mut self) {
        self.keys.push(ANY.to_owned());
    }

    /// The file with this ending and these contents is gone once `NAME.crt` is `certificate`.
    pub(super) fn gone(&mut self, ending: &str, contents: &[u8], certificate: &str) {
        self.gone.push(Gone {
            ending: ending.to_owned(),
            contents: hex(&sha256(contents)),
            once: hex(&sha256(certificate.as_bytes())),
        });
    }

    /// NAME was the default certificate, or is to be.
    pub(super) fn choice(&mut self) {
        self.default = true;
    }

    /// Puts the note before and its end after the steps of a change; without a word it is left
    /// out.
    pub(super) fn around(self, name: &str, steps: Vec<Step>) -> Vec<Step> {
        if self == Self::default() {
            return steps;
        }
        let file = format!("{UNSETTLED}{name}");
        let mut all = vec![Step::public(file.clone(), self.text()).prepares()];
        all.extend(steps);
        all.push(Step::remove(file).tidies());
        all
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for key in &self.keys {
            let _ = writeln!(text, "key {key}");
        }
        for gone in &self.gone {
            let _ = writeln!(text, "gone {} {} {}", gone.ending, gone.contents, gone.once);
        }
        if self.default {
            text.push_str("default\n");
        }
        text
    }

    /// Reads the note about a NAME.
    pub(super) fn read(directory: &Path, name: &str) -> Self {
        let path = directory.join(format!("{UNSETTLED}{name}"));
        let mut note = Self::default();
        match read_regular(&path) {
            Ok(contents) => note.parse(&String::from_utf8_lossy(&contents.bytes)),
            Err(_) => note.unread = path.symlink_metadata().is_ok(),
        }
        note
    }

    fn parse(&mut self, text: &str) {
        for line in text.lines() {
            match *line.split(' ').collect::<Vec<_>>().as_slice() {
                ["key", key] => self.keys.push(key.to_owned()),
                ["gone", ending @ ("csr" | "pem"), contents, once] => self.gone.push(Gone {
                    ending: ending.to_owned(),
                    contents: contents.to_owned(),
                    once: once.to_owned(),
                }),
                ["default"] => self.default = true,
                _ => {}
            }
        }
    }

    /// Endings of the files that are gone although they are still there.
    pub(super) fn passed_over(&self, directory: &Path, name: &str) -> Vec<&str> {
        let sum = |ending: &str| {
            let contents = read_regular(&directory.join(format!("{name}.{ending}")));
            contents.ok().map(|contents| hex(&sha256(&contents.bytes)))
        };
        let Some(certificate) = (!self.gone.is_empty()).then(|| sum("crt")).flatten() else {
            return Vec::new();
        };
        let gone = self.gone.iter().filter(|gone| gone.once == certificate);
        gone.filter(|gone| sum(&gone.ending).as_ref() == Some(&gone.contents))
            .map(|gone| gone.ending.as_str())
            .collect()
    }

    /// Whether the choice of this NAME as the default one is passed over too.
    pub(super) fn forgets_default(&self, files: Files) -> bool {
        self.default && !files.certificate()
    }

    /// The steps that end what was under way; `files` is what is left of NAME without what is
    /// passed over. None as long as a file that matters cannot be read.
    pub(super) fn settle(&self, directory: &Path, name: &str, files: Files) -> Vec<Step> {
        let keys = self.settle_keys(directory, name, files);
        let (false, Some(keys)) = (self.unread, keys) else {
            return Vec::new();
        };
        let gone = self.passed_over(directory, name).into_iter();
        let mut steps: Vec<Step> = gone
            .map(|ending| Step::remove(format!("{name}.{ending}")))
            .collect();
        steps.extend(keys);
        if self.forgets_default(files) && chosen_default(directory).as_deref() == Some(name) {
            steps.push(Step::remove(DEFAULT.to_owned()));
        }
        steps.push(Step::remove(format!("{UNSETTLED}{name}")));
        steps
    }

    /// What is to be done with the key file, if anything; `None` if that cannot be told.
    fn settle_keys(&self, directory: &Path, name: &str, files: Files) -> Option<Option<Step>> {
        let in_use = keys_in_use(directory, name, files)?;
        if !files.key || self.keys.is_empty() {
            return Some(None);
        }
        let file = format!("{name}.key");
        let any = self.keys.iter().any(|key| key == ANY);
        if any && !files.crt && !files.csr {
            return Some(Some(Step::remove(file)));
        }
        let Ok(keys) = read_keys(directory, name) else {
            // Somebody else's by now, or damaged: nothing that was noted is in it.
            return Some(None);
        };
        let stays = |spki: &[u8]| {
            let listed = self.keys.contains(&hex(&sha256(spki)));
            !listed || in_use.iter().any(|used| used == spki)
        };
        let left: Vec<_> = keys.iter().filter(|key| stays(key.spki())).collect();
        Some(match left.len() {
            0 => Some(Step::remove(file)),
            some if some < keys.len() => {
                let text = left.iter().map(|key| key.to_pem()).collect();
                Some(Step::secret(file, text))
            }
            _ => None,
        })
    }
}

/// The public keys that the files of a NAME are for; none can be told if one cannot be read.
fn keys_in_use(directory: &Path, name: &str, files: Files) -> Option<Vec<Vec<u8>>> {
    let contents = |ending: &str| {
        let contents = read_regular(&directory.join(format!("{name}.{ending}")));
        contents.ok().map(|contents| contents.bytes)
    };
    let mut spkis = Vec::new();
    if files.crt
        && let Ok(bundle) = read_bundle(&contents("crt")?)
    {
        let certificates = bundle.certificates.iter();
        spkis.extend(certificates.filter_map(|der| spki_of(der).ok()));
    }
    if files.csr
        && let Ok(request) = Request::from_pem(&contents("csr")?)
    {
        spkis.push(request.spki);
    }
    Some(spkis)
}

fn chosen_default(directory: &Path) -> Option<String> {
    let contents = read_regular(&directory.join(DEFAULT)).ok()?;
    let text = String::from_utf8(contents.bytes).ok()?;
    Some(text.trim().to_owned())
}
