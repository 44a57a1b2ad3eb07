//! Coming to an object that is there: waiting until it is ready, and taking it over from an earlier
//! boot.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::create::{Attachments, OpenOptions, Unclean, find};
use crate::peer::header::{self, ExpectedLayout, Header};
use crate::peer::identity;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::opening::Opening;
use crate::peer::participants::IN_USE;
use crate::peer::polling::Polling;
use crate::peer::registry::{self, Entry, Key};
use crate::peer::session::{CREATION, FIRST, RecoverFn, Session};
use crate::shm::{Location, LocationKind};
use crate::sys::{self, FileKind, SlotHome, SlotMode, liveness};

/// Checks an object and attaches to it, through the session of this process if there is one.
pub(super) fn attach_as(
    file: &File,
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    attachment: Attachment,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    let start = Instant::now();
    let named = |error: Error| error.with_path(location.path());
    let attach = |(memory, header): (Memory, Header), key| -> Result<Arc<Session>> {
        header.check(shape, terms.payload).map_err(named)?;
        let file = memory.file().unwrap_or(file);
        let slots = liveness::Slots::open(file, real_path(location).as_deref(), header.id);
        let slots = slots.map_err(named)?;
        if attachment == Attachment::Participant {
            ensure_current_boot(&memory, &header, &slots, &terms.since(start)).map_err(named)?;
        }
        let terms = &terms.since(start);
        let session = Session::new(memory, header, attachment, slots, terms, release, key)?;
        if attachment == Attachment::Participant && terms.unclean == Unclean::Accepted {
            session.recover_dead()?;
        }
        Ok(session)
    };
    let ready = || ready(file, location, terms, attachment);
    if !is_shared(file, terms, attachment) {
        return Ok(Opening::of(attach(ready()?, None)?));
    }
    let identity = sys::pass::identity(file).map_err(named)?;
    let (key, object) = match Key::of_file(identity, attachment) {
        Some(key) => (key, None),
        None => {
            let object = ready()?;
            (Key::of_object(identity, object.1.id, attachment), Some(object))
        }
    };
    match registry::enter(key, terms.since(start).open_timeout).map_err(named)? {
        Entry::Session(opening) => {
            reopen(&opening, file, location, shape, &terms.since(start))?;
            Ok(opening)
        }
        Entry::Turn(turn) => {
            let object = object.map_or_else(ready, Ok)?;
            Ok(turn.publish(attach(object, Some(key))?))
        }
    }
}

/// Returns `true` if other openings of this process may use the same session.
fn is_shared(file: &File, terms: &OpenOptions, attachment: Attachment) -> bool {
    // Objects that are not files have no file system.
    let file_system = || sys::file::file_system(file).unwrap_or_default();
    match (terms.attachments, attachment) {
        (Attachments::Separate, _) | (_, Attachment::CopyOnWrite) => false,
        // On bcachefs, a file and its snapshots have the same identity.
        (_, Attachment::Participant) => file_system() != "bcachefs",
        // On overlayfs, a read-only descriptor keeps the lower file after a copy-up, and a later
        // opening finds another file with the same identity.
        (_, Attachment::ReadOnly) => !matches!(file_system().as_str(), "bcachefs" | "overlayfs"),
    }
}

/// Checks an object for an opening that found a session, because its header may have changed since.
fn reopen(
    session: &Session,
    file: &File,
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
) -> Result<()> {
    let named = |error: Error| error.with_path(location.path());
    let (memory, header) = (session.memory(), session.header());
    let status = sys::file::status(file).map_err(named)?;
    if status.kind == FileKind::Regular && status.len < header.len {
        return Err(named(header.cut_short(status.len)));
    }
    match (Header::read(memory)?, memory.load::<u32>(header::STATE)?) {
        (Some(now), header::READY) if now == *header => {}
        (Some(_), header::FAULTED) => return Err(named(faulted())),
        _ => {
            return Err(named(Error::new(ErrorKind::Malformed, "open")).with_detail(
                "its header was overwritten after this process attached to it; drop what this \
                 process has open of it, and re-create it",
            ));
        }
    }
    header.check(shape, terms.payload).map_err(named)?;
    if session.attachment != Attachment::Participant {
        return Ok(());
    }
    let start = Instant::now();
    ensure_current_boot(memory, header, &session.slots, terms).map_err(named)?;
    session.rejoin(terms.power_cuts, terms.since(start).open_timeout)?;
    if terms.unclean == Unclean::Accepted {
        session.recover_dead()?;
    }
    Ok(())
}

