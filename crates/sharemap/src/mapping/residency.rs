//! Queries about pages in memory and in the page cache, and eviction.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::ops::RangeBounds;

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::page_size;
use crate::mapping::range::resolve;
use crate::mapping::region::Region;
use crate::sys::{self, Access, Advice, CacheStatus, PageState};

/// The states of the pages of a range, at the moment of the query: in physical memory or not.
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-residency-{}", std::process::id()));
/// # std::fs::write(&path, [7; 10_000]).unwrap();
/// let map = sharemap::Mapping::open(&path)?;
/// let residency = map.residency()?;
/// println!("{} of {} pages", residency.resident(), residency.pages().len());
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residency {
    pages: Vec<PageState>,
}

impl Residency {
    /// Returns the state of each page, in order.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-residency-pages-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10000])?;
    /// let map = Mapping::open(&path)?;
    /// let residency = map.residency()?;
    /// for (page, state) in residency.pages().iter().enumerate() {
    ///     println!("page {page}: {state:?}");
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn pages(&self) -> &[PageState] {
        &self.pages
    }

    /// Returns the number of pages in memory.
    #[must_use]
    pub fn resident(&self) -> usize {
        self.count(PageState::Resident)
    }

    /// Returns the number of pages that are not in memory.
    #[must_use]
    pub fn absent(&self) -> usize {
        self.count(PageState::Absent)
    }

    /// Returns the number of pages whose state the system does not report to this process: on Linux,
    /// pages of files that it neither owns nor may write to.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.count(PageState::Unknown)
    }

    /// Returns the size of a page in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        page_size()
    }

    fn count(&self, state: PageState) -> usize {
        self.pages.iter().filter(|&&page| page == state).count()
    }
}

impl Region {
    /// Returns which pages of the mapping are in physical memory (`mincore`, `QueryWorkingSetEx`).
    ///
    /// # Errors
    /// - `Unsupported` - the mapping [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-residency-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10000])?;
    /// let map = Mapping::open(&path)?;
    /// map.bytes().get(0)?;
    /// let pages = map.residency()?;
    /// println!("{} of {} pages are in memory", pages.resident(), pages.pages().len());
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mincore")]
    #[doc(alias = "QueryWorkingSetEx")]
    pub fn residency(&self) -> Result<Residency> {
        self.residency_range(..)
    }

    /// Returns which of the pages that contain a range are in physical memory, like
    /// [`residency`](Self::residency).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`residency`](Self::residency).
    #[doc(alias = "mincore")]
    pub fn residency_range(&self, range: impl RangeBounds<usize>) -> Result<Residency> {
        let Some((_, pages)) = self.pages(range, "query the residency of")? else {
            return Ok(Residency { pages: Vec::new() });
        };
        let file = self.file_for("query the residency of")?;
        // SAFETY: the pages are in this region's span; asking changes nothing.
        let pages = unsafe { sys::map::residency(pages.base, pages.len, file) }
            .map_err(|error| self.named(error))?;
        Ok(Residency { pages })
    }

    /// Returns what the page cache contains of the mapped part of the file (`cachestat`). Linux 6.5
    /// and later.
    ///
    /// # Errors
    /// - `Unsupported` - the system has no such call, the memory is anonymous, or the mapping
    ///   [closed](crate::MapOptions::close_file) its file.
    /// - `PermissionDenied` - this user neither owns the file nor may write to it.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-cache-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10000])?;
    /// let map = Mapping::open(&path)?;
    /// match map.cache_status() {
    ///     Ok(status) => println!("{} pages cached, {} dirty", status.cached, status.dirty),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "cachestat")]
    pub fn cache_status(&self) -> Result<CacheStatus> {
        self.cache_status_range(..)
    }

    /// Returns what the page cache contains of a range, like [`cache_status`](Self::cache_status).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`cache_status`](Self::cache_status).
    pub fn cache_status_range(&self, range: impl RangeBounds<usize>) -> Result<CacheStatus> {
        let Some(file) = self.file_for("query the page cache for")? else {
            return Err(Error::new(ErrorKind::Unsupported, "query the page cache for")
                .with_detail("anonymous memory has no file"));
        };
        let range = resolve(range, self.len(), "query the page cache for")
            .map_err(|error| self.named(error))?;
        let start = self.file_offset();
        sys::file::cache_status(file, start + range.start as u64..start + range.end as u64)
            .map_err(|error| self.named(error))
    }

    /// Returns the system's name of the file system of the file: `ext4`, `tmpfs`, `NTFS`.
    ///
    /// # Errors
    /// - `Unsupported` - the memory is anonymous, or the mapping
    ///   [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-fs-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// println!("{} is on {}", path.display(), map.file_system()?);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "statfs")]
    pub fn file_system(&self) -> Result<String> {
        let Some(file) = self.file_for("identify the file system of")? else {
            return Err(Error::new(ErrorKind::Unsupported, "identify the file system of")
                .with_detail("anonymous memory has no file"));
        };
        sys::file::file_system(file).map_err(|error| self.named(error))
    }

    /// Asks the system to evict the mapped part of the file from the page cache, so that the next
    /// access reads it from disk (`POSIX_FADV_DONTNEED`). Linux only. No data is lost.
    ///
    /// Pages stay if they are changed and not yet flushed, locked, or in use by other mappings.
    ///
    /// # Errors
    /// - `Unsupported` - the system has no such call, or the mapping
    ///   [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-evict-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10000])?;
    /// let map = Mapping::open(&path)?;
    /// if map.evict().is_ok() {
    ///     println!("the next access reads the disk");
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "posix_fadvise")]
    #[doc(alias = "POSIX_FADV_DONTNEED")]
    pub fn evict(&self) -> Result<()> {
        let Some(file) = self.file_for("evict")?.filter(|_| !self.is_empty()) else {
            return Ok(());
        };
        if self.plan.access != Access::CopyOnWrite {
            // Pages mapped by this process stay in the cache, so the system is asked to unmap them
            // first. Where it cannot, they stay.
            let _ = self.advise_range(.., Advice::PageOut);
        }
        sys::file::evict(file, self.file_range()).map_err(|error| self.named(error))
    }

    /// Returns the range of the file that is mapped.
    pub(super) fn file_range(&self) -> std::ops::Range<u64> {
        self.plan.offset..self.plan.offset + self.len() as u64
    }
}
