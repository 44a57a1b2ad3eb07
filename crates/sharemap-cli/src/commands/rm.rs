//! `sharemap rm`: takes the names of shared memory away.

use super::ls::{self, Listed};
use super::objects::Summary;
use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use crate::units;
use serde::Serialize;
use sharemap::{Error, ErrorKind, Location, NamedObject, SharedMemory};
use std::path::Path;

/// Remove shared memory by its name, unless a live process holds it.
///
/// Names are those that `sharemap ls` shows; a shared object in a file is named by a path with a
/// separator. With --force the name goes all the same: whoever has the memory keeps it until it ends,
/// and nobody new finds it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Also what live processes hold.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Report {
    removed: Vec<Listed>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    // What has no list, as on macOS, is removed by its name alone.
    let list = match SharedMemory::list() {
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        list => Some(list?),
    };
    let holders = Holders::look();
    let mut removed = Vec::new();
    let mut failure = None;
    // Every name is tried; the first failure is the exit code.
    for name in &args.names {
        match remove(name, list.as_deref(), holders.as_ref(), args.force) {
            Ok(object) => {
                if !output.json() {
                    output.line(told(name, object.as_ref()))?;
                }
                removed.extend(object);
            }
            Err(error) if failure.is_none() => failure = Some(error),
            Err(error) => crate::failure::complain(error),
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None if output.json() => output.object(&Report { removed }),
        None => Ok(()),
    }
}

fn remove(
    name: &str,
    list: Option<&[NamedObject]>,
    holders: Option<&Holders>,
    force: bool,
) -> Result<Option<Listed>, Failure> {
    let found = list.map(|list| list.iter().find(|object| object.name.to_str() == Some(name)));
    let Some(Some(object)) = found else {
        if name.contains(std::path::is_separator) {
            return remove_file(Path::new(name), holders, force);
        }
        // A section that lives while somebody is attached is in no list.
        refuse_held(name, None, &Summary::look(&Location::name(name)), force)?;
        SharedMemory::unlink(name).map_err(|error| unknown(name, error))?;
        return Ok(None);
    };
    let listed = ls::look(object, holders);
    refuse_held(name, listed.holders.as_deref(), &listed.summary, force)?;
    match (SharedMemory::unlink(name), &object.path) {
        // Others' names need not be ours.
        (Err(error), Some(path)) if error.kind() == ErrorKind::NameCharacter => {
            std::fs::remove_file(path).map_err(|error| Failure::file("remove", path, error))?;
        }
        (result, _) => result?,
    }
    Ok(Some(listed))
}

fn refuse_held(
    name: &str,
    holders: Option<&[Holder]>,
    summary: &Summary,
    force: bool,
) -> Result<(), Failure> {
    let why = match holders {
        _ if force => return Ok(()),
        holders @ Some([_, ..]) => format!("held by {}", ls::held_by(holders)),
        // Also where nobody tells who holds what, or not of all.
        _ if summary.attached > Some(0) => {
            let number = summary.attached.unwrap_or_default();
            format!("{} attached", units::count(number, "process"))
        }
        _ if summary.readers == Some(true) => "somebody is attached who reads".into(),
        _ => return Ok(()),
    };
    Err(Failure::Busy(format!(
        "cannot remove {name}: {why}; --force takes its name away all the same"
    )))
}

/// A file that holds a shared object, and no other.
fn remove_file(
    path: &Path,
    holders: Option<&Holders>,
    force: bool,
) -> Result<Option<Listed>, Failure> {
    let metadata = path.symlink_metadata().map_err(|e| Failure::file("remove", path, e))?;
    let name = path.display().to_string();
    if !metadata.is_file() || ls::has_header(path) != Some(true) {
        return Err(Failure::refused(format!("cannot remove {name}: it is no shared object")));
    }
    let listed = ls::look_at_file(path, &metadata, holders);
    refuse_held(&name, listed.holders.as_deref(), &listed.summary, force)?;
    std::fs::remove_file(path).map_err(|error| Failure::file("remove", path, error))?;
    Ok(Some(listed))
}

fn unknown(name: &str, error: Error) -> Failure {
    match error.kind() {
        ErrorKind::NameCharacter | ErrorKind::NameEmpty | ErrorKind::NameTooLong => {
            Failure::NotFound(format!("there is no shared memory {name}"))
        }
        _ => error.into(),
    }
}

fn told(name: &str, object: Option<&Listed>) -> String {
    let Some(object) = object else {
        return format!("removed {name}");
    };
    let size = object.size.map_or(String::new(), |size| format!(", {}", units::size(size)));
    match object.holders.as_deref() {
        None => format!("removed {name}{size}; who holds it is unknown"),
        Some([]) => format!("removed {name}{size}"),
        Some(holders) => {
            let holders = ls::held_by(Some(holders));
            format!("removed {name}{size}; still held by {holders}")
        }
    }
}
