//! Liveness locks: locks that the kernel releases exactly when the holder's address space ends
//! (FORMAT.md, "Slots").
//!
//! A slot is one byte, far beyond the end of the object's file. A liveness lock is a lock of an open file
//! description (`F_OFD_SETLK`) on that byte. Each lock has a description of its own, which is mapped by
//! one page without access (`MADV_DONTFORK`). Then the descriptor is closed, and only the page keeps the
//! description, and with it the lock:
//!
//! - It ends with the address space, by exit, kill or exec.
//! - A `close` by other code cannot release it, because no descriptor refers to the description.
//! - A forked child does not prolong it, because it does not inherit the page.
//!
//! Queries use other descriptions than locks: a description never conflicts with its own locks.
//!
//! Some file systems cannot carry such locks. Their objects have a companion, an empty file in
//! `/dev/shm`.

#![allow(unsafe_code, reason = "maps pages and queries locks")]

use std::fmt;
use std::fs::File;
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::mm::{self, MapFlags, ProtFlags};

use super::companion;
use super::file_system::{FileSystem, kind_of_system};
use super::fork::{self, hold_off};
use super::map::page_size;
use super::ofd;
use super::unlinked::link_of;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, owner};
use crate::sys::{
    Create, OpenRequest, OpenedFile, Owner, SLOT_BASE, SharedFile, SlotHome, SlotMode,
};

const OPERATION: &str = "attach to";

/// The largest number of slots that [`Slots::take_all`] locks at once.
pub(crate) const MOST_AT_ONCE: u64 = 1024;

/// The home of slots that this process can neither query nor lock: those of another user's object without
/// a visible companion.
const NOWHERE: SlotHome = SlotHome::Companion { device: 0, file: 0 };

/// The slots of an object, open for queries.
pub(crate) struct Slots {
    /// The object's file or its companion. Other code may close the descriptor by mistake.
    file: SharedFile,
    /// The path under which the file can be opened again.
    path: Option<PathBuf>,
    /// Device and inode, which detect a descriptor that refers to another file by now.
    identity: (u64, u64),
    system: FileSystem,
    home: SlotHome,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("path", &self.path).field("home", &self.home).finish()
    }
}

/// A file to which only slots refer.
struct Alone(File);

impl AsRef<File> for Alone {
    fn as_ref(&self) -> &File {
        &self.0
    }
}

/// The file systems that are known to keep the locks of mapped files: device and kind of each, or 0.
///
/// A device may get another file system with a new mount. The kind tells them apart as far as it matters.
static PROVEN: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

impl Slots {
    /// Opens the slots of the object in `file`, creating a companion if it needs one and has none.
    /// `path` is where the file was opened, if it has a name.
    ///
    /// Fails with `Unsupported` on network and FUSE file systems.
    pub(crate) fn open(file: &File, path: Option<&Path>, _: [u8; 16]) -> Result<Self> {
        let opened = OpenedFile::of(super::file::duplicate(file)?)?;
        let system = kind_of_system(&opened.file)?;
        Self::of(Arc::new(Alone(opened.file)), opened.identity, system, path, [0; 16])
    }

    /// Opens the slots like [`open`](Self::open), without a descriptor and a query of their own: `identity` and
    /// `system` are those of `file`.
    pub(crate) fn of(
        file: SharedFile,
        identity: [u64; 2],
        system: FileSystem,
        path: Option<&Path>,
        _: [u8; 16],
    ) -> Result<Self> {
        match needs_companion(system)? {
            true => Self::companion((*file).as_ref()),
            false => Ok(Self::in_object(file, identity.into(), system, path)),
        }
    }

    /// Opens the slots for queries, and creates nothing. Returns `None` if the object needs a companion
    /// and none is visible.
    pub(crate) fn find(file: &File, path: Option<&Path>, _: [u8; 16]) -> Result<Option<Self>> {
        if !needs_companion(kind_of_system(file)?)? {
            return Self::open(file, path, [0; 16]).map(Some);
        }
        let (owner, name) = companion_of(file)?;
        match companion::find(owner, &name)? {
            Some(file) => Self::in_companion(file, companion::path(owner, &name)).map(Some),
            None => Ok(None),
        }
    }

    fn in_object(
        file: SharedFile,
        identity: (u64, u64),
        system: FileSystem,
        path: Option<&Path>,
    ) -> Self {
        let path = path.map(Path::to_path_buf);
        Self { file, path, identity, system, home: SlotHome::Object }
    }