/// Waits until the object that has this name is ready, as an opening does. Attaches to nothing.
pub(super) fn await_ready(location: &Location, terms: &OpenOptions) -> Result<()> {
    let start = Instant::now();
    let file = find(location, terms, true)?;
    ready(&file, location, &terms.since(start), Attachment::Participant).map(drop)
}

/// A path that can be opened again, wherever the process is by then.
pub(super) fn real_path(location: &Location) -> Option<PathBuf> {
    match location.checked().ok()? {
        LocationKind::Name(name) => Some(sys::shm::path(name)),
        LocationKind::File(path) => std::path::absolute(path).ok(),
        LocationKind::Anonymous => None,
    }
}

/// Whether what is found there has been finished once.
pub(super) fn is_named_when_whole(file: &File, location: &Location) -> bool {
    match location.checked() {
        Ok(LocationKind::Name(_)) => sys::shm::is_named_when_whole(file),
        Ok(LocationKind::File(_) | LocationKind::Anonymous) | Err(_) => true,
    }
}

/// How far an object is.
enum Stage {
    /// There is no header yet.
    Empty,
    Begun(Header),
    Ready(Memory, Header),
}

fn stage(file: &File, location: &Location, attachment: Attachment) -> Result<Stage> {
    let path = location.path();
    let is_whole = is_named_when_whole(file, location);
    let memory = match Memory::map(file, path, attachment, header::LEN) {
        // Its length comes after its name.
        Err(error) if error.kind() == ErrorKind::Truncated && !is_whole => {
            return Ok(Stage::Empty);
        }
        memory => memory?,
    };
    let header = Header::read(&memory)?;
    let state = memory.load::<u32>(header::STATE)?;
    match (header, state) {
        (Some(header), header::READY) => Ok(Stage::Ready(memory, header)),
        (Some(header), header::CREATING) => Ok(Stage::Begun(header)),
        (Some(_), header::FAULTED) => Err(faulted().with_path(path)),
        (Some(_), _) => {
            Err(Error::new(ErrorKind::Malformed, "open").with_path(path).with_offset(header::STATE))
        }
        // Whatever it is, it is nobody's half-made object, and not to be made anew.
        (None, _) if is_whole => Err(Error::new(ErrorKind::NotAnObject, "open")
            .with_path(path)
            .with_detail("it begins with zeros, and no shared object of this library does")),
        (None, _) => Ok(Stage::Empty),
    }
}

#[cold]
fn faulted() -> Error {
    Error::new(ErrorKind::Unclean, "open")
        .with_detail("a process that used it found its contents wrong")
}

/// Waits until the object is ready, while somebody makes it.
fn ready(
    file: &File,
    location: &Location,
    terms: &OpenOptions,
    attachment: Attachment,
) -> Result<(Memory, Header)> {
    let (mut polling, path) = (Polling::new(terms.open_timeout), location.path());
    let mut abandoned = false;
    loop {
        let is_made = match stage(file, location, attachment)? {
            Stage::Ready(memory, header) => return Ok((memory, header)),
            _ if abandoned => {
                return Err(Error::new(ErrorKind::Incomplete, "open").with_path(path).with_detail(
                    "open it with a call that also creates, which makes it anew, or unlink it",
                ));
            }
            Stage::Begun(header) => {
                liveness::Slots::open(file, real_path(location).as_deref(), header.id)
                    .and_then(|slots| slots.is_free(CREATION))
                    .map(|free| !free)
            }
            Stage::Empty => match location.checked()? {
                LocationKind::Name(name) => sys::shm::is_being_made(name),
                LocationKind::File(_) | LocationKind::Anonymous => Ok(false),
            },
        };
        // Once more after nobody was found to make it: it may have become ready before.
        abandoned = !is_made.map_err(|error| error.with_path(path))?;
        if !abandoned && !polling.nap() {
            return Err(Error::new(ErrorKind::Busy, "open")
                .with_path(path)
                .with_detail("its creator lives and has not finished it"));
        }
    }
}

