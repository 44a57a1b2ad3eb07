//! Attaching to an existing object: waits until it is ready, and adopts it from an earlier boot.
//!
//! FORMAT.md, "Attaching", numbers the steps. Steps 1 and 2 are here ([`ready`],
//! [`ensure_current_boot`]); [`Session::new`] takes the others. The boot must be checked before the
//! session claims a participant: otherwise its own record would be among those that decide whether
//! the object was left clean.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::find::{find, is_named_when_whole, real_path};
use crate::peer::header::{self, CREATION, ExpectedLayout, FIRST, Header, Known};
use crate::peer::identity;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::opening::Opening;
use crate::peer::options::{Attachments, OpenOptions, Unclean};
use crate::peer::polling::{Limit, Polling};
use crate::peer::record::{self, IN_USE};
use crate::peer::registry::{self, Entry, Key};
use crate::peer::session::{RecoverFn, Session};
use crate::shm::{Location, LocationKind};
use crate::sys::file::FileSystem;
use crate::sys::{self, FileKind, FileStatus, OpenedFile, SlotHome, SlotMode, liveness};

/// Checks an object and attaches to it, sharing the session of this process if one exists.
///
/// Waits until `limit` at most in all: for a live creator, for another thread of this process,
/// for a process that adopts the object, and for a free participant.
pub(super) fn attach_as(
    opened: OpenedFile,
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    limit: Limit,
    attachment: Attachment,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    let named = |error: Error| error.with_path(location.path());
    let (identity, status) = (opened.identity, opened.status);
    let system = sys::file::kind_of_system(&opened.file).map_err(named)?;
    let attach = |(memory, header): (Memory, Header), key| -> Result<Arc<Session>> {
        header.check(shape, terms.payload).map_err(named)?;
        memory.request_huge_pages(terms.huge);
        let path = real_path(location);
        let slots = match (memory.shared_file(), memory.file()) {
            (Some(file), _) => {
                liveness::Slots::of(file, identity, system, path.as_deref(), header.id)
            }
            (None, Some(file)) => liveness::Slots::open(file, path.as_deref(), header.id),
            (None, None) => Err(sys::file_was_closed("attach to")),
        };
        let slots = slots.map_err(named)?;
        if attachment == Attachment::Participant {
            ensure_current_boot(&memory, &header, &slots, terms.unclean, limit).map_err(named)?;
        }
        let session = Session::new(memory, header, attachment, slots, terms, release, key)?;
        if attachment == Attachment::Participant {
            session.attach(limit)?;
        }
        // Recovers all dead participants of the unclean end: waiters would probe only those that hold a
        // lock.
        if attachment == Attachment::Participant && terms.unclean == Unclean::Accepted {
            session.recover_dead()?;
        }
        Ok(session)
    };
    let ready = |opened| ready(opened, location, limit, attachment);
    if !is_shared(system, terms, attachment) {
        return Ok(Opening::of(attach(ready(opened)?, None)?));
    }
    let enter = |key| registry::enter(key, limit).map_err(named);
    let reopen = |opening: Arc<Opening>, status| {
        reopen(&opening, status, location, shape, terms, limit).map(|()| opening)
    };
    // If attaching fails, dropping the turn lets the next thread try.
    match Key::of_file(identity, attachment) {
        Some(key) => match enter(key)? {
            Entry::Session(opening) => reopen(opening, status),
            Entry::Turn(turn) => Ok(turn.publish(attach(ready(opened)?, Some(key))?)),
        },
        // Without a file identity, the key is the id in the header, which a ready object has.
        None => {
            let object = ready(opened)?;
            let key = Key::of_object(identity, object.1.id, attachment);
            match enter(key)? {
                Entry::Session(opening) => {
                    // The object may have got its length since it was opened.
                    let file = object.0.file();
                    let status = file.map_or(Ok(status), sys::file::status).map_err(named)?;
                    reopen(opening, status)
                }
                Entry::Turn(turn) => Ok(turn.publish(attach(object, Some(key))?)),
            }
        }
    }
}

