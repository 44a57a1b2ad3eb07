//! Windows.

// Counters and sizes that the standard library does not have.
#![allow(unsafe_code)]

use super::{Death, Usage};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitStatus;
use windows_sys::Win32::Foundation::{GetLastError, NO_ERROR};
use windows_sys::Win32::Storage::FileSystem::{
    GetCompressedFileSizeW, GetDiskFreeSpaceExW, INVALID_FILE_SIZE,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

pub(super) fn usage() -> Usage {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    let mut raw = PROCESS_MEMORY_COUNTERS { cb: size, ..Default::default() };
    // SAFETY: `raw` has the size given.
    if unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &mut raw, size) } == 0 {
        return Usage::default();
    }
    Usage {
        faults: Some(u64::from(raw.PageFaultCount)),
        peak_resident: Some(raw.PeakWorkingSetSize as u64),
    }
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

pub(super) fn free_space(dir: &Path) -> Option<u64> {
    let mut free = 0;
    let null = std::ptr::null_mut();
    // SAFETY: the path ends with a zero, and what is not asked for may be null.
    let done = unsafe { GetDiskFreeSpaceExW(wide(dir).as_ptr(), &mut free, null, null) };
    (done != 0).then_some(free)
}

pub(super) fn allocated(path: &Path) -> Option<u64> {
    let mut high = 0;
    // SAFETY: the path ends with a zero, and `high` is a number to be written.
    let (low, error) = unsafe {
        let low = GetCompressedFileSizeW(wide(path).as_ptr(), &mut high);
        (low, GetLastError())
    };
    (low != INVALID_FILE_SIZE || error == NO_ERROR)
        .then_some(u64::from(high) << 32 | u64::from(low))
}

pub(super) fn death(status: ExitStatus) -> Death {
    Death::Exit(status.code())
}

pub(super) fn read_raw(_path: &Path, _ready: impl FnOnce()) -> io::Result<u64> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system refuses to cut off a file that is mapped",
    ))
}
