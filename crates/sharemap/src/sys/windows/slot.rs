//! Slots: locks that the kernel keeps for as long as a process lives.
//!
//! A slot is one byte, far behind the end of the object's file, locked (`LockFileEx`) through a
//! handle of its own that no child inherits: the lock ends with the process. A section of the paging
//! file has no file; its slots are in a companion in the user's directory, named by the object's id.

#![allow(unsafe_code, reason = "handles and locks that std does not have")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, RawHandle};
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_LOCK_VIOLATION, GENERIC_READ, GENERIC_WRITE, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_TYPE_DISK, GetFileInformationByHandle, GetFileType, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, ReOpenFile, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::code;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{SLOT_BASE, SlotHome, SlotMode};

const OPERATION: &str = "attach to";

/// Where an object's slots are locked, open for asking.
#[derive(Debug)]
pub(crate) struct Slots {
    file: File,
    path: Option<PathBuf>,
    home: SlotHome,
}

impl Slots {
    pub(crate) fn open(file: &File, path: Option<&Path>, id: [u8; 16]) -> Result<Self> {
        // SAFETY: a question about an open handle.
        if unsafe { GetFileType(file.as_raw_handle()) } == FILE_TYPE_DISK {
            let (file, path) = (super::file::duplicate(file)?, path.map(Path::to_path_buf));
            return Ok(Self { file, path, home: SlotHome::Object });
        }
        let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder()?.join(name);
        let failed = |error| code::from_io(OPERATION, error).with_path(Some(&path));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let (device, number) = identity(&file).map_err(|error| error.with_path(Some(&path)))?;
        let home = SlotHome::Companion { device, file: number };
        Ok(Self { file, path: Some(path), home })
    }

    pub(crate) fn home(&self) -> SlotHome {
        self.home
    }

    pub(crate) fn take(&self, slot: u64, mode: SlotMode) -> Result<Option<Hold>> {
        let file = self.fresh()?;
        Ok(lock(&file, slot, mode)?.then(|| Hold(ManuallyDrop::new(file))))
    }

    /// There is no question about locks: it is taken for a moment, shared, so that nobody who asks is
    /// taken for a holder by another who asks.
    pub(crate) fn is_free(&self, slot: u64) -> Result<bool> {
        let file = self.fresh()?;
        let free = lock(&file, slot, SlotMode::Shared)?;
        if free {
            let mut place = place(slot);
            // SAFETY: an open handle, and the range locked above.
            unsafe { UnlockFileEx(file.as_raw_handle(), 0, 1, 0, &mut place) };
        }
        Ok(free)
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
        // Wine looks for the name that the file had when it was opened.
        let same = |file: &File| {
            identity(file).is_ok_and(|found| identity(&self.file).is_ok_and(|own| own == found))
        };
        let path = self.path.as_ref();
        path.and_then(|path| {
            let both = OpenOptions::new().read(true).write(true).open(path);
            both.or_else(|_| File::open(path)).ok()
        })
        .filter(same)
        .ok_or(failed)
    }
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

fn folder() -> Result<PathBuf> {
    let Some(base) = std::env::var_os("LOCALAPPDATA").filter(|base| !base.is_empty()) else {
        return Err(Error::new(ErrorKind::NotFound, OPERATION).with_detail(
            "the variable LOCALAPPDATA, which names the user's directory, is not set",
        ));
    };
    let folder = Path::new(&base).join("sharemap").join("slots");
    std::fs::create_dir_all(&folder)
        .map_err(|error| code::from_io(OPERATION, error).with_path(Some(&folder)))?;
    Ok(folder)
}

fn place(slot: u64) -> OVERLAPPED {
    let mut place = OVERLAPPED::default();
    let offset = SLOT_BASE + slot;
    place.Anonymous.Anonymous.Offset = offset as u32;
    place.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
    place
}

fn lock(file: &File, slot: u64, mode: SlotMode) -> Result<bool> {
    let kind = match mode {
        SlotMode::Alone => LOCKFILE_EXCLUSIVE_LOCK,
        SlotMode::Shared => 0,
    };
    let mut place = place(slot);
    let handle: HANDLE = file.as_raw_handle();
    // SAFETY: an open handle that is not asynchronous; one byte at the place.
    if unsafe { LockFileEx(handle, kind | LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &mut place) } != 0 {
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
pub(crate) struct Hold(ManuallyDrop<File>);

impl Hold {
    /// Gives it up as a number.
    pub(crate) fn into_raw(mut self) -> usize {
        // SAFETY: `self` is forgotten below, so the file is taken once.
        let file = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        file.into_raw_handle() as usize
    }

    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw) in this process, and becomes a `Hold` once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: the handle was given up by `into_raw`.
        Self(ManuallyDrop::new(unsafe { File::from_raw_handle(raw as RawHandle) }))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
