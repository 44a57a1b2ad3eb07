//! Slots: locks that the kernel keeps for as long as a process lives.
//!
//! Shared memory objects cannot be locked here, and locks of byte ranges belong to processes and go
//! with any `close`. So every object has a directory of its own among the user's private temporary
//! files (named by its id, as nothing else tells two objects apart; that of a file, which may be
//! copied, by the file), in which each slot is a file, locked (`flock`) through a descriptor that is kept, and that
//! neither `exec` nor, where the system knows how (`FD_CLOFORK`), a child takes along.

#![allow(unsafe_code, reason = "keeps descriptors as numbers")]

use std::fs::{DirBuilder, File};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::fork::{self, hold_off};
use super::walk::HOLD;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::companion::{self, Flaw, Folder, Found, LEASE_TIMEOUT};
use crate::sys::posix::{errno, owner};
use crate::sys::{SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// The largest number of slots that [`Slots::take_all`] locks at once. Each takes a descriptor.
pub(crate) const MOST_AT_ONCE: u64 = 16;

const CLOSE_ON_EXEC: i32 = 1;
const CLOSE_ON_FORK: i32 = 2;

/// Where an object's slots are locked.
#[derive(Debug)]
pub(crate) struct Slots {
    folder: PathBuf,
    home: SlotHome,
}

impl Slots {
    pub(crate) fn open(file: &File, _: Option<&Path>, id: [u8; 16]) -> Result<Self> {
        let object = file.metadata().map_err(|error| failed(&error))?;
        if !owner::is_own(object.uid()) {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(
                "macOS tells who is attached to objects of one's own only: this one is another user's",
            ));
        }
        Self::make_folder(folder_of(&object, id))
    }

    /// What whoever makes the object of a name locks.
    pub(super) fn of_name(name: &str) -> Result<Self> {
        Self::make_folder(base().join("making").join(name))
    }

    fn make_folder(folder: PathBuf) -> Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(|e| failed(&e))?;
        let own = rustix::process::geteuid().as_raw();
        // Only this user can change the entries of a directory that no other user may write to.
        // Each directory is opened in the one before, and judged by its descriptor.
        let parent = std::env::temp_dir();
        let flags = HOLD | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut opened = retry_on_intr(|| rustix::fs::open(&parent, flags, Mode::empty()))
            .map_err(failed_call)?;
        for part in folder.strip_prefix(&parent).into_iter().flatten() {
            let name = part.to_str().unwrap_or_default();
            opened = match companion::folder(&opened, name, own).map_err(failed_call)? {
                Folder::Usable(next) => next,
                Folder::Missing => return Err(unusable(&folder)),
                Folder::Unusable(flaw) => return Err(flawed(&folder, flaw)),
            };
        }
        let stat = rustix::fs::fstat(&opened).map_err(failed_call)?;
        Ok(Self { folder, home: home_of(&stat) })
    }

    /// The same for whoever only looks on: nothing is made. `None`: nobody has ever taken one.
    pub(crate) fn find(file: &File, _: Option<&Path>, id: [u8; 16]) -> Result<Option<Self>> {
        let folder = folder_of(&file.metadata().map_err(|error| failed(&error))?, id);
        match hold(&folder) {
            Err(Errno::NOENT) => Ok(None),
            opened => {
                let stat = opened.and_then(rustix::fs::fstat).map_err(failed_call)?;
                Ok(Some(Self { folder, home: home_of(&stat) }))
            }
        }
    }

    /// Opens the directory again. Fails if it is not the one that was judged.
    fn opened(&self) -> Result<OwnedFd> {
        let opened = hold(&self.folder).map_err(failed_call)?;
        let stat = rustix::fs::fstat(&opened).map_err(failed_call)?;
        match home_of(&stat) == self.home {
            true => Ok(opened),
            false => Err(unusable(&self.folder)),
        }
    }

    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<LivenessLock>> {
        // Whoever asks has it for a moment.
        const ROUNDS: usize = 16;
        let _no_child_gets_it = hold_off();
        let file = self.fresh(slot)?;
        // Systems that do not know the second flag ignore it.
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, CLOSE_ON_EXEC | CLOSE_ON_FORK) };
        let operation = match mode {
            SlotMode::Alone => FlockOperation::NonBlockingLockExclusive,
            SlotMode::Shared => FlockOperation::NonBlockingLockShared,
        };
        for _ in 0..ROUNDS {
            if lock(&file, operation)? {
                return Ok(Some(LivenessLock(ManuallyDrop::new(file), fork::process())));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// There is no question about locks: it is taken for a moment, alone. Two who ask at once may
    /// both hear that somebody has it.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        let _no_child_gets_it = hold_off();
        match self.file(slot, OFlags::RDONLY)? {
            // Goes with the descriptor, at once.
            Some(file) => lock(&file, FlockOperation::NonBlockingLockExclusive),
            None => Ok(true),
        }
    }

    /// Locks all of these slots, at most [`MOST_AT_ONCE`], exclusively. Returns `None` if one of
    /// them is held.
    pub(crate) fn take_all(&self, slots: &Range<u64>) -> Result<Option<Vec<LivenessLock>>> {
        slots.clone().map(|slot| self.take(slot, SlotMode::Alone)).collect()
    }

    /// Returns a range of slots that one lock covers, at least one of them in the non-empty range
    /// `slots`, but not necessarily the first. `None` if all are free.
    pub(crate) fn held_among(&self, slots: &Range<u64>) -> Result<Option<Range<u64>>> {
        for slot in slots.clone() {
            if !self.is_free(slot)? {
                return Ok(Some(slot..slot + 1));
            }
        }
        Ok(None)
    }

    fn fresh(&self, slot: u64) -> Result<File> {
        // Another process may be removing the file.
        const ROUNDS: usize = 64;
        for _ in 0..ROUNDS {
            if let Some(file) = self.file(slot, OFlags::RDWR | OFlags::CREATE)? {
                return Ok(file);
            }
        }
        Err(failed_call(Errno::BUSY))
    }

    fn file(&self, slot: u64, flags: OFlags) -> Result<Option<File>> {
        let own = rustix::process::geteuid().as_raw();
        let found = companion::file(&self.opened()?, &slot.to_string(), own, flags, LEASE_TIMEOUT);
        match found.map_err(failed_call)? {
            Found::File(file) => Ok(Some(file)),
            Found::Missing => Ok(None),
            Found::Foreign => Err(unusable(&self.folder)),
        }
    }
}