    fn in_companion(file: File, path: PathBuf) -> Result<Self> {
        let identity = identity(&file)?;
        let home = SlotHome::Companion { device: identity.0, file: identity.1 };
        let system = kind_of_system(&file)?;
        Ok(Self { file: Arc::new(Alone(file)), path: Some(path), identity, system, home })
    }

    /// Opens the companion of an object: an empty file in `/dev/shm`, named by the object's device and
    /// inode.
    ///
    /// Only the object's owner creates it, or root on the owner's behalf, because the owner could not
    /// use the file of another user.
    fn companion(object: &File) -> Result<Self> {
        let (owner, name) = companion_of(object)?;
        let path = companion::path(owner, &name);
        if owner::is_own(owner) || owner::is_root() && !owner::is_unknown(owner) {
            return Self::in_companion(companion::open_or_create(owner, &name)?, path);
        }
        match companion::find(owner, &name) {
            Ok(Some(file)) => Self::in_companion(file, path),
            Ok(None) | Err(_) => Self::out_of_reach(object),
        }
    }

    /// Returns slots for a process that only reads another user's object: it holds none, and cannot query
    /// any.
    fn out_of_reach(object: &File) -> Result<Self> {
        let (file, system) = (super::file::duplicate(object)?, kind_of_system(object)?);
        let identity = identity(&file)?;
        Ok(Self { home: NOWHERE, ..Self::in_object(Arc::new(Alone(file)), identity, system, None) })
    }

    /// Makes the descriptor refer to another file, like a mistaken close followed by an open.
    #[cfg(test)]
    pub(super) fn point_elsewhere(&self, other: &File) {
        // SAFETY: both are open.
        assert!(unsafe { libc::dup2(other.as_raw_fd(), self.file().as_raw_fd()) } >= 0);
    }

    fn file(&self) -> &File {
        (*self.file).as_ref()
    }

    /// Returns the file that carries the locks.
    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    /// Acquires a slot without waiting. Returns `None` if a conflicting lock is held.
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
                // A read-only attachment works without a lock. It then does not keep the object in use.
                SlotMode::Shared => Ok(Some(LivenessLock { page: 0, process: fork::process() })),
            };
        }
        // Until the descriptor is closed, a forked child would inherit it, and with it the description.
        let _no_fork = hold_off();
        let file = self.fresh(mode)?;
        // The page comes before the lock, and the lock before the close, so that a description with a
        // lock always has its page. Death at any step ends the address space, and the lock with it.
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
        // A query, by another description, proves that the lock outlived its descriptor. What holds for one
        // lock holds for all of the file system.
        if !self.is_proven() {
            if self.held_among(slots)?.is_none() {
                return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
                    "its file system ({}) releases the locks of mapped files when they are closed; put \
                     it on another one, or in shared memory",
                    self.system.name()
                )));
            }
            self.note_proof();
        }
        Ok(Some(hold))
    }

    /// Returns the number that stands for the file system among the proven ones; `None` if there is none.
    fn proof(&self) -> Option<u64> {
        let device = u32::try_from(self.identity.0).ok()?;
        Some(u64::from(device) << 32 | self.system.magic())
    }

    fn is_proven(&self) -> bool {
        let is_own = |own| PROVEN.iter().any(|proven| proven.load(Ordering::Relaxed) == own);
        self.proof().is_some_and(is_own)
    }

    /// Records that the file system keeps locks, in place of the one that was recorded first.
    fn note_proof(&self) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        if let Some(proof) = self.proof() {
            let index = NEXT.fetch_add(1, Ordering::Relaxed) % PROVEN.len();
            PROVEN[index].store(proof, Ordering::Relaxed);
        }
    }

    /// Returns `true` if no process holds the slot in any mode. Another process may acquire it at once.
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
        let answer = held(self.file());
        // Checked after the query: if other code closed the descriptor, its number may refer to another
        // file, and the answer was about that one.
        let answer = if identity(self.file()).is_ok_and(|found| found == self.identity) {
            answer
        } else {
            held(&self.reopen(SlotMode::Shared)?)
        };
        let slot = |byte: u64| byte.saturating_sub(SLOT_BASE);
        Ok(answer.map_err(refused)?.map(|held| slot(held.start)..slot(held.end)))
    }

    /// Opens a new description of the file, for one lock.
    fn fresh(&self, mode: SlotMode) -> Result<File> {
        let access = if mode == SlotMode::Alone { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let link = link_of(self.file());
        let again = retry_on_intr(|| rustix::fs::open(link.as_str(), flags, Mode::empty()));
        match again.map(File::from) {
            Ok(file) if identity(&file).is_ok_and(|found| found == self.identity) => Ok(file),
            _ => self.reopen(mode),
        }
    }

    /// Opens a new description by path, if the path still leads to the file.
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
        // The identity is checked below, so the owner does not matter.
        let file = super::file::open_object(path, request, Owner::Any)?.file;
        if identity(&file)? != self.identity {
            return Err(error().with_kind(ErrorKind::NotFound).with_detail(
                "its descriptor was closed by other code, and its name belongs to another object now",
            ));
        }
        Ok(file)
    }
}

