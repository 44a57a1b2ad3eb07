//! Making and opening objects. An object gets its name when it is whole, so that a creator that is
//! killed leaves none; where a system cannot do that, it leaves one that is not ready, whose creator
//! holds no slot any more, and that is made anew.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::attach::{attach_as, await_ready, is_named_when_whole, real_path};
use crate::peer::header::{self, ExpectedLayout, Header};
use crate::peer::identity;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::opening::Opening;
use crate::peer::session::{CREATION, RecoverFn};
use crate::shm::{Location, LocationKind};
use crate::sys::process::random_id;
use crate::sys::{
    self, Create, CreateObject, Existing, FileKind, HugePages, Lifetime, OpenObject, OpenRequest,
    Owner, Sharing, SlotHome, SlotMode, liveness,
};

/// Others may keep making and unlinking an object.
const ROUNDS: usize = 8;
const NAP: Duration = Duration::from_micros(500);

/// What becomes of an object that was in use when the system went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unclean {
    /// [`ErrorKind::Unclean`].
    #[default]
    Refused,
    /// Those who used it count as dead, and what they held is recovered.
    Accepted,
}

/// Whether an object in a file tells, at the next boot, that it was in use when the power went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PowerCuts {
    /// Most of the time: the system writes files back when it likes, the mark before or after what it
    /// speaks of.
    #[default]
    Overlooked,
    /// Always: the first to attach and the last to leave wait for the disk.
    Told,
}

/// Whether an object that exists has to hold as much as was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Payload {
    #[default]
    Exactly,
    /// It says itself how much it holds.
    AtLeast,
}

/// Tells whether openings of an object by this process share a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attachments {
    /// All openings share one session, and so one participant.
    #[default]
    Shared,
    /// The opening gets a session of its own, like another process.
    #[cfg_attr(not(test), allow(dead_code, reason = "for tests that act as several processes"))]
    Separate,
}

/// How to find or make an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOptions {
    pub(crate) unclean: Unclean,
    pub(crate) power_cuts: PowerCuts,
    pub(crate) payload: Payload,
    pub(crate) lifetime: Lifetime,
    pub(crate) sharing: Sharing,
    pub(crate) owner: Owner,
    /// The longest wait for a process that uses the object exclusively (a live creator, or the
    /// holder of a lease), and for a free participant.
    pub(crate) open_timeout: Duration,
    pub(crate) attachments: Attachments,
}

impl OpenOptions {
    /// Returns the same terms with the rest of a patience that began at `start`.
    pub(super) fn since(&self, start: Instant) -> Self {
        Self { open_timeout: self.open_timeout.saturating_sub(start.elapsed()), ..*self }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            unclean: Unclean::default(),
            power_cuts: PowerCuts::default(),
            payload: Payload::default(),
            lifetime: Lifetime::default(),
            sharing: Sharing::PRIVATE,
            owner: Owner::default(),
            open_timeout: Duration::from_secs(5),
            attachments: Attachments::default(),
        }
    }
}

#[cfg(test)]
impl OpenOptions {
    /// Returns terms for tests in which this process acts as several.
    pub(crate) fn separate() -> Self {
        Self { attachments: Attachments::Separate, ..Self::default() }
    }
}

/// Fills the payload of a new object, all zeros so far.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&Memory, &Header) -> Result<()>;

/// An object that must not exist yet.
pub(crate) fn create_new(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
    fill: Fill<'_>,
) -> Result<Arc<Opening>> {
    let named = |error: Error| error.with_path(location.path());
    let mut round = 0;
    loop {
        round += 1;
        let taken = match make(location, shape, terms, fill).map_err(named) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => error,
            made => return attach(&made?, location, shape, terms, release),
        };
        match await_ready(location, terms) {
            // One that never became ready does not count.
            Err(other) if other.kind() == ErrorKind::Incomplete && round < ROUNDS => {
                clear_away(location, terms).map_err(named)?;
            }
            // Nor does one that has been unlinked meanwhile.
            Err(other) if other.kind() == ErrorKind::NotFound && round < ROUNDS => {
                std::thread::sleep(NAP);
            }
            _ => return Err(taken),
        }
    }
}

/// An object that exists.
pub(crate) fn open(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    let start = Instant::now();
    let file = find(location, terms, true).map_err(|error| error.with_path(location.path()))?;
    attach(&file, location, shape, &terms.since(start), release)
}

/// An object that exists, to look at.
pub(crate) fn open_read_only(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    attachment: Attachment,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    let start = Instant::now();
    let file = find(location, terms, false).map_err(|error| error.with_path(location.path()))?;
    attach_as(&file, location, shape, &terms.since(start), attachment, release)
}

/// An object, whether it exists or not.
pub(crate) fn open_or_create(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
    fill: Fill<'_>,
) -> Result<Arc<Opening>> {
    let mut create = || create_new(location, shape, terms, release, fill);
    open_or(location, shape, terms, release, &mut create)
}

