//! Files that are given to `cert import`, and the pass phrase that opens them: from a file, a
//! descriptor, or the terminal.
//!
//! What the bytes mean is for `cert`. A FIFO or a device is waited for only where somebody
//! said so: as `-` or by its descriptor.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::terminal;
use crate::cert::{Bundle, BundleError, MAX_INPUT, Passphrase, read_input};
use crate::store::{ReadError, read_regular};

/// Longest pass phrase with what follows it in its file, in bytes.
const MAX_PASSPHRASE_FILE: u64 = 64 * 1024;

/// Why a file given to a command is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// It cannot be read, or is no file.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A descriptor that cannot be read.
    #[error("{}: cannot be read", path.display())]
    Descriptor {
        /// What it was called.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No chain is that large.
    #[error("{}: more than {limit} bytes", path.display())]
    TooLarge {
        /// What it was called.
        path: PathBuf,
        /// How many are read.
        limit: u64,
    },
    /// What it holds is of no use.
    #[error("{}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// It is encrypted, and there is nobody to ask.
    #[error("{}: give the pass phrase with --passphrase-file FILE (- is standard input)", path.display())]
    NoPassphrase {
        /// The file.
        path: PathBuf,
        /// How it is encrypted.
        source: BundleError,
    },
    /// Standard input was to be two things at once.
    #[error("standard input (-) can be given only once")]
    Twice,
    /// The terminal.
    #[error("no pass phrase was read from the terminal")]
    Terminal(#[source] io::Error),
    /// None of the files has one.
    #[error("no certificate in {}, only a private key", shown(files))]
    NoCertificate {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// The file of the key has none.
    #[error("{}: no private key in it, only certificates", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

fn shown(files: &[PathBuf]) -> String {
    let files: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    files.join(", ")
}

/// Reads everything that was given; one pass phrase opens all of it.
pub(super) fn read_all(
    files: &[PathBuf],
    key: Option<&Path>,
    passphrase_file: Option<&Path>,
) -> Result<Bundle, InputError> {
    let named = files.iter().map(PathBuf::as_path);
    let named = named.chain(key).chain(passphrase_file);
    if named.filter(|path| is_stdin(path)).count() > 1 {
        return Err(InputError::Twice);
    }
    let mut reader = Reader {
        passphrase: passphrase_file.map(read_passphrase).transpose()?,
    };
    let mut all = Bundle::default();
    for path in files {
        let mut bundle = reader.read(path)?;
        all.certificates.append(&mut bundle.certificates);
        all.keys.append(&mut bundle.keys);
    }
    if let Some(path) = key {
        let mut bundle = reader.read(path)?;
        if bundle.keys.is_empty() {
            let path = path.to_owned();
            return Err(InputError::NoKey { path });
        }
        all.certificates.append(&mut bundle.certificates);
        all.keys.append(&mut bundle.keys);
    }
    if all.certificates.is_empty() {
        let files = files.to_vec();
        return Err(InputError::NoCertificate { files });
    }
    Ok(all)
}

struct Reader {
    passphrase: Option<Passphrase>,
}

impl Reader {
    /// Reads one file, and asks for the pass phrase if it takes one and there is somebody to ask.
    fn read(&mut self, path: &Path) -> Result<Bundle, InputError> {
        let bytes = Zeroizing::new(read_file(path)?);
        let contents = |source| InputError::Contents {
            path: path.to_owned(),
            source,
        };
        match read_input(&bytes, self.passphrase.as_ref()) {
            Err(source) if source.needs_passphrase() => {
                if !io::stdin().is_terminal() {
                    let path = path.to_owned();
                    return Err(InputError::NoPassphrase { path, source });
                }
                let question = format!("Pass phrase of {}: ", path.display());
                let passphrase = terminal::ask(&question).map_err(InputError::Terminal)?;
                let opened = read_input(&bytes, Some(&passphrase)).map_err(contents)?;
                self.passphrase = Some(passphrase);
                Ok(opened)
            }
            read => read.map_err(contents),
        }
    }
}

/// The first line of a file.
fn read_passphrase(path: &Path) -> Result<Passphrase, InputError> {
    let bytes = match is_open_already(path) {
        true => read_open(path, MAX_PASSPHRASE_FILE)?,
        false => read_file(path)?,
    };
    Ok(Passphrase::first_line(&Zeroizing::new(bytes)))
}

/// The contents of a regular file, or of what is open already.
fn read_file(path: &Path) -> Result<Vec<u8>, InputError> {
    if is_open_already(path) {
        let limit = u64::try_from(MAX_INPUT).unwrap_or(u64::MAX);
        return read_open(path, limit);
    }
    match read_regular(path) {
        Ok(contents) => Ok(contents.bytes),
        Err(source) => Err(InputError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether it is a descriptor of this process, as shells make for `<(…)`.
fn is_open_already(path: &Path) -> bool {
    let descriptors = ["/dev/fd", "/proc/self/fd"];
    let is_descriptor = |folder: &str| path.parent() == Some(Path::new(folder));
    is_stdin(path) || path == Path::new("/dev/stdin") || descriptors.into_iter().any(is_descriptor)
}

fn read_open(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let mut bytes = Vec::new();
    let read = match is_stdin(path) {
        true => io::stdin().lock().take(limit + 1).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)),
    };
    let path = path.to_owned();
    match read {
        Ok(length) if length as u64 > limit => Err(InputError::TooLarge { path, limit }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(InputError::Descriptor { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_already_may_be_waited_for() {
        for (path, expected) in [
            ("-", true),
            ("/dev/stdin", true),
            ("/dev/fd/63", true),
            ("/proc/self/fd/3", true),
            ("/dev/zero", false),
            ("/dev/fd/3/x", false),
            ("./-", false),
            ("key.pem", false),
        ] {
            assert_eq!(is_open_already(Path::new(path)), expected, "{path}");
        }
    }
}
