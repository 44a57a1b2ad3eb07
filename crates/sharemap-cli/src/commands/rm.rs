//! `sharemap rm`: takes the names of shared memory away.

use super::ls::{self, Listed};
use super::objects::{Target, is_missing, is_raw, who_holds};
use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use crate::text::lossless;
use crate::units;
use serde::Serialize;
use sharemap::inspect::{Inspection, Unused};
use sharemap::{Error, ErrorKind, Location, NamedObject, SharedMemory};
use std::path::Path;

/// Remove shared memory by its name, unless a live process holds it.
///
/// Names are those that `sharemap ls` shows; a shared object in a file is named by a path with a
/// separator. The kernel is asked who holds a slot of an object, or has it open or mapped, where it
/// tells; an object stays if that is not known of those who are attached. With --force the name goes
/// all the same: whoever has the memory keeps it until it ends, and nobody new finds it.
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
    let found = list.map(|list| list.iter().find(|object| object.name.to_str() == Some(name)));
    let Some(Some(object)) = found else {
        if name.contains(std::path::is_separator) {
            return remove_file(Path::new(name), holders, force);
        }
        // A section that lives while somebody is attached is in no list.
        if !force {
            refuse_attached(name, &Location::name(name))?;
        }
        SharedMemory::unlink(name).map_err(|error| unknown(name, error))?;
        return Ok(None);
    };
    let listed = ls::look(object, holders);
    let location = Target::of(object).location;
    if !force && remove_unheld(name, listed.holders.as_deref(), &location, object.path.is_some())? {
        return Ok(Some(listed));
    }
    match (SharedMemory::unlink(name), &object.path) {
        // Others' names need not be ours.
        (Err(error), Some(path)) if error.kind() == ErrorKind::NameCharacter => {
            std::fs::remove_file(path).map_err(|error| Failure::file("remove", path, error))?;
        }
        (result, _) => result?,
    }
    Ok(Some(listed))
}

/// A file that holds a shared object, and no other.
fn remove_file(
    path: &Path,
    holders: Option<&Holders>,
    force: bool,
) -> Result<Option<Listed>, Failure> {
    let metadata = path.symlink_metadata().map_err(|e| Failure::file("remove", path, e))?;
    let name = lossless(path);
    if !metadata.is_file() || ls::has_header(path) != Some(true) {
        return Err(Failure::refused(format!("cannot remove {name}: it is no shared object")));
    }
    let listed = ls::look_at_file(path, &metadata, holders);
    let location = Location::file(path);
    if force || !remove_unheld(&name, listed.holders.as_deref(), &location, true)? {
        std::fs::remove_file(path).map_err(|error| Failure::file("remove", path, error))?;
    }
    Ok(Some(listed))
}

/// Removes a file that the kernel says nobody has, as long as that is so. `false`: nobody is known to
/// have the object, but the kernel does not tell.
fn remove_unheld(
    name: &str,
    holders: Option<&[Holder]>,
    location: &Location,
    is_file: bool,
) -> Result<bool, Failure> {
    if let holders @ Some([_, ..]) = holders {
        return Err(held(name, &format!("held by {}", ls::held_by(holders))));
    }
    let not_understood = match refuse_attached(name, location) {
        // The kernel tells of what it does not understand.
        Err(error @ Failure::Object { .. }) => Some(error),
        other => other.map(|()| None)?,
    };
    let unused = match Unused::of(location) {
        _ if !is_file => None,
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Ok(None) => return Err(held(name, "the kernel says that somebody has it")),
        unused => unused.map_err(|error| not_told(name, error))?,
    };
    match (unused, not_understood) {
        (Some(unused), _) => match unused.remove() {
            Ok(true) => Ok(true),
            Ok(false) => Err(held(name, "somebody has come who opens it")),
            Err(error) => Err(Failure::object("remove", name, error)),
        },
        (None, Some(error)) => Err(error),
        (None, None) => Ok(false),
    }
}

/// An error unless the kernel says of every slot of the object that nobody holds it, or there is none.
fn refuse_attached(name: &str, location: &Location) -> Result<(), Failure> {
    let who = match Inspection::open(location) {
        // Zeros: memory that nobody has written to yet.
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

const REMEDY: &str = "--force takes its name away all the same";

fn held(name: &str, why: &str) -> Failure {
    Failure::Busy(format!("cannot remove {name}: {why}; {REMEDY}"))
}

/// Whether somebody has it is not told, because of an error.
fn not_told(name: &str, error: Error) -> Failure {
    Failure::Object { message: format!("cannot remove {name}: {error}; {REMEDY}"), error }
}

fn unknown(name: &str, error: Error) -> Failure {
    match is_missing(&error) {
        true => Failure::NotFound(format!("there is no shared memory {name}")),
        false => error.into(),
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
