//! Finds the shared objects that commands name, and inspects them without attaching.

use crate::failure::Failure;
use crate::output::Output;
use crate::system::holders::{Holder, Holders};
use crate::system::{self, procfs};
use crate::text::lossless;
use crate::units;
use serde::Serialize;
use sharemap::inspect::{Inspection, Participant, State};
use sharemap::{Error, ErrorKind, Location, NamedObject, SharedMemory};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// The object or file that an argument names.
#[derive(Debug)]
pub(super) struct Target {
    /// The name as it was typed.
    pub(super) name: String,
    pub(super) location: Location,
    /// The path of the file, if the object has one.
    pub(super) path: Option<PathBuf>,
}

impl Target {
    /// Finds the object of a name, or the file of a path with a separator.
    pub(super) fn find(name: &str) -> Result<Self, Failure> {
        if name.contains(std::path::is_separator) {
            let path = PathBuf::from(name);
            path.metadata().map_err(|error| Failure::file("inspect", &path, error))?;
            let location = Location::file(&path);
            return Ok(Self { name: name.into(), location, path: Some(path) });
        }
        let list = match SharedMemory::list() {
            Err(error) if error.kind() == ErrorKind::Unsupported => None,
            list => Some(list?),
        };
        let found = list.into_iter().flatten().find(|object| object.name.to_str() == Some(name));
        match found {
            Some(object) => Ok(Self::of(&object)),
            // Sections of Windows, which live while a process is attached, are in no list.
            None => Ok(Self { name: name.into(), location: Location::name(name), path: None }),
        }
    }

    /// Returns the target of an object in the system's list.
    pub(super) fn of(object: &NamedObject) -> Self {
        let name = lossless(&object.name);
        let location = match &object.path {
            Some(path) => Location::file(path),
            None => Location::name(&name),
        };
        Self { name, location, path: object.path.clone() }
    }

    /// Inspects the object, which must have a header.
    pub(super) fn inspect(&self) -> Result<Inspection, Failure> {
        inspect(&self.location).map_err(|error| unopened(&self.name, error))
    }

    /// Inspects the object if it has a header. `None` for raw memory.
    pub(super) fn inspect_if_any(&self) -> Result<Option<Inspection>, Failure> {
        match inspect(&self.location) {
            Err(error) if is_raw(&error) => Ok(None),
            Ok(look) if look.facts().is_none() => Ok(None),
            _ => self.inspect().map(Some),
        }
    }

    /// Returns the processes that have the object mapped or open. `None` if the system does not report
    /// them.
    pub(super) fn holders(&self, holders: Option<&Holders>) -> Option<Vec<Holder>> {
        let file = self.path.as_deref().and_then(|path| system::identity(&real(path)))?;
        Some(holders?.of(file))
    }
}

/// Returns the location that a name stands for: shared memory, or the file of a path with a separator.
pub(super) fn location(name: &str) -> Location {
    match name.contains(std::path::is_separator) {
        true => Location::file(name),
        false => Location::name(name),
    }
}

/// Returns the failure to open the object of a name.
pub(super) fn unopened(name: &str, error: Error) -> Failure {
    match is_missing(&error) && !name.contains(std::path::is_separator) {
        true => Failure::NotFound(format!(
            "there is no shared memory {name}; to name a file, use a separator, as in ./{name}"
        )),
        false => error.into(),
    }
}

/// Opens an object for inspection. Waits if a process such as `sharemap gc` holds a lease on it: for
/// about 100 ms in all, for any number of objects.
pub(super) fn inspect(location: &Location) -> sharemap::Result<Inspection> {
    const NAP: Duration = Duration::from_millis(1);
    static NAPS_LEFT: AtomicU32 = AtomicU32::new(100);
    let take_nap = || {
        let less = |left: u32| left.checked_sub(1);
        NAPS_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    };
    loop {
        match Inspection::open(location) {
            Err(error) if error.kind() == ErrorKind::Busy && take_nap() => thread::sleep(NAP),
            found => return found,
        }
    }
}

/// Resolves links in a path. Returns the path itself if that fails.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Returns `true` if the error says that the memory has no header, and is not an unfinished object.
pub(super) fn is_raw(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NotAnObject | ErrorKind::ZeroLength => true,
        // Too short for a header; or the platform has no objects with headers.
        ErrorKind::Truncated | ErrorKind::Unsupported => true,
        _ => false,
    }
}

