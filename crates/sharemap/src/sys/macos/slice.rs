//! The system calls of guarded slices on macOS, most of them made by the fault handler. They preserve
//! `errno`.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::c_int;
use std::fs::File;
use std::mem::MaybeUninit;

use super::map::page_size;
use crate::error::Result;
use crate::sys::FileStatus;
pub(crate) use crate::sys::posix::slice::GuardedSpan;
use crate::sys::posix::slice::Lost;

/// Succeeds: the number of mappings has no limit, so the handler needs nothing prepared.
pub(crate) fn prepare() -> Result<()> {
    Ok(())
}

/// Returns the size of the pages in a mapping of the file.
pub(crate) fn page_size_of(_: &File, _: FileStatus) -> usize {
    page_size()
}

/// Returns the length of the file of a descriptor; `None` if it has none, or if the call fails.
#[inline(never)]
pub(crate) fn file_len(file: c_int) -> Option<u64> {
    if file < 0 {
        return None;
    }
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the call writes only `stat`, and initializes it if it succeeds; `errno` belongs to this
    // thread.
    unsafe {
        let errno = libc::__error();
        let before = *errno;
        let failed = libc::fstat(file, stat.as_mut_ptr()) != 0;
        *errno = before;
        if failed { None } else { Some((*stat.as_ptr()).st_size as u64) }
    }
}

/// Replaces the pages `from..end` by zeros. Returns `true` if the page that faulted can be read.
///
/// # Safety
/// `base..end` is a mapping that lives, and no code relies on the contents of the lost pages.
#[inline(never)]
pub(crate) unsafe fn map_zeros(lost: &Lost) -> bool {
    const FLAGS: c_int = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANON;
    let from = std::ptr::with_exposed_provenance_mut(lost.from);
    // SAFETY: the caller's promise; `errno` belongs to this thread.
    unsafe {
        let errno = libc::__error();
        let before = *errno;
        let zeros = libc::mmap(from, lost.end - lost.from, libc::PROT_READ, FLAGS, -1, 0);
        *errno = before;
        zeros == from
    }
}