/// Returns `true` if other openings by this process may share the session: all except separate and
/// copy-on-write ones, and those on a file system where the file's identity is not reliable.
fn is_shared(system: FileSystem, terms: &OpenOptions, attachment: Attachment) -> bool {
    match (terms.attachments, attachment) {
        (Attachments::Separate, _) | (_, Attachment::CopyOnWrite) => false,
        (_, Attachment::Participant) => system.tells_files_apart(),
        // A read-only descriptor keeps the lower file after a copy-up, and a later opening finds another file
        // with the same identity.
        (_, Attachment::ReadOnly) => system.tells_files_apart() && !system.copies_up(),
    }
}

/// Checks an object for an opening that found a session of this process.
///
/// The session checked the object when it attached. Since then, the file may have been cut short, the
/// header overwritten, or the object faulted. In a forked child, the session attaches here.
fn reopen(
    session: &Session,
    status: FileStatus,
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    limit: Limit,
) -> Result<()> {
    let named = |error: Error| error.with_path(location.path());
    let (memory, header) = (session.memory(), session.header());
    if status.kind == FileKind::Regular && status.len < header.len {
        return Err(named(header.cut_short(status.len)));
    }
    match (Header::read(memory)?, memory.load::<u32>(header::STATE)?) {
        (Some(now), state) if now == *header && header.takes(state, session.attachment) => {}
        (Some(_), header::FAULTED) => return Err(named(header.faulted())),
        _ => {
            return Err(named(Error::new(ErrorKind::Malformed, "open")).with_detail(
                "its header was overwritten after this process attached to it; close all openings \
                 in this process, and re-create it",
            ));
        }
    }
    header.check(shape, terms.payload).map_err(named)?;
    memory.request_huge_pages(terms.huge);
    if session.attachment != Attachment::Participant {
        return Ok(());
    }
    ensure_current_boot(memory, header, &session.slots, terms.unclean, limit).map_err(named)?;
    session.rejoin(terms.power_cuts, limit)?;
    if terms.unclean == Unclean::Accepted {
        session.recover_dead()?;
    }
    Ok(())
}

/// Waits like an opening until the object at `location` is ready, but does not attach.
pub(super) fn await_ready(location: &Location, terms: &OpenOptions) -> Result<()> {
    let limit = terms.open_timeout.into();
    let opened = find(location, terms, true)?;
    ready(opened, location, limit, Attachment::Participant).map(drop)
}

/// The progress of an object's creation.
enum Stage {
    /// The creator has not written the header.
    Empty(OpenedFile),
    /// The header is complete, the payload may not be.
    Begun(OpenedFile, Header),
    Ready(Memory, Header),
}

/// Maps the object and reads its progress.
fn stage(opened: OpenedFile, location: &Location, attachment: Attachment) -> Result<Stage> {
    let path = location.path();
    // Read before it is mapped, so that the reservation is known, and the file is mapped once: a mapping
    // with its first page takes fifty times as long as a read.
    if let Some(known) = Known::read(&opened) {
        return map_known(opened, &known, path, attachment);
    }
    let file = &opened.file;
    let is_whole = is_named_when_whole(file, location);
    let memory = match Memory::map(file, path, attachment, header::LEN, 0) {
        // Where the name comes first, the creator sets the length after it.
        Err(error) if error.kind() == ErrorKind::Truncated && !is_whole => {
            return Ok(Stage::Empty(opened));
        }
        memory => memory?,
    };
    let header = Header::read(&memory)?;
    let state = memory.load::<u32>(header::STATE)?;
    match (header, state) {
        (Some(header), state) if header.takes(state, attachment) => {
            if header.max == header.len {
                return Ok(Stage::Ready(memory, header));
            }
            // Mapped again, with address space for its growth. The header is constant.
            let memory = Memory::map(file, path, attachment, header.len, header.max)?;
            Ok(Stage::Ready(memory, header))
        }
        (Some(header), header::CREATING) => Ok(Stage::Begun(opened, header)),
        (Some(header), header::FAULTED) => Err(header.faulted().with_path(path)),
        (Some(_), _) => Err(contradictory(path, header::STATE)),
        // Objects here get their names last, so this file was never an object: it must not be
        // replaced as an unfinished one.
        (None, _) if is_whole => Err(Error::new(ErrorKind::NotAnObject, "open")
            .with_path(path)
            .with_detail("it begins with zeros, not with the magic of a shared object")),
        (None, _) => Ok(Stage::Empty(opened)),
    }
}

