//! Windows.

// System calls that the standard library does not wrap.
#![allow(unsafe_code)]

use super::{Death, Usage};
use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use windows_sys::Win32::Foundation::{CloseHandle, GetLastError, NO_ERROR};
use windows_sys::Win32::Storage::FileSystem::{
    GetCompressedFileSizeW, GetDiskFreeSpaceExW, INVALID_FILE_SIZE,
};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess,
    WaitForSingleObject,
};

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
    // SAFETY: the path ends with a zero, and the other results may be null.
    let done = unsafe { GetDiskFreeSpaceExW(wide(dir).as_ptr(), &mut free, null, null) };
    (done != 0).then_some(free)
}

pub(super) fn free_files(_: &Path) -> Option<u64> {
    None
}

pub(super) fn is_block_device(_: &std::fs::Metadata) -> bool {
    false
}

pub(super) fn mode(_: &Path) -> Option<u32> {
    None
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

type Clean = Box<dyn FnOnce() + Send>;
static CLEAN: Mutex<Option<Clean>> = Mutex::new(None);
static CLEANED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Files in use cannot be removed. The main thread therefore closes them, once `clean` has told it to end.
pub(super) fn on_interrupt(clean: impl FnOnce() + Send + 'static) -> io::Result<()> {
    *CLEAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(clean));
    // SAFETY: the function has the required type, and lives as long as the process.
    match unsafe { SetConsoleCtrlHandler(Some(handler), 1) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Runs in a thread of its own. The next handler, which this one leaves the event to, ends the process.
unsafe extern "system" fn handler(_: u32) -> i32 {
    const PATIENCE: Duration = Duration::from_secs(4);
    let clean = CLEAN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(clean) = clean else { return 0 };
    clean();
    let cleaned = CLEANED.0.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = CLEANED.1.wait_timeout_while(cleaned, PATIENCE, |cleaned| !*cleaned);
    0
}

pub(super) fn end_of_interrupt() {
    *CLEANED.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    CLEANED.1.notify_all();
    // The handler's thread ends the process.
    std::thread::sleep(Duration::from_secs(1));
}

pub(super) fn signal(_: ExitStatus) -> Option<i32> {
    None
}

pub(super) fn run_to_end(command: &mut Command) -> io::Result<ExitStatus> {
    // SAFETY: the function has the required type, and lives as long as the process.
    if unsafe { SetConsoleCtrlHandler(Some(leave_to_the_command), 1) } == 0 {
        return Err(io::Error::last_os_error());
    }
    command.spawn()?.wait()
}

/// Ignores the event. The console notifies the command as well, which decides whether to end.
unsafe extern "system" fn leave_to_the_command(event: u32) -> i32 {
    i32::from(matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT))
}

pub(super) fn asymmetric_fence() -> Option<bool> {
    None
}

pub(super) fn kill(id: u32) {
    const PATIENCE_MS: u32 = 1000;
    // SAFETY: plain numbers and a handle that is closed here; the caller knows that the process is
    // its own.
    unsafe {
        let process = OpenProcess(PROCESS_TERMINATE | PROCESS_SYNCHRONIZE, 0, id);
        if !process.is_null() {
            TerminateProcess(process, 1);
            WaitForSingleObject(process, PATIENCE_MS);
            CloseHandle(process);
        }
    }
}

pub(super) fn read_raw(_path: &Path, _ready: impl FnOnce()) -> io::Result<u64> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system refuses to truncate a file that is mapped",
    ))
}

pub(super) fn user_name(_user: u32) -> Option<String> {
    None
}

pub(super) fn identity(_path: &Path) -> Option<(u64, u64)> {
    None
}

pub(super) fn permissions(_path: &Path) -> Option<(u32, u32)> {
    None
}

pub(super) fn identity_of(_: &File) -> Option<(u64, u64)> {
    None
}

pub(super) fn allocated_by(_: &File) -> Option<u64> {
    None
}

pub(super) fn foreign_owner(_: &File) -> Option<u32> {
    None
}

pub(super) fn changed(_: &File) -> Option<SystemTime> {
    None
}

pub(super) fn notes_accesses(_: &File) -> bool {
    true
}

pub(super) fn open_to_look(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(super) fn identity_behind(_link: &Path) -> Option<(u64, u64)> {
    None
}
