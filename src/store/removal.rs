//! What may be removed by NAME, or by file if it is none of a NAME.

use crate::store::atomic::Step;
use crate::store::layout::{DEFAULT, Listing};
use crate::store::scan::Slot;
use crate::store::state::State;
use crate::store::{StoreError, change, unknown};

/// The steps that remove what `cert list` calls `name`; the default certificate only if `force`
/// is set. `default` is the NAME of the one that is the default now.
pub(super) fn plan(
    state: &State,
    listing: &Listing,
    name: &str,
    force: bool,
    default: Option<&str>,
) -> Result<Vec<Step>, StoreError> {
    if let Some(path) = state.owned_by_another(name) {
        let path = path.display();
        let reason = format!(
            "{path} belongs to another program, and Gatepost never writes there: remove it with that program"
        );
        return Err(refused(name, reason));
    }
    let steps = match state.slot(name) {
        Some(slot) => of_name(state, listing, (name, slot), force, default)?,
        None => vec![of_file(state, listing, name)?],
    };
    match steps.iter().find_map(|step| folder(state, step)) {
        Some(file) => {
            let reason = format!("{file} is a folder: remove it by hand");
            Err(refused(name, reason))
        }
        None => Ok(steps),
    }
}

fn of_name(
    state: &State,
    listing: &Listing,
    (name, slot): (&str, &Slot),
    force: bool,
    default: Option<&str>,
) -> Result<Vec<Step>, StoreError> {
    let is_default = default == Some(name);
    let files = listing.files(name);
    if is_default && files.certificate() && !force {
        return Err(StoreError::DefaultCertificate {
            name: name.to_owned(),
        });
    }
    let chosen = files.certificate() && state.default.as_deref() == Some(name);
    let directory = &state.options.directory;
    Ok(change::remove(directory, name, files, Some(slot), chosen))
}

/// A file that is none of a NAME.
fn of_file(state: &State, listing: &Listing, file: &str) -> Result<Step, StoreError> {
    if !state.others().contains_key(file) {
        return Err(unknown(state, file));
    }
    if file == DEFAULT {
        let reason = "it says which certificate is the default and is none itself: choose one with \"gatepost cert set-default NAME\"";
        return Err(refused(file, reason.to_owned()));
    }
    if !listing.misnamed.contains_key(file) {
        let reason = format!(
            "{file}.pem is for trust anchors and is no certificate of this proxy: repair or remove the file by hand, then \"gatepost reload\""
        );
        return Err(refused(file, reason));
    }
    let path = state.options.directory.join(file);
    match path.symlink_metadata() {
        Ok(_) => Ok(Step::remove(file.to_owned())),
        // What was listed is not what the file is called.
        Err(_) => {
            let reason = "the file's name is not UTF-8: rename or remove it by hand";
            Err(refused(file, reason.to_owned()))
        }
    }
}

/// The folder that a step would have to remove.
fn folder<'s>(state: &State, step: &'s Step) -> Option<&'s str> {
    let file = step.removes()?;
    let found = state.options.directory.join(file).symlink_metadata();
    found.is_ok_and(|found| found.is_dir()).then_some(file)
}

fn refused(name: &str, reason: String) -> StoreError {
    StoreError::NotRemovable {
        name: name.to_owned(),
        reason,
    }
}