/// Maps an object that was ready when it was read, with address space for its growth.
///
/// What the file contained counts as far as the mapping shows the same: only the mapping's loads are ordered
/// with the stores of other processes.
fn map_known(
    opened: OpenedFile,
    known: &Known,
    path: Option<&Path>,
    attachment: Attachment,
) -> Result<Stage> {
    let Header { len, max, .. } = known.header;
    let reserve = if max > len { max } else { 0 };
    let memory = Memory::map_opened(opened, path, attachment, len, reserve)?;
    match (memory.load::<u32>(header::STATE)?, Header::read_known(&memory, known)?) {
        (state, Some(header)) if header.takes(state, attachment) => {
            Ok(Stage::Ready(memory, header))
        }
        (header::FAULTED, _) => Err(known.header.faulted().with_path(path)),
        // A ready object is never created again, and its header is constant.
        (header::READY, None) => Err(contradictory(path, 0)),
        _ => Err(contradictory(path, header::STATE)),
    }
}

/// Returns the error for an object with a field that contradicts its header or an earlier value.
#[cold]
fn contradictory(path: Option<&Path>, at: u64) -> Error {
    header::contradiction(Error::new(ErrorKind::Malformed, "open").with_path(path), at)
}

/// Returns the object once it is ready, waiting until `limit` at most while its creator lives.
///
/// Fails with `Incomplete` if the creator is dead, and with `Busy` if it lives and does not finish in
/// time.
fn ready(
    mut opened: OpenedFile,
    location: &Location,
    limit: Limit,
    attachment: Attachment,
) -> Result<(Memory, Header)> {
    let (mut polling, path) = (Polling::new(limit), location.path());
    let mut abandoned = false;
    loop {
        let is_made = match stage(opened, location, attachment)? {
            Stage::Ready(memory, header) => return Ok((memory, header)),
            _ if abandoned => {
                return Err(Error::new(ErrorKind::Incomplete, "open").with_path(path).with_detail(
                    "open it with a call that also creates, which replaces it, or unlink it",
                ));
            }
            Stage::Begun(file, header) => {
                opened = file;
                liveness::Slots::open(&opened.file, real_path(location).as_deref(), header.id)
                    .and_then(|slots| slots.is_free(CREATION))
                    .map(|free| !free)
            }
            // Without a header there is no id, and so no slot. The name has a lock of its own.
            Stage::Empty(file) => {
                opened = file;
                match location.checked()? {
                    LocationKind::Name(name) => sys::shm::is_being_made(name),
                    LocationKind::File(_) | LocationKind::Anonymous => Ok(false),
                }
            }
        };
        // The creator stores `READY` before it releases slot 0, and may have done both since the state
        // was read. A free slot therefore proves its death only if the state, read again, is the same.
        abandoned = !is_made.map_err(|error| error.with_path(path))?;
        if !abandoned && !polling.nap() {
            return Err(Error::new(ErrorKind::Busy, "open")
                .with_path(path)
                .with_detail("its creator is alive and has not finished it; wait longer"));
        }
    }
}