/// Takes an object over that comes from another boot, or whose slots were kept elsewhere.
fn ensure_current_boot(
    memory: &Memory,
    header: &Header,
    slots: &liveness::Slots,
    terms: &OpenOptions,
) -> Result<()> {
    let mut polling = Polling::new(terms.open_timeout);
    loop {
        // What whoever takes it over records, it may still take back.
        if is_renewed(memory, slots)?
            && (slots.home() == SlotHome::Object || slots.is_free(CREATION)?)
            && is_renewed(memory, slots)?
        {
            return Ok(());
        }
        // One at a time; who comes second finds it done.
        if let Some(_alone) = slots.take(CREATION, SlotMode::Alone)? {
            return adopt_from_previous_boot(memory, header, slots, terms);
        }
        if !polling.nap() {
            return Err(Error::new(ErrorKind::Busy, "open")
                .with_detail("another process is taking it over from an earlier boot"));
        }
    }
}

fn is_renewed(memory: &Memory, slots: &liveness::Slots) -> Result<bool> {
    let mut boot = [0; 16];
    memory.read(header::BOOT, &mut boot)?;
    let now = identity::boot().unwrap_or(boot);
    Ok(boot == now && header::read_home(memory)? == Some(slots.home()))
}

/// Whoever calls holds the slot for it. What was done before it was taken, is seen.
fn adopt_from_previous_boot(
    memory: &Memory,
    header: &Header,
    slots: &liveness::Slots,
    terms: &OpenOptions,
) -> Result<()> {
    if is_renewed(memory, slots)? {
        return Ok(());
    }
    let mut boot = [0; 16];
    memory.read(header::BOOT, &mut boot)?;
    let now = identity::boot().unwrap_or(boot);
    let clean = memory.load::<u32>(header::CLEAN)? == 1;
    if !clean && terms.unclean == Unclean::Refused {
        return Err(if boot == now {
            elsewhere()
        } else {
            Error::new(ErrorKind::Unclean, "open").with_detail(
                "it was in use when the system went down: check it and accept it as unclean, or make \
                 it anew",
            )
        });
    }
    if slots.held_among(&(FIRST..FIRST + u64::from(header.participants)))?.is_some() {
        return Ok(());
    }
    let before = header::read_home(memory)?;
    if before != Some(slots.home()) {
        header::write_home(memory, slots.home())?;
        // Whoever attached by what was recorded before is seen here, or sees this.
        if terms.unclean == Unclean::Refused && is_used(memory, header)? {
            header::write_home(memory, before.unwrap_or(slots.home()))?;
            return Err(elsewhere());
        }
    }
    memory.write(header::BOOT, &now)
}

fn is_used(memory: &Memory, header: &Header) -> Result<bool> {
    for participant in 0..header.participants {
        if memory.load::<u32>(header.participant(participant))? == IN_USE {
            return Ok(true);
        }
    }
    Ok(memory.load::<u32>(header::CLEAN)? != 1)
}

/// That it is in use where this process cannot ask who lives.
#[cold]
pub(super) fn elsewhere() -> Error {
    Error::new(ErrorKind::Unclean, "open").with_detail(
        "its slots are locked in a place that this process does not see (another mount or \
         container): use it from where it is in use, or accept it as unclean once nobody uses it",
    )
}
