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

/// The pages of a slice that the handler replaces. All addresses are multiples of `page`, the size of the
/// mapping's pages.
#[allow(dead_code, reason = "Linux has failures that need all of them")]
pub(crate) struct Lost {
    /// The beginning of the slice's mapping.
    pub(crate) base: usize,
    /// The first page to replace.
    pub(crate) from: usize,
    /// The page that faulted, in `from..end`.
    pub(crate) fault: usize,
    /// The end of the slice's mapping.
    pub(crate) end: usize,
    pub(crate) page: usize,
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
    let lost = Lost {
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

#[cfg(test)]
mod tests {
    use std::ffi::c_int;
    use std::fs::File;

    use super::{GuardedSpan, MISALIGNED, replace};
    use crate::sys::{self, Recovery};

    /// The code of a `SIGBUS` for a page that does not exist.
    const GONE: c_int = 2;

    #[test]
    fn lost_pages_are_replaced_and_no_others() {
        if sys::fault::recovery() != Recovery::InPlace {
            eprintln!("skipped: accesses are system calls here");
            return;
        }
        let page = sys::map::page_size();
        let path = std::env::temp_dir().join(format!("sharemap-replaced-{}", std::process::id()));
        std::fs::write(&path, vec![7; 4 * page]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let status = sys::file::status(&file).unwrap();
        let span = GuardedSpan::map(&file, status, 10, 4 * page - 20).unwrap();
        let start = span.base() as usize;
        // SAFETY: mapped memory.
        let byte = |at: usize| unsafe { span.base().add(at).read_volatile() };

        assert!(!replace(MISALIGNED, start + 3 * page), "no page is lost");
        assert!(!replace(GONE, start - 11) && !replace(GONE, start + 4 * page));
        assert_eq!((byte(3 * page), span.lost()), (7, None));
        // A failing device: the file has the page.
        assert!(replace(GONE, start + 3 * page));
        assert_eq!((byte(3 * page - 11), byte(3 * page - 10)), (7, 0));
        assert_eq!(span.lost(), Some(3 * page as u64 - 10));
        // A fault in the last page, of a file that ends within the second.
        file.set_len(page as u64 + 5).unwrap();
        assert!(replace(GONE, start + 3 * page));
        assert_eq!(span.lost(), Some(page as u64 - 5));
        assert_eq!((byte(0), byte(page - 6), byte(page - 5), byte(2 * page)), (7, 7, 0, 0));
        // A fault that is handled late, after the file grew again, loses no more.
        file.set_len(4 * page as u64).unwrap();
        assert!(replace(GONE, start + 2 * page));
        assert_eq!((byte(page - 6), span.lost()), (7, Some(page as u64 - 5)));
        drop(span);
        assert!(!replace(GONE, start + 3 * page), "the slice is gone");
    }
}
