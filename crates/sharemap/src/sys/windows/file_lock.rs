//! Locks of byte ranges of files (`LockFileEx`).
//!
//! Each lock has a handle of its own. So threads exclude each other as processes do, and closing another
//! handle of the file does not release the lock.

#![allow(unsafe_code, reason = "handles and locks that std does not have")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::Path;

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_LOCK_VIOLATION, GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, ReOpenFile, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::code;
use crate::error::Result;
use crate::sys::{LockMode, LockWait};

/// Opens a new handle of the file (`ReOpenFile`), for one lock.
pub(crate) fn description(file: &File, _: Option<&Path>, _: LockMode) -> Result<File> {
    const SHARE: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    let again = |access| {
        // SAFETY: the handle is open. Nothing else owns the new one, which is synchronous.
        unsafe {
            let handle = ReOpenFile(file.as_raw_handle(), access, SHARE, 0);
            (handle != INVALID_HANDLE_VALUE).then(|| File::from_raw_handle(handle))
        }
    };
    // A lock of either mode needs only one kind of access.
    again(GENERIC_READ).or_else(|| again(GENERIC_WRITE)).ok_or_else(|| code::last("lock"))
}

/// Returns the start of the range, as `LockFileEx` takes it.
fn start(range: &Range<u64>) -> OVERLAPPED {
    let mut place = OVERLAPPED::default();
    place.Anonymous.Anonymous.Offset = range.start as u32;
    place.Anonymous.Anonymous.OffsetHigh = (range.start >> 32) as u32;
    place
}

/// Returns the low and the high half of the range's length.
fn len(range: &Range<u64>) -> (u32, u32) {
    let len = range.end - range.start;
    (len as u32, (len >> 32) as u32)
}

/// Locks the range. Returns `false` if the call must not wait, and another handle holds a conflicting lock.
pub(crate) fn lock(
    file: &File,
    range: &Range<u64>,
    mode: LockMode,
    wait: LockWait,
) -> Result<bool> {
    let exclusive = if mode == LockMode::Exclusive { LOCKFILE_EXCLUSIVE_LOCK } else { 0 };
    let immediately = if wait == LockWait::No { LOCKFILE_FAIL_IMMEDIATELY } else { 0 };
    let (mut place, (low, high)) = (start(range), len(range));
    let handle = file.as_raw_handle();
    // SAFETY: the handle is open and synchronous, so the call does not use `place` after it returns.
    if unsafe { LockFileEx(handle, exclusive | immediately, 0, low, high, &mut place) } != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error().map(|code| code as u32) {
        Some(ERROR_LOCK_VIOLATION | ERROR_IO_PENDING) if wait == LockWait::No => Ok(false),
        _ => Err(code::from_io("lock", error)),
    }
}

/// Releases the lock of the range.
pub(crate) fn unlock(file: &File, range: &Range<u64>) -> Result<()> {
    let (mut place, (low, high)) = (start(range), len(range));
    // SAFETY: the handle is open and synchronous.
    match unsafe { UnlockFileEx(file.as_raw_handle(), 0, low, high, &mut place) } {
        0 => Err(code::last("unlock")),
        _ => Ok(()),
    }
}
