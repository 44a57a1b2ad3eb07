//! Address space on Linux.
//!
//! A reservation is mapped past the end of its file at once. Pages past the end cost nothing, and become
//! accessible when this or another process grows the file.

// Every function here hands addresses to the kernel.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::{Access as AccessFlags, AtFlags};
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MsyncFlags};

use super::file_system::is_on_hugetlbfs;
use super::process;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, map as posix, owner};
use crate::sys::{Access, Advice, HugePages, MapRequest, PageState, Span, file_was_closed};

pub(crate) use posix::{granularity, page_size, protect, unlock};

/// Maps the whole reservation at addresses that the kernel chooses (`mmap`).
#[inline]
pub(crate) fn map(request: &MapRequest<'_>) -> Result<Span> {
    let unit = match request.huge {
        HugePages::Reserved if request.file.is_some_and(|f| !is_on_hugetlbfs(f)) => {
            return Err(Error::new(ErrorKind::Unsupported, "map").with_detail(
                "reserved huge pages back anonymous memory and files on hugetlbfs only",
            ));
        }
        HugePages::Reserved => process::huge_page_size().unwrap_or_else(page_size),
        _ => page_size(),
    };
    let whole = |len: usize| {
        // `unit` is a power of two, so no division is needed: it would show in the time to map a small file.
        len.checked_add(unit - 1)
            .map(|sum| sum & !(unit - 1))
            .filter(|&len| isize::try_from(len).is_ok())
            .ok_or_else(|| posix::map_error(request, Errno::NOMEM))
    };
    let reserved = whole(request.reserve)?;
    let mapped = whole(request.len)?;

    let mut flags = match request.access {
        Access::Read | Access::Write => MapFlags::SHARED,
        Access::CopyOnWrite => MapFlags::PRIVATE,
    };
    // The owner of private anonymous memory has plain references into it, so a missing huge page would be
    // a fatal fault: the pages are reserved now. Guarded memory reports the fault as an error.
    let must_not_fault = request.huge == HugePages::Reserved
        && request.file.is_none()
        && request.access == Access::CopyOnWrite;
    if reserved > mapped && !must_not_fault {
        // The rest of a reservation may never be used, so it must not count against the memory limit.
        flags |= MapFlags::NORESERVE;
    }
    if request.huge == HugePages::Reserved && request.file.is_none() {
        flags |= MapFlags::HUGETLB;
    }
    let protection = posix::protection_of(request.access, request.executable);
    // SAFETY: without MAP_FIXED, the kernel chooses unused addresses.
    let base = unsafe {
        match request.file {
            Some(file) => {
                mm::mmap(ptr::null_mut(), reserved, protection, flags, file, request.offset)
            }
            None => mm::mmap_anonymous(ptr::null_mut(), reserved, protection, flags),
        }
    }
    .map_err(|errno| map_error(request, errno))?;
    if request.huge == HugePages::Transparent {
        // A kernel without huge pages is no failure.
        // SAFETY: the pages are new, and belong to this call.
        let _ = unsafe { mm::madvise(base, reserved, mm::Advice::LinuxHugepage) };
    }
    Ok(Span { base: base.cast(), reserved })
}

/// Returns the error of a failed `mmap`, with the remedies for huge pages.
#[cold]
fn map_error(request: &MapRequest<'_>, errno: Errno) -> Error {
    let error = posix::map_error(request, errno);
    if error.kind() == ErrorKind::TooManyMappings {
        return error;
    }
    match errno {
        Errno::NOMEM
            if request.huge == HugePages::Reserved || request.file.is_some_and(is_on_hugetlbfs) =>
        {
            error.with_detail("too few huge pages are reserved; raise vm.nr_hugepages")
        }
        Errno::INVAL if request.file.is_some_and(is_on_hugetlbfs) => error
            .with_kind(ErrorKind::Alignment)
            .with_detail("offsets of files on hugetlbfs must be multiples of the huge page size"),
        _ => error,
    }
}

