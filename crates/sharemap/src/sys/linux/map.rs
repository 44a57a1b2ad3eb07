//! Address space on Linux.
//!
//! A reservation is mapped past the end of its file at once: pages beyond the end cost nothing and
//! come to life when the file grows, whoever makes it grow.

// Every function here hands addresses to the kernel.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::{Access as AccessFlags, AtFlags};
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MsyncFlags};

use super::process;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, map as posix};
use crate::sys::{Access, Advice, HugePages, MapRequest, PageState, Span, file_was_closed};

pub(crate) use posix::{granularity, page_size, protect, unlock};

pub(crate) fn map(request: &MapRequest<'_>) -> Result<Span> {
    let unit = match request.huge {
        HugePages::Reserved if request.file.is_some_and(|f| !super::file::is_on_hugetlbfs(f)) => {
            return Err(Error::new(ErrorKind::Unsupported, "map").with_detail(
                "reserved huge pages back anonymous memory and files on hugetlbfs only",
            ));
        }
        HugePages::Reserved => process::huge_page_size().unwrap_or_else(page_size),
        _ => page_size(),
    };
    let whole = |len: usize| {
        // A power of two; divisions would show in the time that it takes to map a small file.
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
    // The owner has plain references into this memory, where a missing huge page would be a fatal
    // fault. Guarded memory reports the fault as an error.
    let must_not_fault = request.huge == HugePages::Reserved
        && request.file.is_none()
        && request.access == Access::CopyOnWrite;
    if reserved > mapped && !must_not_fault {
        // What may never be used is not to be counted against the memory there is.
        flags |= MapFlags::NORESERVE;
    }
    if request.huge == HugePages::Reserved && request.file.is_none() {
        flags |= MapFlags::HUGETLB;
    }
    let protection = posix::protection_of(request.access, request.executable);
    // SAFETY: without MAP_FIXED the kernel chooses addresses that nobody uses.
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
        // SAFETY: our own pages, new. That a kernel has no huge ones is no failure.
        let _ = unsafe { mm::madvise(base, reserved, mm::Advice::LinuxHugepage) };
    }
    Ok(Span { base: base.cast(), reserved })
}

#[cold]
fn map_error(request: &MapRequest<'_>, errno: Errno) -> Error {
    let error = posix::map_error(request, errno);
    if error.kind() == ErrorKind::TooManyMappings {
        return error;
    }
    match errno {
        Errno::NOMEM
            if request.huge == HugePages::Reserved
                || request.file.is_some_and(super::file::is_on_hugetlbfs) =>
        {
            error.with_detail("not enough huge pages are set aside (vm.nr_hugepages)")
        }
        Errno::INVAL if request.file.is_some_and(super::file::is_on_hugetlbfs) => error
            .with_kind(ErrorKind::Alignment)
            .with_detail("offsets of files on hugetlbfs are multiples of the huge page"),
        _ => error,
    }
}

/// # Safety
///
/// The contract of a backend: the caller owns the span and nothing refers into it.
pub(crate) unsafe fn unmap(span: &Span) -> Result<()> {
    // SAFETY: as promised by the caller.
    let Err(error) = (unsafe { posix::unmap(span) }) else {
        return Ok(());
    };
    // A mapping of huge pages is longer than what was asked for, and goes as a whole. A size that
    // is too small is refused, so that trying them upwards never takes more than the mapping.
    const HUGE: [usize; 6] = [64 << 10, 1 << 20, 2 << 20, 32 << 20, 512 << 20, 1 << 30];
    let invalid = error.os_code() == Some(libc::EINVAL);
    for unit in HUGE.into_iter().filter(|_| invalid) {
        let Some(reserved) = span.reserved.checked_next_multiple_of(unit) else {
            continue;
        };
        // SAFETY: as above; the kernel takes whole huge pages of this mapping or nothing.
        if unsafe { posix::unmap(&Span { base: span.base, reserved }) }.is_ok() {
            return Ok(());
        }
    }
    Err(error)
}

/// Nothing to do: the whole reservation is mapped from the beginning.
///
/// # Safety
///
/// The contract of a backend: the caller owns the span.
pub(crate) unsafe fn extend(_: &Span, _: &MapRequest<'_>, _: usize, _: usize) -> Result<()> {
    Ok(())
}

/// # Safety
///
/// The contract of a backend: the caller owns the range.
pub(crate) unsafe fn flush(base: *mut u8, len: usize, _: Option<&File>) -> Result<()> {
    // SAFETY: the caller owns the range; `msync` changes nothing in it.
    unsafe { mm::msync(base.cast(), len, MsyncFlags::SYNC) }
        .map_err(|errno| errno::error("flush", errno).with_length(len as u64))
}

/// `MS_ASYNC` does nothing here; `sync_file_range` is what starts writing.
///
/// # Safety
///
/// The contract of a backend: the caller owns the range.
pub(crate) unsafe fn flush_async(_: *mut u8, len: usize, file: Option<(&File, u64)>) -> Result<()> {
    let Some((file, offset)) = file else {
        return Err(file_was_closed("start to flush"));
    };
    // SAFETY: takes numbers only.
    let result = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as libc::off64_t,
            len as libc::off64_t,
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
    match checked(result.into()) {
        // Memory without a disk behind it has nothing to write.
        Ok(_) | Err(Errno::SPIPE | Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno::error("start to flush", errno).with_length(len as u64)),
    }
}

