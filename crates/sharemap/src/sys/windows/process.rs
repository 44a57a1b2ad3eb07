//! Limits, counters and the identity of this process.

#![allow(unsafe_code, reason = "questions to the system about this process")]

use windows_sys::Win32::Foundation::{CloseHandle, FILETIME};
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom,
};
use windows_sys::Win32::System::Memory::MEM_MAPPED;
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, GetProcessWorkingSetSize, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::code;
use super::section::regions;
use crate::error::Result;
use crate::sys::Limits;

/// Returns the limits of this process. Windows limits neither handles nor mappings, except by memory. A
/// process can lock as many bytes as its minimum working set.
pub(crate) fn limits() -> Limits {
    let (mut minimum, mut maximum) = (0, 0);
    // SAFETY: the call writes two integers.
    let known =
        unsafe { GetProcessWorkingSetSize(GetCurrentProcess(), &mut minimum, &mut maximum) };
    Limits {
        open_files: None,
        locked_bytes: (known != 0).then_some(minimum as u64),
        mappings: None,
    }
}

/// Returns the number of views of sections (files, shared memory) in the address space.
pub(crate) fn mapping_count() -> Option<u64> {
    let mut count = 0;
    let mut last = usize::MAX;
    for region in regions(0, usize::MAX) {
        if region.Type == MEM_MAPPED && region.AllocationBase as usize != last {
            last = region.AllocationBase as usize;
            count += 1;
        }
    }
    Some(count)
}

/// Returns an id of the current boot: the system's count of boots, from the page that it maps into every
/// process. `None` if the count is 0.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    const BOOT_ID: *const u32 = (0x7ffe_0000 + 0x2c4) as *const u32;
    // SAFETY: the page is readable in every process.
    let count = unsafe { BOOT_ID.read_volatile() };
    let mut id = [0; 16];
    id[..4].copy_from_slice(&count.to_le_bytes());
    (count != 0).then_some(id)
}

/// Returns the time at which a process started, in units of 100 ns. Together with its id, it identifies the
/// process.
pub(crate) fn start_time(process: u32) -> Option<u64> {
    let mut times = [FILETIME::default(); 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is closed once; the call writes four `FILETIME`s.
    let known = unsafe {
        let handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process);
        if handle.is_null() {
            return None;
        }
        let known = GetProcessTimes(handle, created, exited, kernel, user);
        CloseHandle(handle);
        known
    };
    let [created, ..] = times;
    (known != 0).then(|| u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

/// Returns the number of the namespace of process ids. Windows has only one.
pub(crate) fn id_space() -> u64 {
    1
}

/// Returns the number of processors of the machine.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the time of a monotonic clock that all processes share.
pub(crate) fn milliseconds() -> u64 {
    // SAFETY: the call only returns a number.
    unsafe { GetTickCount64() }
}

/// Returns 16 unpredictable bytes.
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: the buffer has the stated length.
    let status = unsafe {
        BCryptGenRandom(
            std::ptr::null_mut(),
            bytes.as_mut_ptr(),
            bytes.len() as u32,
            BCRYPT_USE_SYSTEM_PREFERRED_RNG,
        )
    };
    if status == 0 { Ok(bytes) } else { Err(code::last("get random bytes")) }
}