/// Unmaps the whole reservation (`munmap`).
///
/// # Safety
///
/// The caller owns the span, and no reference into it exists (`sys/contract.rs`).
#[inline]
pub(crate) unsafe fn unmap(span: &Span) -> Result<()> {
    // SAFETY: the caller owns the span.
    let Err(error) = (unsafe { posix::unmap(span) }) else {
        return Ok(());
    };
    // The kernel rounds the length of a mapping of huge pages up, and unmaps whole huge pages only. Page
    // sizes are tried in ascending order: the kernel refuses too small a size, so a length that it
    // accepts never reaches past the mapping.
    const HUGE: [usize; 6] = [64 << 10, 1 << 20, 2 << 20, 32 << 20, 512 << 20, 1 << 30];
    let invalid = error.os_code() == Some(libc::EINVAL);
    for unit in HUGE.into_iter().filter(|_| invalid) {
        let Some(reserved) = span.reserved.checked_next_multiple_of(unit) else {
            continue;
        };
        // SAFETY: the caller owns the span, and the kernel unmaps whole huge pages of it or nothing.
        if unsafe { posix::unmap(&Span { base: span.base, reserved }) }.is_ok() {
            return Ok(());
        }
    }
    Err(error)
}

/// Does nothing: the whole reservation is mapped from the beginning.
///
/// # Safety
///
/// The caller owns the span (`sys/contract.rs`).
pub(crate) unsafe fn extend(_: &Span, _: &MapRequest<'_>, _: usize, _: usize) -> Result<()> {
    Ok(())
}

/// Writes the changed pages to the file's storage, and returns once they are durable (`msync`).
///
/// # Safety
///
/// The caller owns the range (`sys/contract.rs`).
pub(crate) unsafe fn flush(base: *mut u8, len: usize, _: Option<&File>) -> Result<()> {
    // SAFETY: the caller owns the range; `msync` changes nothing in it.
    unsafe { mm::msync(base.cast(), len, MsyncFlags::SYNC) }
        .map_err(|errno| errno::error("flush", errno).with_length(len as u64))
}

/// Starts to write the changed pages, without waiting.
///
/// Uses `sync_file_range`, because `MS_ASYNC` does nothing on Linux.
///
/// # Safety
///
/// The caller owns the range (`sys/contract.rs`).
pub(crate) unsafe fn flush_async(_: *mut u8, len: usize, file: Option<(&File, u64)>) -> Result<()> {
    let Some((file, offset)) = file else {
        return Err(file_was_closed("start flushing"));
    };
    // SAFETY: the call takes numbers only.
    let result = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as libc::off64_t,
            len as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
    match checked(result.into()) {
        // A file without storage, such as shared memory, has nothing to write.
        Ok(_) | Err(Errno::SPIPE | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno::error("start flushing", errno).with_length(len as u64)),
    }
}

/// Advises the kernel on the use of the range (`madvise`).
///
/// # Safety
///
/// The caller owns the range, and no reference into it exists (`sys/contract.rs`).
pub(crate) unsafe fn advise(base: *mut u8, len: usize, advice: Advice) -> Result<()> {
    use mm::Advice as Linux;
    let native = match advice {
        Advice::Normal => Linux::Normal,
        _ if !follows_advice() => {
            return Err(ignored_advice("advise the kernel about", &advice));
        }
        Advice::Random => Linux::Random,
        Advice::Sequential => Linux::Sequential,
        Advice::WillNeed => Linux::WillNeed,
        Advice::Cold => Linux::LinuxCold,
        Advice::PageOut => Linux::LinuxPageOut,
        Advice::HugePage => Linux::LinuxHugepage,
        Advice::NoHugePage => Linux::LinuxNoHugepage,
        Advice::Mergeable => Linux::LinuxMergeable,
        Advice::Unmergeable => Linux::LinuxUnmergeable,
        Advice::DontFork => Linux::LinuxDontFork,
        Advice::DoFork => Linux::LinuxDoFork,
        Advice::DontDump => Linux::LinuxDontDump,
        Advice::DoDump => Linux::LinuxDoDump,
        Advice::Collapse => {
            // SAFETY: the caller owns the range; collapsing keeps its contents.
            let result = unsafe { libc::madvise(base.cast(), len, libc::MADV_COLLAPSE) };
            return match checked(result.into()) {
                Ok(_) => Ok(()),
                Err(errno) => Err(advice_error(advice, errno)),
            };
        }
    };
    // SAFETY: the caller owns the range, and none of these loses its contents.
    unsafe { mm::madvise(base.cast(), len, native) }.map_err(|errno| advice_error(advice, errno))
}

