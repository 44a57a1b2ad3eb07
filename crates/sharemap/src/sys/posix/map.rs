//! Address space: the calls that Linux and macOS have in common (`mmap` and its relatives).

// Every function here hands addresses to the kernel.
#![allow(unsafe_code)]

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mm::{self, MprotectFlags, ProtFlags};

use super::{errno, process};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Access, MapRequest, Protection, Span};

/// Returns the size of a page.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// Returns the unit of the file offsets of mappings.
pub(crate) fn granularity() -> usize {
    page_size()
}

/// Returns the protection of pages for an access, with execution if `executable`.
pub(crate) fn protection_of(access: Access, executable: bool) -> ProtFlags {
    let data = match access {
        Access::Read => ProtFlags::READ,
        Access::Write | Access::CopyOnWrite => ProtFlags::READ | ProtFlags::WRITE,
    };
    if executable { data | ProtFlags::EXEC } else { data }
}

/// Unmaps the whole reservation (`munmap`).
///
/// # Safety
///
/// The caller owns the span, and no reference into it exists (`sys/contract.rs`).
pub(crate) unsafe fn unmap(span: &Span) -> Result<()> {
    // SAFETY: the caller owns the span, in whole pages.
    unsafe { mm::munmap(span.base.cast(), span.reserved) }
        .map_err(|errno| errno::memory_error("unmap", errno).with_length(span.reserved as u64))
}

/// Changes the protection of the range (`mprotect`).
///
/// # Safety
///
/// The caller owns the range, and no reference into it exists (`sys/contract.rs`).
pub(crate) unsafe fn protect(base: *mut u8, len: usize, protection: Protection) -> Result<()> {
    let flags = match protection {
        Protection::None => MprotectFlags::empty(),
        Protection::Read => MprotectFlags::READ,
        Protection::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
        Protection::ReadExecute => MprotectFlags::READ | MprotectFlags::EXEC,
    };
    // SAFETY: the caller owns the range.
    unsafe { mm::mprotect(base.cast(), len, flags) }.map_err(|errno| {
        let error = errno::memory_error("change the protection of", errno);
        match errno {
            Errno::ACCESS if protection == Protection::ReadWrite => {
                error.with_kind(ErrorKind::NotWritable).with_detail(
                    "a shared mapping becomes writable only if its file was opened for writing",
                )
            }
            _ => error,
        }
    })
}

/// Unlocks the range, so that its pages may be swapped out (`munlock`).
///
/// # Safety
///
/// The caller owns the range (`sys/contract.rs`).
pub(crate) unsafe fn unlock(base: *mut u8, len: usize) -> Result<()> {
    // SAFETY: the caller owns the range; unlocking moves and removes nothing.
    unsafe { mm::munlock(base.cast(), len) }.map_err(|errno| errno::memory_error("unlock", errno))
}

/// Adds the limit of locked memory to an error, and the bytes that are `already` locked.
#[cold]
pub(crate) fn lock_limit(error: Error, already: Option<u64>) -> Error {
    let limit = process::locked_bytes_limit().unwrap_or(0);
    let already = match already {
        Some(bytes) => format!(", {bytes} are locked already"),
        None => String::new(),
    };
    error.with_kind(ErrorKind::LockLimit).with_detail(format!(
        "this process may lock {limit} bytes (RLIMIT_MEMLOCK){already}; lock less, or raise the limit"
    ))
}

/// Returns the error of a failed `mmap`, with its cause and remedy.
#[cold]
pub(crate) fn map_error(request: &MapRequest<'_>, errno: Errno) -> Error {
    let error = errno::memory_error("map", errno)
        .with_offset(request.offset)
        .with_length(request.reserve as u64);
    if error.kind() == ErrorKind::TooManyMappings {
        return error;
    }
    match errno {
        Errno::NOMEM => out_of_address_space(error),
        Errno::ACCESS => access_error(request, error),
        Errno::PERM if request.executable => {
            error.with_detail("its file system is mounted without execution (noexec)")
        }
        Errno::PERM if request.access == Access::Write => {
            error.with_kind(ErrorKind::NotWritable).with_detail("it is sealed against writing")
        }
        Errno::AGAIN => lock_limit(error, None),
        Errno::NODEV => error.with_detail("this file or its file system cannot be mapped"),
        Errno::OVERFLOW => error.with_detail("offset plus length is more than the system can map"),
        _ => error,
    }
}

/// Returns the error for a descriptor or file that does not permit the mapping.
#[cold]
fn access_error(request: &MapRequest<'_>, error: Error) -> Error {
    let writes = request.access == Access::Write;
    let opened = request.file.and_then(|file| rustix::fs::fcntl_getfl(file).ok());
    match opened.map(|flags| flags & OFlags::RWMODE) {
        Some(mode) if mode == OFlags::WRONLY => {
            error.with_detail("the file was opened for writing only; open it for reading, too")
        }
        Some(mode) if writes && mode != OFlags::RDWR => {
            error.with_kind(ErrorKind::NotWritable).with_detail(
                "the file was not opened for reading and writing; open it for both, or map it \
                 read-only or copy-on-write",
            )
        }
        Some(_) if writes => error.with_kind(ErrorKind::NotWritable).with_detail(
            "the file allows no writable shared mapping, for instance because it is append-only; map it \
             read-only or copy-on-write",
        ),
        _ if request.access == Access::Read => error.with_kind(ErrorKind::Unsupported).with_detail(
            "the file allows no shared mapping; map it copy-on-write, or read it, for instance with \
             `FileContents` or `sharemap cat`",
        ),
        _ => error,
    }
}

/// Adds the limit of the address space, or a remedy if there is none.
#[cold]
fn out_of_address_space(error: Error) -> Error {
    match process::address_space_limit() {
        Some(limit) => error.with_detail(format!(
            "this process may use {limit} bytes of address space (RLIMIT_AS)"
        )),
        None => error.with_detail("map less at a time, for instance through a SlidingWindow"),
    }
}
