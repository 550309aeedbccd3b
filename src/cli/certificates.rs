//! `gatepost cert …`

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::arguments::{CertCommand, Explain, Import};
use super::backend::{Access, Backend, Place};
use super::output::{complain, json, print};
use super::{Failure, dialogs, render};
use crate::admin::api;

/// What the admin API answers to the removal of the default certificate.
const CONFLICT: u16 = 409;

/// Far above any chain, and far below what would hurt.
const LARGEST: u64 = 4 << 20;

/// Carries out one command.
pub(super) fn run(command: CertCommand, place: Place<'_>) -> Result<(), Failure> {
    match command {
        CertCommand::List { format } => {
            let document = match place.backend(Access::Read)? {
                Backend::Proxy(mut proxy) => proxy.ask(async |c| c.certificates().await)?,
                Backend::Folder(folder) => folder.list(),
            };
            show(format.json, &document, render::list)
        }
        CertCommand::Show { name, format } => {
            let document = match place.backend(Access::Read)? {
                Backend::Proxy(mut proxy) => proxy.ask(async |c| c.certificate(&name).await)?,
                Backend::Folder(folder) => folder.show(&name)?,
            };
            show(format.json, &document, super::show::show)
        }
        CertCommand::Explain(explain) => run_explain(&explain, place),
        CertCommand::New(new) => dialogs::create(new, place),
        CertCommand::Import(import) => run_import(&import, place),
        CertCommand::Remove {
            name,
            request: true,
            ..
        } => dialogs::remove_request(&name, place),
        CertCommand::Remove { name, force, .. } => remove(name, force, place),
        CertCommand::SetDefault { name } => match place.backend(Access::Write)? {
            Backend::Proxy(mut proxy) => {
                proxy.ask(async |c| c.set_default(&name).await)?;
                Ok(())
            }
            Backend::Folder(folder) => Ok(folder.set_default(&name)?),
        },
        CertCommand::Request(request) => dialogs::request(request, place),
        CertCommand::ImportSigned { files } => dialogs::import_signed(&files, place),
        CertCommand::Export(export) => dialogs::export(&export, place),
    }
}

/// Prints a document, for people or for programs.
pub(super) fn show<T: serde::Serialize>(
    as_json: bool,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let result = if as_json {
        json(document)
    } else {
        text(document)
    };
    Ok(print(&result)?)
}

fn remove(name: String, force: bool, place: Place<'_>) -> Result<(), Failure> {
    let removed = match place.backend(Access::Write)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.remove(&name, force).await),
        Backend::Folder(folder) => folder.remove(&name, force).map_err(Failure::from),
    };
    removed.map_err(|failure| match failure.status() {
        Some(CONFLICT) => Failure::DefaultCertificate { name },
        _ => failure,
    })
}

fn run_explain(explain: &Explain, place: Place<'_>) -> Result<(), Failure> {
    let asked = api::Explain {
        host: Some(explain.host.clone()),
        listener: explain.listener.clone(),
        client: Some(explain.client.as_str().to_owned()),
        at: explain.at.map(|at| at.to_string()),
    };
    let document = match place.backend(Access::Read)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.explain(&asked).await)?,
        Backend::Folder(folder) => folder.explain(&asked)?,
    };
    show(explain.format.json, &document, render::explain)
}

fn run_import(import: &Import, place: Place<'_>) -> Result<(), Failure> {
    if import.passphrase_file.is_some() {
        return Err(Failure::NotInThisVersion("--passphrase-file"));
    }
    let mut certificates = String::new();
    for file in &import.files {
        certificates.push_str(&read_pem(file)?);
        certificates.push('\n');
    }
    let import = api::Import {
        certificate_pem: Some(certificates),
        key_pem: import.key.as_deref().map(read_pem).transpose()?,
        name: import.name.clone(),
        ..api::Import::default()
    };
    let imported = match place.backend(Access::Write)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.import(&import).await)?,
        Backend::Folder(folder) => folder.import(&import)?,
    };
    print_name(&imported)
}

