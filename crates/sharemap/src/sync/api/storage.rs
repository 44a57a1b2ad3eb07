//! `Storage`: how a lock stores what it guards.

use super::elements::Elements;
use super::shared_type::{LayoutReader, LayoutSize, LayoutWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Pod, Shareable};
use crate::peer::Machine;

/// How a lock stores what it guards: a value, which guards copy out and back, or elements, which they access in
/// place.
///
/// Other crates cannot name this trait, and so cannot implement [`LockTarget`](super::LockTarget).
pub trait Storage {
    /// The initial value that a lock stores in a new object.
    type First;

    /// What guards copy: the value, or nothing of a slice.
    type Copied: Element;

    /// The least length of what follows the lock's words and copies.
    const ELEMENTS: LayoutSize;

    /// Appends the canonical description of the type.
    fn describe_target(layout: &mut Layout);

    /// Returns the initial value of what guards copy.
    fn copied(first: &Self::First) -> Self::Copied;

    /// Takes the elements of a new object, which are zeros. Returns their number, which is 0 for a value only.
    fn fill_elements(first: &Self::First, blank: &mut LayoutWriter<'_>) -> Result<u64>;

    /// Takes the elements of an object's lock at offset `lock`, which stores their number at offset `count` in the
    /// object.
    fn find_elements(found: &mut LayoutReader, lock: u64, count: u64) -> Result<Elements>;
}

/// The number of elements of a new lock over a slice. All of them are zeros.
#[derive(Clone, Copy, Debug)]
pub struct Zeros(u64);

impl Zeros {
    /// Creates `len` elements of type `T`.
    pub(super) const fn new<T>(len: usize) -> Self {
        // Elements begin on a multiple of 16.
        const {
            assert!(
                size_of::<T>() > 0 && align_of::<T>() <= 16,
                "elements have a size, and an alignment of at most 16"
            );
        }
        Self(len as u64)
    }
}

impl<T: Element + Shareable> Storage for T {
    type First = T;
    type Copied = T;
    const ELEMENTS: LayoutSize = LayoutSize::NONE;

    fn describe_target(layout: &mut Layout) {
        T::describe(layout);
    }

    fn copied(first: &T) -> T {
        *first
    }

    fn fill_elements(_: &T, _: &mut LayoutWriter<'_>) -> Result<u64> {
        Ok(0)
    }

    fn find_elements(_: &mut LayoutReader, _: u64, _: u64) -> Result<Elements> {
        Ok(Elements::NONE)
    }
}

impl<T: Pod + Shareable> Storage for [T] {
    type First = Zeros;
    type Copied = ();
    const ELEMENTS: LayoutSize = LayoutSize::AtLeast(16);

    fn describe_target(layout: &mut Layout) {
        layout.push("[");
        T::describe(layout);
        layout.push("]");
    }

    fn copied(_: &Zeros) {}

    fn fill_elements(&Zeros(len): &Zeros, blank: &mut LayoutWriter<'_>) -> Result<u64> {
        const CREATE: &str = "create a lock over elements";
        if len == 0 {
            return Err(Error::new(ErrorKind::ZeroLength, CREATE)
                .with_detail("a lock guards at least one element"));
        }
        let bytes = bytes_of::<T>(len)
            .ok_or_else(|| Error::new(ErrorKind::Overflow, CREATE).with_length(len))?;
        blank.take(LayoutSize::Exactly(bytes))?;
        Ok(len)
    }

    fn find_elements(found: &mut LayoutReader, lock: u64, count: u64) -> Result<Elements> {
        const OPEN: &str = "open the lock over elements";
        let place = found.next();
        // The number comes from the object and is read only here, so a later change by a peer cannot move the bounds.
        let len = place.session().load_64(count)?;
        match bytes_of::<T>(len) {
            Some(bytes) if bytes > 0 => found.take(LayoutSize::Exactly(bytes))?,
            _ => {
                return Err(place
                    .error(ErrorKind::WrongSize, OPEN)
                    .with_lock_offset(lock)
                    .with_length(len)
                    .with_detail("the stored number of elements is zero or too large"));
            }
        };
        Elements::new::<T>(&place, len)
    }
}

/// Returns the length of `len` elements.
fn bytes_of<T>(len: u64) -> Option<u64> {
    len.checked_mul(size_of::<T>() as u64)
}
