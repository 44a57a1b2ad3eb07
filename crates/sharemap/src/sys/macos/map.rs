//! Maps and unmaps address space on macOS.
//!
//! A reservation for a file is inaccessible memory. Each growth maps the next part of the file over a part of
//! the reservation. Anonymous memory is mapped in its full length at once, because untouched pages cost
//! nothing.

#![allow(unsafe_code, reason = "hands addresses to the kernel")]

use std::fs::File;
use std::ptr;

use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, map as posix};
use crate::sys::{Access, Advice, HugePages, MapRequest, PageState, Span, file_was_closed};

pub(crate) use posix::{granularity, page_size, protect, unlock, unmap};

/// Reserves `request.reserve` bytes of address space, and maps at least the first `request.len` of them.
pub(crate) fn map(request: &MapRequest<'_>) -> Result<Span> {
    if request.huge == HugePages::Reserved {
        return Err(Error::new(ErrorKind::Unsupported, "map")
            .with_length(request.len as u64)
            .with_detail("macOS has no reserved huge pages"));
    }
    let whole = |len: usize| {
        len.checked_next_multiple_of(page_size())
            .filter(|&len| isize::try_from(len).is_ok())
            .ok_or_else(|| posix::map_error(request, Errno::NOMEM))
    };
    let reserved = whole(request.reserve)?;
    let mapped = whole(request.len)?;
    let failed = |errno| posix::map_error(request, errno);
    let protection = posix::protection_of(request.access, request.executable);
    // SAFETY: without MAP_FIXED, the kernel chooses unused addresses.
    let base = unsafe {
        match request.file {
            None => mm::mmap_anonymous(ptr::null_mut(), reserved, protection, sharing(request)),
            Some(file) if reserved == mapped => {
                let flags = sharing(request);
                mm::mmap(ptr::null_mut(), reserved, protection, flags, file, request.offset)
            }
            Some(_) => {
                mm::mmap_anonymous(ptr::null_mut(), reserved, ProtFlags::empty(), MapFlags::PRIVATE)
            }
        }
    }
    .map_err(failed)?;
    let span = Span { base: base.cast(), reserved };
    if request.file.is_some() && reserved > mapped {
        // SAFETY: the reservation was made above, and nothing else uses it.
        if let Err(errno) = unsafe { map_over(&span, request, 0, mapped) } {
            // SAFETY: as above.
            let _ = unsafe { unmap(&span) };
            return Err(failed(errno));
        }
    }
    Ok(span)
}

/// Returns the flag for shared or private mappings.
fn sharing(request: &MapRequest<'_>) -> MapFlags {
    match request.access {
        Access::Read | Access::Write => MapFlags::SHARED,
        Access::CopyOnWrite => MapFlags::PRIVATE,
    }
}

/// Maps the file over `from..to` of a reservation. Does nothing for anonymous memory, which is mapped already.
///
/// # Safety
/// The caller must own the span, and that part of it must still be inaccessible.
unsafe fn map_over(
    span: &Span,
    request: &MapRequest<'_>,
    from: usize,
    to: usize,
) -> std::result::Result<(), Errno> {
    let Some(file) = request.file else {
        return Ok(());
    };
    let at = span.base.wrapping_add(from).cast();
    let offset = request.offset + from as u64;
    let protection = posix::protection_of(request.access, request.executable);
    let flags = sharing(request) | MapFlags::FIXED;
    // SAFETY: the call replaces only inaccessible pages of the caller.
    unsafe { mm::mmap(at, to - from, protection, flags, file, offset) }.map(|_| ())
}

/// Grows a mapping in place, from `mapped` to `wanted` bytes.
///
/// # Safety
/// As for every port: the caller must own the span. The file must reach at least `wanted` bytes beyond the
/// request's offset.
pub(crate) unsafe fn extend(
    span: &Span,
    request: &MapRequest<'_>,
    mapped: usize,
    wanted: usize,
) -> Result<()> {
    let from = mapped.next_multiple_of(page_size());
    let to = wanted.next_multiple_of(page_size()).min(span.reserved);
    if from >= to {
        return Ok(());
    }
    // SAFETY: that part of the span is still inaccessible.
    unsafe { map_over(span, request, from, to) }.map_err(|errno| posix::map_error(request, errno))
}