/// An object that exists, or else what `create` makes there.
pub(crate) fn open_or(
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
    create: &mut dyn FnMut() -> Result<Arc<Opening>>,
) -> Result<Arc<Opening>> {
    let mut round = 0;
    loop {
        round += 1;
        match open(location, shape, terms, release) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Incomplete) => {}
            other => return other,
        }
        match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && round < ROUNDS => {}
            other => return other,
        }
    }
}

/// Attaches to an object that came as a descriptor.
pub(crate) fn from_descriptor(
    file: &File,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    attach_as(file, &Location::anonymous(), shape, terms, Attachment::Participant, release)
}

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
                    .with_detail("another process is making it"));
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

/// Takes its name from an object that its creator left unfinished. One at a time: who comes second
/// finds it done, and leaves alone what has the name by then.
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
    let Some(file) = found()? else { return Ok(()) };
    // What has no header, and may even be shorter, was left by one who had the name's lock.
    let _alone;
    if let Some((memory, id)) = begun(&file, location)? {
        let slots = liveness::Slots::open(&file, real_path(location).as_deref(), id)?;
        let Some(alone) = slots.take(CREATION, SlotMode::Alone)? else { return Ok(()) };
        _alone = alone;
        if memory.load::<u32>(header::STATE)? == header::READY {
            return Ok(());
        }
        // What is mapped cannot be removed everywhere.
        drop(memory);
    }
    let Some(named) = found()? else { return Ok(()) };
    let identity = sys::pass::identity(&file)?;
    if sys::pass::identity(&named)? != identity {
        return Ok(());
    }
    match location.checked()? {
        LocationKind::Name(name) => sys::shm::unlink(name),
        LocationKind::File(path) => sys::file::unlink_object(path, Some(identity)),
        LocationKind::Anonymous => Ok(()),
    }
}

/// The memory and the id of an object that has a header.
fn begun(file: &File, location: &Location) -> Result<Option<(Memory, [u8; 16])>> {
    let memory = match Memory::map(file, location.path(), Attachment::Participant, header::LEN) {
        Err(error) if error.kind() == ErrorKind::Truncated => return Ok(None),
        memory => memory?,
    };
    let header = Header::read(&memory)?;
    Ok(header.map(|header| (memory, header.id)))
}

/// Writes the header, fills the payload, and says that it is ready, in this order.
fn prepare(file: &File, location: &Location, header: &Header, fill: Fill<'_>) -> Result<()> {
    let path = location.path();
    // Where nobody can see the object yet, nobody asks, and its slots are whoever's who first attaches:
    // so there is nothing to be taken back if it fails.
    let creating = match is_named_when_whole(file, location) {
        true => None,
        false => Some(begin(file, path, header.id)?),
    };
    let memory = Memory::map(file, path, Attachment::Participant, header::LEN)?;
    memory.store(header::STATE, header::CREATING)?;
    header.write(&memory)?;
    memory.write(header::BOOT, &identity::boot().unwrap_or_default())?;
    if let Some((home, _)) = creating {
        header::write_home(&memory, home)?;
    }
    memory.store(header::CLEAN, 1u32)?;
    fill(&memory, header)?;
    memory.store(header::STATE, header::READY)
}

/// Takes the slot of whoever makes the object.
fn begin(
    file: &File,
    path: Option<&Path>,
    id: [u8; 16],
) -> Result<(SlotHome, liveness::LivenessLock)> {
    let slots = liveness::Slots::open(file, path, id)?;
    match slots.take(CREATION, SlotMode::Alone)? {
        Some(hold) => Ok((slots.home(), hold)),
        None => Err(Error::new(ErrorKind::Busy, "create")
            .with_detail("the slot of whoever makes it, which nobody else can know of, is held")),
    }
}

pub(super) fn find(location: &Location, terms: &OpenOptions, write: bool) -> Result<File> {
    match location.checked()? {
        LocationKind::Name(name) => sys::shm::open(&OpenObject {
            name,
            write,
            owner: terms.owner,
            scope: terms.sharing.scope,
            timeout: terms.open_timeout,
        }),
        LocationKind::File(path) => {
            let timeout = terms.open_timeout;
            let request = OpenRequest { write, create: Create::Never, exclusive: false, timeout };
            let file = sys::file::open_object(path, request, terms.owner)?;
            match sys::file::status(&file)?.kind {
                FileKind::Regular => Ok(file),
                FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, "open")),
                _ => {
                    Err(Error::new(ErrorKind::NotAnObject, "open")
                        .with_detail("it is a special file"))
                }
            }
        }
        LocationKind::Anonymous => Err(Error::new(ErrorKind::NotFound, "open")
            .with_detail("what has no name is passed on as a descriptor")),
    }
}

fn attach(
    file: &File,
    location: &Location,
    shape: &ExpectedLayout,
    terms: &OpenOptions,
    release: RecoverFn,
) -> Result<Arc<Opening>> {
    attach_as(file, location, shape, terms, Attachment::Participant, release)
}