/// Returns `true` if the error says that there is no such object.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NameCharacter
            | ErrorKind::NameEmpty
            | ErrorKind::NameTooLong
    )
}

/// The state of an object, from its header and from the kernel.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// `raw` if there is no header.
    pub(super) kind: String,
    pub(super) state: Option<&'static str>,
    /// The number of living participants. `None` for raw memory, or if liveness cannot be determined
    /// from here.
    pub(super) attached: Option<u64>,
    /// The number of dead participants that have not been recovered.
    pub(super) dead: Option<u64>,
    /// Whether a process is attached read-only.
    pub(super) readers: Option<bool>,
}

impl Summary {
    /// Inspects the object at `location`.
    pub(super) fn look(location: &Location) -> Self {
        Self::of(inspect(location))
    }

    /// Summarizes an inspection, or the error that prevented it.
    pub(super) fn of(look: sharemap::Result<Inspection>) -> Self {
        look.and_then(|look| Self::of_header(&look)).unwrap_or_else(|error| {
            let (kind, state) = match error.kind() {
                ErrorKind::Unsupported => ("unknown", None),
                _ if is_raw(&error) => ("raw", None),
                ErrorKind::PermissionDenied => ("unknown", None),
                ErrorKind::Busy => ("unknown", Some("hidden by a lease")),
                ErrorKind::WrongVersion => ("unknown", Some("of another version")),
                _ => ("unknown", Some("malformed")),
            };
            Self { kind: kind.into(), state, attached: None, dead: None, readers: None }
        })
    }

    fn raw() -> Self {
        Self { kind: "raw".into(), state: None, attached: None, dead: None, readers: None }
    }

    fn of_header(look: &Inspection) -> sharemap::Result<Self> {
        if look.facts().is_none() {
            // All zeros: memory that has not been written to.
            return Ok(Self::raw());
        }
        let participants = look.participants()?;
        let count =
            |alive| participants.iter().filter(|found| found.is_alive == Some(alive)).count();
        let known = participants.iter().all(|found| found.is_alive.is_some());
        Ok(Self {
            kind: kind(look),
            state: Some(state(look)?),
            attached: known.then(|| count(true) as u64),
            dead: known.then(|| count(false) as u64),
            readers: look.has_readers()?,
        })
    }

    /// Describes the attached processes, as in `2`, `2, 1 dead` or `none, readers`.
    pub(super) fn attached(&self) -> String {
        let mut text = match self.attached {
            None if self.kind == "raw" => "-".to_owned(),
            None => "unknown".to_owned(),
            Some(0) => "none".to_owned(),
            Some(number) => number.to_string(),
        };
        if let Some(dead @ 1..) = self.dead {
            text += &format!(", {dead} dead");
        }
        if self.readers == Some(true) {
            text += ", readers";
        }
        text
    }
}

/// Describes the processes that are attached to an object or create it, or says that they cannot be
/// determined from here. The kernel is queried for every slot. `None` if there is no such process.
pub(super) fn who_holds(look: &Inspection) -> sharemap::Result<Option<String>> {
    Ok(match look.is_unattached()? {
        Some(true) => None,
        Some(false) => {
            let living = look.participants()?;
            let living = living.iter().filter(|found| found.is_alive == Some(true));
            let living: Vec<_> = living.map(|found| Attached::of(found).text()).collect();
            Some(match living.is_empty() {
                false => format!("attached: process {}", living.join(", process ")),
                true if look.has_creator()? == Some(true) => "a process is creating it".into(),
                true => "a process is attached read-only".into(),
            })
        }
        None => {
            Some("whether the attached processes are alive is known only in their container".into())
        }
    })
}

/// The kind of object in the header of a segment.
pub(super) const SEGMENT: u32 = 2;

/// The kind of object in the header of a channel with one sender and one receiver.
const SPSC: u32 = 3;

/// Returns the kind of an object, as text and JSON state it.
pub(super) fn kind(look: &Inspection) -> String {
    match look.facts().map(|facts| facts.kind) {
        None => "unknown".into(),
        Some(1) => "locks".into(),
        Some(SEGMENT) => "segment".into(),
        Some(SPSC) => "spsc".into(),
        Some(kind) => format!("kind {kind}"),
    }
}

