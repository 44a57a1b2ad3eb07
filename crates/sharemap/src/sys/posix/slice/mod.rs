//! Guarded slices: mappings whose lost pages the fault handler replaces by zeros.

#![allow(unsafe_code, reason = "owns address space")]

mod table;

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;

use table::{Entry, Refusal, Slot, Table};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::os::{map, slice as os};
use crate::sys::posix::fault::{blocks_bus_errors, bus_errors_reach_us};
use crate::sys::{Access, FileKind, FileStatus, HugePages, MapRequest, Span};

const OPERATION: &str = "borrow a guarded slice of";

/// The guarded slices of this process. A slot takes 64 bytes, and the table 128 MiB if it is full.
static TABLE: Table<15> = Table::new();

/// A read-only mapping of a part of a file, of which lost pages become zeros.
#[derive(Debug)]
pub(crate) struct GuardedSpan {
    span: Span,
    /// The bytes between the beginning of the mapping and the part.
    slack: usize,
    index: u32,
    slot: &'static Slot,
}

// SAFETY: the span has one owner, and is only read. The slot consists of atomics.
unsafe impl Send for GuardedSpan {}
// SAFETY: as for `Send`.
unsafe impl Sync for GuardedSpan {}

impl GuardedSpan {
    /// Maps `len` bytes of the file from `offset` on, which are not zero and lie in the file.
    pub(crate) fn map(file: &File, status: FileStatus, offset: u64, len: usize) -> Result<Self> {
        is_caught()?;
        os::prepare()?;
        let page = os::page_size_of(file, status);
        let slack = (offset % page as u64) as usize;
        let whole = len.checked_add(slack).and_then(|sum| sum.checked_next_multiple_of(page));
        let whole = whole.ok_or_else(|| {
            Error::new(ErrorKind::OutOfAddressSpace, OPERATION).with_length(len as u64)
        })?;
        let (index, slot) = TABLE.claim().map_err(refused)?;
        let origin = offset - slack as u64;
        let request = MapRequest {
            file: Some(file),
            offset: origin,
            len: whole,
            reserve: whole,
            access: Access::Read,
            executable: false,
            huge: HugePages::Default,
        };
        let span = match map::map(&request) {
            Ok(span) => span,
            Err(error) => {
                TABLE.release(index, slot);
                return Err(error);
            }
        };
        let file = if status.kind == FileKind::Regular { file.as_raw_fd() } else { -1 };
        let base = span.base.expose_provenance();
        slot.put(&Entry { base, len: whole, origin, page, file });
        Ok(Self { span, slack, index, slot })
    }

    /// Returns the address of the part's first byte. It is readable for as long as the value lives.
    pub(crate) fn base(&self) -> *const u8 {
        self.span.base.wrapping_add(self.slack)
    }

    /// Returns the offset in the part of the first byte that a fault has shown to be lost.
    pub(crate) fn lost(&self) -> Option<u64> {
        self.slot.lost().map(|lost| lost.saturating_sub(self.slack as u64))
    }
}

impl Drop for GuardedSpan {
    fn drop(&mut self) {
        // Before the addresses become free for other mappings.
        TABLE.release(self.index, self.slot);
        // SAFETY: the span is this value's own, and borrows of the value have ended.
        let _ = unsafe { map::unmap(&self.span) };
    }
}

/// Succeeds if the handler receives a fault in a slice.
fn is_caught() -> Result<()> {
    let refuse =
        |reason: &str| Err(Error::new(ErrorKind::Unsupported, OPERATION).with_detail(reason));
    match bus_errors_reach_us() {
        Some(true) if blocks_bus_errors() => {
            refuse("this thread blocks SIGBUS, so a fault would end the process; unblock it")
        }
        Some(true) => Ok(()),
        Some(false) => refuse(
            "faults do not reach this crate's handler, or are not recovered in place here; see \
             `guard::recovery`",
        ),
        None => refuse(
            "another handler for SIGBUS was installed later; `guard::check` tries whether it passes \
             faults on",
        ),
    }
}

#[cold]
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Full => Error::new(ErrorKind::TooManyMappings, OPERATION)
            .with_detail(format!("{} guarded slices exist; drop some of them", Table::<15>::SLOTS)),
        Refusal::NoMemory => Error::new(ErrorKind::OutOfAddressSpace, OPERATION)
            .with_detail("there is no memory for the table of guarded slices"),
    }
}

/// The code of a `SIGBUS` that a misaligned access raised. No page is lost, and the access would raise
/// it again.
const MISALIGNED: c_int = 1;

/// Replaces the lost pages of a guarded slice by zeros, in the fault handler. Returns `true` if `address`
/// lies in a guarded slice and can be read now.
///
/// `code` is that of a `SIGBUS` that an access to `address` raised.
#[inline(never)]
pub(crate) fn replace(code: c_int, address: usize) -> bool {
    if code == MISALIGNED {
        return false;
    }
    let Some((slot, entry)) = TABLE.find(address) else { return false };
    let at = (address - entry.base) & !(entry.page - 1);
    // The range begins where the file ends now: one call per page would fault for every page, and make as
    // many mappings. It begins at the fault if the file has the page (its device failed, or the file grew
    // again), or if its size is unknown.
    let mut lost = at as u64;
    if let Some(len) = os::file_len(entry.file) {
        let left = len.saturating_sub(entry.origin);
        if left < lost {
            lost = left;
        }
    }
    // Recorded before any thread can read a zero.
    slot.lose(lost);
    // At most `at`, which is a multiple of the page size.
    let from = (lost as usize).next_multiple_of(entry.page);
    let lost = os::Lost {
        base: entry.base,
        from: entry.base + from,
        fault: entry.base + at,
        end: entry.base + entry.len,
        page: entry.page,
    };
    // SAFETY: the pages belong to the slice, which lives, because the interrupted thread reads it. Its
    // readers expect that bytes become zeros (`View::guarded_slice`).
    unsafe { os::map_zeros(&lost) }
}
