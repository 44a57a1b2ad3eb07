//! `Offset<T>`: where an object lies in a segment.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Shareable};

/// The place of a `T` in a segment: what a pointer is in a program's own memory.
///
/// An offset means the same in every process, and may be stored in the segment itself, for instance in a struct that
/// refers to the next one. It carries a part of its segment's id, which is compared at each use: another segment
/// refuses it with [`Invalid`](crate::ErrorKind::Invalid).
///
/// An offset does not keep its object. The offset of an object that was freed may refer to another object's memory;
/// what is read is then arbitrary, and what is written damages the other object, though never a program's memory.
///
/// # Examples
/// ```
/// use sharemap::{Location, Offset, Segment};
///
/// # fn main() -> sharemap::Result<()> {
/// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 24)?;
/// let seven = segment.allocate(&7_u64)?;
/// assert_eq!(segment.read(seven)?, 7);
/// assert!(Offset::<u64>::NONE.is_none());
/// # Ok(()) }
/// ```
#[doc(alias = "offset_ptr")]
#[repr(transparent)]
#[cfg_attr(
    feature = "derive",
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Offset<T> {
    /// The offset / 8 above [`TAG_BITS`] bits of the segment's id; 0: none.
    word: u64,
    of: PhantomData<T>,
}

/// The bits of a segment's id that an offset carries.
const TAG_BITS: u32 = 27;

/// The part of a segment's id that its offsets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// Returns the tag of the segment with this id.
    pub(crate) fn of(id: [u8; 16]) -> Self {
        let word = u64::from_le_bytes(std::array::from_fn(|index| id[index]));
        // Never 0, so that no offset is the word that means none.
        Self(word & ((1 << TAG_BITS) - 1) | 1)
    }
}

impl<T> Offset<T> {
    /// No place.
    pub const NONE: Self = Self { word: 0, of: PhantomData };

    /// Returns `true` for [`NONE`](Self::NONE).
    ///
    /// # Examples
    /// ```
    /// assert!(sharemap::Offset::<u64>::default().is_none());
    /// ```
    #[must_use]
    pub fn is_none(self) -> bool {
        self.word == 0
    }

    /// Returns the offset of `at`, a multiple of 8.
    pub(crate) fn of(tag: Tag, at: u64) -> Self {
        Self::from_word((at / 8) << TAG_BITS | tag.0)
    }

    pub(crate) fn word(self) -> u64 {
        self.word
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Self { word, of: PhantomData }
    }

    /// Returns the offset in bytes from the beginning of the segment with this tag.
    ///
    /// Fails with `Invalid` if the offset is that of another segment, or none.
    #[inline]
    pub(crate) fn at(self, tag: Tag) -> Result<u64> {
        match self.word & ((1 << TAG_BITS) - 1) == tag.0 {
            true => Ok(self.word >> TAG_BITS << 3),
            false => Err(foreign(self.is_none())),
        }
    }
}

impl<T, const N: usize> Offset<[T; N]> {
    /// Returns the offset of an element of an array.
    ///
    /// # Panics
    /// Panics if the array has no element `index`, and if the length of an element is not a multiple of 8 bytes.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 24)?;
    /// let primes = segment.allocate(&[2_u64, 3, 5])?;
    /// assert_eq!(segment.read(primes.element(2))?, 5);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn element(self, index: usize) -> Offset<T> {
        assert!(index < N, "element {index} of {N}");
        assert!(
            size_of::<T>() % 8 == 0,
            "elements whose length is not a multiple of 8 have no offsets"
        );
        match self.is_none() {
            true => Offset::NONE,
            // The places of an array's elements fit into the upper bits, as the array does. An offset that was read
            // from a segment may be any number.
            false => {
                let further = ((index * size_of::<T>() / 8) as u64) << TAG_BITS;
                Offset::from_word(self.word.wrapping_add(further))
            }
        }
    }
}

#[cold]
fn foreign(is_none: bool) -> Error {
    Error::new(ErrorKind::Invalid, "use the offset").with_detail(match is_none {
        true => "it is `Offset::NONE`",
        false => "it belongs to another segment",
    })
}

impl<T: Shareable> Shareable for Offset<T> {
    fn describe(layout: &mut Layout) {
        // Not what `T` is: types may refer to themselves.
        layout.push("offset");
    }
}

// Not derived: the derives would require the same of `T`.

impl<T> Clone for Offset<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Offset<T> {}

impl<T> PartialEq for Offset<T> {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

impl<T> Eq for Offset<T> {}

impl<T> Hash for Offset<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.word.hash(state);
    }
}

impl<T> Default for Offset<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> fmt::Debug for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_none() {
            true => f.write_str("Offset(none)"),
            false => write!(f, "Offset({:#x})", self.word >> TAG_BITS << 3),
        }
    }
}
