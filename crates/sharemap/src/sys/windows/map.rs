//! Address space.
//!
//! A view cannot reach past the end of its file. So what is to grow in place reserves its address
//! space as a placeholder, and each growth maps one more view, of a new section, behind the others.

#![allow(unsafe_code, reason = "calls that change address space")]

use std::fs::File;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use windows_sys::Win32::System::Memory::{
    GetLargePageMinimum, MEM_COMMIT, MEM_LARGE_PAGES, MEM_RESERVE, PAGE_EXECUTE_READWRITE,
    PAGE_PROTECTION_FLAGS, PAGE_READWRITE, VirtualAlloc,
};
use windows_sys::Win32::System::SystemInformation::{GetSystemInfo, SYSTEM_INFO};

use super::code;
use super::section::{Placeholders, Section, protection, release};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Access, HugePages, MapRequest, Span};

pub(crate) use super::pages::{
    advise, discard, flush, flush_async, lock, populate, protect, residency, unlock,
};

fn sizes() -> (usize, usize) {
    static SIZES: OnceLock<(usize, usize)> = OnceLock::new();
    *SIZES.get_or_init(|| {
        let mut info = MaybeUninit::<SYSTEM_INFO>::zeroed();
        // SAFETY: the call fills it in; zeros are valid too.
        let info = unsafe {
            GetSystemInfo(info.as_mut_ptr());
            info.assume_init()
        };
        (info.dwPageSize as usize, info.dwAllocationGranularity as usize)
    })
}

pub(crate) fn page_size() -> usize {
    sizes().0
}

/// Offsets of mappings are multiples of this: 64 KiB.
pub(crate) fn granularity() -> usize {
    sizes().1
}

fn round_up(len: usize, to: usize) -> Result<usize> {
    len.checked_next_multiple_of(to).ok_or_else(|| {
        Error::new(ErrorKind::Overflow, "map")
            .with_length(len as u64)
            .with_detail("more than the address space")
    })
}

pub(crate) fn map(request: &MapRequest<'_>) -> Result<Span> {
    let unit = match request.huge {
        HugePages::Reserved => large_page(request)?,
        HugePages::Default | HugePages::Transparent => page_size(),
    };
    let mapped = round_up(request.len, unit)?;
    let reserved = round_up(request.reserve, unit)?;
    match request.file {
        None if request.access == Access::CopyOnWrite => map_private(request, mapped, reserved),
        None => map_paging_file(request, mapped, reserved),
        Some(file) => map_file(file, request, mapped, reserved),
    }
    .map_err(|error| map_error(error, request))
}

fn large_page(request: &MapRequest<'_>) -> Result<usize> {
    let unsupported = |why: &str| {
        Err(Error::new(ErrorKind::Unsupported, "map")
            .with_length(request.len as u64)
            .with_detail(why))
    };
    if request.file.is_some() {
        return unsupported("Windows has large pages for anonymous memory only");
    }
    if request.reserve > request.len {
        return unsupported("large pages do not grow in place: map their whole length at once");
    }
    // SAFETY: asks for a number.
    match unsafe { GetLargePageMinimum() } {
        0 => unsupported("this machine has no large pages"),
        size => Ok(size),
    }
}

fn large_flag(request: &MapRequest<'_>) -> u32 {
    if request.huge == HugePages::Reserved { MEM_LARGE_PAGES } else { 0 }
}

fn writable(executable: bool) -> PAGE_PROTECTION_FLAGS {
    if executable { PAGE_EXECUTE_READWRITE } else { PAGE_READWRITE }
}

fn map_private(request: &MapRequest<'_>, mapped: usize, reserved: usize) -> Result<Span> {
    let protection = writable(request.executable);
    // SAFETY: new address space, which is nobody's.
    unsafe {
        let (now, kind) = if mapped == reserved {
            (reserved, MEM_RESERVE | MEM_COMMIT | large_flag(request))
        } else {
            (reserved, MEM_RESERVE)
        };
        let base = VirtualAlloc(ptr::null(), now, kind, protection);
        if base.is_null() {
            return Err(code::last("map"));
        }
        let span = Span { base: base.cast(), reserved };
        if mapped < reserved {
            commit(&span, protection, 0, mapped)?;
        }
        Ok(span)
    }
}

fn map_paging_file(request: &MapRequest<'_>, mapped: usize, reserved: usize) -> Result<Span> {
    let section = Section::anonymous(request)?;
    let base = section.view(request, reserved).ok_or_else(|| code::last("map"))?;
    let span = Span { base, reserved };
    if reserved > mapped {
        // SAFETY: the new view, which nobody else has.
        unsafe { commit(&span, protection(request.access, request.executable), 0, mapped)? };
    }
    Ok(span)
}