/// A liveness lock on one or more slots. Dropping the value releases it.
#[derive(Debug)]
pub(crate) struct LivenessLock {
    /// The address of the page that keeps the description; 0 if there is no lock.
    page: usize,
    /// The number of the process that owns the page ([`fork::process`]).
    process: u32,
}

impl LivenessLock {
    /// Maps a page of a description, which keeps the description and the locks that it gets.
    fn map(file: &File) -> Result<Self> {
        // SAFETY: the kernel chooses free addresses; the page allows no access.
        let page = unsafe {
            let flags = MapFlags::SHARED | MapFlags::NORESERVE;
            mm::mmap(ptr::null_mut(), page_size(), ProtFlags::empty(), flags, file, 0)
        }
        .map_err(|errno| errno::error(OPERATION, errno))?;
        let hold = Self { page: page as usize, process: fork::process() };
        // SAFETY: the page was mapped above.
        unsafe { mm::madvise(page, page_size(), mm::Advice::LinuxDontFork) }
            .map_err(|errno| errno::error(OPERATION, errno))?;
        Ok(hold)
    }

    /// Converts the lock to a number that is not 0, without releasing it, to be kept in memory that a
    /// child finds zeroed. The only value without a page, a shared lock under [`NOWHERE`], is never
    /// converted.
    pub(crate) fn into_raw(self) -> usize {
        let page = self.page;
        mem::forget(self);
        page
    }

    /// Converts a number back to the lock.
    ///
    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) in this process, and is converted back once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        Self { page: raw, process: fork::process() }
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        // A child did not inherit the page, and may have mapped something else at its address.
        if self.page != 0 && self.process == fork::process() {
            // SAFETY: this value owns the page, and no code accesses it.
            let _ = unsafe { mm::munmap(self.page as *mut _, page_size()) };
        }
    }
}

/// Returns `true` if the object's file system cannot carry its liveness locks, but a companion can.
/// Fails with `Unsupported` if other machines may use the file.
fn needs_companion(system: FileSystem) -> Result<bool> {
    if system.is_shared() {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(format!(
            "it is on {}, which does not keep locks and mappings coherent between machines; put it on \
             a local file system, or in shared memory",
            system.name()
        )));
    }
    Ok(system.needs_companion())
}

/// Returns the owner of an object and the name of its companion.
fn companion_of(object: &File) -> Result<(u32, String)> {
    let stat = rustix::fs::fstat(object).map_err(|errno| errno::error(OPERATION, errno))?;
    Ok((stat.st_uid, format!("{:x}-{:x}", stat.st_dev, stat.st_ino)))
}

/// Returns the error for locks and queries by a user that can only read the object.
#[cold]
fn denied() -> Error {
    Error::new(ErrorKind::PermissionDenied, OPERATION).with_detail(
        "its file system cannot carry liveness locks, and only the object's owner can use their \
         companion in /dev/shm; other users can open it read-only",
    )
}

/// Returns the device and inode of an open file.
fn identity(file: &File) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(file).map_err(|errno| errno::error(OPERATION, errno))?;
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

/// Returns the error of a failed call on locks.
#[cold]
fn refused(errno: Errno) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOLCK => error.with_detail("the kernel has no memory for another file lock"),
        Errno::INVAL => error
            .with_kind(ErrorKind::Unsupported)
            .with_detail("its file system has no locks of open files (F_OFD_SETLK)"),
        _ => error,
    }
}
