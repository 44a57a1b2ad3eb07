//! Slices of mapped memory, for those who can promise what a view does not need.

#![allow(unsafe_code, reason = "the caller promises")]

use super::{View, ViewMut};
use crate::layout::Pod;

impl<'a, T: Pod> View<'a, T> {
    /// The elements as a plain slice.
    ///
    /// # Safety
    /// For `'a`:
    /// 1. nobody changes the bytes: no view of this process, no other mapping, no other process;
    /// 2. the file does not become shorter than the view, and the pages are not protected,
    ///    discarded or punched out: a fault behind a slice is not recovered and ends the process;
    /// 3. the device does not fail: an unreadable block is SIGBUS.
    ///
    /// Where the kernel proves 1 and 2, [`Mapping::frozen`](crate::Mapping::frozen) is safe.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &'a [T] {
        // SAFETY: aligned, in bounds and any bytes are values; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }
}

impl<'a, T: Pod> ViewMut<'a, T> {
    /// The elements as a plain mutable slice.
    ///
    /// # Safety
    /// As for [`View::as_slice`], and nobody else even reads the bytes for `'a`.
    #[must_use]
    #[allow(clippy::mut_from_ref, reason = "exclusiveness is part of the caller's promise")]
    pub unsafe fn as_mut_slice(&self) -> &'a mut [T] {
        // SAFETY: aligned, in bounds and any bytes are values; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) }
    }
}
