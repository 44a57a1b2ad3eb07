//! Liveness locks: locks that the kernel releases when the holder's process ends (FORMAT.md, "Slots").
//!
//! A slot is one byte, far beyond the end of the object's file. A liveness lock is a lock of that byte
//! (`LockFileEx`) through a handle of its own. No child inherits the handle, so the lock ends with the
//! process. A section of the paging file has no file. Its slots are in a companion, a file in the user's
//! directory that is named by the object's id.

#![allow(unsafe_code, reason = "handles and locks that std does not have")]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, RawHandle};
use std::path::{Path, PathBuf};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING, ERROR_IO_PENDING, ERROR_LOCK_VIOLATION,
    ERROR_SHARING_VIOLATION, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, DELETE, FILE_FLAG_DELETE_ON_CLOSE, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, GetFileInformationByHandle,
    GetFinalPathNameByHandleW, LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx,
    ReOpenFile, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::code;
use super::file::FileSystem;
use super::names::user_directory;
use super::section::section_len;
use crate::error::Result;
use crate::sys::{SLOT_BASE, SharedFile, SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// The largest number of slots that [`Slots::take_all`] locks at once.
pub(crate) const MOST_AT_ONCE: u64 = 1024;

/// The slots of an object, open for queries.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The object's file or its companion. Queries and locks open it again.
    file: File,
    /// The path under which the file can be opened again.
    path: Option<PathBuf>,
    home: SlotHome,
}

