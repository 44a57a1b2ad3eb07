//! Views of a region. A view always lies within the region's mapped bytes.

#![allow(unsafe_code, reason = "promises views that the region keeps mapped")]

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Element;
use crate::mapping::region::Region;
use crate::view::{Backing, OwnedView, OwnedViewMut, View, ViewMut};

impl Region {
    /// Returns a view of the whole region.
    pub(super) fn view<T: Element>(&self) -> Result<View<'_, T>> {
        // SAFETY: base and length are the region's own, and while it is borrowed it neither unmaps nor
        // moves. It makes references only to memory that no process can write (see `frozen`).
        unsafe { View::new(self, self.base(), self.len()) }
    }

    /// Returns a writable view of the whole region, which must be mapped writable.
    pub(super) fn view_mut<T: Element>(&self) -> Result<ViewMut<'_, T>> {
        // SAFETY: as in `view`; the caller's region is mapped writable.
        unsafe { ViewMut::new(self, self.base(), self.len()) }
    }

    /// Returns a view of `count` elements from byte `at` on.
    pub(super) fn view_at<T: Element>(&self, at: usize, count: usize) -> Result<View<'_, T>> {
        let bytes = self.bytes_at::<T>(at, count)?;
        // SAFETY: as in `view`; the part was checked to lie in the region.
        unsafe { View::new(self, self.base().wrapping_add(at), bytes) }
    }

    /// Returns a writable view of `count` elements from byte `at` on.
    pub(super) fn view_mut_at<T: Element>(
        &self,
        at: usize,
        count: usize,
    ) -> Result<ViewMut<'_, T>> {
        let bytes = self.bytes_at::<T>(at, count)?;
        // SAFETY: as in `view_mut`; the part was checked to lie in the region.
        unsafe { ViewMut::new(self, self.base().wrapping_add(at), bytes) }
    }

    /// Returns the size in bytes of `count` elements from byte `at` on. Fails unless all of them lie in
    /// the region.
    fn bytes_at<T>(&self, at: usize, count: usize) -> Result<usize> {
        let error = |kind| {
            self.named(Error::new(kind, "view"))
                .with_offset(self.file_offset().saturating_add(at as u64))
        };
        let bytes = count.checked_mul(size_of::<T>());
        let Some((bytes, end)) = bytes.and_then(|bytes| Some((bytes, at.checked_add(bytes)?)))
        else {
            return Err(error(ErrorKind::Overflow).with_length(count as u64));
        };
        if end > self.len() {
            return Err(error(ErrorKind::OutOfBounds)
                .with_length(bytes as u64)
                .with_detail(format!("{} bytes are mapped", self.len())));
        }
        Ok(bytes)
    }
}

/// Returns a view that shares the ownership of a mapping of `len` bytes.
pub(crate) fn owned<T: Element>(backing: Arc<dyn Backing>, len: usize) -> Result<OwnedView<T>> {
    // SAFETY: the callers pass the mapping's own length. A mapping in an `Arc` cannot be borrowed
    // exclusively, so it neither moves nor shrinks.
    unsafe { OwnedView::new(backing, 0, len) }
}

/// Returns a writable view that shares the ownership of a mapping of `len` bytes.
pub(crate) fn owned_mut<T: Element>(
    backing: Arc<dyn Backing>,
    len: usize,
) -> Result<OwnedViewMut<T>> {
    // SAFETY: as in `owned`; the callers pass writable mappings.
    unsafe { OwnedViewMut::new(backing, 0, len) }
}
