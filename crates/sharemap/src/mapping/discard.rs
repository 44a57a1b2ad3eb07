//! Discarding private changes and anonymous memory, and punching holes into files.

#![allow(unsafe_code, reason = "hands page addresses to the system and copies around them")]

use std::ops::{Range, RangeBounds};

use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::mapping::page_size;
use crate::mapping::plan::{Plan, Wanted};
use crate::mapping::range::resolve;
use crate::mapping::region::Region;
use crate::sys::{self, Access, HugePages};

/// Saved bytes of a page at an end of a discarded range, which lie outside of the range and are written
/// back.
struct Neighbours {
    range: Range<usize>,
    bytes: Vec<u8>,
}

impl Region {
    /// Discards exactly a range: private pages show the file again, anonymous ones are zeros.
    ///
    /// The system drops whole pages, so bytes that share a page with the range are saved before and
    /// written back. If the system cannot drop pages, the original bytes are written over the range.
    pub(super) fn forget(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some((range, pages)) = self.pages(range, "discard")? else {
            return Ok(());
        };
        let first = (pages.base.addr() - self.span_base().addr()).saturating_sub(self.slack());
        let end = pages.base.addr() + pages.len - self.base().addr();
        let before = self.put_aside(first..range.start)?;
        let after = self.put_aside(range.end..end.min(self.len()))?;
        // SAFETY: the pages are in this region's span, views of it are guarded, and this is no
        // shared mapping of a file.
        match unsafe { sys::map::discard(pages.base, pages.len) } {
            Err(error) if error.kind() == ErrorKind::Unsupported => return self.overwrite(range),
            result => result.map_err(|error| self.named(error))?,
        }
        self.put_back(before)?;
        self.put_back(after)
    }

    /// Writes over a range the bytes that it would show if its pages were dropped.
    fn overwrite(&self, range: Range<usize>) -> Result<()> {
        const CHUNK: usize = 64 << 10;
        let original = match self.file_for("discard")? {
            Some(file) => {
                let plan = Plan {
                    offset: self.plan.offset + range.start as u64,
                    wanted: Wanted::new(Some(range.len())),
                    reserve: 0,
                    access: Access::Read,
                    executable: false,
                    huge: HugePages::Default,
                    ..self.plan
                };
                Some(Region::of_file(sys::file::duplicate(file)?, self.path(), plan)?)
            }
            None => None,
        };
        let mut at = range.start;
        while at < range.end {
            let part = at..range.end.min(at + CHUNK);
            let mut bytes = vec![0; part.len()];
            if let Some(original) = &original {
                let from = original.base().wrapping_add(at - range.start);
                // SAFETY: the file's bytes of this part; the buffer is private and as long.
                let done = unsafe {
                    guard::copy_out(self.recovery(), from, bytes.as_mut_ptr(), bytes.len())
                };
                self.copied(&part, done)?;
            }
            at = part.end;
            self.put_back(Neighbours { range: part, bytes })?;
        }
        Ok(())
    }

    /// Makes a range of the file a hole; discards a range of anonymous memory.
    pub(super) fn punch(&self, range: impl RangeBounds<usize>) -> Result<()> {
        const OPERATION: &str = "punch a hole in";
        let Some(file) = self.file_for(OPERATION)? else {
            return self.forget(range);
        };
        let range = resolve(range, self.len(), OPERATION).map_err(|error| self.named(error))?;
        let start = self.plan.offset;
        sys::file::punch_hole(file, start + range.start as u64..start + range.end as u64)
            .map_err(|error| self.named(error))
    }

    /// Saves a range of less than a page.
    fn put_aside(&self, range: Range<usize>) -> Result<Neighbours> {
        debug_assert!(range.len() < page_size());
        let mut bytes = vec![0; range.len()];
        let from = self.base().wrapping_add(range.start);
        // SAFETY: the range lies in this region's span; the buffer is private and as long.
        let done =
            unsafe { guard::copy_out(self.recovery(), from, bytes.as_mut_ptr(), bytes.len()) };
        self.copied(&range, done)?;
        Ok(Neighbours { range, bytes })
    }

    /// Writes saved bytes back.
    fn put_back(&self, neighbours: Neighbours) -> Result<()> {
        let Neighbours { range, bytes } = neighbours;
        let to = self.base().wrapping_add(range.start);
        // SAFETY: the range lies in this region's span; the buffer is private and as long.
        let done = unsafe { guard::copy_in(self.recovery(), to, bytes.as_ptr(), bytes.len()) };
        self.copied(&range, done)
    }

    /// Returns a fault unless `done` covers the range.
    fn copied(&self, range: &Range<usize>, done: usize) -> Result<()> {
        if done == range.len() {
            return Ok(());
        }
        let at = self.plan.offset + (range.start + done) as u64;
        let error = self.named(Error::new(ErrorKind::Fault, "discard").with_offset(at));
        Err(guard::with_cause(error, self.shrinking_file(), at, guard::REMAP))
    }
}
