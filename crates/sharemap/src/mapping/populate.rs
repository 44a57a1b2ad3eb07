//! Populating: faulting pages in before they are needed.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::ops::RangeBounds;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::mapping::page_size;
use crate::mapping::range::Pages;
use crate::mapping::region::Region;
use crate::sys::{self, Access};

/// The bytes that a thread populates by one call.
const PIECE: usize = 16 << 20;

/// The most threads. More of them contend in the kernel.
const THREADS: usize = 8;

impl Region {
    /// Faults in all pages of the mapping, by several threads where that is faster
    /// (`MADV_POPULATE_READ`).
    ///
    /// Files on disk are read. Shared memory is allocated, which gains most from several threads.
    /// Copy-on-write memory maps the pages of the file, and still copies each on its first store.
    ///
    /// # Errors
    /// - `Fault` - a page lies past the end of the file, or its device failed.
    /// - `OutOfAddressSpace` - there is not enough memory, or a page is protected.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-populate-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::open(&path)?;
    /// map.populate()?; // reads the file ahead of the first access
    /// assert_eq!(map.bytes().count(7)?, 100);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MADV_POPULATE_READ")]
    #[doc(alias = "MAP_POPULATE")]
    #[doc(alias = "PrefetchVirtualMemory")]
    pub fn populate(&self) -> Result<()> {
        self.populate_range(..)
    }

    /// Faults in the pages that contain a range, like [`populate`](Self::populate).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`populate`](Self::populate).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-populate-range-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 10000])?;
    /// let map = Mapping::open(&path)?;
    /// map.populate_range(..5000)?;
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn populate_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        let Some((_, pages)) = self.pages(range, "populate")? else {
            return Ok(());
        };
        let result = match self.populate_threads(pages.len) {
            1 => self.populate_piece(pages),
            threads => self.populate_in_parallel(pages, threads),
        };
        result.map_err(|error| self.named(error))
    }

    /// Returns the number of threads that populate `len` bytes fastest.
    fn populate_threads(&self, len: usize) -> usize {
        if len < 2 * PIECE {
            return 1;
        }
        // Cached pages of a disk are mapped many at a time, 20 times as fast as others, so threads
        // pay off later.
        const WORTH_IT_ON_DISK: usize = 128 << 20;
        let on_disk = || {
            let name = self.file().map(sys::file::file_system);
            !matches!(name, Some(Ok(name)) if name == "tmpfs" || name == "hugetlbfs")
        };
        if !self.is_anonymous() && len < WORTH_IT_ON_DISK && on_disk() {
            return 1;
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        cores.min(THREADS).min(len / PIECE)
    }

    fn populate_in_parallel(&self, pages: Pages, threads: usize) -> Result<()> {
        let next = AtomicUsize::new(0);
        let base = pages.base.expose_provenance();
        let work = || -> Result<()> {
            loop {
                let start = next.fetch_add(PIECE, Ordering::Relaxed);
                if start >= pages.len {
                    return Ok(());
                }
                let base = std::ptr::with_exposed_provenance_mut(base + start);
                let piece = Pages { base, len: PIECE.min(pages.len - start) };
                if let Err(error) = self.populate_piece(piece) {
                    next.store(pages.len, Ordering::Relaxed);
                    return Err(error);
                }
            }
        };
        thread::scope(|scope| {
            // If no thread can be spawned, this one populates everything.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let helpers: Vec<_> = (1..threads).map_while(spawn).collect();
            let mut result = work();
            for helper in helpers {
                if let Ok(theirs) = helper.join() {
                    result = result.and(theirs);
                }
            }
            result
        })
    }

    fn populate_piece(&self, pages: Pages) -> Result<()> {
        // Populating for writing would dirty the pages of a file or copy private ones, and is slower
        // on shared memory. Private anonymous memory has nothing to read.
        let access = match self.plan.access {
            Access::CopyOnWrite if self.is_anonymous() => Access::Write,
            _ => Access::Read,
        };
        // SAFETY: the pages are in this region's span; populating changes no contents.
        match unsafe { sys::map::populate(pages.base, pages.len, access) } {
            Err(error) if error.kind() == ErrorKind::Unsupported => self.touch(pages),
            result => result,
        }
    }

    /// Reads one byte of each page, for systems without a call that populates.
    fn touch(&self, pages: Pages) -> Result<()> {
        let mut byte = 0u8;
        for at in (0..pages.len).step_by(page_size()) {
            let page = pages.base.wrapping_add(at);
            // SAFETY: the page is in this region's span, and `byte` is private.
            let done = unsafe { guard::copy_out(self.recovery(), page, &raw mut byte, 1) };
            if done == 0 {
                let before = page.addr() - self.span_base().addr();
                let offset = self.plan.offset - self.slack() as u64 + before as u64;
                let error = Error::new(ErrorKind::Fault, "populate").with_offset(offset);
                return Err(guard::with_cause(error, self.shrinking_file(), offset, guard::REMAP));
            }
        }
        Ok(())
    }
}
