//! Limits, counters and the identity of this process.

#![allow(unsafe_code, reason = "asks the kernel")]

use std::ffi::{CStr, c_int};
use std::ptr;

use super::mach;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Limits;
use crate::sys::posix::process::{locked_bytes_limit, open_files_limit};
pub(crate) use crate::sys::posix::process::{milliseconds, processors};

/// Returns the limits of this process. macOS does not limit the number of mappings.
pub(crate) fn limits() -> Limits {
    Limits { open_files: open_files_limit(), locked_bytes: locked_bytes_limit(), mappings: None }
}

/// Returns the number of entries in this process's address map.
pub(crate) fn mapping_count() -> Option<u64> {
    Some(mach::region_count())
}

/// Returns `false`: macOS has no user namespaces, so every number stands for one user.
pub(crate) fn is_unknown_user(_: u32) -> bool {
    false
}

/// Returns the id of the current boot (`kern.bootsessionuuid`).
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let mut text = [0u8; 64];
    let mut len = text.len();
    let name: &CStr = c"kern.bootsessionuuid";
    // SAFETY: the name ends with a zero; the buffer has the length in `len`.
    let result = unsafe {
        libc::sysctlbyname(name.as_ptr(), text.as_mut_ptr().cast(), &mut len, ptr::null_mut(), 0)
    };
    if result != 0 {
        return None;
    }
    let text = std::str::from_utf8(text.get(..len)?).ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

/// Returns the time at which a process started, in microseconds. Together with its id, it identifies the
/// process.
pub(crate) fn start_time(process: u32) -> Option<u64> {
    // SAFETY: an all-zero structure is valid.
    let mut info: libc::proc_bsdinfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::proc_bsdinfo>() as c_int;
    let process = c_int::try_from(process).ok()?;
    // SAFETY: the buffer has the stated size.
    let got = unsafe {
        libc::proc_pidinfo(process, libc::PROC_PIDTBSDINFO, 0, (&raw mut info).cast(), size)
    };
    (got == size)
        .then(|| info.pbi_start_tvsec.wrapping_mul(1_000_000).wrapping_add(info.pbi_start_tvusec))
}

/// Returns the number of the namespace of process ids. macOS has only one.
pub(crate) fn id_space() -> u64 {
    1
}

/// Returns 16 unpredictable bytes.
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: the buffer has the stated length.
    if unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) } == 0 {
        return Ok(bytes);
    }
    Err(Error::new(ErrorKind::Io, "get random bytes").with_source(std::io::Error::last_os_error()))
}
