//! Flushing: making changes durable, and remembering failures.

#![allow(unsafe_code, reason = "hands page addresses to the system")]

use std::io;
use std::ops::{Range, RangeBounds};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::range::resolve;
use crate::mapping::region::Region;
use crate::sys;

/// The first failed flush of a mapping. The system reports a failed write once and then forgets it, so
/// the mapping remembers it.
#[derive(Default)]
pub(super) struct FlushState {
    /// The system's code of the first failure; 0 if no flush has failed.
    failure: AtomicI32,
}

/// The point at which a flush returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// The changes are durable.
    Durable,
    /// Writing has been started.
    Started,
}

impl FlushState {
    /// Fails if an earlier flush failed.
    fn check(&self) -> Result<()> {
        match self.failure.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(Error::new(ErrorKind::FlushFailed, "flush")
                .with_detail("an earlier flush of this mapping failed")
                .with_source(io::Error::from_raw_os_error(code))),
        }
    }

    /// Records a failure, for the lifetime of the mapping, and returns it as `FlushFailed`.
    #[cold]
    fn remember(&self, error: Error) -> Error {
        let code = error.os_code().filter(|&code| code != 0).unwrap_or(-1);
        let _ = self.failure.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        error.with_kind(ErrorKind::FlushFailed)
    }
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
        let cause = io::Error::from_raw_os_error(5);
        drop(self.flush_state.remember(Error::new(ErrorKind::Io, "flush").with_source(cause)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_flush_is_remembered() {
        let state = FlushState::default();
        assert!(state.check().is_ok());
        let failed =
            Error::new(ErrorKind::Io, "flush").with_source(io::Error::from_raw_os_error(5));
        assert_eq!(state.remember(failed).kind(), ErrorKind::FlushFailed);
        for _ in 0..2 {
            let error = state.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FlushFailed);
            assert_eq!(error.os_code(), Some(5));
        }
    }
}
