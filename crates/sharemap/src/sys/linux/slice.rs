//! The system calls of guarded slices on Linux, most of them made by the fault handler.
//!
//! They are raw calls, because other code may replace the functions of the C library (`LD_PRELOAD`) by
//! ones that are not async-signal-safe. They preserve `errno`.

#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::{c_int, c_long};
use std::fs::File;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{self, MapFlags, ProtFlags};

use super::file_system::is_on_hugetlbfs;
use super::map::page_size;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::FileStatus;
pub(crate) use crate::sys::posix::slice::GuardedSpan;
use crate::sys::posix::{errno, map::lock_limit, slice::Lost};

/// Mappings of one page each, without access, which the handler unmaps if the process has as many mappings
/// as the system allows: replacing the end of a mapping makes one more. An address, [`FILLING`], or 0.
///
/// Each is a shared mapping of its own memory, so the kernel merges none of them.
static SPARE: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

/// The value of a spare mapping that a thread is creating.
const FILLING: usize = 1;

/// The number of spare mappings that are missing.
static MISSING: AtomicUsize = AtomicUsize::new(SPARE.len());

/// Creates the spare mappings that are missing. Fails if there is none afterwards.
pub(crate) fn prepare() -> Result<()> {
    if MISSING.load(Ordering::Acquire) == 0 { Ok(()) } else { refill() }
}

#[cold]
fn refill() -> Result<()> {
    for spare in &SPARE {
        if spare.compare_exchange(0, FILLING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        let (none, len) = (ptr::null_mut(), page_size());
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses unused addresses.
        match unsafe { mm::mmap_anonymous(none, len, ProtFlags::empty(), flags) } {
            Ok(page) => {
                spare.store(page as usize, Ordering::Release);
                MISSING.fetch_sub(1, Ordering::AcqRel);
            }
            Err(errno) => {
                spare.store(0, Ordering::Release);
                // A thread that creates one at this moment counts as successful.
                let any = SPARE.iter().any(|spare| spare.load(Ordering::Relaxed) != 0);
                return if any { Ok(()) } else { Err(spare_error(errno)) };
            }
        }
    }
    Ok(())
}

#[cold]
fn spare_error(errno: Errno) -> Error {
    let error = errno::memory_error("map", errno);
    match errno {
        Errno::AGAIN if error.kind() != ErrorKind::TooManyMappings => lock_limit(error, None),
        _ => error,
    }
}

/// Unmaps a spare mapping. Returns `false` if there is none.
#[inline(never)]
fn give_up_spare() -> bool {
    let mut at = 0;
    while at < SPARE.len() {
        let page = SPARE[at].load(Ordering::Acquire);
        if page > FILLING
            && SPARE[at].compare_exchange(page, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            MISSING.fetch_add(1, Ordering::AcqRel);
            // SAFETY: a spare mapping, which only this thread has taken.
            return unsafe { call(libc::SYS_munmap, [page, page_size(), 0, 0, 0, 0]) } == 0;
        }
        at += 1;
    }
    false
}

/// Returns the size of the pages in a mapping of the file.
pub(crate) fn page_size_of(file: &File, status: FileStatus) -> usize {
    let page = page_size();
    // On hugetlbfs, the size of a block is that of a huge page.
    let block = status.block as usize;
    if block > page && block.is_power_of_two() && is_on_hugetlbfs(file) { block } else { page }
}

/// Returns the length of the file of a descriptor; `None` if it has none, or if the call fails.
#[inline(never)]
pub(crate) fn file_len(file: c_int) -> Option<u64> {
    if file < 0 {
        return None;
    }
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the call writes the kernel's structure, which is the C library's on the processors that have
    // a handler, and initializes it if it succeeds.
    unsafe {
        let answer = stat.as_mut_ptr() as usize;
        if call(libc::SYS_fstat, [file as usize, answer, 0, 0, 0, 0]) != 0 {
            return None;
        }
        Some((*stat.as_ptr()).st_size as u64)
    }
}

/// Replaces the pages `from..end` by zeros. Returns `true` if the page that faulted can be read.
///
/// # Safety
/// `base..end` is a mapping that lives, and no code relies on the contents of the lost pages.
#[inline(never)]
pub(crate) unsafe fn map_zeros(lost: &Lost) -> bool {
    // SAFETY: the caller's promise; `munlock` changes no contents.
    unsafe {
        let mut failed = replace(lost.from, lost.end);
        while failed == libc::ENOMEM && give_up_spare() {
            failed = replace(lost.from, lost.end);
        }
        if failed == libc::EAGAIN {
            // The limit of locked memory: after `mlockall(MCL_FUTURE)` the new pages are locked, and count
            // beside those that they replace.
            call(libc::SYS_munlock, [lost.base, lost.end - lost.base, 0, 0, 0, 0]);
            failed = replace(lost.from, lost.end);
            if failed != 0 {
                failed = replace(lost.fault, lost.fault + lost.page);
            }
        }
        failed == 0
    }
}

/// Maps zeros over `from..end`. Returns 0, or the code of the error.
///
/// # Safety
/// As for [`map_zeros`].
#[inline(never)]
unsafe fn replace(from: usize, end: usize) -> c_int {
    const FLAGS: c_int =
        libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let arguments = [from, end - from, libc::PROT_READ as usize, FLAGS as usize, usize::MAX, 0];
    // SAFETY: the caller's promise.
    unsafe { call(MAP, arguments) }
}

#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
const MAP: c_long = libc::SYS_mmap;
// Counts its last argument in pages. Without guarded instructions, no handler is installed there.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
const MAP: c_long = libc::SYS_mmap2;

/// Makes a system call and preserves `errno`. Returns 0, or the code of the error.
///
/// # Safety
/// As for the call.
#[inline(never)]
unsafe fn call(number: c_long, arguments: [usize; 6]) -> c_int {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller's promise; `errno` belongs to this thread.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let result = libc::syscall(number, a, b, c, d, e, f);
        let failed = if result == -1 { *errno } else { 0 };
        *errno = before;
        failed
    }
}
