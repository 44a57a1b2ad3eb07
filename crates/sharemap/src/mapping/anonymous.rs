//! Private anonymous memory.

#![allow(unsafe_code, reason = "makes references to private anonymous memory")]

use std::fmt;
use std::ops::{Deref, DerefMut, RangeBounds};

use crate::error::Result;
use crate::mapping::{MapOptions, MappingMut, Region, Residency};
use crate::sys::{Advice, Protection};

/// Private anonymous memory of this process, which dereferences to `[u8]` and begins as zeros.
///
/// No other process can change or remove it, so plain references are sound. For memory that the
/// children of a `fork` share, see [`MappingMut::anonymous`](crate::MappingMut::anonymous).
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// use sharemap::AnonymousMapping;
///
/// let mut memory = AnonymousMapping::new(1 << 20)?;
/// memory[..5].copy_from_slice(b"hello");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "mmap")]
#[doc(alias = "MAP_ANONYMOUS")]
#[doc(alias = "VirtualAlloc")]
pub struct AnonymousMapping {
    region: Region,
}

impl AnonymousMapping {
    /// Maps `len` zero bytes.
    ///
    /// # Errors
    /// As for [`MapOptions::private`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let mut memory = AnonymousMapping::new(1 << 20)?;
    /// memory[..5].copy_from_slice(b"hello");
    /// assert_eq!(memory.iter().filter(|&&byte| byte != 0).count(), 5);
    /// # Ok(()) }
    /// ```
    pub fn new(len: usize) -> Result<Self> {
        MapOptions::new().private(len)
    }

    /// Returns options for the memory: huge pages, population, reservation. [`MapOptions::private`]
    /// then creates it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let mut memory = AnonymousMapping::options().reserve(1 << 20).private(4096)?;
    /// memory.grow(8192)?;
    /// # Ok(()) }
    /// ```
    pub fn options() -> MapOptions {
        MapOptions::new()
    }

    pub(super) fn from_region(region: Region) -> Self {
        Self { region }
    }

    /// Returns the length in bytes up to which the memory can [grow](Self::grow).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let memory = MapOptions::new().reserve(1 << 20).private(4096)?;
    /// assert_eq!((memory.len(), memory.reserved()), (4096, 1 << 20));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.region.reserved()
    }

    /// Grows the memory in place to `new_len` bytes, within its [reservation](MapOptions::reserve).
    /// New bytes are zeros.
    ///
    /// A `new_len` of at most the current length changes nothing.
    ///
    /// # Errors
    /// - `ExceedsReservation` - `new_len` is more than [`reserved`](Self::reserved).
    /// - `OutOfAddressSpace` - there is not enough memory (Windows).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// let mut memory = sharemap::MapOptions::new().reserve(1 << 20).private(4096)?;
    /// memory.grow(8192)?;
    /// memory[8191] = 1;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mremap")]
    pub fn grow(&mut self, new_len: usize) -> Result<()> {
        self.region.grow_in_place(new_len)
    }

    /// Tells the system how the memory will be used (`madvise`).
    ///
    /// # Errors
    /// As for [`Region::advise`].
    #[doc(alias = "madvise")]
    pub fn advise(&self, advice: Advice) -> Result<()> {
        self.region.advise(advice)
    }

    /// Faults in all pages, so that later accesses find memory.
    ///
    /// # Errors
    /// As for [`Region::populate`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let memory = AnonymousMapping::new(1 << 20)?;
    /// match memory.populate() {
    ///     Ok(()) => {} // no later access waits for a page
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn populate(&self) -> Result<()> {
        self.region.populate()
    }

    /// Locks the pages in physical memory until they are unlocked or unmapped (`mlock`,
    /// `VirtualLock`).
    ///
    /// # Errors
    /// As for [`Region::lock`].
    #[doc(alias = "mlock")]
    #[doc(alias = "VirtualLock")]
    pub fn lock(&self) -> Result<()> {
        self.region.lock()
    }

    /// Unlocks the pages, which the system may then swap out again (`munlock`, `VirtualUnlock`).
    ///
    /// # Errors
    /// As for [`Region::unlock`].
    #[doc(alias = "munlock")]
    pub fn unlock(&self) -> Result<()> {
        self.region.unlock()
    }

    /// Returns which pages are in physical memory (`mincore`, `QueryWorkingSetEx`).
    ///
    /// # Errors
    /// As for [`Region::residency`].
    #[doc(alias = "mincore")]
    pub fn residency(&self) -> Result<Residency> {
        self.region.residency()
    }

    /// Sets a range to zero and frees its whole pages.
    ///
    /// On macOS the range is set to zero, and no memory is freed.
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the memory.
    /// - `OutOfAddressSpace` - there is not enough memory.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let mut memory = AnonymousMapping::new(1 << 20)?;
    /// memory.fill(1);
    /// memory.discard(..1 << 19)?;
    /// assert_eq!((memory[0], memory[1 << 19]), (0, 1));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MADV_DONTNEED")]
    pub fn discard(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.forget(range)
    }

    /// Converts the memory into a mapping, which is accessed through guarded views, so its pages may
    /// be [protected](Region::protect). The memory stays private to this process.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let mut memory = AnonymousMapping::new(16)?;
    /// memory[0] = 7;
    /// let map = memory.into_mapping();
    /// assert_eq!(map.view::<u64>()?.len(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn into_mapping(self) -> MappingMut {
        MappingMut::from_region(self.region)
    }

    /// Changes the protection of the pages that contain a range (`mprotect`, `VirtualProtect`).
    ///
    /// A plain slice cannot have inaccessible pages, so the memory becomes a mapping, as by
    /// [`into_mapping`](Self::into_mapping). A forbidden access is an error of kind
    /// [`Fault`](crate::ErrorKind::Fault). [`Region::protect`] changes the protection again. After an
    /// error the memory is unmapped.
    ///
    /// # Errors
    /// As for [`Region::protect`], except `Busy`.
    ///
    /// # Examples
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
    #[doc(alias = "mprotect")]
    #[doc(alias = "VirtualProtect")]
    pub fn protect(
        self,
        range: impl RangeBounds<usize>,
        protection: Protection,
    ) -> Result<MappingMut> {
        let mapping = self.into_mapping();
        mapping.protect(range, protection)?;
        Ok(mapping)
    }

    /// Unmaps the memory, as dropping does, and returns the error that dropping ignores.
    ///
    /// # Errors
    /// An error reports a failed system call.
    #[doc(alias = "munmap")]
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
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.region.base(), self.region.len()) }
    }
}

impl fmt::Debug for AnonymousMapping {
    /// Prints the length, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.region.debug(f, "AnonymousMapping")
    }
}