impl Slots {
    /// Opens the slots of the object in `file`. Creates the companion of a section if there is none.
    /// `path` is where the file was opened, if it has a name.
    pub(crate) fn open(file: &File, path: Option<&Path>, id: [u8; 16]) -> Result<Self> {
        if section_len(file).is_none() {
            return Self::in_object(file, path);
        }
        let (folder, path) = companion(id)?;
        let failed = |error| code::from_io(OPERATION, error).with_path(Some(&path));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        // Another process may be removing the companion at this moment, because no process had it open.
        const PATIENCE_MS: u32 = 100;
        let mut opened = open_or_make(&folder, &path);
        for _ in 0..PATIENCE_MS {
            match &opened {
                Err(error) if is_going(error) => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
            opened = open_or_make(&folder, &path);
        }
        Self::in_companion(opened.map_err(failed)?, path)
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

    /// Opens the slots for queries, and creates nothing. Returns `None` if a section has no companion: then
    /// no process holds a slot.
    pub(crate) fn find(file: &File, path: Option<&Path>, id: [u8; 16]) -> Result<Option<Self>> {
        if section_len(file).is_none() {
            return Self::in_object(file, path).map(Some);
        }
        let (_, path) = companion(id)?;
        match File::open(&path) {
            Ok(file) => Self::in_companion(file, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_going(&error) => Ok(None),
            Err(error) => Err(code::from_io(OPERATION, error).with_path(Some(&path))),
        }
    }

    fn in_object(file: &File, path: Option<&Path>) -> Result<Self> {
        let (file, path) = (super::file::duplicate(file)?, path.map(Path::to_path_buf));
        Ok(Self { file, path, home: SlotHome::Object })
    }

    fn in_companion(file: File, path: PathBuf) -> Result<Self> {
        let (device, number) = identity(&file).map_err(|error| error.with_path(Some(&path)))?;
        let home = SlotHome::Companion { device, file: number };
        Ok(Self { file, path: Some(path), home })
    }

    /// Returns the file that carries the slots.
    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    /// Locks a slot. Returns `None` if another process, or another lock of this one, conflicts.
    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<LivenessLock>> {
        self.take_range(&(slot..slot + 1), mode)
    }

    /// Locks all of these slots, at most [`MOST_AT_ONCE`], exclusively. Returns `None` if one of
    /// them is held.
    pub(crate) fn take_all(&self, slots: &Range<u64>) -> Result<Option<Vec<LivenessLock>>> {
        Ok(self.take_range(slots, SlotMode::Alone)?.map(|hold| vec![hold]))
    }

    fn take_range(&self, slots: &Range<u64>, mode: SlotMode) -> Result<Option<LivenessLock>> {
        // A query of another process holds the slot for a moment.
        const ROUNDS: usize = 4;
        let (file, is_fresh) = self.handle()?;
        for _ in 0..ROUNDS {
            if lock(&file, slots, mode)? {
                let held = (!is_fresh).then(|| slots.clone());
                return Ok(Some(LivenessLock { file: ManuallyDrop::new(file), held }));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// Returns `true` if no process holds the slot.
    ///
    /// Windows cannot query locks, so the call locks the slot exclusively for a moment. A concurrent query
    /// may therefore return `false` for a free slot.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        self.held_among(&(slot..slot + 1)).map(|held| held.is_none())
    }

    /// Returns a range of slots that one lock covers, at least one of them in the non-empty range
    /// `slots`, but not necessarily the first. `None` if all are free.
    ///
    /// Queries like [`is_free`](Self::is_free), and halves the range until one slot is left.
    pub(crate) fn held_among(&self, slots: &Range<u64>) -> Result<Option<Range<u64>>> {
        let (file, _) = self.handle()?;
        if are_free(&file, slots)? {
            return Ok(None);
        }
        let mut held = slots.clone();
        while held.end - held.start > 1 {
            let middle = held.start + (held.end - held.start) / 2;
            held = match are_free(&file, &(held.start..middle))? {
                true => middle..held.end,
                false => held.start..middle,
            };
        }
        Ok(Some(held))
    }

    /// Returns a handle whose locks conflict with those of every other one, and `true` if it is a new one.
    ///
    /// A file that was unlinked cannot be opened again. The handle is then a duplicate of the one by which the object was
    /// opened, which has no locks of its own; closing it does not release what was locked by it.
    fn handle(&self) -> Result<(File, bool)> {
        match self.fresh() {
            Ok(file) => Ok((file, true)),
            Err(error) => match super::file::duplicate(&self.file) {
                Ok(file) => Ok((file, false)),
                Err(_) => Err(error),
            },
        }
    }

    /// Opens a new handle.
    fn fresh(&self) -> Result<File> {
        const SHARE: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        for access in [GENERIC_READ | GENERIC_WRITE, GENERIC_READ] {
            // SAFETY: the handle is open. Nothing else owns the new one.
            unsafe {
                let handle = ReOpenFile(self.file.as_raw_handle(), access, SHARE, 0);
                if handle != INVALID_HANDLE_VALUE {
                    return Ok(File::from_raw_handle(handle));
                }
            }
        }
        let failed = code::last(OPERATION);
        // Wine cannot reopen a file that was renamed. Then the file is opened by name, if the name still
        // leads to the same file.
        let own = identity(&self.file)?;
        let names = [name_of(&self.file), self.path.clone()];
        names
            .into_iter()
            .flatten()
            .filter_map(|path| {
                let both = OpenOptions::new().read(true).write(true).open(&path);
                both.or_else(|_| File::open(&path)).ok()
            })
            .find(|file| identity(file).is_ok_and(|found| is_same(found, own)))
            .ok_or(failed)
    }
}

/// Wine does not know the volume of a file that was renamed, and says 0.
fn is_same(one: (u64, u64), other: (u64, u64)) -> bool {
    one.1 == other.1 && (one.0 == other.0 || one.0 == 0 || other.0 == 0)
}

/// The name that the system knows an open file by.
fn name_of(file: &File) -> Option<PathBuf> {
    const LONGEST: usize = 32_768;
    let mut name = vec![0u16; LONGEST];
    // SAFETY: the buffer has the stated length.
    let len = unsafe {
        GetFinalPathNameByHandleW(file.as_raw_handle(), name.as_mut_ptr(), LONGEST as u32, 0)
    };
    let name = name.get(..len as usize).filter(|name| !name.is_empty())?;
    Some(PathBuf::from(OsString::from_wide(name)))
}

/// Returns the file's volume, and its number on the volume. Together they identify the file.
fn identity(file: &File) -> Result<(u64, u64)> {
    let mut known = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the call only queries an open handle.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut known) } == 0 {
        return Err(code::last(OPERATION));
    }
    let number = u64::from(known.nFileIndexHigh) << 32 | u64::from(known.nFileIndexLow);
    Ok((known.dwVolumeSerialNumber.into(), number))
}

/// Opens the companion at `path`, creating it if it is missing.
///
/// A call that creates one also removes the companions in `folder` that no process has open. Their objects
/// are gone, because each process that is attached to a section has its companion open.
fn open_or_make(folder: &Path, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let made = options.create(true).truncate(false).open(path)?;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // With share mode 0, the open succeeds only if there is no other handle. Closing the handle
        // removes the file.
        let _ = OpenOptions::new()
            .access_mode(DELETE)
            .share_mode(0)
            .custom_flags(FILE_FLAG_DELETE_ON_CLOSE | FILE_FLAG_OPEN_REPARSE_POINT)
            .open(entry.path());
    }
    Ok(made)
}

/// Returns `true` for the errors of opening a file that another process has open exclusively or is removing.
fn is_going(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(|code| code as u32);
    matches!(code, Some(ERROR_SHARING_VIOLATION | ERROR_ACCESS_DENIED | ERROR_DELETE_PENDING))
}

/// Returns the directory of companions, and the path of the companion of the object with this id.
fn companion(id: [u8; 16]) -> Result<(PathBuf, PathBuf)> {
    let folder = user_directory("slots", OPERATION)?;
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name);
    Ok((folder, path))
}

/// Returns the file offset of a slot, as `LockFileEx` takes it.
fn place(slot: u64) -> OVERLAPPED {
    let mut place = OVERLAPPED::default();
    let offset = SLOT_BASE + slot;
    place.Anonymous.Anonymous.Offset = offset as u32;
    place.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
    place
}

/// Locks the slots exclusively and unlocks them. Returns `true` if that succeeds.
fn are_free(file: &File, slots: &Range<u64>) -> Result<bool> {
    let free = lock(file, slots, SlotMode::Alone)?;
    if free {
        unlock(file, slots);
    }
    Ok(free)
}

/// Unlocks slots that were locked together.
fn unlock(file: &File, slots: &Range<u64>) {
    let (mut place, (low, high)) = (place(slots.start), count(slots));
    // SAFETY: the handle is open.
    unsafe { UnlockFileEx(file.as_raw_handle(), 0, low, high, &mut place) };
}

/// Returns the low and the high half of the number of slots.
fn count(slots: &Range<u64>) -> (u32, u32) {
    let count = slots.end.saturating_sub(slots.start);
    (count as u32, (count >> 32) as u32)
}

/// Locks the slots without waiting. Returns `false` if another handle holds a conflicting lock.
fn lock(file: &File, slots: &Range<u64>, mode: SlotMode) -> Result<bool> {
    let kind = match mode {
        SlotMode::Alone => LOCKFILE_EXCLUSIVE_LOCK,
        SlotMode::Shared => 0,
    };
    let (mut place, (low, high)) = (place(slots.start), count(slots));
    let (handle, kind): (HANDLE, _) = (file.as_raw_handle(), kind | LOCKFILE_FAIL_IMMEDIATELY);
    // SAFETY: the handle is open and synchronous. The range has one byte per slot.
    if unsafe { LockFileEx(handle, kind, 0, low, high, &mut place) } != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_LOCK_VIOLATION | ERROR_IO_PENDING) => Ok(false),
        _ => Err(code::from_io(OPERATION, error)),
    }
}

/// A liveness lock on one or more slots. Dropping the value closes its handle, which releases the lock.
#[derive(Debug)]
pub(crate) struct LivenessLock {
    file: ManuallyDrop<File>,
    /// The slots to unlock, if closing the handle does not release them. The number of a handle does not keep them: such
    /// a lock is held until the object is closed.
    held: Option<Range<u64>>,
}

impl LivenessLock {
    /// Returns the handle as a number, and keeps the lock.
    pub(crate) fn into_raw(mut self) -> usize {
        // SAFETY: `self` is forgotten below, so the file is taken once.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        std::mem::forget(self);
        file.into_raw_handle() as usize
    }

    /// Returns the lock of a number.
    ///
    /// # Safety
    /// `raw` must come from [`into_raw`](Self::into_raw) in this process, and may be passed only once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: `into_raw` left the handle to the caller.
        let file = ManuallyDrop::new(unsafe { File::from_raw_handle(raw as RawHandle) });
        Self { file, held: None }
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        if let Some(slots) = self.held.take() {
            unlock(&self.file, &slots);
        }
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}
