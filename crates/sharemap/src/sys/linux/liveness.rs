//! Slots: locks that the kernel keeps for as long as an address space lives.
//!
//! A slot is one byte, far behind the end of the object's file, locked by a description of its own
//! (`F_OFD_SETLK`). The description is mapped, one page without access that no child inherits, and
//! its descriptor closed: the lock ends with the address space, by exit, kill or exec, and neither a
//! stray `close` nor a forked child changes that. Descriptors that ask never hold.

#![allow(unsafe_code, reason = "maps pages and asks for locks")]

use std::fs::{File, OpenOptions};
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mm::{self, MapFlags, ProtFlags};

use super::companion;
use super::file::file_system;
use super::fork::{self, hold_off};
use super::map::page_size;
use super::ofd;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, owner};
use crate::sys::{Create, OpenRequest, Owner, SLOT_BASE, SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// The largest number of slots that [`Slots::take_all`] locks at once.
pub(crate) const MOST_AT_ONCE: u64 = 1024;

/// What carries slots that cannot be asked about from here.
const NOWHERE: SlotHome = SlotHome::Companion { device: 0, file: 0 };

/// Where an object's slots are locked, open for asking.
#[derive(Debug)]
pub(crate) struct Slots {
    file: File,
    path: Option<PathBuf>,
    identity: (u64, u64),
    home: SlotHome,
}

impl Slots {
    /// The slots of the object in `file`; `path` is where it was opened, if it has a name.
    pub(crate) fn open(file: &File, path: Option<&Path>, _: [u8; 16]) -> Result<Self> {
        match needs_companion(file)? {
            true => Self::companion(file),
            false => Self::in_object(file, path),
        }
    }

    /// The same for whoever only looks on: nothing is made. `None`: nobody has ever taken one, or it is
    /// not to be seen.
    pub(crate) fn find(file: &File, path: Option<&Path>, _: [u8; 16]) -> Result<Option<Self>> {
        if !needs_companion(file)? {
            return Self::in_object(file, path).map(Some);
        }
        let (owner, name) = companion_of(file)?;
        match companion::find(owner, &name)? {
            Some(file) => Self::in_companion(file, companion::path(owner, &name)).map(Some),
            None => Ok(None),
        }
    }

    fn in_object(file: &File, path: Option<&Path>) -> Result<Self> {
        let file = super::file::duplicate(file)?;
        let identity = identity(&file)?;
        Ok(Self { file, path: path.map(Path::to_path_buf), identity, home: SlotHome::Object })
    }

    fn in_companion(file: File, path: PathBuf) -> Result<Self> {
        let identity = identity(&file)?;
        let home = SlotHome::Companion { device: identity.0, file: identity.1 };
        Ok(Self { file, path: Some(path), identity, home })
    }

    /// An empty file in shared memory, named by the object's place, that carries its slots. The
    /// object's owner makes it, or root in its place: what others made, it could not use.
    fn companion(object: &File) -> Result<Self> {
        let (owner, name) = companion_of(object)?;
        let path = companion::path(owner, &name);
        if owner::is_own(owner) || rustix::process::geteuid().is_root() && !owner::is_unknown(owner)
        {
            return Self::in_companion(companion::open_or_create(owner, &name)?, path);
        }
        match companion::find(owner, &name) {
            Ok(Some(file)) => Self::in_companion(file, path),
            Ok(None) | Err(_) => Self::out_of_reach(object),
        }
    }

    /// Those of another user's object, for whoever only reads it.
    fn out_of_reach(object: &File) -> Result<Self> {
        Ok(Self { home: NOWHERE, ..Self::in_object(object, None)? })
    }

    /// Does what a stray close and a new file do to the descriptor.
    #[cfg(test)]
    pub(super) fn point_elsewhere(&self, other: &File) {
        // SAFETY: both are open.
        assert!(unsafe { libc::dup2(other.as_raw_fd(), self.file.as_raw_fd()) } >= 0);
    }

    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    /// Takes a slot; `None` if somebody has it.
    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<LivenessLock>> {
        self.take_range(&(slot..slot + 1), mode)
    }

    /// Locks all of these slots, at most [`MOST_AT_ONCE`], exclusively. Returns `None` if one of
    /// them is held.
    pub(crate) fn take_all(&self, slots: &Range<u64>) -> Result<Option<Vec<LivenessLock>>> {
        Ok(self.take_range(slots, SlotMode::Alone)?.map(|hold| vec![hold]))
    }

    fn take_range(&self, slots: &Range<u64>, mode: SlotMode) -> Result<Option<LivenessLock>> {
        if self.home == NOWHERE {
            return match mode {
                SlotMode::Alone => Err(denied()),
                // Who only looks does so without.
                SlotMode::Shared => Ok(Some(LivenessLock { page: 0, process: fork::process() })),
            };
        }
        let _no_child_gets_it = hold_off();
        let file = self.fresh(mode)?;
        let hold = LivenessLock::map(&file)?;
        let kind = match mode {
            SlotMode::Alone => libc::F_WRLCK,
            SlotMode::Shared => libc::F_RDLCK,
        };
        let (start, len) = (SLOT_BASE + slots.start, slots.end.saturating_sub(slots.start));
        match ofd::lock(file.as_raw_fd(), libc::F_OFD_SETLK, kind, start, len) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
            Err(errno) => return Err(refused(errno)),
        }
        drop(file);
        if self.held_among(slots)?.is_none() {
            return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
                "its file system ({}) drops the locks of mapped files: put it on another, or in \
                 shared memory",
                file_system(&self.file)?
            )));
        }
        Ok(Some(hold))
    }

    /// Whether nobody has the slot. Does not say who may take it first.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        self.held_among(&(slot..slot + 1)).map(|held| held.is_none())
    }

    /// Returns a range of slots that one lock covers, at least one of them in the non-empty range
    /// `slots`, but not necessarily the first. `None` if all are free.
    pub(crate) fn held_among(&self, slots: &Range<u64>) -> Result<Option<Range<u64>>> {
        if self.home == NOWHERE {
            return Err(denied());
        }
        let bytes = SLOT_BASE + slots.start..SLOT_BASE + slots.end;
        let held = |file: &File| ofd::conflict(file.as_raw_fd(), bytes.clone());
        let answer = held(&self.file);
        // Other code may have closed the descriptor, and its number may mean another file, of which
        // the answer is then.
        let answer = if identity(&self.file).is_ok_and(|found| found == self.identity) {
            answer
        } else {
            held(&self.reopen(SlotMode::Shared)?)
        };
        let slot = |byte: u64| byte.saturating_sub(SLOT_BASE);
        Ok(answer.map_err(refused)?.map(|held| slot(held.start)..slot(held.end)))
    }

    /// A description of its own.
    fn fresh(&self, mode: SlotMode) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode == SlotMode::Alone).custom_flags(libc::O_NONBLOCK);
        let again = options.open(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        match again {
            Ok(file) if identity(&file).is_ok_and(|found| found == self.identity) => Ok(file),
            _ => self.reopen(mode),
        }
    }

    /// The same by name, where it still has that one.
    fn reopen(&self, mode: SlotMode) -> Result<File> {
        let error = || Error::new(ErrorKind::Unsupported, OPERATION);
        let Some(path) = &self.path else {
            return Err(error().with_detail(
                "it has no name, and its descriptor cannot be opened again through /proc",
            ));
        };
        let write = mode == SlotMode::Alone;
        let request =
            OpenRequest { write, create: Create::Never, exclusive: false, timeout: Duration::ZERO };
        // The file is matched by identity; its owner does not matter.
        let file = super::file::open_object(path, request, Owner::Any)?;
        if identity(&file)? != self.identity {
            return Err(error().with_kind(ErrorKind::NotFound).with_detail(
                "its descriptor was closed by other code, and its name belongs to another object now",
            ));
        }
        Ok(file)
    }
}

