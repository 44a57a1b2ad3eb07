//! Flushing: making changes durable, and remembering failures.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::ops::{Range, RangeBounds};

use crate::error::{ErrorKind, Result};
use crate::mapping::range::resolve;
use crate::mapping::region::Region;
use crate::sys;

/// The point at which a flush returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// The changes are durable.
    Durable,
    /// Writing has been started.
    Started,
}

impl Region {
    /// Flushes the pages that contain a range.
    pub(super) fn flush(&self, range: impl RangeBounds<usize>, flush: Flush) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "flush")? else {
            return Ok(());
        };
        if self.is_anonymous() {
            return Ok(());
        }
        let file = self.file();
        self.flush_state.check().map_err(|error| self.named(error))?;
        // SAFETY: the pages are in this region's span; flushing changes nothing in them.
        let result = unsafe {
            match flush {
                Flush::Durable => sys::map::flush(pages.base, pages.len, file),
                Flush::Started => {
                    let before = pages.base.addr() - self.span_base().addr();
                    let offset = self.plan.offset - self.slack() as u64 + before as u64;
                    sys::map::flush_async(pages.base, pages.len, file.map(|file| (file, offset)))
                }
            }
        };
        result.map_err(|error| match error.kind() {
            // The file is closed, so no flush was attempted, and none has failed.
            ErrorKind::Unsupported if file.is_none() => self.named(error),
            _ => self.named(self.flush_state.remember(error)),
        })
    }

    /// Makes several ranges durable with one wait.
    ///
    /// One system call covers the hull of all ranges. The kernel starts all writes before it waits for
    /// the first page. Most of the time goes into waiting for the file system's journal and the
    /// drive's cache, which a call for each range would repeat.
    pub(super) fn flush_ranges<R: RangeBounds<usize>>(
        &self,
        ranges: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        let len = self.len();
        let mut hull: Option<Range<usize>> = None;
        for range in ranges {
            let range = resolve(range, len, "flush").map_err(|error| self.named(error))?;
            if !range.is_empty() {
                hull = Some(match hull {
                    Some(hull) => hull.start.min(range.start)..hull.end.max(range.end),
                    None => range,
                });
            }
        }
        match hull {
            Some(hull) => self.flush(hull, Flush::Durable),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(crate) fn fail_flushes(&self) {
        self.flush_state.fail();
    }
}
