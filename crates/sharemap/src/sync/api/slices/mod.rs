//! Locks over elements that stay in their place: for data that is too large to be copied out and
//! back.

mod mutex;
mod rwlock;

pub use mutex::{MutexSliceGuard, MutexSliceHandle};
pub use rwlock::{
    RwLockSliceHandle, RwLockSliceReadGuard, RwLockSliceUpgradableGuard, RwLockSliceWriteGuard,
};

use super::lock_target::Zeros;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Pod, Shareable};
use crate::peer::Machine;
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef};
use crate::view::{View, ViewMut};

/// How a kind of lock lies in front of its elements: its words, among them their number, of 64 bits.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: u64,
    count_at: u64,
}

impl Head {
    /// At least an element follows.
    const fn room(self) -> LayoutSize {
        LayoutSize::AtLeast(self.bytes + 16)
    }

    fn describe<T: Shareable>(layout: &mut Layout, lock: &str) {
        layout.push(lock);
        layout.push("<[");
        T::describe(layout);
        layout.push("]>");
    }

    fn fill<T>(self, Zeros(count): Zeros, blank: &mut LayoutWriter<'_>) -> Result<()> {
        const CREATE: &str = "create a lock over elements";
        if count == 0 {
            return Err(Error::new(ErrorKind::ZeroLength, CREATE)
                .with_detail("it guards one element at least"));
        }
        let bytes = bytes_of::<T>(count)
            .ok_or_else(|| Error::new(ErrorKind::Overflow, CREATE).with_length(count))?;
        blank.take(LayoutSize::Exactly(self.bytes))?.write(self.count_at, &count.to_le_bytes())?;
        blank.take(LayoutSize::Exactly(bytes)).map(drop)
    }

    fn find<T: Pod>(self, found: &mut LayoutReader) -> Result<(LockRef, Elements)> {
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
                    .with_detail("that many elements cannot be"));
            }
        };
        // Once, so that views can be had without further ado.
        place.session().memory().view::<T>(at, count)?;
        Ok((place, Elements { at, count }))
    }
}

fn bytes_of<T>(count: u64) -> Option<u64> {
    count.checked_mul(size_of::<T>() as u64)
}

/// Elements that lie in an object, as was checked when it was opened.
#[derive(Clone, Copy, Debug)]
struct Elements {
    at: u64,
    count: u64,
}

impl Elements {
    fn len(self) -> usize {
        self.count as usize
    }

    fn view<T: Pod>(self, place: &LockRef) -> View<'_, T> {
        place
            .session()
            .memory()
            .view(self.at, self.count)
            .unwrap_or_else(|error| unreachable!("checked when it was opened: {error}"))
    }

    fn view_mut<T: Pod>(self, place: &LockRef) -> ViewMut<'_, T> {
        place
            .session()
            .memory()
            .view_mut(self.at, self.count)
            .unwrap_or_else(|error| unreachable!("checked when it was opened: {error}"))
    }

    fn private_view_mut<T: Pod>(self, place: &LockRef) -> Result<ViewMut<'_, T>> {
        const DRAFT: &str = "change a private copy of the elements";
        if place.session().keeps_changes() {
            return Ok(self.view_mut(place));
        }
        Err(place
            .error(ErrorKind::NotWritable, DRAFT)
            .with_detail("others see it: lock it, or open the object copy-on-write"))
    }

    /// What a guard shows in a process that does not have the lock, as it was forked from the one
    /// that has.
    fn none(self) -> Self {
        Self { count: 0, ..self }
    }
}

/// Elements lie behind a lock's words, on a multiple of 16.
const fn fits<T>() -> bool {
    size_of::<T>() > 0 && align_of::<T>() <= 16
}
