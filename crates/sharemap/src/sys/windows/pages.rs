//! Protects, flushes, locks and queries mapped pages; their size.
//!
//! Many system calls accept only a range within one view. The functions here call them once for each view.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::fs::File;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_LOCK_VIOLATION, ERROR_NOT_LOCKED};
use windows_sys::Win32::System::Memory::{
    FlushViewOfFile, MEM_COMMIT, MEM_DECOMMIT, MEM_MAPPED, PAGE_EXECUTE_READ,
    PAGE_EXECUTE_WRITECOPY, PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY,
    PrefetchVirtualMemory, VirtualAlloc, VirtualFree, VirtualLock, VirtualProtect, VirtualUnlock,
    WIN32_MEMORY_RANGE_ENTRY,
};
use windows_sys::Win32::System::ProcessStatus::{
    K32QueryWorkingSetEx, PSAPI_WORKING_SET_EX_INFORMATION,
};
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::section::{last_code, parts, regions};
use super::{code, process};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Access, Advice, PageState, Protection, file_was_closed};

/// Returns the page size and the allocation granularity.
fn sizes() -> (usize, usize) {
    static SIZES: OnceLock<(usize, usize)> = OnceLock::new();
    *SIZES.get_or_init(|| {
        let mut info = MaybeUninit::<SYSTEM_INFO>::zeroed();
        // SAFETY: the call fills in the structure, of which zeros are valid, too.
        let info = unsafe {
            GetSystemInfo(info.as_mut_ptr());
            info.assume_init()
        };
        (info.dwPageSize as usize, info.dwAllocationGranularity as usize)
    })
}

/// Returns the page size in bytes.
pub(crate) fn page_size() -> usize {
    sizes().0
}

/// Returns the unit of file offsets of mappings: 64 KiB.
pub(crate) fn granularity() -> usize {
    sizes().1
}

/// Changes the protection of a range of whole pages (`VirtualProtect`).
///
/// Fails with `NotWritable` or `PermissionDenied` for a protection that the view was not mapped for.
///
/// # Safety
/// As for every port: the caller must own the range, and no reference into it may exist.
pub(crate) unsafe fn protect(base: *mut u8, len: usize, wanted: Protection) -> Result<()> {
    for (start, bytes, region) in parts(base, len) {
        let copies = matches!(region.AllocationProtect, PAGE_WRITECOPY | PAGE_EXECUTE_WRITECOPY);
        let flags = match wanted {
            Protection::None => PAGE_NOACCESS,
            Protection::Read => PAGE_READONLY,
            Protection::ReadWrite if copies => PAGE_WRITECOPY,
            Protection::ReadWrite => PAGE_READWRITE,
            Protection::ReadExecute => PAGE_EXECUTE_READ,
        };
        let mut before = 0;
        // SAFETY: the caller owns the range.
        if unsafe { VirtualProtect(start.cast(), bytes, flags, &mut before) } == 0 {
            let refused = matches!(region.Type, MEM_MAPPED);
            let error = code::last("change the protection of");
            return Err(match wanted {
                Protection::ReadWrite if refused => error
                    .with_kind(ErrorKind::NotWritable)
                    .with_detail("the view was mapped read-only; map it writable"),
                Protection::ReadExecute if refused => error
                    .with_kind(ErrorKind::PermissionDenied)
                    .with_detail("the view was not mapped executable; map it executable"),
                _ => error,
            });
        }
    }
    Ok(())
}

/// Makes the range durable (`FlushViewOfFile`, then `FlushFileBuffers`).
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn flush(base: *mut u8, len: usize, file: Option<&File>) -> Result<()> {
    let Some(file) = file else {
        return Err(file_was_closed("flush"));
    };
    // SAFETY: as promised by the caller.
    unsafe { write_views(base, len)? };
    super::file::sync_data(file)
}

/// Writes the pages to the file system (`FlushViewOfFile`), and does not wait for the drive.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn flush_async(base: *mut u8, len: usize, _: Option<(&File, u64)>) -> Result<()> {
    // SAFETY: as promised by the caller.
    unsafe { write_views(base, len) }
}

/// Writes the changed pages of every view in the range.
///
/// # Safety
/// The caller must own the range.
unsafe fn write_views(base: *mut u8, len: usize) -> Result<()> {
    // The memory manager's own writer may hold the file's lock for a short time, so the call is repeated, for
    // at most about 0.2 s.
    const ATTEMPTS: u32 = 12;
    for (start, bytes, _) in parts(base, len) {
        let mut attempt = 0;
        // SAFETY: the caller owns the range; writing it changes no memory.
        while unsafe { FlushViewOfFile(start.cast(), bytes) } == 0 {
            if last_code() != ERROR_LOCK_VIOLATION || attempt == ATTEMPTS {
                return Err(code::last("flush").with_kind(ErrorKind::FlushFailed));
            }
            thread::sleep(Duration::from_micros(50 << attempt));
            attempt += 1;
        }
    }
    Ok(())
}

/// Advises the system of the use of a range. Windows supports only `WillNeed`.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn advise(base: *mut u8, len: usize, advice: Advice) -> Result<()> {
    match advice {
        // No other advice can be in force.
        Advice::Normal => Ok(()),
        Advice::WillNeed => prefetch(base, len),
        _ => Err(Error::new(ErrorKind::Unsupported, "advise").with_detail(format!(
            "Windows has no counterpart of {advice:?}; use WillNeed (PrefetchVirtualMemory)"
        ))),
    }
}