/// Makes the range durable: by `msync`, which leaves the data in the drive's cache, and then `F_FULLFSYNC`.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn flush(base: *mut u8, len: usize, file: Option<&File>) -> Result<()> {
    let Some(file) = file else {
        return Err(file_was_closed("flush"));
    };
    // SAFETY: the caller owns the range; `msync` changes nothing in it.
    unsafe { mm::msync(base.cast(), len, MsyncFlags::SYNC) }
        .map_err(|errno| errno::error("flush", errno).with_length(len as u64))?;
    super::file::sync_data(file)
}

/// Starts to write the changed pages of the range (`msync`), without waiting.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn flush_async(base: *mut u8, len: usize, _: Option<(&File, u64)>) -> Result<()> {
    // SAFETY: the caller owns the range; `msync` changes nothing in it.
    unsafe { mm::msync(base.cast(), len, MsyncFlags::ASYNC) }
        .map_err(|errno| errno::error("start flushing", errno).with_length(len as u64))
}

/// Advises the system of the use of a range (`madvise`).
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn advise(base: *mut u8, len: usize, advice: Advice) -> Result<()> {
    let native = match advice {
        Advice::Normal => mm::Advice::Normal,
        Advice::Random => mm::Advice::Random,
        Advice::Sequential => mm::Advice::Sequential,
        Advice::WillNeed => mm::Advice::WillNeed,
        _ => {
            return Err(Error::new(ErrorKind::Unsupported, "advise the kernel about")
                .with_detail(format!("macOS has no counterpart of {advice:?}")));
        }
    };
    // SAFETY: the caller owns the range, and none of these kinds of advice changes its contents.
    unsafe { mm::madvise(base.cast(), len, native) }.map_err(|errno| {
        errno::memory_error("advise the kernel about", errno).with_detail(format!("{advice:?}"))
    })
}

/// Fails with `Unsupported`.
///
/// # Safety
/// None: the call does nothing.
pub(crate) unsafe fn discard(_: *mut u8, len: usize) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "discard")
        .with_length(len as u64)
        .with_detail("macOS may keep discarded pages, which then still have the old bytes"))
}

/// Keeps the pages of a range in memory until `unlock` or `unmap` (`mlock`).
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn lock(base: *mut u8, len: usize) -> Result<()> {
    // SAFETY: the caller owns the range; locking changes no contents.
    unsafe { mm::mlock(base.cast(), len) }.map_err(|errno| {
        let error = errno::memory_error("lock", errno).with_length(len as u64);
        match errno {
            Errno::PERM | Errno::AGAIN | Errno::NOMEM => posix::lock_limit(error, None),
            _ => error,
        }
    })
}

/// Fails with `Unsupported`.
///
/// # Safety
/// None: the call does nothing.
pub(crate) unsafe fn populate(_: *mut u8, len: usize, _: Access) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "populate")
        .with_length(len as u64)
        .with_detail("macOS maps pages only when they are accessed"))
}

/// Returns the state of each page of a range, in order (`mincore`).
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn residency(
    base: *mut u8,
    len: usize,
    _: Option<&File>,
) -> Result<Vec<PageState>> {
    const IN_CORE: u8 = 1;
    let mut bytes = vec![0u8; len.div_ceil(page_size())];
    // SAFETY: the caller owns the range, and there is a byte for each of its pages.
    let result = unsafe { libc::mincore(base.cast(), len, bytes.as_mut_ptr().cast()) };
    if result != 0 {
        return Err(errno::error("query the residency of", errno::last()));
    }
    let state = |byte: u8| {
        if byte & IN_CORE != 0 { PageState::Resident } else { PageState::Absent }
    };
    Ok(bytes.into_iter().map(state).collect())
}
