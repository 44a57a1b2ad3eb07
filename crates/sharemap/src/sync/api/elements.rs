//! The elements of a lock over a slice: their place in the object, and the views of them.

use crate::error::{ErrorKind, Result};
use crate::layout::Pod;
use crate::sync::api::shared_type::LockRef;
use crate::view::{View, ViewMut};

/// The elements of a lock. Their bounds and alignment were checked when the object was opened.
#[derive(Clone, Copy, Debug)]
pub struct Elements {
    at: u64,
    count: u64,
}

impl Elements {
    /// The elements of a lock over a value.
    pub(super) const NONE: Self = Self { at: 0, count: 0 };

    /// Returns the `count` elements at `place`, after a check that their views cannot fail.
    pub(super) fn new<T: Pod>(place: &LockRef, count: u64) -> Result<Self> {
        place.session().memory().view::<T>(place.at, count)?;
        Ok(Self { at: place.at, count })
    }

    pub(super) fn len(self) -> usize {
        self.count as usize
    }

    pub(super) fn view<T: Pod>(self, place: &LockRef) -> View<'_, T> {
        place
            .session()
            .memory()
            .view(self.at, self.count)
            .unwrap_or_else(|error| unreachable!("checked when it was opened: {error}"))
    }

    pub(super) fn view_mut<T: Pod>(self, place: &LockRef) -> ViewMut<'_, T> {
        place
            .session()
            .memory()
            .view_mut(self.at, self.count)
            .unwrap_or_else(|error| unreachable!("checked when it was opened: {error}"))
    }

    /// Returns a view that can be changed without the lock, if changes stay private to this process.
    pub(super) fn private_view_mut<T: Pod>(self, place: &LockRef) -> Result<ViewMut<'_, T>> {
        const DRAFT: &str = "change a private copy of the elements";
        if place.session().keeps_changes() {
            return Ok(self.view_mut(place));
        }
        Err(place.error(ErrorKind::NotWritable, DRAFT).with_detail(
            "the object was not opened with `open_copy_on_write`; acquire the lock instead",
        ))
    }

    /// Returns no elements: what a copy of a guard shows in a forked child, which does not hold the
    /// lock.
    pub(super) fn none(self) -> Self {
        Self { count: 0, ..self }
    }
}
