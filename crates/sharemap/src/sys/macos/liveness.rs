//! Liveness locks: locks that the kernel releases when the holder's process ends (FORMAT.md, "Slots").
//!
//! macOS cannot lock shared memory objects, and any `close` releases a process's locks of byte ranges. So
//! every object has a companion, a directory among the user's private temporary files, in which each slot is
//! a file. A liveness lock is an `flock` of that file through a descriptor that stays open. `exec` closes the
//! descriptor, and on systems with `FD_CLOFORK` no child inherits it.
//!
//! The directory of a shared memory object is named by the object's id, because nothing else identifies the
//! object. The directory of a file is named by device and inode, because a copy of a file has the same id.

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

use super::file::FileSystem;
use super::fork::{self, hold_off};
use super::walk::HOLD;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::companion::{self, Flaw, Folder, Found, LEASE_TIMEOUT};
use crate::sys::posix::{errno, owner};
use crate::sys::{SharedFile, SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// The largest number of slots that [`Slots::take_all`] locks at once. Each takes a descriptor.
pub(crate) const MOST_AT_ONCE: u64 = 16;

const CLOSE_ON_EXEC: i32 = 1;
const CLOSE_ON_FORK: i32 = 2;

/// The slots of an object.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The companion directory.
    folder: PathBuf,
    /// Device and inode of the directory, which detect that it was replaced.
    home: SlotHome,
}

impl Slots {
    /// Opens the slots of the object in `file`, creating the companion if there is none.
    ///
    /// Fails with `Unsupported` for another user's object, and with `PermissionDenied` if other users can
    /// write to the companion.
    pub(crate) fn open(file: &File, _: Option<&Path>, id: [u8; 16]) -> Result<Self> {
        let object = file.metadata().map_err(|error| failed(&error))?;
        if !owner::is_own(object.uid()) {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(
                "it belongs to another user, and macOS can only lock slots of this user's objects",
            ));
        }
        Self::make_folder(folder_of(&object, id))
    }

    /// Opens the slots like [`open`](Self::open). What is known of the file saves no call here.
    pub(crate) fn of(
        file: SharedFile,
        _: [u64; 2],
        _: FileSystem,
        path: Option<&Path>,
        id: [u8; 16],
    ) -> Result<Self> {
        Self::open((*file).as_ref(), path, id)
    }

    /// Opens the slots of a name. Slot 0 is held while a process creates an object of the name (FORMAT.md,
    /// "Making").
    pub(super) fn of_name(name: &str) -> Result<Self> {
        Self::make_folder(base().join("making").join(name))
    }

    /// Creates the directory and its parents if they are missing, and checks each of them.
    fn make_folder(folder: PathBuf) -> Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(|e| failed(&e))?;
        let own = owner::effective_user();
        // Only this user can change the entries of a directory that no other user may write to. Each
        // directory is opened relative to its parent and checked on its descriptor, so that a concurrent
        // rename cannot substitute another.
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

    /// Opens the slots for queries, and creates nothing. Returns `None` if there is no companion: then no
    /// process holds a slot.
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

    /// Opens the directory again. Fails if it is not the directory that was checked.
    fn opened(&self) -> Result<OwnedFd> {
        let opened = hold(&self.folder).map_err(failed_call)?;
        let stat = rustix::fs::fstat(&opened).map_err(failed_call)?;
        match home_of(&stat) == self.home {
            true => Ok(opened),
            false => Err(unusable(&self.folder)),
        }
    }

    /// Returns the directory that carries the slots.
    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    /// Locks a slot. Returns `None` if another process, or another lock of this one, conflicts.
    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<LivenessLock>> {
        // A query of another process holds the slot for a moment.
        const ROUNDS: usize = 16;
        let _no_child_gets_it = hold_off();
        let file = self.fresh(slot)?;
        // Systems without the second flag ignore it.
        // SAFETY: the call takes numbers only.
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

    /// Returns `true` if no process holds the slot.
    ///
    /// `flock` cannot query locks, so the call locks the slot exclusively for a moment. A concurrent query may
    /// therefore return `false` for a free slot.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        let _no_child_gets_it = hold_off();
        match self.file(slot, OFlags::RDONLY)? {
            // Closing the descriptor releases the lock.
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

    /// Opens the file of a slot with a new description, creating it if it is missing.
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

    /// Opens the file of a slot. Returns `None` if it is missing.
    fn file(&self, slot: u64, flags: OFlags) -> Result<Option<File>> {
        let own = owner::effective_user();
        let found = companion::file(&self.opened()?, &slot.to_string(), own, flags, LEASE_TIMEOUT);
        match found.map_err(failed_call)? {
            Found::File(file) => Ok(Some(file)),
            Found::Missing => Ok(None),
            Found::Foreign => Err(unusable(&self.folder)),
        }
    }
}

/// Returns the directory of all companions.
fn base() -> PathBuf {
    std::env::temp_dir().join("sharemap-slots")
}

/// Returns the companion of an object. An object of `shm_open` has no file type, device or inode, so its id
/// names the companion.
fn folder_of(object: &std::fs::Metadata, id: [u8; 16]) -> PathBuf {
    base().join(match object.mode() & u32::from(libc::S_IFMT) {
        0 => id.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => format!("{:x}-{:x}", object.dev(), object.ino()),
    })
}

/// Locks the file without waiting. Returns `false` if another description holds a conflicting lock.
fn lock(file: &File, operation: FlockOperation) -> Result<bool> {
    match retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno::error(OPERATION, errno)),
    }
}

/// Opens a directory, which must not be a link, for access to its entries.
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
        .with_detail("its slots are in a directory among this user's temporary files; check TMPDIR")
}

#[cold]
fn unusable(folder: &Path) -> Error {
    refused(format_args!("other users can write to {}, or it was replaced", folder.display()))
}

#[cold]
fn flawed(folder: &Path, flaw: Flaw) -> Error {
    let place = folder.display();
    match flaw {
        Flaw::Foreign(user) => refused(format_args!("{place} belongs to user {user}")),
        Flaw::NoDirectory(user) => {
            refused(format_args!("{place}, of user {user}, is not a directory"))
        }
        Flaw::Writable => refused(format_args!("other users may write to {place}")),
    }
}

fn refused(cause: std::fmt::Arguments<'_>) -> Error {
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(format!(
        "{cause}; remove it, or set TMPDIR to a directory that only this user may write to"
    ))
}

/// A liveness lock on a slot, and the number of the process that holds it. Dropping the value in that process
/// releases the lock.
#[derive(Debug)]
pub(crate) struct LivenessLock(ManuallyDrop<File>, u32);

impl LivenessLock {
    /// Returns the lock as a number, not 0, and keeps it held. The number is meant for memory that a forked
    /// child does not use.
    pub(crate) fn into_raw(mut self) -> usize {
        // SAFETY: `self` is forgotten below, so the file is taken once.
        let file = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        file.into_raw_fd() as usize + 1
    }

    /// Returns the lock of a number.
    ///
    /// # Safety
    /// `raw` must come from [`into_raw`](Self::into_raw) in this process, and may be passed only once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: `into_raw` left the descriptor to the caller.
        let file = unsafe { File::from_raw_fd((raw - 1) as i32) };
        Self(ManuallyDrop::new(file), fork::process())
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        // A forked child may not have the descriptor, and its number may belong to another file there.
        if self.1 == fork::process() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
