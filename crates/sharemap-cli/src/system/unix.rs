//! Linux and macOS.

// Two counters and the raw mapping of the tour's second process are C calls.
#![allow(unsafe_code)]

use super::{Death, Usage};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

pub(super) fn usage() -> Usage {
    let mut raw = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `raw` has the size of an rusage, which any bytes are a value of.
    let raw = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr()) != 0 {
            return Usage::default();
        }
        raw.assume_init()
    };
    let positive = |number| u64::try_from(number).unwrap_or_default();
    Usage {
        faults: Some(positive(raw.ru_minflt) + positive(raw.ru_majflt)),
        // In bytes on macOS; where it is in KiB, procfs has the better figure.
        peak_resident: Some(positive(raw.ru_maxrss)),
    }
}

// The fields differ in width from one system to another.
#[allow(clippy::unnecessary_cast)]
pub(super) fn free_space(dir: &Path) -> Option<u64> {
    let dir = CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut raw = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `dir` ends with a zero byte, and `raw` has the size of a statvfs, which any bytes
    // are a value of.
    let raw = unsafe {
        if libc::statvfs(dir.as_ptr(), raw.as_mut_ptr()) != 0 {
            return None;
        }
        raw.assume_init()
    };
    (raw.f_bavail as u64).checked_mul(raw.f_frsize as u64)
}

pub(super) fn allocated(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.blocks() * 512)
}

pub(super) fn death(status: ExitStatus) -> Death {
    match status.signal() {
        Some(libc::SIGBUS) => Death::LostPage,
        Some(signal) => Death::Signal(signal),
        None => Death::Exit(status.code()),
    }
}

pub(super) fn read_raw(path: &Path, ready: impl FnOnce()) -> io::Result<u64> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain number goes in. If it fails, the system may keep a core file: no harm.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &no_core) };
    // SAFETY: a new mapping at an address of the system's choice.
    let base = unsafe {
        let null = std::ptr::null_mut();
        libc::mmap(null, len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    ready();
    let mut sum = 0;
    for offset in (0..len).step_by(4096) {
        // SAFETY: inside of the mapping. That the file may be shorter by now, and the process die
        // here by SIGBUS, is what this function is there to show.
        sum += u64::from(unsafe { base.cast::<u8>().add(offset).read_volatile() });
    }
    // SAFETY: the mapping made above, to which nothing refers any more.
    unsafe { libc::munmap(base, len) };
    Ok(sum)
}
