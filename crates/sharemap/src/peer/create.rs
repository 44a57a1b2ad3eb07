//! Making and opening objects. An object gets its name when it is whole, so that a creator that is
//! killed leaves none; where a system cannot do that, it leaves one that is not ready, whose creator
//! holds no slot any more, and that is made anew.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::header::{self, Header, Shape};
use crate::peer::identity;
use crate::peer::memory::{Attachment, Memory};
use crate::peer::session::{CREATION, FIRST, Release, Session};
use crate::shm::{Location, Place};
use crate::sys::process::random_id;
use crate::sys::{
    self, Create, CreateObject, Existing, FileKind, HugePages, Lifetime, OpenObject, OpenRequest,
    Owner, Sharing, SlotMode, slot,
};

/// What becomes of an object that was in use when the system went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unclean {
    /// [`ErrorKind::NeedsCheck`].
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

/// How to find or make an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) unclean: Unclean,
    pub(crate) power_cuts: PowerCuts,
    pub(crate) payload: Payload,
    pub(crate) lifetime: Lifetime,
    pub(crate) sharing: Sharing,
    pub(crate) owner: Owner,
    /// How long to wait for a creator that is alive.
    pub(crate) patience: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            unclean: Unclean::default(),
            power_cuts: PowerCuts::default(),
            payload: Payload::default(),
            lifetime: Lifetime::default(),
            sharing: Sharing::PRIVATE,
            owner: Owner::default(),
            patience: Duration::from_secs(5),
        }
    }
}

/// Fills the payload of a new object, all zeros so far.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&Memory, &Header) -> Result<()>;

/// An object that must not exist yet.
pub(crate) fn create_new(
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    release: Release,
    fill: Fill<'_>,
) -> Result<Arc<Session>> {
    let named = |error: Error| error.with_path(location.path());
    let file = match make(location, shape, terms, Existing::Refused, fill).map_err(named) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // One that never became ready does not count.
            match attach(
                &find(location, terms, true).map_err(named)?,
                location,
                shape,
                terms,
                release,
            ) {
                Err(other) if other.kind() == ErrorKind::Unready => {
                    make(location, shape, terms, Existing::Replaced, fill).map_err(named)?
                }
                _ => return Err(error),
            }
        }
        made => made?,
    };
    attach(&file, location, shape, terms, release)
}

/// An object that exists.
pub(crate) fn open(
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    release: Release,
) -> Result<Arc<Session>> {
    let file = find(location, terms, true).map_err(|error| error.with_path(location.path()))?;
    attach(&file, location, shape, terms, release)
}

/// An object that exists, to look at.
pub(crate) fn open_read_only(
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    attachment: Attachment,
    release: Release,
) -> Result<Arc<Session>> {
    let file = find(location, terms, false).map_err(|error| error.with_path(location.path()))?;
    attach_as(&file, location, Some(shape), terms, attachment, release)
}

/// An object, whether it exists or not.
pub(crate) fn open_or_create(
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    release: Release,
    fill: Fill<'_>,
) -> Result<Arc<Session>> {
    let mut create = || create_new(location, shape, terms, release, fill);
    open_or(location, shape, terms, release, &mut create)
}

/// An object that exists, or else what `create` makes there.
pub(crate) fn open_or(
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    release: Release,
    create: &mut dyn FnMut() -> Result<Arc<Session>>,
) -> Result<Arc<Session>> {
    // Others may keep making and unlinking it.
    const ROUNDS: usize = 8;
    let mut round = 0;
    loop {
        round += 1;
        match open(location, shape, terms, release) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unready) => {}
            other => return other,
        }
        match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && round < ROUNDS => {}
            other => return other,
        }
    }
}

/// Attaches to an object that came as a descriptor.
pub(crate) fn adopt(
    file: &File,
    shape: &Shape,
    terms: &Terms,
    release: Release,
) -> Result<Arc<Session>> {
    attach_as(file, &Location::anonymous(), Some(shape), terms, Attachment::Participant, release)
}

