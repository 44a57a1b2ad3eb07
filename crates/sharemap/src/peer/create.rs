//! Creating and opening objects (FORMAT.md, "Making").
//!
//! An object gets its name after it is complete, so a creator that is killed leaves nothing. Where the
//! system cannot do that (shared memory on macOS, sections on Windows), the name comes first, and the
//! creator holds slot 0 until the object is ready. If it dies, the kernel releases slot 0. The next
//! process that creates finds an object that is not ready and has no creator, and replaces it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::attach::{attach_as, await_ready};
use crate::peer::find::{find, is_named_when_whole, real_path};
use crate::peer::header::{self, CREATION, ExpectedLayout, Header};
use crate::peer::identity;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::opening::Opening;
use crate::peer::options::OpenOptions;
use crate::peer::session::RecoverFn;
use crate::shm::{Location, LocationKind};
use crate::sys::process::random_id;
use crate::sys::{
    self, CreateObject, Existing, HugePages, OpenedFile, SlotHome, SlotMode, liveness,
};

/// The number of attempts, because other processes may keep creating and unlinking the object.
const ROUNDS: usize = 8;
const NAP: Duration = Duration::from_micros(500);

/// A function that initializes the payload of a new object, which is zeroed.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&Memory, &Header) -> Result<()>;

/// Creates an object that must not exist, and attaches to it.
///
/// An object that its dead creator left incomplete is replaced. One with a live creator is waited for.
/// Anything else that has the name fails the call with `AlreadyExists`, and so does an object that is
/// not ready in time.
///
/// All waits together take at most `open_timeout`. `fill` is called again for each new attempt. If
/// attaching fails, the object is complete and keeps its name.
pub(crate) fn create_new(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
    fill: Fill<'_>,
) -> Result<Arc<Opening>> {
    let named = |error: Error| error.with_path(location.path());
    // Of `open_timeout`, waits take away; creating does not, which may take seconds for a large object.
    let (mut terms, mut round) = (*terms, 0);
    loop {
        round += 1;
        let taken = match make(location, shape, &terms, fill).map_err(named) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => error,
            made => {
                let attachment = Attachment::Participant;
                let made = made.and_then(|file| OpenedFile::of(file).map_err(named))?;
                let limit = terms.open_timeout.into();
                return attach_as(made, location, shape, &terms, limit, attachment, release);
            }
        };
        let start = Instant::now();
        let awaited = await_ready(location, &terms);
        terms = terms.since(start);
        match awaited {
            // Its creator died, so the name can be taken away and used again.
            Err(other) if other.kind() == ErrorKind::Incomplete && round < ROUNDS => {
                clear_away(location, &terms).map_err(named)?;
            }
            // The object was unlinked after it kept this process from creating one.
            Err(other) if other.kind() == ErrorKind::NotFound && round < ROUNDS => {
                std::thread::sleep(NAP);
            }
            _ => return Err(taken),
        }
    }
}

/// Opens an existing object, and attaches to it as a participant, or shares the session that this
/// process has. Blocks for at most `open_timeout` in all.
///
/// `release` recovers what an announcement names; a session that is shared keeps its own.
pub(crate) fn open(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    open_as(location, shape, terms, Attachment::Participant, release)
}

/// Opens an existing object like [`open`], but also read-only or copy-on-write, as `attachment` says.
///
/// Only a participant writes into the object. For other attachments, neither boot nor clean flag is
/// checked, and a shared lock on the readers' slot keeps the object in use.
pub(crate) fn open_as(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    attachment: Attachment,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    let (limit, writes) = (terms.open_timeout.into(), attachment == Attachment::Participant);
    let file = find(location, terms, writes).map_err(|error| error.with_path(location.path()))?;
    attach_as(file, location, shape, terms, limit, attachment, release)
}

/// Opens an object, or calls `create` if it does not exist or was never completed.
///
/// Other processes may create and unlink the object in between, so both are tried up to [`ROUNDS`]
/// times. All attempts together block for at most `open_timeout`.
pub(crate) fn open_or(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
    create: &mut dyn FnMut(&OpenOptions) -> Result<Arc<Opening>>,
) -> Result<Arc<Opening>> {
    let (start, mut round) = (Instant::now(), 0);
    loop {
        round += 1;
        match open(location, shape, &terms.since(start), release) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Incomplete) => {}
            other => return other,
        }
        match create(&terms.since(start)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && round < ROUNDS => {}
            other => return other,
        }
    }
}

/// Attaches to the object in an open file, such as one received from another process.
pub(crate) fn from_descriptor(
    file: &File,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    let opened = sys::file::duplicate(file).and_then(OpenedFile::of)?;
    let (location, limit) = (Location::anonymous(), terms.open_timeout.into());
    attach_as(opened, &location, shape, terms, limit, Attachment::Participant, release)
}

