//! Advice to the system about the use of a range, and locking pages in memory.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::ops::RangeBounds;

use crate::error::Result;
use crate::mapping::region::Region;
use crate::sys::{self, Advice};

impl Region {
    /// Tells the system how the mapping will be used (`madvise`, `PrefetchVirtualMemory`).
    ///
    /// Advice that describes the mapping (`Random`, `Sequential`, `HugePage`, …) applies to its
    /// reservation, too. Advice that asks for work (`WillNeed`, `Cold`, `PageOut`, `Collapse`) applies
    /// to the mapped bytes.
    ///
    /// # Errors
    /// - `Unsupported` - the system, or this kind of memory, has no such advice.
    /// - `OutOfAddressSpace` - there is not enough memory.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-advise-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10_000]).unwrap();
    /// use sharemap::{Advice, Mapping};
    ///
    /// let map = Mapping::open(&path)?;
    /// let _ = map.advise(Advice::Random); // a hint: an error does no harm
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    #[doc(alias = "madvise")]
    #[doc(alias = "posix_madvise")]
    #[doc(alias = "PrefetchVirtualMemory")]
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

    /// Tells the system how the pages that contain a range will be used, like
    /// [`advise`](Self::advise).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`advise`](Self::advise).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-advise-range-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10000])?;
    /// let map = Mapping::open(&path)?;
    /// // Advice is optional: an error means that the system does not follow it.
    /// if let Err(error) = map.advise_range(..5000, Advice::WillNeed) {
    ///     println!("{error}");
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "madvise")]
    pub fn advise_range(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "advise the kernel about")? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span, and advice loses no contents.
        unsafe { sys::map::advise(pages.base, pages.len, advice) }
            .map_err(|error| self.named(error))
    }

    /// Locks the pages of the mapping in physical memory until they are unlocked or unmapped
    /// (`mlock`, `VirtualLock`).
    ///
    /// On Linux, locking copy-on-write memory copies all of it.
    ///
    /// # Errors
    /// - `LockLimit` - the mapping is larger than what this process may lock.
    /// - `Fault` - a page lies past the end of the file.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-lock-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// match map.lock() {
    ///     Ok(()) => assert_eq!(map.bytes().get(0)?, 7), // waits for no disk
    ///     Err(error) => println!("{error}"),            // for instance `LockLimit`
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mlock")]
    #[doc(alias = "VirtualLock")]
    pub fn lock(&self) -> Result<()> {
        self.lock_range(..)
    }

    /// Locks the pages that contain a range in physical memory, like [`lock`](Self::lock).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`lock`](Self::lock).
    #[doc(alias = "mlock")]
    pub fn lock_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "lock")? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span, and locking changes no contents.
        unsafe { sys::map::lock(pages.base, pages.len) }.map_err(|error| self.named(error))
    }

    /// Unlocks the pages of the mapping, which the system may then evict again (`munlock`,
    /// `VirtualUnlock`).
    ///
    /// Locks do not nest: one call unlocks a page, however often it was locked.
    ///
    /// # Errors
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    #[doc(alias = "munlock")]
    #[doc(alias = "VirtualUnlock")]
    pub fn unlock(&self) -> Result<()> {
        self.unlock_range(..)
    }

    /// Unlocks the pages that contain a range, like [`unlock`](Self::unlock).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`unlock`](Self::unlock).
    #[doc(alias = "munlock")]
    pub fn unlock_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "unlock")? else {
            return Ok(());
        };
        // SAFETY: the pages are in this region's span, and unlocking changes no contents.
        unsafe { sys::map::unlock(pages.base, pages.len) }.map_err(|error| self.named(error))
    }
}
