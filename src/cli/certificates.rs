//! `gatepost cert …`

use super::arguments::{CertCommand, Explain, Import};
use super::backend::{Access, Backend, Place};
use super::output::{complain, json, print};
use super::{Failure, dialogs, input, render};
use crate::admin::api;
use crate::cert::{PrivateKey, chain_pem};

/// What the admin API answers to the removal of the default certificate.
const CONFLICT: u16 = 409;

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
    let given = input::read_all(
        &import.files,
        import.key.as_deref(),
        import.passphrase_file.as_deref(),
    )?;
    let keys: String = given.keys.iter().map(PrivateKey::to_pem).collect();
    let import = api::Import {
        certificate_pem: Some(chain_pem(&given.certificates)),
        key_pem: Some(keys).filter(|keys| !keys.is_empty()),
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
