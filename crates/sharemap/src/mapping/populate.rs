//! Faulting pages in before they are needed.

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

/// What one thread takes at a time.
const PIECE: usize = 16 << 20;

/// More threads than this wait for each other in the kernel.
const THREADS: usize = 8;

impl Region {
    /// Faults the whole mapping in, by several threads where that is faster.
    ///
    /// Shared memory and tmpfs gain most (2 GiB on two cores: half the time of one thread); files
    /// on disk are read in. Copy-on-write memory gets the file's pages; they are copied when they
    /// are written to.
    pub fn populate(&self) -> Result<()> {
        self.populate_range(..)
    }

    /// The same for the pages that hold a range.
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

    fn populate_threads(&self, len: usize) -> usize {
        if len < 2 * PIECE {
            return 1;
        }
        // A disk's cached pages are mapped many at a time, 20 times as fast: threads do not pay
        // for themselves before this.
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
            // Without threads to be had, this one does it all.
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
        // Writing would change a file's pages, or copy private ones, and is the slower way on
        // shared memory; private memory of no file has nothing to read.
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

    /// One guarded read of each page, for systems without a call for it.
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
                return Err(guard::with_cause(error, self.shrinking_file(), offset));
            }
        }
        Ok(())
    }
}
