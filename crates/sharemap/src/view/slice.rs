//! Plain slices of mapped memory, by `unsafe` functions.

#![allow(unsafe_code, reason = "the caller guarantees what a reference needs")]

use super::{View, ViewMut};
use crate::layout::Pod;

impl<'a, T: Pod> View<'a, T> {
    /// Returns the elements as a plain slice.
    ///
    /// # Safety
    /// For `'a`:
    /// 1. The bytes must not change, neither through a view or another mapping of this process nor by
    ///    another process.
    /// 2. The file must not become shorter than the view, and its pages must not be protected, discarded
    ///    or punched out. A fault of an access through the slice is not recovered and ends the process.
    /// 3. The device must not fail, for the same reason.
    ///
    /// If the kernel guarantees 1 and 2, [`Mapping::frozen`](crate::Mapping::frozen) is safe. Where 2
    /// and 3 cannot be promised, [`guarded_slice`](Self::guarded_slice) keeps the process alive.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = MappingMut::anonymous(4096)?;
    /// let numbers = map.view::<u64>()?;
    /// // SAFETY: no other process has this memory, its pages cannot be lost, and no code writes to it
    /// // while the slice exists.
    /// let slice = unsafe { numbers.as_slice() };
    /// assert_eq!(slice.iter().sum::<u64>(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub unsafe fn as_slice(&self) -> &'a [T] {
        // SAFETY: aligned and in bounds, and any bytes are valid values. The caller promises the rest.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }
}

impl<'a, T: Pod> ViewMut<'a, T> {
    /// Returns the elements as a plain mutable slice.
    ///
    /// # Safety
    /// As for [`View::as_slice`]. In addition, no other thread or process may read the bytes for `'a`,
    /// and no other slice of them may exist.
    #[must_use]
    #[allow(clippy::mut_from_ref, reason = "exclusiveness is part of the caller's promise")]
    pub unsafe fn as_mut_slice(&self) -> &'a mut [T] {
        // SAFETY: aligned and in bounds, and any bytes are valid values. The caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) }
    }
}