/// Creates and completes an object, without attaching to it.
///
/// Fails with `AlreadyExists` if the name is taken, or another process is creating an object of that
/// name.
fn make(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    fill: Fill<'_>,
) -> Result<File> {
    let place = location.checked()?;
    let header = Header::of(shape, random_id()?)?;
    let mut prepare = |file: &File| prepare(file, location, &header, fill);
    let request = |name| CreateObject {
        name,
        len: header.len,
        max: header.max,
        sparse: false,
        existing: Existing::Refused,
        lifetime: terms.lifetime,
        sharing: terms.sharing,
    };
    match place {
        LocationKind::Name(name) => {
            let Some(_making) = sys::shm::making(name)? else {
                return Err(Error::new(ErrorKind::AlreadyExists, "create")
                    .with_detail("another process is creating it"));
            };
            sys::shm::create(&request(name), &mut prepare)
        }
        LocationKind::File(path) => sys::create_atomic::create_new(path, header.len, &mut prepare),
        LocationKind::Anonymous => {
            let file = sys::shm::anonymous("sharemap", &request(""), HugePages::Default)?;
            prepare(&file)?;
            Ok(file)
        }
    }
}

/// Unlinks an object that its dead creator left incomplete.
///
/// Does nothing if the object is ready, if its creator is alive, or if another process is replacing it.
/// The lock of the name and slot 0 admit one process at a time. A process that comes second finds that
/// the name no longer refers to the file that it has open, and keeps the new object.
pub(super) fn clear_away(location: &Location, terms: &OpenOptions) -> Result<()> {
    let _making = match location.checked()? {
        LocationKind::Name(name) => match sys::shm::making(name)? {
            None => return Ok(()),
            making => making,
        },
        LocationKind::File(_) | LocationKind::Anonymous => None,
    };
    let found = || match find(location, terms, true) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    };
    let Some(OpenedFile { file, identity, .. }) = found()? else { return Ok(()) };
    // A file without a header has no id, and so no slot 0. Where names come first, the lock of the name,
    // which is held here, proves that its creator is dead.
    let _alone;
    if let Some((memory, id)) = begun(&file, location)? {
        let slots = liveness::Slots::open(&file, real_path(location).as_deref(), id)?;
        let Some(alone) = slots.take(CREATION, SlotMode::Alone)? else { return Ok(()) };
        _alone = alone;
        // The creator may have completed the object before it released slot 0.
        if memory.load::<u32>(header::STATE)? == header::READY {
            return Ok(());
        }
        // Windows does not remove a file that is mapped.
        drop(memory);
    } else if is_named_when_whole(&file, location) {
        // The file was never an object: it got the name after the incomplete object had lost it.
        return Ok(());
    }
    // Only now is the name compared: until slot 0 was held, another process could have replaced the object.
    let Some(named) = found()? else { return Ok(()) };
    if named.identity != identity {
        return Ok(());
    }
    match location.checked()? {
        LocationKind::Name(name) => sys::shm::unlink(name),
        LocationKind::File(path) => sys::file::unlink_object(path, Some(identity)),
        LocationKind::Anonymous => Ok(()),
    }
}

/// Returns the memory and the id of an object with a header; `None` if it has none yet.
fn begun(file: &File, location: &Location) -> Result<Option<(Memory, [u8; 16])>> {
    let memory = match Memory::map(file, location.path(), Attachment::Participant, header::LEN, 0) {
        Err(error) if error.kind() == ErrorKind::Truncated => return Ok(None),
        memory => memory?,
    };
    let header = Header::read(&memory)?;
    Ok(header.map(|header| (memory, header.id)))
}

/// Writes the header, initializes the payload, and makes the object ready (FORMAT.md, "Making").
///
/// If the creator dies before the last store, an unnamed object vanishes with it. An object that has its
/// name already stays in the state `CREATING` while the kernel releases slot 0, and is replaced by
/// [`clear_away`].
fn prepare(file: &File, location: &Location, header: &Header, fill: Fill<'_>) -> Result<()> {
    let path = location.path();
    // Slot 0 comes first, so that an opener that sees the header also sees that the creator lives. An
    // object without a name has no opener. Its home stays unrecorded until the first process attaches,
    // so a failed creation leaves no companion behind.
    let creating = match is_named_when_whole(file, location) {
        true => None,
        false => Some(begin(file, path, header.id)?),
    };
    let memory = Memory::map(file, path, Attachment::Participant, header::LEN, 0)?;
    // Before the header, which ends with the magic: an opener that finds the magic finds this state.
    memory.store(header::STATE, header::CREATING)?;
    header.write(&memory)?;
    memory.write(header::BOOT, &identity::boot().unwrap_or_default())?;
    if let Some((home, _)) = creating {
        header::write_home(&memory, home)?;
    }
    memory.store(header::CLEAN, 1u32)?;
    fill(&memory, header)?;
    // A release store: an opener that loads it sees everything above. Slot 0 is released after it, so a
    // free slot and an older state together mean that the creator died.
    memory.store(header::STATE, header::READY)
}

/// Acquires slot 0 for the creator. Returns the home of the object's slots, and the lock.
fn begin(
    file: &File,
    path: Option<&Path>,
    id: [u8; 16],
) -> Result<(SlotHome, liveness::LivenessLock)> {
    let slots = liveness::Slots::open(file, path, id)?;
    match slots.take(CREATION, SlotMode::Alone)? {
        Some(hold) => Ok((slots.home(), hold)),
        None => Err(Error::new(ErrorKind::Busy, "create")
            .with_detail("another process holds its creation slot; try again")),
    }
}
