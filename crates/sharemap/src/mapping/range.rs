//! Ranges of bytes, and the pages that contain them.

use std::ops::{Bound, Range, RangeBounds};

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::region::Region;
use crate::sys::map::page_size;

/// Whole pages of a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub(super) base: *mut u8,
    pub(super) len: usize,
}

/// Returns the start and end of a range, which must lie within `len`.
pub(super) fn resolve(
    range: impl RangeBounds<usize>,
    len: usize,
    operation: &'static str,
) -> Result<Range<usize>> {
    let overflow = || Error::new(ErrorKind::Overflow, operation);
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start.checked_add(1).ok_or_else(overflow)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end.checked_add(1).ok_or_else(overflow)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => len,
    };
    if start > end || end > len {
        return Err(Error::new(ErrorKind::OutOfBounds, operation).with_detail(format!(
            "the range {start}..{end} does not lie in a mapping of {len} bytes"
        )));
    }
    Ok(start..end)
}

impl Region {
    /// Returns a range within this mapping and the pages that contain it; `None` if the range is empty.
    pub(super) fn pages(
        &self,
        range: impl RangeBounds<usize>,
        operation: &'static str,
    ) -> Result<Option<(Range<usize>, Pages)>> {
        let range =
            resolve(range, self.len(), operation).map_err(|error| error.with_path(self.path()))?;
        if range.is_empty() {
            return Ok(None);
        }
        let pages = self.pages_of(&range);
        Ok(Some((range, pages)))
    }

    /// Returns the pages that contain a range, which is not empty and lies in the mapping.
    pub(super) fn pages_of(&self, range: &Range<usize>) -> Pages {
        // Relative to the beginning of the address space, which is page-aligned.
        let start = self.slack() + range.start;
        let end = self.slack() + range.end;
        let first = start - start % page_size();
        // Does not overflow: the address space consists of whole pages and contains the end.
        let len = end.next_multiple_of(page_size()) - first;
        Pages { base: self.span_base().wrapping_add(first), len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(range: impl RangeBounds<usize>) -> ErrorKind {
        resolve(range, 10, "test").unwrap_err().kind()
    }

    #[test]
    fn ranges_must_lie_within_the_length() {
        assert_eq!(resolve(.., 10, "test").unwrap(), 0..10);
        assert_eq!(resolve(3..=9, 10, "test").unwrap(), 3..10);
        assert_eq!(resolve(10.., 10, "test").unwrap(), 10..10);
        assert_eq!(kind(11..), ErrorKind::OutOfBounds);
        assert_eq!(kind(..11), ErrorKind::OutOfBounds);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 5..4;
        assert_eq!(kind(reversed), ErrorKind::OutOfBounds);
        assert_eq!(kind(..=usize::MAX), ErrorKind::Overflow);
    }
}