/// Commits a part of a reserved span, and gives the span back if that fails.
///
/// # Safety
/// The span belongs to the caller.
unsafe fn commit(
    span: &Span,
    protection: PAGE_PROTECTION_FLAGS,
    from: usize,
    to: usize,
) -> Result<()> {
    // SAFETY: a part of the caller's span.
    unsafe {
        let at = span.base.add(from);
        if !VirtualAlloc(at.cast(), to - from, MEM_COMMIT, protection).is_null() {
            return Ok(());
        }
        let error = code::last("map");
        if from == 0 {
            let _ = release(span.base, span.reserved);
        }
        Err(error)
    }
}

fn map_file(file: &File, request: &MapRequest<'_>, mapped: usize, reserved: usize) -> Result<Span> {
    let section = Section::of_file(file, request.access, request.executable)?;
    let calls = if reserved > mapped { Placeholders::get() } else { None };
    let Some(calls) = calls else {
        // Without placeholders there is no growth in place: the span says how much there is.
        let base = section.view(request, request.len).ok_or_else(|| code::last("map"))?;
        return Ok(Span { base, reserved: mapped });
    };
    let base = calls.reserve(reserved).ok_or_else(|| code::last("map"))?;
    let protection = protection(request.access, request.executable);
    // SAFETY: the placeholder is new and nobody else's.
    unsafe {
        if calls.split(base, mapped)
            && section.view_at(calls, base, request.offset, request.len, protection)
        {
            return Ok(Span { base, reserved });
        }
        let error = code::last("map");
        let _ = release(base, reserved);
        Err(error)
    }
}

#[cold]
fn map_error(error: Error, request: &MapRequest<'_>) -> Error {
    let error = error.with_offset(request.offset).with_length(request.reserve as u64);
    // More than there are addresses is an invalid parameter to the system.
    const MOST: u64 = 1 << 47;
    match error.kind() {
        ErrorKind::PermissionDenied if request.huge == HugePages::Reserved => error.with_detail(
            "large pages need the privilege to lock pages in memory (SeLockMemoryPrivilege), \
             granted and enabled",
        ),
        ErrorKind::PermissionDenied if request.access == Access::Write => error
            .with_kind(ErrorKind::NotWritable)
            .with_detail("the file was not opened for reading and writing"),
        ErrorKind::PermissionDenied => {
            error.with_detail("the file was not opened for reading, or is shorter than that")
        }
        ErrorKind::OutOfAddressSpace | ErrorKind::TooManyFiles | ErrorKind::Fault => error
            .with_kind(ErrorKind::OutOfAddressSpace)
            .with_detail("map less at a time, for instance through a SlidingWindow"),
        ErrorKind::Io if request.reserve as u64 >= MOST => {
            error.with_kind(ErrorKind::OutOfAddressSpace).with_detail("more than the address space")
        }
        _ => error,
    }
}

/// Gives back every view, and what is still reserved.
///
/// # Safety
///
/// The contract of a backend: the caller owns the span and nothing refers into it.
pub(crate) unsafe fn unmap(span: &Span) -> Result<()> {
    // SAFETY: spans consist of whole allocations.
    unsafe { release(span.base, span.reserved) }
}

/// # Safety
///
/// The contract of a backend; the file is at least `wanted` bytes longer than the request's offset.
pub(crate) unsafe fn extend(
    span: &Span,
    request: &MapRequest<'_>,
    mapped: usize,
    wanted: usize,
) -> Result<()> {
    let from = round_up(mapped, page_size())?;
    let to = round_up(wanted, page_size())?;
    if to > span.reserved {
        return Err(Error::new(ErrorKind::ExceedsReservation, "grow")
            .with_length(wanted as u64)
            .with_detail(format!("{} bytes were reserved", span.reserved)));
    }
    if to <= from {
        return Ok(());
    }
    let grow_error = |error: Error| map_error(error, request).with_length(wanted as u64);
    let protection = match (request.file, request.access) {
        (None, Access::CopyOnWrite) => writable(request.executable),
        _ => protection(request.access, request.executable),
    };
    let Some(file) = request.file else {
        // SAFETY: a part of the caller's span that is reserved and not committed.
        return unsafe { commit(span, protection, from, to) }.map_err(grow_error);
    };
    let section = Section::of_file(file, request.access, request.executable).map_err(grow_error)?;
    let Some(calls) = Placeholders::get() else {
        return Err(Error::new(ErrorKind::Unsupported, "grow")
            .with_detail("growth in place needs Windows 10 1803 or later"));
    };
    // SAFETY: from `from` on the caller's span is one placeholder; where all of it is wanted there
    // is nothing to split.
    unsafe {
        let at = span.base.add(from);
        let offset = request.offset + from as u64;
        if (to == span.reserved || calls.split(at, to - from))
            && section.view_at(calls, at, offset, wanted - from, protection)
        {
            return Ok(());
        }
    }
    Err(grow_error(code::last("map")))
}
