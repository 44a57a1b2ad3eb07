//! Passes handles to other processes: to a child that inherits them, or by duplication into a running one.

#![allow(unsafe_code, reason = "works with numbers of handles")]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::Command;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::Foundation::{
    DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, HANDLE_FLAG_INHERIT,
    SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, GetFileInformationByHandle,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcess, PROCESS_DUP_HANDLE};

use super::code;
use super::section::section_len;
use crate::error::{Error, ErrorKind, Result};

const NO_SOCKETS: &str =
    "sockets of Windows carry no handles; duplicate it into the process, or pass it to a child";

/// Fails with `Unsupported`.
pub(crate) fn send(_: &File, _: &[u8], _: &File) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "send").with_detail(NO_SOCKETS))
}

/// Fails with `Unsupported`.
pub(crate) fn receive(_: &File, _: &mut [u8]) -> Result<File> {
    Err(Error::new(ErrorKind::Unsupported, "receive").with_detail(NO_SOCKETS))
}

/// Makes the handle inheritable. Returns its number, and the file that keeps it open.
///
/// Every child that is started before the file is closed inherits the handle, not only this command's.
pub(crate) fn inherit(_: &mut Command, file: File) -> Result<(u64, File)> {
    let handle = file.as_raw_handle();
    // SAFETY: the handle is open.
    if unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) } == 0 {
        return Err(code::last("pass"));
    }
    Ok((handle as usize as u64, file))
}

/// Duplicates the handle into the process with this id (`DuplicateHandle`). Returns its number there.
///
/// This user must have the right `PROCESS_DUP_HANDLE` to the process.
pub(crate) fn duplicate_into(file: &File, process: u32) -> Result<u64> {
    const OPERATION: &str = "duplicate";
    let mut number: HANDLE = ptr::null_mut();
    // SAFETY: the handle of this process is open. The new one belongs to the other process.
    unsafe {
        let target = OpenProcess(PROCESS_DUP_HANDLE, 0, process);
        if target.is_null() {
            return Err(
                code::last(OPERATION).with_detail(format!("process {process} cannot be opened"))
            );
        }
        let target = OwnedHandle::from_raw_handle(target);
        let done = DuplicateHandle(
            GetCurrentProcess(),
            file.as_raw_handle(),
            target.as_raw_handle(),
            &mut number,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        );
        if done == 0 {
            return Err(code::last(OPERATION));
        }
    }
    Ok(number as usize as u64)
}

/// Takes ownership of the handle with this number, once for each number.
///
/// Fails with `NotFound` if the handle is not open, or does not have this identity.
pub(crate) fn find(number: u64, identity: [u64; 2]) -> Result<File> {
    const OPERATION: &str = "find the inherited handle";
    static TAKEN: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    let wrong = |detail: &str| Error::new(ErrorKind::NotFound, OPERATION).with_detail(detail);
    let handle =
        usize::try_from(number).map_err(|_| wrong("the number is not a handle"))? as HANDLE;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&number) {
        return Err(wrong("the handle was already taken"));
    }
    let file = duplicate_here(handle, DUPLICATE_SAME_ACCESS)
        .ok_or_else(|| wrong("the handle is not open; pass it to this process first"))?;
    if self::identity(&file)? != identity {
        return Err(wrong("the handle refers to another file"));
    }
    taken.insert(number);
    // Closes the passed handle: `file` has replaced it.
    drop(duplicate_here(handle, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE));
    Ok(file)
}

/// Duplicates a handle within this process. Returns `None` if the number is not an open handle.
fn duplicate_here(handle: HANDLE, options: u32) -> Option<File> {
    let mut copy = ptr::null_mut();
    // SAFETY: the call accepts any number. Nothing else owns the new handle. The caller closes a source
    // only if it was passed to this process and has not been taken before.
    unsafe {
        let own = GetCurrentProcess();
        let done = DuplicateHandle(own, handle, own, &mut copy, 0, 0, options);
        (done != 0).then(|| File::from(OwnedHandle::from_raw_handle(copy)))
    }
}

/// `false`, because Wine reports no volume for an open file that was renamed. The file's number stays.
pub(crate) const IDENTITY_OUTLIVES_NAME: bool = false;

/// Returns `true` if both identities belong to one file. A volume of 0 is unknown and equals every other.
pub(crate) fn is_same(one: [u64; 2], other: [u64; 2]) -> bool {
    one[1] == other[1] && (one[0] == other[0] || one[0] == 0 || other[0] == 0)
}

/// Returns the identity of an open file: its volume and number. A section has neither. Its identity is 2^63
/// and its length.
pub(crate) fn identity(file: &File) -> Result<[u64; 2]> {
    const SECTION: u64 = 1 << 63;
    if let Some(len) = section_len(file) {
        return Ok([SECTION, len]);
    }
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the call only queries an open handle.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut info) } == 0 {
        return Err(code::last("identify"));
    }
    let index = u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow);
    Ok([u64::from(info.dwVolumeSerialNumber), index])
}