/// Says what there is to report, and prints the NAME alone.
pub(super) fn print_name(imported: &api::Imported) -> Result<(), Failure> {
    for problem in &imported.problems {
        complain(format_args!(
            "{}: warning: {}",
            imported.name, problem.message
        ));
    }
    Ok(print(&format!("{}\n", imported.name))?)
}

/// Why a file given to `cert import` is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// It cannot be read.
    #[error("{}: cannot read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No chain is that large.
    #[error("{}: larger than {} MiB, expected certificates or a key", path.display(), LARGEST >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A form that is promised for later.
    #[error("{}: found {form}, expected PEM; {form} is not in this version", path.display())]
    NotInThisVersion {
        /// The file.
        path: PathBuf,
        /// "DER" or "PKCS#12".
        form: &'static str,
    },
    /// Neither PEM nor anything else that is known.
    #[error("{}: found binary data, expected PEM", path.display())]
    Binary {
        /// The file.
        path: PathBuf,
    },
}

fn read_pem(path: &Path) -> Result<String, InputError> {
    let bytes = read_bytes(path)?;
    let path = path.to_owned();
    if let Some(form) = binary_form(&bytes) {
        return Err(InputError::NotInThisVersion { path, form });
    }
    String::from_utf8(bytes).map_err(|_| InputError::Binary { path })
}

/// The contents of a file that was given.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, InputError> {
    let cannot_read = |source| InputError::Read {
        path: path.to_owned(),
        source,
    };
    let path = path.to_owned();
    let file = File::open(&path).map_err(cannot_read)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot_read)?;
    if bytes.len() as u64 > LARGEST {
        return Err(InputError::TooLarge { path });
    }
    Ok(bytes)
}

/// A DER SEQUENCE: PKCS#12 if it begins with its version 3 (RFC 7292 section 4), else a
/// certificate or a key.
fn binary_form(bytes: &[u8]) -> Option<&'static str> {
    let [0x30, length, rest @ ..] = bytes else {
        return None;
    };
    let content = match length {
        // Text may begin with "0" too, but then the length is a printable character and wrong.
        0..=0x7f if usize::from(*length) == rest.len() => rest,
        0x80..=0x84 => rest.get(usize::from(length & 0x0f)..)?,
        _ => return None,
    };
    match content {
        [0x02, 0x01, 0x03, ..] => Some("PKCS#12"),
        _ => Some("DER"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_files_are_named_by_their_form() {
        let certificate = crate::cert::self_signed(
            &crate::cert::NewCertificate {
                names: vec![crate::cert::NamePattern::parse("a.example").unwrap()],
                addresses: Vec::new(),
                subject: crate::cert::Subject::default(),
                days: 1,
                key: crate::cert::KeyAlgorithm::default(),
            },
            crate::time::Clock::System.now(),
        )
        .unwrap();
        let der = pem::parse(&certificate.0).unwrap().into_contents();
        for (bytes, expected) in [
            (der.as_slice(), Some("DER")),
            (
                &[0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x03, 0x30],
                Some("PKCS#12"),
            ),
            (&[0x30, 0x80, 0x02, 0x01, 0x03, 0x30], Some("PKCS#12")),
            (certificate.0.as_bytes(), None),
            (b"0 text that begins with a digit", None),
            (b"0", None),
            (b"", None),
        ] {
            assert_eq!(binary_form(bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.crt");
        let error = |contents: &[u8]| {
            std::fs::write(&path, contents).unwrap();
            let text = read_pem(&path).unwrap_err().to_string();
            text.replace(folder.path().to_str().unwrap(), "")
        };
        assert_eq!(
            error(&[0x30, 0x82, 0x01, 0x00, 0x30]),
            "/a.crt: found DER, expected PEM; DER is not in this version"
        );
        assert_eq!(
            error(&[0xff, 0xfe]),
            "/a.crt: found binary data, expected PEM"
        );
        assert_eq!(
            error(&vec![b' '; (4 << 20) + 1]),
            "/a.crt: larger than 4 MiB, expected certificates or a key"
        );
    }
}
