//! Handing handles to other processes: to a child that inherits them, or into a running one.

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
    "Windows' sockets carry no handles: duplicate it into the process, or hand it to a child";

pub(crate) fn send(_: &File, _: &[u8], _: &File) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "send").with_detail(NO_SOCKETS))
}

pub(crate) fn receive(_: &File, _: &mut [u8]) -> Result<File> {
    Err(Error::new(ErrorKind::Unsupported, "receive").with_detail(NO_SOCKETS))
}

/// Makes the handle one that children inherit: all that are started until it is closed.
pub(crate) fn inherit(_: &mut Command, file: File) -> Result<(u64, File)> {
    let handle = file.as_raw_handle();
    // SAFETY: an open handle, and flags.
    if unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) } == 0 {
        return Err(code::last("hand on"));
    }
    Ok((handle as usize as u64, file))
}

/// `DuplicateHandle` into the process of this id, which this user must be allowed to give handles.
pub(crate) fn duplicate_into(file: &File, process: u32) -> Result<u64> {
    const OPERATION: &str = "duplicate into another process";
    let mut number: HANDLE = ptr::null_mut();
    // SAFETY: an open handle of this process; the new one belongs to the other.
    unsafe {
        let target = OpenProcess(PROCESS_DUP_HANDLE, 0, process);
        if target.is_null() {
            return Err(code::last(OPERATION).with_detail(format!("the process {process}")));
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

/// Takes the handle over: once for each number.
pub(crate) fn find(number: u64, identity: [u64; 2]) -> Result<File> {
    const OPERATION: &str = "find what was handed on";
    static TAKEN: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    let wrong = |detail: &str| Error::new(ErrorKind::NotFound, OPERATION).with_detail(detail);
    let handle = usize::try_from(number).map_err(|_| wrong("that is no handle"))? as HANDLE;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&number) {
        return Err(wrong("it has been taken already"));
    }
    let file = duplicate_here(handle, DUPLICATE_SAME_ACCESS)
        .ok_or_else(|| wrong("the handle is not open: it was not meant for this process"))?;
    if self::identity(&file)? != identity {
        return Err(wrong("the handle is of something else"));
    }
    taken.insert(number);
    // What was handed on is this file now.
    drop(duplicate_here(handle, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE));
    Ok(file)
}

fn duplicate_here(handle: HANDLE, options: u32) -> Option<File> {
    let mut copy = ptr::null_mut();
    // SAFETY: any number may be asked about; the new handle is nobody else's. A source is closed
    // only if it was handed on to this process, and has not been taken before.
    unsafe {
        let own = GetCurrentProcess();
        let done = DuplicateHandle(own, handle, own, &mut copy, 0, 0, options);
        (done != 0).then(|| File::from(OwnedHandle::from_raw_handle(copy)))
    }
}

/// Wine tells no volume of an open file that was renamed. Its number stays.
pub(crate) const IDENTITY_OUTLIVES_NAME: bool = false;

/// Returns `true` if two identities are of one file. A volume of 0 is unknown.
pub(crate) fn is_same(one: [u64; 2], other: [u64; 2]) -> bool {
    one[1] == other[1] && (one[0] == other[0] || one[0] == 0 || other[0] == 0)
}

/// Volume and number of a file; of a section, which has none, that it is one, and its length.
pub(crate) fn identity(file: &File) -> Result<[u64; 2]> {
    const SECTION: u64 = 1 << 63;
    if let Some(len) = section_len(file) {
        return Ok([SECTION, len]);
    }
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: room for one answer about an open handle.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut info) } == 0 {
        return Err(code::last("ask the identity of"));
    }
    let index = u64::from(info.nFileIndexHigh) << 32 | u64::from(info.nFileIndexLow);
    Ok([u64::from(info.dwVolumeSerialNumber), index])
}
