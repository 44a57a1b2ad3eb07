//! Memory of this process alone.

#![allow(unsafe_code, reason = "makes references to private anonymous memory")]

use std::fmt;
use std::ops::{Deref, DerefMut, RangeBounds};

use crate::error::Result;
use crate::mapping::{MapOptions, Region, Residency};
use crate::sys::Advice;

/// Anonymous memory that is this process's own: plainly a `[u8]`, zeros at first.
///
/// Nobody else can change or cut it, so that it needs no guard. For memory that the children of a
/// `fork` share, see [`MappingMut::anonymous`](crate::MappingMut::anonymous).
///
/// ```
/// # fn main() -> sharemap::Result<()> {
/// use sharemap::AnonymousMapping;
///
/// let mut memory = AnonymousMapping::new(1 << 20)?;
/// memory[..5].copy_from_slice(b"hello");
/// # Ok(())
/// # }
/// ```
pub struct AnonymousMapping {
    region: Region,
}

impl AnonymousMapping {
    /// Maps `len` zero bytes.
    pub fn new(len: usize) -> Result<Self> {
        MapOptions::new().private(len)
    }

    /// Huge pages, population, room to grow, …: [`MapOptions::private`] makes it.
    pub fn options() -> MapOptions {
        MapOptions::new()
    }

    pub(super) fn from_region(region: Region) -> Self {
        Self { region }
    }

    /// Bytes that it can grow to.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.region.reserved()
    }

    /// Grows within what was [reserved](MapOptions::reserve); new bytes are zeros.
    pub fn grow(&mut self, new_len: usize) -> Result<()> {
        self.region.grow_in_place(new_len)
    }

    /// Tells the system how the memory is going to be used (`madvise`).
    pub fn advise(&self, advice: Advice) -> Result<()> {
        self.region.advise(advice)
    }

    /// Gives all of it memory now.
    pub fn populate(&self) -> Result<()> {
        self.region.populate()
    }

    /// Keeps it in memory until it is unlocked or unmapped (`mlock`, `VirtualLock`).
    pub fn lock(&self) -> Result<()> {
        self.region.lock()
    }

    /// Lets it leave memory again.
    pub fn unlock(&self) -> Result<()> {
        self.region.unlock()
    }

    /// Which pages are in memory.
    pub fn residency(&self) -> Result<Residency> {
        self.region.residency()
    }

    /// Makes a range zeros and gives its whole pages back to the system.
    pub fn discard(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.forget(range)
    }

    /// Unmaps, and says whether that went well; dropping does the same without a word.
    pub fn close(self) -> Result<()> {
        self.region.close()
    }
}

impl Deref for AnonymousMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: private anonymous memory of this length, mapped for as long as `self` is
        // borrowed, readable and writable, initialised to zeros, at most isize::MAX bytes; nothing
        // that takes `&self` changes its contents or protection.
        unsafe { std::slice::from_raw_parts(self.region.base(), self.region.len()) }
    }
}

impl DerefMut for AnonymousMapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.region.base(), self.region.len()) }
    }
}

impl fmt::Debug for AnonymousMapping {
    /// Its length; never contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.region.debug(f, "AnonymousMapping")
    }
}