/// # Safety
///
/// The contract of a backend: the caller owns the range and nothing refers into it.
pub(crate) unsafe fn advise(base: *mut u8, len: usize, advice: Advice) -> Result<()> {
    use mm::Advice as Linux;
    let native = match advice {
        Advice::Normal => Linux::Normal,
        _ if !follows_advice() => {
            return Err(ignored_advice("advise on the use of", &advice));
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

#[cold]
fn advice_error(advice: Advice, errno: Errno) -> Error {
    let error = errno::memory_error("advise on the use of", errno);
    if error.kind() == ErrorKind::TooManyMappings {
        return error;
    }
    match errno {
        Errno::INVAL => error
            .with_kind(ErrorKind::Unsupported)
            .with_detail(format!("this kernel or this kind of memory has no {advice:?}")),
        Errno::NOMEM | Errno::AGAIN => {
            error.with_detail(format!("{advice:?} found no memory, or no mapping"))
        }
        _ => error.with_detail(format!("{advice:?}")),
    }
}

/// # Safety
///
/// The contract of a backend: the caller owns the range and nothing refers into it.
pub(crate) unsafe fn discard(base: *mut u8, len: usize) -> Result<()> {
    if !follows_advice() {
        return Err(ignored_advice("discard", &mm::Advice::LinuxDontNeed));
    }
    // Shared anonymous memory keeps its contents unless they are removed; private memory, and a
    // private mapping of a file, cannot be "removed" (the kernel refuses) but forgets.
    // SAFETY: the caller owns the range and wants its contents gone; it is no shared file.
    let removed = unsafe { mm::madvise(base.cast(), len, mm::Advice::LinuxRemove) };
    match removed {
        Ok(()) => Ok(()),
        // SAFETY: as above.
        Err(_) => unsafe { mm::madvise(base.cast(), len, mm::Advice::LinuxDontNeed) }
            .map_err(|errno| errno::memory_error("discard", errno).with_length(len as u64)),
    }
}

/// An emulator (qemu) says yes to advice that does not exist, and does nothing about most.
fn follows_advice() -> bool {
    static FOLLOWS: OnceLock<bool> = OnceLock::new();
    // SAFETY: no page is concerned; the kernel looks at the advice first.
    *FOLLOWS.get_or_init(|| unsafe { libc::madvise(ptr::null_mut(), 0, libc::c_int::MAX) } != 0)
}

fn ignored_advice(operation: &'static str, what: &dyn std::fmt::Debug) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_detail(format!("this kernel accepts {what:?} without following it"))
}

/// # Safety
///
/// The contract of a backend: the caller owns the range.
pub(crate) unsafe fn lock(base: *mut u8, len: usize) -> Result<()> {
    // SAFETY: the caller owns the range; locking changes no contents.
    unsafe { mm::mlock(base.cast(), len) }.map_err(|errno| {
        let error = errno::memory_error("lock", errno).with_length(len as u64);
        let already = process::locked_bytes().unwrap_or(0);
        let limit = process::limits().locked_bytes.unwrap_or(u64::MAX);
        // The range is marked as locked even if its pages could not all be had.
        // SAFETY: as above.
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
    rustix::process::geteuid().is_root()
}

/// `MADV_POPULATE_READ`, `MADV_POPULATE_WRITE` (Linux 5.14).
///
/// # Safety
///
/// The contract of a backend: the caller owns the range.
pub(crate) unsafe fn populate(base: *mut u8, len: usize, access: Access) -> Result<()> {
    if !follows_advice() {
        return Err(ignored_advice("populate", &mm::Advice::LinuxPopulateRead));
    }
    let advice = match access {
        Access::Read => mm::Advice::LinuxPopulateRead,
        // Reading a private page maps the file's own; only a write makes it ours, and a copy of
        // everything is not what populating is for.
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
                .with_detail("MADV_POPULATE came with Linux 5.14"),
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

/// # Safety
///
/// The contract of a backend: the caller owns the range.
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
    // SAFETY: the caller owns the range, and there is a byte for each of its pages.
    let result = unsafe { libc::mincore(base.cast(), len, bytes.as_mut_ptr()) };
    checked(result.into()).map_err(|errno| errno::error("ask the residency of", errno))?;
    let state = |byte: u8| {
        if byte & 1 == 1 { PageState::Resident } else { PageState::Absent }
    };
    Ok(bytes.into_iter().map(state).collect())
}

/// To whoever neither owns the file nor may write to it, `mincore` calls every page resident.
fn kernel_tells(file: &File) -> bool {
    let owner = rustix::fs::fstat(file).map(|stat| stat.st_uid);
    owner.is_ok_and(|owner| owner == rustix::process::geteuid().as_raw())
        || rustix::fs::accessat(
            file,
            "",
            AccessFlags::WRITE_OK,
            AtFlags::EMPTY_PATH | AtFlags::EACCESS,
        )
        .is_ok()
}

/// The result of a `libc` call that says -1 and leaves its reason in `errno`.
pub(super) fn checked(result: libc::c_long) -> std::result::Result<libc::c_long, Errno> {
    if result != -1 {
        return Ok(result);
    }
    Err(errno::last())
}