fn make(
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    existing: Existing,
    fill: Fill<'_>,
) -> Result<File> {
    let place = location.checked()?;
    let header = Header::of(shape, random_id()?)?;
    let mut prepare = |file: &File| prepare(file, location.path(), &header, fill);
    let request = |name| CreateObject {
        name,
        len: header.len,
        max: header.max,
        sparse: false,
        existing,
        lifetime: terms.lifetime,
        sharing: terms.sharing,
    };
    match place {
        Place::Name(name) => sys::shm::create(&request(name), &mut prepare),
        Place::File(path) => {
            if existing == Existing::Replaced {
                std::fs::remove_file(path)?;
            }
            sys::publish::create_new(path, header.len, &mut prepare)
        }
        Place::Anonymous => {
            let file = sys::shm::anonymous("sharemap", &request(""), HugePages::Default)?;
            prepare(&file)?;
            Ok(file)
        }
    }
}

/// Writes the header, fills the payload, and says that it is ready, in this order.
fn prepare(file: &File, path: Option<&Path>, header: &Header, fill: Fill<'_>) -> Result<()> {
    let slots = slot::Slots::open(file, path, header.id)?;
    // Where nobody can see the object yet, nobody asks.
    let _creating = slots.take(CREATION, SlotMode::Alone)?;
    let memory = Memory::map(file, path, Attachment::Participant, header::LEN)?;
    memory.store(header::STATE, header::CREATING)?;
    memory.write(0, &header.encode())?;
    memory.write(header::BOOT, &identity::boot().unwrap_or_default())?;
    header::write_home(&memory, slots.home())?;
    memory.store(header::CLEAN, 1u32)?;
    fill(&memory, header)?;
    memory.store(header::STATE, header::READY)
}

pub(super) fn find(location: &Location, terms: &Terms, write: bool) -> Result<File> {
    match location.checked()? {
        Place::Name(name) => sys::shm::open(&OpenObject {
            name,
            write,
            owner: terms.owner,
            scope: terms.sharing.scope,
        }),
        Place::File(path) => {
            let request = OpenRequest { write, create: Create::Never, exclusive: false };
            let file = sys::file::open(path, request)?;
            match sys::file::status(&file)?.kind {
                FileKind::Regular => Ok(file),
                FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, "open")),
                _ => {
                    Err(Error::new(ErrorKind::NotAnObject, "open")
                        .with_detail("it is a special file"))
                }
            }
        }
        Place::Anonymous => Err(Error::new(ErrorKind::NotFound, "open")
            .with_detail("what has no name is passed on as a descriptor")),
    }
}

fn attach(
    file: &File,
    location: &Location,
    shape: &Shape,
    terms: &Terms,
    release: Release,
) -> Result<Arc<Session>> {
    attach_as(file, location, Some(shape), terms, Attachment::Participant, release)
}

/// Checks an object, and attaches to it; without a shape, to whatever it is.
pub(crate) fn attach_as(
    file: &File,
    location: &Location,
    shape: Option<&Shape>,
    terms: &Terms,
    attachment: Attachment,
    release: Release,
) -> Result<Arc<Session>> {
    let named = |error: Error| error.with_path(location.path());
    let (memory, header) = ready(file, location, terms, attachment)?;
    if let Some(shape) = shape {
        header.check(shape, terms.payload).map_err(named)?;
    }
    let slots =
        slot::Slots::open(memory.file().unwrap_or(file), real_path(location).as_deref(), header.id)
            .map_err(named)?;
    if attachment == Attachment::Participant {
        renew(&memory, &header, &slots, terms).map_err(named)?;
    }
    let session = Session::new(memory, header, attachment, slots, terms.power_cuts, release)?;
    if attachment == Attachment::Participant && terms.unclean == Unclean::Accepted {
        session.sweep()?;
    }
    Ok(session)
}

/// A path that can be opened again, wherever the process is by then.
pub(super) fn real_path(location: &Location) -> Option<PathBuf> {
    match location.checked().ok()? {
        Place::Name(name) => Some(sys::shm::path(name)),
        Place::File(path) => std::path::absolute(path).ok(),
        Place::Anonymous => None,
    }
}

