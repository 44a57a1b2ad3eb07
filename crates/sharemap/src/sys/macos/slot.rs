//! Slots: locks that the kernel keeps for as long as a process lives.
//!
//! Shared memory objects cannot be locked here, and locks of byte ranges belong to processes and go
//! with any `close`. So every object has a directory of its own among the user's private temporary
//! files (named by its id, as nothing else tells two objects apart; that of a file, which may be
//! copied, by the file), in which each slot is a file, locked (`flock`) through a descriptor that is kept, and that
//! neither `exec` nor, where the system knows how (`FD_CLOFORK`), a child takes along.

#![allow(unsafe_code, reason = "keeps descriptors as numbers")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

use super::fork::{self, hold_off};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{companion, errno};
use crate::sys::{SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// Slots that [`Slots::take_all`] takes at once: each is a descriptor.
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
        let object = file.metadata().map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        if object.uid() != own {
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
        DirBuilder::new().mode(0o700).recursive(true).create(&folder).map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        // Nobody can change what is in a directory that nobody else may write to.
        for folder in [&base(), &folder] {
            companion::check_folder(folder, own, OPERATION, failed)?;
        }
        Self::in_folder(folder)
    }

    /// The same for whoever only looks on: nothing is made. `None`: nobody has ever taken one.
    pub(crate) fn find(file: &File, _: Option<&Path>, id: [u8; 16]) -> Result<Option<Self>> {
        let folder = folder_of(&file.metadata().map_err(failed)?, id);
        match folder.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::in_folder(folder).map(Some),
        }
    }

    fn in_folder(folder: PathBuf) -> Result<Self> {
        let found = std::fs::symlink_metadata(&folder).map_err(failed)?;
        let home = SlotHome::Companion { device: found.dev(), file: found.ino() };
        Ok(Self { folder, home })
    }

    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<Hold>> {
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
                return Ok(Some(Hold(ManuallyDrop::new(file), fork::process())));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// There is no question about locks: it is taken for a moment, alone. Two who ask at once may
    /// both hear that somebody has it.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        let _no_child_gets_it = hold_off();
        let mut options = OpenOptions::new();
        match options.read(true).custom_flags(libc::O_NOFOLLOW).open(self.file_of(slot)) {
            // Goes with the descriptor, at once.
            Ok(file) => lock(&file, FlockOperation::NonBlockingLockExclusive),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes all of these slots, [`MOST_AT_ONCE`] at most, each alone. Returns `None` if one of them
    /// is held.
    pub(crate) fn take_all(&self, slots: &Range<u64>) -> Result<Option<Vec<Hold>>> {
        slots.clone().map(|slot| self.take(slot, SlotMode::Alone)).collect()
    }

    /// Returns a run of slots that are held together, at least one of them among `slots`, which are not
    /// none; not necessarily the first. `None` if all are free.
    pub(crate) fn held_among(&self, slots: &Range<u64>) -> Result<Option<Range<u64>>> {
        for slot in slots.clone() {
            if !self.is_free(slot)? {
                return Ok(Some(slot..slot + 1));
            }
        }
        Ok(None)
    }

    fn fresh(&self, slot: u64) -> Result<File> {
        let own = rustix::process::geteuid().as_raw();
        companion::open_or_create(&self.file_of(slot), own).map_err(failed)
    }

    fn file_of(&self, slot: u64) -> PathBuf {
        self.folder.join(slot.to_string())
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

#[cold]
fn failed(error: io::Error) -> Error {
    errno::from_io(OPERATION, &error)
        .with_detail("its slots are locked in a directory among the user's temporary files")
}

/// A slot that is held; dropping it lets it go.
#[derive(Debug)]
pub(crate) struct Hold(ManuallyDrop<File>, u32);

impl Hold {
    /// Gives it up as a number, for memory that a child does not read.
    pub(crate) fn into_raw(mut self) -> usize {
        // SAFETY: `self` is forgotten below, so the file is taken once.
        let file = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        file.into_raw_fd() as usize + 1
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) in this process, and becomes a `Hold` once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: the descriptor was given up by `into_raw`.
        let file = unsafe { File::from_raw_fd((raw - 1) as i32) };
        Self(ManuallyDrop::new(file), fork::process())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In a child the descriptor may be somebody's.
        if self.1 == fork::process() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