/// Prints the participants of an object, a line each.
pub(super) fn print_participants(
    participants: &[Attached],
    most: u32,
    output: &mut Output,
) -> Result<(), Failure> {
    if participants.is_empty() {
        return output.field("participants", format!("none of at most {most}"));
    }
    output.field("participants", format!("{} of at most {most}", participants.len()))?;
    participants.iter().try_for_each(|attached| output.field("", participant(attached)))
}

/// Returns the state of an object, as text and JSON state it.
pub(super) fn state(look: &Inspection) -> sharemap::Result<&'static str> {
    Ok(match look.state()? {
        State::Creating if look.has_creator()? == Some(false) => "unfinished",
        State::Creating => "creating",
        State::Faulted => "faulted",
        _ if look.is_of_this_boot()? == Some(false) && !look.is_clean()? => "unclean",
        _ => "ready",
    })
}

/// A participant, with the properties of its process.
#[derive(Debug, Serialize)]
pub(super) struct Attached {
    pub(super) number: u32,
    /// The process id in the participant's own pid namespace.
    pub(super) process: u32,
    /// The process id in this pid namespace; `None` if the process is not visible.
    pub(super) pid: Option<u32>,
    pub(super) program: Option<String>,
    /// `None` if liveness cannot be determined from here.
    pub(super) alive: Option<bool>,
    pub(super) since_seconds: Option<u64>,
    pub(super) start_time: u64,
    pub(super) pid_namespace: u64,
}

impl Attached {
    pub(super) fn of(found: &Participant) -> Self {
        let local = match found.is_alive {
            Some(false) => None,
            _ => procfs::find_process(found.process, found.id_space, found.start_time),
        };
        let since = SystemTime::now().duration_since(found.since).ok();
        Self {
            number: found.number,
            process: found.process,
            pid: local.as_ref().map(|(pid, _)| *pid),
            program: local.and_then(|(_, program)| program),
            alive: found.is_alive,
            since_seconds: since.map(|since| since.as_secs()),
            start_time: found.start_time,
            pid_namespace: found.id_space,
        }
    }

    /// Describes the process, as in `12 worker` or `7 (4242 here) worker`.
    pub(super) fn text(&self) -> String {
        let program = self.program.as_deref().map_or(String::new(), |name| format!(" {name}"));
        match self.pid {
            Some(pid) if pid != self.process => format!("{} ({pid} here){program}", self.process),
            _ => format!("{}{program}", self.process),
        }
    }
}

/// Describes a participant, as in `process 12 worker, attached 3 s ago; alive`.
pub(super) fn participant(found: &Attached) -> String {
    let alive = match found.alive {
        Some(true) => "alive",
        Some(false) => {
            "dead, and not recovered yet; the next thread that needs its locks recovers it"
        }
        None => "whether it is alive is known only in its container",
    };
    let since = found.since_seconds.map_or(String::new(), |seconds| {
        format!(", attached {} ago", units::duration(Duration::from_secs(seconds)))
    });
    format!("process {}{since}; {alive}", found.text())
}

/// Describes the holders, as in `12 worker, 13 python3 (open, not mapped)`.
pub(super) fn held_by(holders: Option<&[Holder]>) -> String {
    let one = |holder: &Holder| {
        let program = holder.program.as_deref().unwrap_or("?");
        match (holder.mapped, holder.open) {
            (true, _) => format!("{} {program}", holder.pid),
            (false, _) => format!("{} {program} (open, not mapped)", holder.pid),
        }
    };
    match holders {
        None => "unknown".into(),
        Some([]) => "no known process".into(),
        Some(holders) => holders.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// Prints how many processes the list of holders leaves out.
pub(super) fn print_hidden(hidden: Option<u64>, output: &mut Output) -> Result<(), Failure> {
    match hidden {
        Some(0) => Ok(()),
        Some(hidden) => {
            let processes = units::count(hidden, "process");
            output.line(format!("{processes} could not be inspected"))
        }
        None => output.line("this system does not report holders"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_named() {
        let holder = |pid, mapped| Holder { pid, program: Some("w".into()), mapped, open: true };
        assert_eq!(held_by(None), "unknown");
        assert_eq!(held_by(Some(&[])), "no known process");
        let both = [holder(7, true), holder(8, false)];
        assert_eq!(held_by(Some(&both)), "7 w, 8 w (open, not mapped)");
    }
}