/// A slot that is held; dropping it lets it go.
#[derive(Debug)]
pub(crate) struct LivenessLock {
    /// 0: it holds nothing.
    page: usize,
    /// As [`fork::process`] has it.
    process: u32,
}

impl LivenessLock {
    fn map(file: &File) -> Result<Self> {
        // SAFETY: new addresses of the kernel's choice, without access.
        let page = unsafe {
            let flags = MapFlags::SHARED | MapFlags::NORESERVE;
            mm::mmap(ptr::null_mut(), page_size(), ProtFlags::empty(), flags, file, 0)
        }
        .map_err(|errno| errno::error(OPERATION, errno))?;
        let hold = Self { page: page as usize, process: fork::process() };
        // SAFETY: our own page.
        unsafe { mm::madvise(page, page_size(), mm::Advice::LinuxDontFork) }
            .map_err(|errno| errno::error(OPERATION, errno))?;
        Ok(hold)
    }

    /// Gives it up as a number, for memory that a child finds empty.
    pub(crate) fn into_raw(self) -> usize {
        let page = self.page;
        mem::forget(self);
        page
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) in this process, and becomes a `LivenessLock` once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        Self { page: raw, process: fork::process() }
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        // In a child the page is not there, and its address may be somebody's.
        if self.page != 0 && self.process == fork::process() {
            // SAFETY: the page is this value's own, and nobody accesses it.
            let _ = unsafe { mm::munmap(self.page as *mut _, page_size()) };
        }
    }
}

/// Whether the object's file system cannot carry its slots.
fn needs_companion(file: &File) -> Result<bool> {
    let system = file_system(file)?;
    match system.as_str() {
        "nfs" | "cifs" | "9p" | "ceph" | "fuse" => {
            Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
                "it lies on {system}, whose locks and mappings do not hold together between \
                 machines: put it on a local file system, or in shared memory"
            )))
        }
        // Locks of mapped files get lost in the first, and pages of the second are not small.
        "overlayfs" | "hugetlbfs" => Ok(true),
        _ => Ok(false),
    }
}

/// Returns the owner of an object and the name of its companion.
fn companion_of(object: &File) -> Result<(u32, String)> {
    let stat = rustix::fs::fstat(object).map_err(|errno| errno::error(OPERATION, errno))?;
    Ok((stat.st_uid, format!("{:x}-{:x}", stat.st_dev, stat.st_ino)))
}

#[cold]
fn denied() -> Error {
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(
        "its file system cannot carry the locks that tell who lives, and their companion in /dev/shm \
         is its owner's alone: here, others can only look",
    )
}

fn identity(file: &File) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(file).map_err(|errno| errno::error(OPERATION, errno))?;
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

#[cold]
fn refused(errno: Errno) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOLCK => error.with_detail("the kernel has no room for another file lock"),
        Errno::INVAL => error
            .with_kind(ErrorKind::Unsupported)
            .with_detail("its file system has no locks of open files (F_OFD_SETLK)"),
        _ => error,
    }
}
