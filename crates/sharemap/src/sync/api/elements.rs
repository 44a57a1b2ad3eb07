//! The elements of a lock over a slice: their place in the object, and the views of them.

use super::lock_target::Zeros;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Pod, Shareable};
use crate::peer::Machine;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef};
use crate::view::{View, ViewMut};

/// The layout of a lock's words, which precede its elements (FORMAT.md, "Mutex" and "Reader-writer
/// lock").
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The length of the words, a multiple of 16.
    pub(super) bytes: u64,
    /// The offset of the number of elements, a word of 64 bits.
    pub(super) count_at: u64,
}

impl Head {
    /// Returns the least size of such a lock: at least one element follows the words.
    pub(super) const fn room(self) -> LayoutSize {
        LayoutSize::AtLeast(self.bytes + 16)
    }

    /// Writes the description of a `lock` of elements.
    pub(super) fn describe<T: Shareable>(layout: &mut Layout, lock: &str) {
        layout.push(lock);
        layout.push("<[");
        T::describe(layout);
        layout.push("]>");
    }

    /// Writes the number of elements, and reserves the words and the elements, which stay zeros.
    pub(super) fn fill<T>(self, Zeros(count): Zeros, blank: &mut LayoutWriter<'_>) -> Result<()> {
        const CREATE: &str = "create a lock over elements";
        if count == 0 {
            return Err(Error::new(ErrorKind::ZeroLength, CREATE)
                .with_detail("a lock guards at least one element"));
        }
        let bytes = bytes_of::<T>(count)
            .ok_or_else(|| Error::new(ErrorKind::Overflow, CREATE).with_length(count))?;
        blank.take(LayoutSize::Exactly(self.bytes))?.write(self.count_at, &count.to_le_bytes())?;
        blank.take(LayoutSize::Exactly(bytes)).map(drop)
    }

    /// Reads and checks the number of elements of a lock in an object. The number comes from the object
    /// and is read only here, so a later change by a peer cannot move the bounds.
    pub(super) fn find<T: Pod>(self, found: &mut LayoutReader) -> Result<(LockRef, Elements)> {
        const OPEN: &str = "open the lock over elements";
        let place = found.take(LayoutSize::Exactly(self.bytes))?;
        let count = place.session().load_64(place.at + self.count_at)?;
        let at = place.at + self.bytes;
        match bytes_of::<T>(count) {
            Some(bytes) if bytes > 0 => found.take(LayoutSize::Exactly(bytes))?,
            _ => {
                return Err(place
                    .error(ErrorKind::WrongSize, OPEN)
                    .with_length(count)
                    .with_detail("the stored number of elements is zero or too large"));
            }
        };
        // Checked once, so that the views of `Elements` cannot fail.
        place.session().memory().view::<T>(at, count)?;
        Ok((place, Elements { at, count }))
    }
}

fn bytes_of<T>(count: u64) -> Option<u64> {
    count.checked_mul(size_of::<T>() as u64)
}

/// The elements of a lock. Their bounds and alignment were checked when the object was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements {
    at: u64,
    pub(super) count: u64,
}

impl Elements {
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

/// Returns `true` if a lock can guard elements of type `T`, which begin on a multiple of 16.
pub(super) const fn fits<T>() -> bool {
    size_of::<T>() > 0 && align_of::<T>() <= 16
}