/// Where companions are.
fn base() -> PathBuf {
    std::env::temp_dir().join("sharemap-slots")
}

/// That of an object; what `shm_open` made has no type, no device and no number.
fn folder_of(object: &std::fs::Metadata, id: [u8; 16]) -> PathBuf {
    base().join(match object.mode() & u32::from(libc::S_IFMT) {
        0 => id.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => format!("{:x}-{:x}", object.dev(), object.ino()),
    })
}

fn lock(file: &File, operation: FlockOperation) -> Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno::error(OPERATION, errno)),
    }
}

fn hold(folder: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = HOLD | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(folder, flags, Mode::empty()))
}

fn home_of(stat: &Stat) -> SlotHome {
    SlotHome::Companion { device: stat.st_dev as u64, file: stat.st_ino }
}

#[cold]
fn failed(error: &io::Error) -> Error {
    failed_call(errno::of(error))
}

#[cold]
fn failed_call(errno: Errno) -> Error {
    errno::error(OPERATION, errno)
        .with_detail("its slots are locked in a directory among the user's temporary files")
}

#[cold]
fn unusable(folder: &Path) -> Error {
    refused(format_args!("{} is not this user's alone, or was replaced", folder.display()))
}

#[cold]
fn flawed(folder: &Path, flaw: Flaw) -> Error {
    let place = folder.display();
    match flaw {
        Flaw::Foreign(user) => refused(format_args!("{place} belongs to user {user}")),
        Flaw::NoDirectory(user) => {
            refused(format_args!("{place}, of user {user}, is no directory"))
        }
        Flaw::Writable => refused(format_args!("other users may write to {place}")),
    }
}

fn refused(cause: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(format!(
        "{cause}; remove it, or set TMPDIR to a directory that only this user may write to"
    ))
}

/// A slot that is held; dropping it lets it go.
#[derive(Debug)]
pub(crate) struct LivenessLock(ManuallyDrop<File>, u32);

impl LivenessLock {
    /// Gives it up as a number, for memory that a child does not read.
    pub(crate) fn into_raw(mut self) -> usize {
        // SAFETY: `self` is forgotten below, so the file is taken once.
        let file = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        file.into_raw_fd() as usize + 1
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) in this process, and becomes a `LivenessLock` once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: the descriptor was given up by `into_raw`.
        let file = unsafe { File::from_raw_fd((raw - 1) as i32) };
        Self(ManuallyDrop::new(file), fork::process())
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        // In a child the descriptor may be somebody's.
        if self.1 == fork::process() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
