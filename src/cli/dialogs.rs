//! `gatepost cert new`, `request`, `import-signed` and `export`.

use std::path::{Path, PathBuf};

use super::arguments::{Export, New, Request};
use super::backend::{Access, Backend, Place};
use super::certificates::print_name;
use super::deliver::deliver;
use super::output::print;
use super::{Failure, input};
use crate::admin::api;
use crate::cert::chain_pem;
use crate::store::Part;

pub(super) fn create(new: New, place: Place<'_>) -> Result<(), Failure> {
    let new = api::New {
        hostnames: new.hostnames,
        country: new.country,
        organization: new.fields.organization,
        unit: new.fields.unit,
        city: new.fields.city,
        state: new.fields.state,
        days: new.days,
        key_type: Some(new.key_type),
        name: new.name,
    };
    let made = match place.backend(Access::Write)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.create(&new).await)?,
        Backend::Folder(folder) => folder.create(&new)?,
    };
    Ok(print(&format!("{}\n", made.name))?)
}

pub(super) fn request(request: Request, place: Place<'_>) -> Result<(), Failure> {
    let new = api::NewRequest {
        hostnames: request.hostnames,
        country: request.country,
        organization: request.fields.organization,
        unit: request.fields.unit,
        city: request.fields.city,
        state: request.fields.state,
        days: request.days,
        key_type: request.key_type,
        name: request.name,
        from: request.from,
    };
    let made = match place.backend(Access::Write)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.request(&new).await)?,
        Backend::Folder(folder) => folder.request(&new)?,
    };
    print_name(&made)
}

pub(super) fn import_signed(files: &[PathBuf], place: Place<'_>) -> Result<(), Failure> {
    let given = input::read_all(files, None, None)?;
    let answer = api::ImportSigned {
        certificate_pem: Some(chain_pem(&given.certificates)),
        ..api::ImportSigned::default()
    };
    let imported = match place.backend(Access::Write)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.import_signed(&answer).await)?,
        Backend::Folder(folder) => folder.import_signed(&answer)?,
    };
    print_name(&imported)
}

pub(super) fn export(export: &Export, place: Place<'_>) -> Result<(), Failure> {
    let name = &export.name;
    let part = match export {
        Export { key: true, .. } => Part::Key,
        Export { request: true, .. } => Part::Request,
        Export { chain: true, .. } => Part::Chain,
        _ => Part::Certificate,
    };
    let text = match place.backend(Access::Read)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.export(name, part).await)?,
        Backend::Folder(folder) => folder.export(name, part)?,
    };
    let file = export.output.as_deref();
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => Ok(deliver(file, &text, part == Part::Key, export.force)?),
        None => Ok(print(&text)?),
    }
}

pub(super) fn remove_request(name: &str, place: Place<'_>) -> Result<(), Failure> {
    match place.backend(Access::Write)? {
        Backend::Proxy(mut proxy) => proxy.ask(async |c| c.remove_request(name).await),
        Backend::Folder(folder) => Ok(folder.remove_request(name)?),
    }
}