/// Reads the range into memory ahead of its use (`PrefetchVirtualMemory`).
fn prefetch(base: *mut u8, len: usize) -> Result<()> {
    let range = WIN32_MEMORY_RANGE_ENTRY { VirtualAddress: base.cast(), NumberOfBytes: len };
    // SAFETY: the call gets one range; reading ahead changes no contents.
    if unsafe { PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0) } != 0 {
        Ok(())
    } else {
        Err(code::last("read ahead"))
    }
}

/// Drops the contents of private anonymous memory, which then reads as zeros.
///
/// The call decommits the range and commits it again. The range is inaccessible between the two steps.
///
/// # Safety
/// As for every port: the caller must own the range, and no reference into it may exist.
pub(crate) unsafe fn discard(base: *mut u8, len: usize) -> Result<()> {
    let end = base as usize + len;
    let found: Vec<_> = regions(base as usize, end).collect();
    if found.iter().any(|region| region.Type == MEM_MAPPED) {
        return Err(Error::new(ErrorKind::Unsupported, "discard").with_detail(
            "Windows can discard only private anonymous memory; map the file again instead",
        ));
    }
    for region in found.iter().filter(|region| region.State == MEM_COMMIT) {
        let start = (region.BaseAddress as usize).max(base as usize);
        let bytes = (region.BaseAddress as usize + region.RegionSize).min(end) - start;
        // SAFETY: the caller owns the range, which stays reserved.
        unsafe {
            if VirtualFree(start as *mut _, bytes, MEM_DECOMMIT) == 0
                || VirtualAlloc(start as *const _, bytes, MEM_COMMIT, region.Protect).is_null()
            {
                return Err(code::last("discard").with_length(bytes as u64));
            }
        }
    }
    Ok(())
}

/// Keeps the pages of a range in memory until `unlock` or `unmap` (`VirtualLock`).
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn lock(base: *mut u8, len: usize) -> Result<()> {
    for (start, bytes, _) in parts(base, len) {
        // SAFETY: the caller owns the range; locking moves and removes nothing.
        if unsafe { VirtualLock(start.cast(), bytes) } == 0 {
            let error = code::last("lock").with_length(len as u64);
            return Err(match error.kind() {
                ErrorKind::LockLimit => error.with_detail(format!(
                    "a process can lock at most its minimum working set, which is {} bytes; raise \
                     it with SetProcessWorkingSetSize",
                    process::limits().locked_bytes.unwrap_or(0)
                )),
                _ => error,
            });
        }
    }
    Ok(())
}

/// Allows the system to remove the pages of a range from memory again. Pages that are not locked are no
/// error.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn unlock(base: *mut u8, len: usize) -> Result<()> {
    for (start, bytes, _) in parts(base, len) {
        // SAFETY: the caller owns the range; unlocking moves and removes nothing.
        let unlocked = unsafe { VirtualUnlock(start.cast(), bytes) } != 0;
        if !unlocked && last_code() != ERROR_NOT_LOCKED {
            return Err(code::last("unlock"));
        }
    }
    Ok(())
}

/// Reads the range into memory, and fails with `Unsupported`, because Windows cannot enter pages into the
/// page tables ahead of their use.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn populate(base: *mut u8, len: usize, _: Access) -> Result<()> {
    // Reads ahead all the same: the caller then touches the pages, which is faster if they are in memory.
    let _ = prefetch(base, len);
    Err(Error::new(ErrorKind::Unsupported, "populate")
        .with_detail("Windows maps pages only when they are accessed"))
}

/// Returns the state of each page of a range, in order.
///
/// A page outside the working set is `Absent`: the next access faults, even if the page is still in memory.
///
/// # Safety
/// As for every port: the caller must own the range.
pub(crate) unsafe fn residency(
    base: *mut u8,
    len: usize,
    _: Option<&File>,
) -> Result<Vec<PageState>> {
    const AT_A_TIME: usize = 4096;
    const VALID: usize = 1;
    let page = page_size();
    let count = len.div_ceil(page);
    let mut states = Vec::with_capacity(count);
    let mut asked = vec![PSAPI_WORKING_SET_EX_INFORMATION::default(); count.min(AT_A_TIME)];
    while states.len() < count {
        let now = (count - states.len()).min(AT_A_TIME);
        for (index, entry) in asked[..now].iter_mut().enumerate() {
            entry.VirtualAddress = base.wrapping_add((states.len() + index) * page).cast();
        }
        let bytes = now * size_of::<PSAPI_WORKING_SET_EX_INFORMATION>();
        // SAFETY: the buffer has `now` entries, each with the address of one page.
        let known = unsafe {
            K32QueryWorkingSetEx(GetCurrentProcess(), asked.as_mut_ptr().cast(), bytes as u32)
        };
        if known == 0 {
            return Err(code::last("query the residency of"));
        }
        states.extend(asked[..now].iter().map(|entry| {
            // SAFETY: the system wrote the flags, a plain number.
            let flags = unsafe { entry.VirtualAttributes.Flags };
            if flags & VALID != 0 { PageState::Resident } else { PageState::Absent }
        }));
    }
    Ok(states)
}