/// Returns the error of a failed `madvise`, with the name of the advice.
#[cold]
fn advice_error(advice: Advice, errno: Errno) -> Error {
    let error = errno::memory_error("advise the kernel about", errno);
    if error.kind() == ErrorKind::TooManyMappings {
        return error;
    }
    match errno {
        Errno::INVAL => error.with_kind(ErrorKind::Unsupported).with_detail(format!(
            "this kernel, or this kind of memory, does not support {advice:?}"
        )),
        Errno::NOMEM | Errno::AGAIN => error
            .with_detail(format!("the kernel had no memory for {advice:?}, or a page is unmapped")),
        _ => error.with_detail(format!("{advice:?}")),
    }
}

/// Discards the contents of the range: anonymous memory reads as zeros then, copy-on-write memory as the
/// file.
///
/// # Safety
///
/// The caller owns the range, and no reference into it exists (`sys/contract.rs`).
pub(crate) unsafe fn discard(base: *mut u8, len: usize) -> Result<()> {
    if !follows_advice() {
        return Err(ignored_advice("discard", &mm::Advice::LinuxDontNeed));
    }
    // Shared anonymous memory keeps its contents unless `MADV_REMOVE` frees them. The kernel refuses that
    // for private memory and private mappings of files, which `MADV_DONTNEED` resets.
    // SAFETY: the caller owns the range, which is not shared with a file, and discards its contents.
    let removed = unsafe { mm::madvise(base.cast(), len, mm::Advice::LinuxRemove) };
    match removed {
        Ok(()) => Ok(()),
        // SAFETY: the caller owns the range.
        Err(_) => unsafe { mm::madvise(base.cast(), len, mm::Advice::LinuxDontNeed) }
            .map_err(|errno| errno::memory_error("discard", errno).with_length(len as u64)),
    }
}

/// Returns `true` if the kernel follows advice. An emulator (qemu) accepts even advice that does not exist,
/// and follows little of it.
fn follows_advice() -> bool {
    static FOLLOWS: OnceLock<bool> = OnceLock::new();
    // SAFETY: the range is empty. The kernel checks the advice before the range.
    *FOLLOWS.get_or_init(|| unsafe { libc::madvise(ptr::null_mut(), 0, libc::c_int::MAX) } != 0)
}

fn ignored_advice(operation: &'static str, what: &dyn std::fmt::Debug) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_detail(format!("this kernel accepts {what:?}, but ignores it"))
}

/// Locks the range in memory (`mlock`). A failure unlocks the whole range.
///
/// # Safety
///
/// The caller owns the range (`sys/contract.rs`).
pub(crate) unsafe fn lock(base: *mut u8, len: usize) -> Result<()> {
    // SAFETY: the caller owns the range; locking changes no contents.
    unsafe { mm::mlock(base.cast(), len) }.map_err(|errno| {
        let error = errno::memory_error("lock", errno).with_length(len as u64);
        let already = process::locked_bytes().unwrap_or(0);
        let limit = process::limits().locked_bytes.unwrap_or(u64::MAX);
        // The kernel has marked the range as locked, even if it could not lock all pages.
        // SAFETY: the caller owns the range; unlocking changes no contents.
        let _ = unsafe { unlock(base, len) };
        match errno {
            _ if error.kind() == ErrorKind::TooManyMappings => error,
            Errno::PERM | Errno::AGAIN => posix::lock_limit(error, Some(already)),
            Errno::NOMEM if already.saturating_add(len as u64) > limit && !is_root() => {
                posix::lock_limit(error, Some(already))
            }
            Errno::NOMEM => error
                .with_kind(ErrorKind::Fault)
                .with_detail("a page of the range lies beyond the end of the file"),
            _ => error,
        }
    })
}