/// Ensures that the header records the current boot, and the file that carries the liveness locks of
/// this process (its *home*). Adopts the object if it records others (FORMAT.md, "Attaching", 2).
///
/// Fails with `Unclean` if the object was not left clean, unless `unclean` accepts that, and with `Busy`
/// if another process has not finished adopting the object when `limit` has passed.
fn ensure_current_boot(
    memory: &Memory,
    header: &Header,
    slots: &liveness::Slots,
    unclean: Unclean,
    limit: Limit,
) -> Result<()> {
    let mut polling = Polling::new(limit);
    loop {
        // An adopter of this home holds slot 0 and may still roll the home back. A home that is recorded
        // both before and after slot 0 is seen free is final. Where the home is the object's own file, the
        // query is omitted: rollbacks are rare there, as only a file that is also used through an
        // overlay has two homes.
        if is_renewed(memory, slots)?
            && (slots.home() == SlotHome::Object || slots.is_free(CREATION)?)
            && is_renewed(memory, slots)?
        {
            return Ok(());
        }
        // Slot 0 admits one adopter at a time. The kernel releases it if that one dies, and the next
        // adopter starts from the beginning.
        if let Some(_alone) = slots.take(CREATION, SlotMode::Alone)? {
            return adopt_from_previous_boot(memory, header, slots, unclean);
        }
        if !polling.nap() {
            return Err(Error::new(ErrorKind::Busy, "open")
                .with_detail("another process is adopting it from an earlier boot; wait longer"));
        }
    }
}

/// Returns `true` if the header records the current boot and the home of `slots`. On a system without
/// a boot id, only the home counts.
fn is_renewed(memory: &Memory, slots: &liveness::Slots) -> Result<bool> {
    let mut boot = [0; 16];
    memory.read(header::BOOT, &mut boot)?;
    let now = identity::boot().unwrap_or(boot);
    Ok(boot == now && header::read_home(memory)? == Some(slots.home()))
}

/// Records the current boot and home in an object that was last used under others.
///
/// The caller holds slot 0, so it sees all that earlier adopters did.
fn adopt_from_previous_boot(
    memory: &Memory,
    header: &Header,
    slots: &liveness::Slots,
    unclean: Unclean,
) -> Result<()> {
    // Another process may have adopted the object while this one waited for slot 0.
    if is_renewed(memory, slots)? {
        return Ok(());
    }
    let mut boot = [0; 16];
    memory.read(header::BOOT, &mut boot)?;
    let now = identity::boot().unwrap_or(boot);
    // The last participant to detach sets the flag. A new one first writes its record and then clears the
    // flag, so the records are read again below.
    let clean = memory.load::<u32>(header::CLEAN)? == 1;
    if !clean && unclean == Unclean::Refused {
        return Err(if boot == now || boot == header::NO_BOOT {
            record::elsewhere()
        } else {
            Error::new(ErrorKind::Unclean, "open").with_detail(
                "it was in use when the system went down; check it and accept it as unclean, or \
                 re-create it",
            )
        });
    }
    // A slot that is held here proves a live participant of this boot. The object is in use, and its
    // records are not those of an earlier boot.
    if slots.held_among(&(FIRST..FIRST + u64::from(header.participants)))?.is_some() {
        return Ok(());
    }
    let before = header::read_home(memory)?;
    if before != Some(slots.home()) || boot == header::NO_BOOT {
        // While no boot is recorded, the adoption is not complete. After a death before the end, the next
        // process under any home adopts the object again, and reads the records again.
        memory.write(header::BOOT, &header::NO_BOOT)?;
        // A participant under the old home exchanges its record, then reads the home. This process
        // exchanges the home, then reads the records and the flag. At least one of the two therefore sees
        // the other and refuses. The participant releases its slot and leaves its record to recoverers
        // under the recorded home; this process rolls home and boot back.
        header::write_home(memory, slots.home())?;
        if unclean == Unclean::Refused && is_used(memory, header)? {
            header::write_home(memory, before.unwrap_or(slots.home()))?;
            memory.write(header::BOOT, &boot)?;
            return Err(record::elsewhere());
        }
    }
    // Last, because boot and home together complete the adoption. A half-written boot id equals no boot, so
    // after a death here the next process adopts the object again.
    memory.write(header::BOOT, &now)
}

/// Returns `true` if a record is in use, or the object is not marked clean.
fn is_used(memory: &Memory, header: &Header) -> Result<bool> {
    for participant in 0..header.participants {
        if memory.load::<u32>(header.participant(participant))? == IN_USE {
            return Ok(true);
        }
    }
    Ok(memory.load::<u32>(header::CLEAN)? != 1)
}
