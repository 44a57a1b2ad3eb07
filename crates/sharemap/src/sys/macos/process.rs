//! This process's limits and counters, and who it is.

#![allow(unsafe_code, reason = "asks the kernel")]

use std::ffi::{CStr, c_int};
use std::ptr;

use super::mach;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::Limits;
pub(crate) use crate::sys::posix::process::milliseconds;
use crate::sys::posix::process::{locked_bytes_limit, open_files_limit};

/// There is no limit on the number of mappings.
pub(crate) fn limits() -> Limits {
    Limits { open_files: open_files_limit(), locked_bytes: locked_bytes_limit(), mappings: None }
}

pub(crate) fn mapping_count() -> Option<u64> {
    Some(mach::region_count())
}

/// There are no user namespaces: every number is one user.
pub(crate) fn is_unknown_user(_: u32) -> bool {
    false
}

/// The boot this is (`kern.bootsessionuuid`).
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let mut text = [0u8; 64];
    let mut len = text.len();
    let name: &CStr = c"kern.bootsessionuuid";
    // SAFETY: a terminated name, and room for the answer.
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

/// When a process started, in microseconds: with its id, it names the process.
pub(crate) fn start_time(process: u32) -> Option<u64> {
    // SAFETY: all zeros are valid.
    let mut info: libc::proc_bsdinfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::proc_bsdinfo>() as c_int;
    let process = c_int::try_from(process).ok()?;
    // SAFETY: there is room for the answer.
    let got = unsafe {
        libc::proc_pidinfo(process, libc::PROC_PIDTBSDINFO, 0, (&raw mut info).cast(), size)
    };
    (got == size)
        .then(|| info.pbi_start_tvsec.wrapping_mul(1_000_000).wrapping_add(info.pbi_start_tvusec))
}

/// The space in which process ids mean what they mean here: there is one.
pub(crate) fn id_space() -> u64 {
    1
}

/// Bytes that nobody can guess or repeat.
pub(crate) fn random_id() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: there is room for as many as asked for.
    if unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) } == 0 {
        return Ok(bytes);
    }
    Err(Error::new(ErrorKind::Io, "get random bytes").with_source(std::io::Error::last_os_error()))
}
