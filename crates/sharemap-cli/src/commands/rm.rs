//! `sharemap rm`: removes shared memory by name.

use super::ls::{self, Listed};
use super::objects::{self, Target, is_missing, is_raw, who_holds};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use crate::{system, units};
use serde::Serialize;
use sharemap::inspect::{Inspection, ObjectFile};
use sharemap::{Error, ErrorKind, Location, NamedObject, SharedMemory};

/// Removes shared memory by its name, unless a live process holds it.
///
/// NAME is a name that `sharemap ls` shows, or a path with a separator for a shared object in a
/// file. Only regular files are removed, and no link is followed. The file that was checked is the
/// file that is removed, even if its name is given to another file meanwhile. The kernel is asked
/// whether a process holds a liveness lock of the object or has its file open or mapped. An object
/// whose use cannot be determined is kept. With --force, the name is removed anyway: attached
/// processes keep the memory until they end, and no other process can open it. Exits with status 5 if
/// an object is in use.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The names of the objects, or paths with a separator.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Removes objects even if live processes hold them.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Report {
    removed: Vec<Listed>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    // A system without a list (macOS) removes objects by name alone.
    let list = match SharedMemory::list() {
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        list => Some(list?),
    };
    let holders = Holders::look();
    let mut removed = Vec::new();
    let mut failure = None;
    // Every name is tried; the first failure decides the exit code.
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
        Some(failure) => Err(failure.beside(&Report { removed }, output)),
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
    let object = list.and_then(|all| all.iter().find(|object| object.name == *name));
    let is_path = object.is_none() && name.contains(std::path::is_separator);
    let location = match object {
        Some(object) => Target::of(object).location,
        None if is_path => Location::file(name),
        None => Location::name(name),
    };
    let file = match ObjectFile::open(&location) {
        Err(error) if error.kind() == ErrorKind::Unsupported && !is_path => {
            return remove_by_name(name, force);
        }
        Err(error) => return Err(not_opened(name, is_path, error)),
        Ok(file) => file,
    };
    if is_path && ls::begins_with_header(file.file()) != Some(true) {
        return Err(Failure::refused(format!("cannot remove {name}: it is not a shared object")));
    }
    let listed = ls::look_at_file(name, &file, object, holders);
    match force {
        true => file.unlink().map_err(|error| Failure::object("remove", name, error))?,
        false => remove_unheld(name, listed.holders.as_deref(), file, &location)?,
    }
    Ok(Some(listed))
}

/// Removes an object by its name, where named shared memory has no files (macOS).
fn remove_by_name(name: &str, force: bool) -> Result<Option<Listed>, Failure> {
    if !force {
        let look = Inspection::open(Location::name(name));
        refuse_attached(name, look)?;
    }
    SharedMemory::unlink(name).map_err(|error| unknown(name, error))?;
    Ok(None)
}

/// Returns the failure for an object with a file that could not be opened.
fn not_opened(name: &str, is_path: bool, error: Error) -> Failure {
    match error.kind() {
        ErrorKind::WouldBlock => Failure::Busy(format!("cannot remove {name}: {error}")),
        ErrorKind::NotAnObject => Failure::Refused(format!("cannot remove {name}: {error}")),
        // A section of Windows has no file, and is in no list.
        _ if is_missing(&error) && !is_path && Inspection::open(Location::name(name)).is_ok() => {
            Failure::Busy(format!(
                "cannot remove {name}: it has just been created, or exists only while a process is \
                 attached"
            ))
        }
        _ if is_missing(&error) && !is_path => unknown(name, error),
        _ => Failure::object("remove", name, error),
    }
}

/// Removes a file while the kernel grants exclusive use of it. If the system has no such claim, removes a
/// file that no process is known to use.
fn remove_unheld(
    name: &str,
    holders: Option<&[Holder]>,
    file: ObjectFile,
    location: &Location,
) -> Result<(), Failure> {
    if let holders @ Some([_, ..]) = holders {
        return Err(held(name, &format!("held by {}", objects::held_by(holders))));
    }
    let not_understood = match refuse_attached(name, file.inspect()) {
        // An object of an unknown layout can still be claimed: the kernel knows whether it is in use.
        Err(error @ Failure::Object { .. }) => Some(error),
        other => other.map(|()| None)?,
    };
    let failed = |error| Failure::object("remove", name, error);
    let identity = system::identity_of(file.file());
    let unused = match (file.claim(), not_understood) {
        (Err(error), not_understood) if error.kind() == ErrorKind::Unsupported => {
            if let Some(error) = not_understood {
                return Err(error);
            }
            let again = ObjectFile::open(location).map_err(failed)?;
            if system::identity_of(again.file()) != identity {
                let why = format!("cannot remove {name}: another file has its name now; try again");
                return Err(Failure::NotFound(why));
            }
            return again.unlink().map_err(failed);
        }
        (Ok(None), _) => return Err(held(name, "the kernel says that a process uses it")),
        (Ok(Some(unused)), _) => unused,
        (Err(error), _) => return Err(not_told(name, error)),
    };
    match unused.remove() {
        Ok(true) => Ok(()),
        Ok(false) => Err(held(name, "a process waits to open it")),
        Err(error) => Err(failed(error)),
    }
}

/// Returns an error if a process holds a slot of the object, or if that cannot be determined.
fn refuse_attached(name: &str, look: sharemap::Result<Inspection>) -> Result<(), Failure> {
    let who = match look {
        // All zeros: memory that has not been written to.
        Ok(look) if look.facts().is_none() => None,
        Ok(look) => who_holds(&look).map_err(|error| not_told(name, error))?,
        Err(error) if is_raw(&error) || is_missing(&error) => None,
        Err(error) => return Err(not_told(name, error)),
    };
    match who {
        Some(who) => Err(held(name, &who)),
        None => Ok(()),
    }
}

const REMEDY: &str = "use --force to remove its name anyway";

/// Returns the failure for an object that a process holds.
fn held(name: &str, why: &str) -> Failure {
    Failure::Busy(format!("cannot remove {name}: {why}; {REMEDY}"))
}

/// Returns the failure for an object if its use could not be determined.
fn not_told(name: &str, error: Error) -> Failure {
    Failure::Object { message: format!("cannot remove {name}: {error}; {REMEDY}"), error }
}

/// Returns the failure for a name that no object has, or the error itself.
fn unknown(name: &str, error: Error) -> Failure {
    match is_missing(&error) {
        true => Failure::NotFound(format!("there is no shared memory {name}")),
        false => error.into(),
    }
}

/// Describes a removed object.
fn told(name: &str, object: Option<&Listed>) -> String {
    let Some(object) = object else {
        return format!("removed {name}");
    };
    let size = object.size.map_or(String::new(), |size| format!(", {}", units::size(size)));
    match object.holders.as_deref() {
        None => format!("removed {name}{size}; its holders are unknown"),
        Some([]) => format!("removed {name}{size}"),
        Some(holders) => {
            let holders = objects::held_by(Some(holders));
            format!("removed {name}{size}; still held by {holders}")
        }
    }
}
