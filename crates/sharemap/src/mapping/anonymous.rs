//! Memory of this process alone.

#![allow(unsafe_code, reason = "makes references to private anonymous memory")]

use std::fmt;
use std::ops::{Deref, DerefMut, RangeBounds};

use crate::error::Result;
use crate::mapping::{MapOptions, MappingMut, Region, Residency};
use crate::sys::{Advice, Protection};

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

    /// Converts the plain slice into a mapping, which is accessed through guarded views, so that
    /// its pages may be [protected](Region::protect). The memory stays private to this process.
    #[must_use]
    pub fn into_mapping(self) -> MappingMut {
        MappingMut::from_region(self.region)
    }

    /// Changes the protection of the pages that contain a range (`mprotect`, `VirtualProtect`).
    ///
    /// A plain slice cannot have inaccessible pages, so the memory becomes a mapping, as by
    /// [`into_mapping`](Self::into_mapping). A forbidden access is an error of kind
    /// [`Fault`](crate::ErrorKind::Fault). [`Region::protect`] changes the protection again.
    ///
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// use sharemap::{AnonymousMapping, ErrorKind, Protection};
    ///
    /// let mut memory = AnonymousMapping::new(1 << 16)?;
    /// memory[..5].copy_from_slice(b"hello");
    /// let memory = memory.protect(.., Protection::Read)?;
    /// assert_eq!(memory.bytes().get(0)?, b'h');
    /// assert_eq!(memory.bytes().set(0, b'j').unwrap_err().kind(), ErrorKind::Fault);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`OutOfBounds`](crate::ErrorKind::OutOfBounds) if the range does not lie in the memory;
    /// other kinds report a failed system call. After an error the memory is unmapped.
    #[doc(alias = "mprotect")]
    pub fn protect(
        self,
        range: impl RangeBounds<usize>,
        protection: Protection,
    ) -> Result<MappingMut> {
        let mapping = self.into_mapping();
        mapping.protect(range, protection)?;
        Ok(mapping)
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