fn is_root() -> bool {
    owner::is_root()
}

/// Faults the pages in, without changing their contents (`MADV_POPULATE_READ` or `MADV_POPULATE_WRITE`,
/// Linux 5.14).
///
/// # Safety
///
/// The caller owns the range (`sys/contract.rs`).
pub(crate) unsafe fn populate(base: *mut u8, len: usize, access: Access) -> Result<()> {
    if !follows_advice() {
        return Err(ignored_advice("populate", &mm::Advice::LinuxPopulateRead));
    }
    let advice = match access {
        Access::Read => mm::Advice::LinuxPopulateRead,
        // A read fault maps the file's own page. A write fault would copy it, and populating must not copy
        // the whole range.
        Access::CopyOnWrite => mm::Advice::LinuxPopulateRead,
        Access::Write => mm::Advice::LinuxPopulateWrite,
    };
    // SAFETY: the caller owns the range; populating changes no contents.
    let result = rustix::io::retry_on_intr(|| unsafe { mm::madvise(base.cast(), len, advice) });
    result.map_err(|errno| {
        let error = errno::memory_error("populate", errno).with_length(len as u64);
        match errno {
            Errno::INVAL => error
                .with_kind(ErrorKind::Unsupported)
                .with_detail("MADV_POPULATE needs Linux 5.14"),
            Errno::NOMEM if error.kind() == ErrorKind::OutOfAddressSpace => {
                error.with_detail("not enough memory, or a page is protected")
            }
            Errno::FAULT | Errno::HWPOISON => error
                .with_kind(ErrorKind::Fault)
                .with_detail("a page lies beyond the end of the file, or its device failed"),
            _ => error,
        }
    })
}

/// Returns the state of each page, in order (`mincore`).
///
/// # Safety
///
/// The caller owns the range (`sys/contract.rs`).
pub(crate) unsafe fn residency(
    base: *mut u8,
    len: usize,
    file: Option<&File>,
) -> Result<Vec<PageState>> {
    let pages = len.div_ceil(page_size());
    if file.is_some_and(|file| !kernel_tells(file)) {
        return Ok(vec![PageState::Unknown; pages]);
    }
    let mut bytes = vec![0u8; pages];
    // SAFETY: the caller owns the range, and `bytes` has a byte for each of its pages.
    let result = unsafe { libc::mincore(base.cast(), len, bytes.as_mut_ptr()) };
    checked(result.into()).map_err(|errno| errno::error("query the residency of", errno))?;
    let state = |byte: u8| {
        if byte & 1 == 1 { PageState::Resident } else { PageState::Absent }
    };
    Ok(bytes.into_iter().map(state).collect())
}

/// Returns `true` if `mincore` reports the pages of this file truly. To a process that neither owns the file
/// nor may write to it, `mincore` reports every page as resident.
fn kernel_tells(file: &File) -> bool {
    let user = rustix::fs::fstat(file).map(|stat| stat.st_uid);
    user.is_ok_and(|user| user == owner::effective_user())
        || rustix::fs::accessat(
            file,
            "",
            AccessFlags::WRITE_OK,
            AtFlags::EMPTY_PATH | AtFlags::EACCESS,
        )
        .is_ok()
}

/// Converts the result of a `libc` call that returns -1 and stores the cause in `errno` if it fails.
pub(super) fn checked(result: libc::c_long) -> std::result::Result<libc::c_long, Errno> {
    if result != -1 {
        return Ok(result);
    }
    Err(errno::last())
}