/// Whether what is found there has been finished once.
fn is_named_when_whole(location: &Location) -> bool {
    match location.checked() {
        Ok(Place::Name(_)) => sys::shm::NAMED_WHEN_WHOLE,
        Ok(Place::File(_) | Place::Anonymous) | Err(_) => true,
    }
}

/// Waits until the object is ready, while somebody makes it.
fn ready(
    file: &File,
    location: &Location,
    terms: &Terms,
    attachment: Attachment,
) -> Result<(Memory, Header)> {
    const NAP: Duration = Duration::from_micros(500);
    let (start, path) = (Instant::now(), location.path());
    let mut abandoned = false;
    loop {
        let memory = Memory::map(file, path, attachment, header::LEN)?;
        let header = Header::read(&memory)?;
        let state = memory.load::<u32>(header::STATE)?;
        match (header, state) {
            (Some(header), header::READY) => return Ok((memory, header)),
            (Some(_), header::FAULTED) => {
                return Err(Error::new(ErrorKind::NeedsCheck, "open")
                    .with_path(path)
                    .with_detail("a process that used it found its contents wrong"));
            }
            (Some(_), state) if state != header::CREATING => {
                return Err(Error::new(ErrorKind::Malformed, "open")
                    .with_path(path)
                    .with_offset(header::STATE));
            }
            // Whatever it is, it is nobody's half-made object, and not to be made anew.
            (None, _) if is_named_when_whole(location) => {
                return Err(Error::new(ErrorKind::NotAnObject, "open")
                    .with_path(path)
                    .with_detail(
                        "it begins with zeros, and no shared object of this library does",
                    ));
            }
            _ if abandoned => {
                return Err(Error::new(ErrorKind::Unready, "open").with_path(path).with_detail(
                    "open it with a call that also creates, which makes it anew, or unlink it",
                ));
            }
            _ => {}
        }
        let slots = slot::Slots::open(
            file,
            real_path(location).as_deref(),
            header.map_or([0; 16], |header| header.id),
        );
        // Once more after the slot was found free: it may have become ready before.
        abandoned = slots
            .and_then(|slots| slots.is_free(CREATION))
            .map_err(|error| error.with_path(path))?;
        if !abandoned {
            if start.elapsed() >= terms.patience {
                return Err(Error::new(ErrorKind::Busy, "open")
                    .with_path(path)
                    .with_detail("its creator lives and has not finished it"));
            }
            std::thread::sleep(NAP);
        }
    }
}

/// Looks whether the object comes from another boot, or whether its slots are kept elsewhere.
fn renew(memory: &Memory, header: &Header, slots: &slot::Slots, terms: &Terms) -> Result<()> {
    let mut boot = [0; 16];
    memory.read(header::BOOT, &mut boot)?;
    let now = identity::boot().unwrap_or(boot);
    let home = header::read_home(memory)?;
    if boot == now && home == Some(slots.home()) {
        return Ok(());
    }
    let clean = memory.load::<u32>(header::CLEAN)? == 1;
    if !clean && terms.unclean == Unclean::Refused {
        let why = if boot == now {
            "its slots are locked in a place that this process does not see (another mount or \
             container): use it from where it is in use, or accept it as unclean once nobody uses it"
        } else {
            "it was in use when the system went down: check it and accept it as unclean, or make it \
             anew"
        };
        return Err(Error::new(ErrorKind::NeedsCheck, "open").with_detail(why));
    }
    // One at a time; who comes second finds it done.
    let Some(_alone) = slots.take(CREATION, SlotMode::Alone)? else {
        return Err(Error::new(ErrorKind::Busy, "open")
            .with_detail("another process is taking it over from an earlier boot: try again"));
    };
    for participant in 0..header.participants {
        if !slots.is_free(FIRST + u64::from(participant))? {
            return Ok(());
        }
    }
    header::write_home(memory, slots.home())?;
    memory.write(header::BOOT, &now)
}
