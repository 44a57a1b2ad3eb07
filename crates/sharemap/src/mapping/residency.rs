//! What is in memory, and what the cache holds.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::ops::RangeBounds;

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::page_size;
use crate::mapping::range::resolve;
use crate::mapping::region::Region;
use crate::sys::{self, Access, Advice, CacheStatus, PageState};

/// Which pages of a range are in memory, as the system told it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residency {
    pages: Vec<PageState>,
}

impl Residency {
    /// The state of each page, in order.
    #[must_use]
    pub fn pages(&self) -> &[PageState] {
        &self.pages
    }

    /// Pages in memory.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.count(PageState::Resident)
    }

    /// Pages not in memory.
    #[must_use]
    pub fn absent(&self) -> usize {
        self.count(PageState::Absent)
    }

    /// Pages of which the system tells this process nothing: on Linux those of files that it
    /// neither owns nor may write to.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.count(PageState::Unknown)
    }

    /// Bytes in a page.
    #[must_use]
    pub fn page_size(&self) -> usize {
        page_size()
    }

    fn count(&self, state: PageState) -> usize {
        self.pages.iter().filter(|&&page| page == state).count()
    }
}

impl Region {
    /// Which pages of the mapping are in memory (`mincore`, `QueryWorkingSetEx`).
    pub fn residency(&self) -> Result<Residency> {
        self.residency_range(..)
    }

    /// The same for the pages that hold a range.
    pub fn residency_range(&self, range: impl RangeBounds<usize>) -> Result<Residency> {
        let Some((_, pages)) = self.pages(range, "ask the residency of")? else {
            return Ok(Residency { pages: Vec::new() });
        };
        let file = self.file_for("ask the residency of")?;
        // SAFETY: the pages are in this region's span; asking changes nothing.
        let pages = unsafe { sys::map::residency(pages.base, pages.len, file) }
            .map_err(|error| self.named(error))?;
        Ok(Residency { pages })
    }

    /// What the page cache holds of the mapped part of the file (`cachestat`).
    pub fn cache_status(&self) -> Result<CacheStatus> {
        self.cache_status_range(..)
    }

    /// The same for a range.
    pub fn cache_status_range(&self, range: impl RangeBounds<usize>) -> Result<CacheStatus> {
        let Some(file) = self.file_for("ask the cache about")? else {
            return Err(Error::new(ErrorKind::Unsupported, "ask the cache about")
                .with_detail("anonymous memory is in no file's cache"));
        };
        let range =
            resolve(range, self.len(), "ask the cache about").map_err(|error| self.named(error))?;
        let start = self.file_offset();
        sys::file::cache_status(file, start + range.start as u64..start + range.end as u64)
            .map_err(|error| self.named(error))
    }

    /// What the system calls the file system that the file lives on: `ext4`, `tmpfs`, `NTFS`.
    pub fn file_system(&self) -> Result<String> {
        let Some(file) = self.file_for("name the file system of")? else {
            return Err(Error::new(ErrorKind::Unsupported, "name the file system of")
                .with_detail("anonymous memory is on none"));
        };
        sys::file::file_system(file).map_err(|error| self.named(error))
    }

    /// Asks the system to forget what it caches of the mapped part of the file, so that the next
    /// access reads it from disk. Nothing is lost.
    ///
    /// Pages that are changed and not yet flushed, locked, or in use by other mappings, stay.
    pub fn evict(&self) -> Result<()> {
        let Some(file) = self.file_for("evict")?.filter(|_| !self.is_empty()) else {
            return Ok(());
        };
        if self.plan.access != Access::CopyOnWrite {
            // Pages that are mapped here would stay; where this cannot be asked for, they do.
            let _ = self.advise_range(.., Advice::PageOut);
        }
        sys::file::evict(file, self.file_range()).map_err(|error| self.named(error))
    }

    /// The part of the file that is mapped.
    pub(super) fn file_range(&self) -> std::ops::Range<u64> {
        self.plan.offset..self.plan.offset + self.len() as u64
    }
}
