//! Telling the system what a range is used for, and keeping it in memory.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::ops::RangeBounds;

use crate::error::Result;
use crate::mapping::region::Region;
use crate::sys::{self, Advice};

impl Region {
    /// Tells the system how the mapping is going to be used (`madvise`).
    ///
    /// What describes the mapping (`Random`, `Sequential`, `HugePage`, …) holds for what is
    /// reserved for growth too.
    pub fn advise(&self, advice: Advice) -> Result<()> {
        let asks_for_work =
            matches!(advice, Advice::WillNeed | Advice::Cold | Advice::PageOut | Advice::Collapse);
        if asks_for_work {
            return self.advise_range(.., advice);
        }
        let Some(span) = self.span() else {
            return Ok(());
        };
        // SAFETY: the span is this region's own, and advice loses no contents.
        unsafe { sys::map::advise(span.base, span.reserved, advice) }
            .map_err(|error| self.named(error))
    }

    /// The same for the pages that hold a range.
    pub fn advise_range(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "advise on the use of")? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span, and advice loses no contents.
        unsafe { sys::map::advise(pages.base, pages.len, advice) }
            .map_err(|error| self.named(error))
    }

    /// Keeps the mapping in memory until it is unlocked or unmapped (`mlock`, `VirtualLock`).
    ///
    /// Copy-on-write memory is copied by it on Linux: all of it becomes private.
    ///
    /// # Errors
    /// - [`LockLimit`](crate::ErrorKind::LockLimit) -
    ///   it is more than this process may lock.
    /// - [`Fault`](crate::ErrorKind::Fault) -
    ///   a page lies beyond the end of the file.
    /// - [`TooManyMappings`](crate::ErrorKind::TooManyMappings) -
    ///   the process has as many mappings as it may have.
    pub fn lock(&self) -> Result<()> {
        self.lock_range(..)
    }

    /// The same for the pages that hold a range.
    pub fn lock_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "lock")? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span, and locking changes no contents.
        unsafe { sys::map::lock(pages.base, pages.len) }.map_err(|error| self.named(error))
    }

    /// Lets the mapping leave memory again (`munlock`). Locks do not nest.
    pub fn unlock(&self) -> Result<()> {
        self.unlock_range(..)
    }

    /// The same for the pages that hold a range.
    pub fn unlock_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "unlock")? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span, and unlocking changes no contents.
        unsafe { sys::map::unlock(pages.base, pages.len) }.map_err(|error| self.named(error))
    }
}
