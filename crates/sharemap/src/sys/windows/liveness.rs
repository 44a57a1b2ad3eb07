//! Slots: locks that the kernel keeps for as long as a process lives.
//!
//! A slot is one byte, far behind the end of the object's file, locked (`LockFileEx`) through a
//! handle of its own that no child inherits: the lock ends with the process. A section of the paging
//! file has no file; its slots are in a companion in the user's directory, named by the object's id.

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
use super::section::section_len;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{SLOT_BASE, SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// The largest number of slots that [`Slots::take_all`] locks at once.
pub(crate) const MOST_AT_ONCE: u64 = 1024;

/// Where an object's slots are locked, open for asking.
#[derive(Debug)]
pub(crate) struct Slots {
    file: File,
    path: Option<PathBuf>,
    home: SlotHome,
}

impl Slots {
    pub(crate) fn open(file: &File, path: Option<&Path>, id: [u8; 16]) -> Result<Self> {
        if section_len(file).is_none() {
            return Self::in_object(file, path);
        }
        let (folder, path) = companion(id)?;
        let failed = |error| code::from_io(OPERATION, error).with_path(Some(&path));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        // Another's may be going at this moment: nobody had it open.
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

    /// The same for whoever only looks on: nothing is made. `None`: nobody has ever taken one.
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

    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<LivenessLock>> {
        self.take_range(&(slot..slot + 1), mode)
    }

    /// Locks all of these slots, at most [`MOST_AT_ONCE`], exclusively. Returns `None` if one of
    /// them is held.
    pub(crate) fn take_all(&self, slots: &Range<u64>) -> Result<Option<Vec<LivenessLock>>> {
        Ok(self.take_range(slots, SlotMode::Alone)?.map(|hold| vec![hold]))
    }

    fn take_range(&self, slots: &Range<u64>, mode: SlotMode) -> Result<Option<LivenessLock>> {
        // Whoever asks has it for a moment.
        const ROUNDS: usize = 4;
        let file = self.fresh()?;
        for _ in 0..ROUNDS {
            if lock(&file, slots, mode)? {
                return Ok(Some(LivenessLock(ManuallyDrop::new(file))));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// There is no question about locks: it is taken for a moment, alone. Two who ask at once may
    /// both hear that somebody has it.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        self.held_among(&(slot..slot + 1)).map(|held| held.is_none())
    }

    /// Returns a range of slots that one lock covers, at least one of them in the non-empty range
    /// `slots`, but not necessarily the first. `None` if all are free.
    ///
    /// Queries like [`is_free`](Self::is_free), and halves the range until one slot is left.
    pub(crate) fn held_among(&self, slots: &Range<u64>) -> Result<Option<Range<u64>>> {
        let file = self.fresh()?;
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

    /// A handle of its own, for locks that are its own.
    fn fresh(&self) -> Result<File> {
        const SHARE: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        for access in [GENERIC_READ | GENERIC_WRITE, GENERIC_READ] {
            // SAFETY: an open handle; the new one is nobody else's.
            unsafe {
                let handle = ReOpenFile(self.file.as_raw_handle(), access, SHARE, 0);
                if handle != INVALID_HANDLE_VALUE {
                    return Ok(File::from_raw_handle(handle));
                }
            }
        }
        let failed = code::last(OPERATION);
        // Wine cannot, for a file that was renamed: by name then, if that is still the same file's.
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
    // SAFETY: there is as much room as stated.
    let len = unsafe {
        GetFinalPathNameByHandleW(file.as_raw_handle(), name.as_mut_ptr(), LONGEST as u32, 0)
    };
    let name = name.get(..len as usize).filter(|name| !name.is_empty())?;
    Some(PathBuf::from(OsString::from_wide(name)))
}

/// What tells files apart: the volume and the file's number there.
fn identity(file: &File) -> Result<(u64, u64)> {
    let mut known = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: a question about an open handle.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut known) } == 0 {
        return Err(code::last(OPERATION));
    }
    let number = u64::from(known.nFileIndexHigh) << 32 | u64::from(known.nFileIndexLow);
    Ok((known.dwVolumeSerialNumber.into(), number))
}

/// The companion of this path; with a new one, those in the folder go that nobody has open: whoever is
/// attached to a section has its companion open.
fn open_or_make(folder: &Path, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let made = options.create(true).truncate(false).open(path)?;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // Goes with this handle, which there is only if there is no other.
        let _ = OpenOptions::new()
            .access_mode(DELETE)
            .share_mode(0)
            .custom_flags(FILE_FLAG_DELETE_ON_CLOSE | FILE_FLAG_OPEN_REPARSE_POINT)
            .open(entry.path());
    }
    Ok(made)
}

/// Whether somebody has a file alone, or it has just been given up.
fn is_going(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(|code| code as u32);
    matches!(code, Some(ERROR_SHARING_VIOLATION | ERROR_ACCESS_DENIED | ERROR_DELETE_PENDING))
}

/// The directory of companions, and there that of the object with this id.
fn companion(id: [u8; 16]) -> Result<(PathBuf, PathBuf)> {
    let Some(base) = std::env::var_os("LOCALAPPDATA").filter(|base| !base.is_empty()) else {
        return Err(Error::new(ErrorKind::NotFound, OPERATION).with_detail(
            "the variable LOCALAPPDATA, which names the user's directory, is not set",
        ));
    };
    let folder = Path::new(&base).join("sharemap").join("slots");
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name);
    Ok((folder, path))
}

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
        let (mut place, (low, high)) = (place(slots.start), count(slots));
        // SAFETY: an open handle, and the range locked above.
        unsafe { UnlockFileEx(file.as_raw_handle(), 0, low, high, &mut place) };
    }
    Ok(free)
}

/// The number of slots, in two halves.
fn count(slots: &Range<u64>) -> (u32, u32) {
    let count = slots.end.saturating_sub(slots.start);
    (count as u32, (count >> 32) as u32)
}

fn lock(file: &File, slots: &Range<u64>, mode: SlotMode) -> Result<bool> {
    let kind = match mode {
        SlotMode::Alone => LOCKFILE_EXCLUSIVE_LOCK,
        SlotMode::Shared => 0,
    };
    let (mut place, (low, high)) = (place(slots.start), count(slots));
    let (handle, kind): (HANDLE, _) = (file.as_raw_handle(), kind | LOCKFILE_FAIL_IMMEDIATELY);
    // SAFETY: an open handle that is not asynchronous; one byte a slot, from the place on.
    if unsafe { LockFileEx(handle, kind, 0, low, high, &mut place) } != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_LOCK_VIOLATION | ERROR_IO_PENDING) => Ok(false),
        _ => Err(code::from_io(OPERATION, error)),
    }
}

/// A slot that is held; dropping it lets it go.
#[derive(Debug)]
pub(crate) struct LivenessLock(ManuallyDrop<File>);

impl LivenessLock {
    /// Gives it up as a number.
    pub(crate) fn into_raw(mut self) -> usize {
        // SAFETY: `self` is forgotten below, so the file is taken once.
        let file = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        file.into_raw_handle() as usize
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) in this process, and becomes a `LivenessLock` once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: the handle was given up by `into_raw`.
        Self(ManuallyDrop::new(unsafe { File::from_raw_handle(raw as RawHandle) }))
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
