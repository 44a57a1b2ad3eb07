//! Maps and unmaps address space.
//!
//! A view cannot reach past the end of its file. A mapping that can grow in place therefore reserves its
//! address space as a placeholder. Each growth maps another view, of a new section, after the previous ones.

#![allow(unsafe_code, reason = "calls that change address space")]

use std::fs::File;
use std::ptr;

use windows_sys::Win32::System::Memory::{
    GetLargePageMinimum, MEM_COMMIT, MEM_LARGE_PAGES, MEM_RESERVE, PAGE_EXECUTE_READWRITE,
    PAGE_PROTECTION_FLAGS, PAGE_READWRITE, VirtualAlloc,
};

use super::code;
use super::section::{Placeholders, Section, protection, release};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Access, HugePages, MapRequest, Span};

pub(crate) use super::pages::{
    advise, discard, flush, flush_async, granularity, lock, page_size, populate, protect,
    residency, unlock,
};

/// Rounds `len` up to a multiple of `to`.
fn round_up(len: usize, to: usize) -> Result<usize> {
    len.checked_next_multiple_of(to).ok_or_else(|| {
        Error::new(ErrorKind::Overflow, "map")
            .with_length(len as u64)
            .with_detail("the length exceeds the address space")
    })
}

/// Reserves `request.reserve` bytes of address space, and maps at least the first `request.len` of them.
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

/// Returns the size of large pages. Fails with `Unsupported` if they cannot serve the request.
fn large_page(request: &MapRequest<'_>) -> Result<usize> {
    let unsupported = |why: &str| {
        Err(Error::new(ErrorKind::Unsupported, "map")
            .with_length(request.len as u64)
            .with_detail(why))
    };
    if request.file.is_some() {
        return unsupported(
            "Windows has large pages only for anonymous memory; map the file without them",
        );
    }
    if request.reserve > request.len {
        return unsupported("large pages cannot grow in place; map the whole length at once");
    }
    // SAFETY: the call only returns a number.
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

/// Allocates private anonymous memory (`VirtualAlloc`), and commits the first `mapped` bytes.
fn map_private(request: &MapRequest<'_>, mapped: usize, reserved: usize) -> Result<Span> {
    let protection = writable(request.executable);
    // SAFETY: the address space is new, so nothing else uses it.
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

/// Maps a new section of the paging file, and commits the first `mapped` bytes.
fn map_paging_file(request: &MapRequest<'_>, mapped: usize, reserved: usize) -> Result<Span> {
    let section = Section::anonymous(request)?;
    let base = section.view(request, reserved).ok_or_else(|| code::last("map"))?;
    let span = Span { base, reserved };
    if reserved > mapped {
        // SAFETY: the view is new, so nothing else uses it.
        unsafe { commit(&span, protection(request.access, request.executable), 0, mapped)? };
    }
    Ok(span)
}

/// Commits `from..to` of a reserved span. If that fails for the first part (`from` is 0), releases the whole
/// span.
///
/// # Safety
/// The caller must own the span.
unsafe fn commit(
    span: &Span,
    protection: PAGE_PROTECTION_FLAGS,
    from: usize,
    to: usize,
) -> Result<()> {
    // SAFETY: the range is a part of the caller's span.
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

/// Maps a view of the file at the start of a placeholder of `reserved` bytes.
fn map_file(file: &File, request: &MapRequest<'_>, mapped: usize, reserved: usize) -> Result<Span> {
    let section = Section::of_file(file, request.access, request.executable)?;
    let calls = if reserved > mapped { Placeholders::get() } else { None };
    let Some(calls) = calls else {
        // Without placeholders the mapping cannot grow in place, so nothing more is reserved.
        let base = section.view(request, request.len).ok_or_else(|| code::last("map"))?;
        return Ok(Span { base, reserved: mapped });
    };
    let base = calls.reserve(reserved).ok_or_else(|| code::last("map"))?;
    let protection = protection(request.access, request.executable);
    // SAFETY: the placeholder is new, so nothing else uses it.
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

/// Adds the request's offset and length to the error of a mapping call, and advice where the cause is known.
#[cold]
fn map_error(error: Error, request: &MapRequest<'_>) -> Error {
    let error = error.with_offset(request.offset).with_length(request.reserve as u64);
    // The system reports a length beyond the address space as an invalid parameter.
    const MOST: u64 = 1 << 47;
    match error.kind() {
        ErrorKind::PermissionDenied if request.huge == HugePages::Reserved => error.with_detail(
            "large pages need the privilege to lock pages in memory; grant and enable \
             SeLockMemoryPrivilege",
        ),
        ErrorKind::PermissionDenied if request.access == Access::Write => {
            error.with_kind(ErrorKind::NotWritable).with_detail(
                "the file was not opened for reading and writing; open it with write access",
            )
        }
        ErrorKind::PermissionDenied => {
            error.with_detail("the file was not opened for reading, or is shorter than the range")
        }
        ErrorKind::OutOfAddressSpace | ErrorKind::TooManyFiles | ErrorKind::Fault => error
            .with_kind(ErrorKind::OutOfAddressSpace)
            .with_detail("map less at a time, for example through a SlidingWindow"),
        ErrorKind::Io if request.reserve as u64 >= MOST => error
            .with_kind(ErrorKind::OutOfAddressSpace)
            .with_detail("the length exceeds the address space"),
        _ => error,
    }
}

/// Unmaps every view of the span, and releases the rest of the reservation.
///
/// # Safety
/// As for every port: the caller must own the span, and no reference into it may exist.
pub(crate) unsafe fn unmap(span: &Span) -> Result<()> {
    // SAFETY: a span consists of whole allocations.
    unsafe { release(span.base, span.reserved) }
}

/// Grows a mapping in place, from `mapped` to `wanted` bytes.
///
/// Fails with `ExceedsReservation` if `wanted` exceeds the reservation, and with `Unsupported` for files on
/// systems without placeholders.
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
    let from = round_up(mapped, page_size())?;
    let to = round_up(wanted, page_size())?;
    if to > span.reserved {
        return Err(Error::new(ErrorKind::ExceedsReservation, "grow")
            .with_length(wanted as u64)
            .with_detail(format!("only {} bytes are reserved; reserve more", span.reserved)));
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
        // SAFETY: the range is a part of the caller's span, reserved and not committed.
        return unsafe { commit(span, protection, from, to) }.map_err(grow_error);
    };
    let section = Section::of_file(file, request.access, request.executable).map_err(grow_error)?;
    let Some(calls) = Placeholders::get() else {
        return Err(Error::new(ErrorKind::Unsupported, "grow")
            .with_detail("growth in place needs Windows 10 1803 or later"));
    };
    // SAFETY: the caller's span is one placeholder from `from` to its end. If the call maps all of it, the
    // placeholder must not be split.
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
