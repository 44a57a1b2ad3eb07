//! The way from a region to its views: what is shown lies in the region.

#![allow(unsafe_code, reason = "promises views that the region keeps mapped")]

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Element;
use crate::mapping::region::Region;
use crate::view::{Backing, OwnedView, OwnedViewMut, View, ViewMut};

impl Region {
    pub(super) fn view<T: Element>(&self) -> Result<View<'_, T>> {
        // SAFETY: base and length are the region's own; while it is borrowed it neither unmaps nor
        // moves, and it refuses references (see `frozen`) only to what nobody can write.
        unsafe { View::new(self, self.base(), self.len()) }
    }

    pub(super) fn view_mut<T: Element>(&self) -> Result<ViewMut<'_, T>> {
        // SAFETY: as above; regions seen like this are writable.
        unsafe { ViewMut::new(self, self.base(), self.len()) }
    }

    pub(super) fn view_at<T: Element>(&self, at: usize, count: usize) -> Result<View<'_, T>> {
        let bytes = self.bytes_at::<T>(at, count)?;
        // SAFETY: as above; the part was checked to lie in the region.
        unsafe { View::new(self, self.base().wrapping_add(at), bytes) }
    }

    pub(super) fn view_mut_at<T: Element>(
        &self,
        at: usize,
        count: usize,
    ) -> Result<ViewMut<'_, T>> {
        let bytes = self.bytes_at::<T>(at, count)?;
        // SAFETY: as above.
        unsafe { ViewMut::new(self, self.base().wrapping_add(at), bytes) }
    }

    /// The size of `count` elements from byte `at` on, all of which lie in the region.
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

/// A view that shares the ownership of a mapping.
pub(crate) fn owned<T: Element>(backing: Arc<dyn Backing>, len: usize) -> Result<OwnedView<T>> {
    // SAFETY: the callers pass the mapping's own length. A shared mapping lends itself to nobody
    // exclusively, so it stays in its place.
    unsafe { OwnedView::new(backing, 0, len) }
}

pub(crate) fn owned_mut<T: Element>(
    backing: Arc<dyn Backing>,
    len: usize,
) -> Result<OwnedViewMut<T>> {
    // SAFETY: as above.
    unsafe { OwnedViewMut::new(backing, 0, len) }
}
