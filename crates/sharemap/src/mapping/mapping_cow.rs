//! Copy-on-write mappings, whose changes stay private.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::layout::Element;
use crate::mapping::kinds::region_kind;
use crate::mapping::{MapOptions, Region, views};
use crate::sys::AsDescriptor;
use crate::view::{OwnedViewMut, Reader, ViewMut};

/// A private, writable mapping of a file, whose changes never reach the file (copy-on-write).
///
/// The first store to a page copies it. Pages without changes show the file, and with it the later
/// writes of other processes. There is nothing to flush. Methods that all mappings have are those of
/// [`Region`].
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-cow-{}", std::process::id()));
/// # std::fs::write(&path, "on disk")?;
/// use sharemap::MappingCow;
///
/// let map = MappingCow::open(&path)?;
/// map.bytes().write_at(0, b"in")?;
/// assert_eq!(map.bytes().to_vec()?, b"in disk");
/// assert_eq!(std::fs::read(&path)?, b"on disk");
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "MAP_PRIVATE")]
#[doc(alias = "FILE_MAP_COPY")]
pub struct MappingCow {
    pub(super) region: Region,
}

impl MappingCow {
    /// Opens a file, which needs to be readable only, and maps the whole file.
    ///
    /// # Errors
    /// As for [`MapOptions::open_cow`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-open-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MappingCow::open(&path)?;
    /// map.bytes().fill(0)?;
    /// assert_eq!(std::fs::read(&path)?, [7; 100]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        MapOptions::new().open_cow(path)
    }

    /// Maps the whole file of an open descriptor. The caller may close the descriptor afterwards.
    ///
    /// # Errors
    /// As for [`MapOptions::map_cow`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-map-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MappingCow::map(std::fs::File::open(&path)?)?;
    /// map.bytes().set(0, 8)?;
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn map(file: impl AsDescriptor) -> Result<Self> {
        MapOptions::new().map_cow(file)
    }

    /// Returns options for a mapping: offset, length, and others. [`MapOptions::open_cow`] then
    /// creates it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-options-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = MappingCow::options().len(10).open_cow(&path)?;
    /// assert_eq!(map.len(), 10);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn options() -> MapOptions {
        MapOptions::new()
    }

    /// Returns a view of all bytes.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-bytes-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// let map = MappingCow::open(&path)?;
    /// map.bytes().write_at(0, b"good")?;
    /// assert_eq!(map.bytes().to_vec()?, b"good text");
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn bytes(&self) -> ViewMut<'_, u8> {
        self.region.view_mut().unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
    }

    /// Returns a view of the whole mapping as elements of type `T`.
    ///
    /// # Errors
    /// - `WrongSize` - the length of the mapping is not a multiple of the element's size.
    /// - `Alignment` - the mapping begins at an offset that is not aligned for the element.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-view-{}", std::process::id()));
    /// # std::fs::write(&path, [0; 16])?;
    /// let map = MappingCow::open(&path)?;
    /// let numbers = map.view::<u64>()?;
    /// numbers.set(1, 7)?;
    /// assert_eq!(numbers.to_vec()?, [0, 7]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn view<T: Element>(&self) -> Result<ViewMut<'_, T>> {
        self.region.view_mut()
    }

    /// Returns a view of `count` elements, of which the first begins at byte `offset` of the mapping.
    ///
    /// # Errors
    /// - `OutOfBounds` - the elements do not lie in the mapping.
    /// - `Overflow` - `count` or `offset` is more than the system can express.
    /// - `Alignment` - `offset` is not aligned for the element.
    /// - `WrongSize` - the element has size zero.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-view-at-{}", std::process::id()));
    /// # std::fs::write(&path, [0; 16])?;
    /// let map = MappingCow::open(&path)?;
    /// map.view_at::<u32>(8, 2)?.fill(7)?;
    /// assert_eq!(map.bytes().count(0)?, 8 + 6);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn view_at<T: Element>(&self, offset: usize, count: usize) -> Result<ViewMut<'_, T>> {
        self.region.view_mut_at(offset, count)
    }

    /// Returns a view of the whole mapping that keeps it alive, for threads that outlive the scope of
    /// the mapping.
    ///
    /// # Errors
    /// As for [`view`](Self::view).
    pub fn owned_view<T: Element>(self: &Arc<Self>) -> Result<OwnedViewMut<T>> {
        let len = self.len();
        views::owned_mut(Arc::clone(self) as _, len)
    }

    /// Returns a stream over the bytes, with `Read`, `BufRead` and `Seek`.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.bytes().reader()
    }

    /// Discards the changes of exactly this range, which then shows the file again.
    ///
    /// Stores by other threads to the first and the last page of the range, during the call, may be
    /// lost.
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    /// - `Fault` - a page at the ends of the range could not be accessed.
    /// - `OutOfAddressSpace` - there is not enough memory.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `Unsupported` - the mapping [closed](MapOptions::close_file) its file, on systems that need
    ///   it (macOS, Windows).
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-discard-{}", std::process::id()));
    /// # std::fs::write(&path, "on disk")?;
    /// let map = sharemap::MappingCow::open(&path)?;
    /// map.bytes().write_at(0, b"IN DISK")?;
    /// map.discard(..2)?;
    /// assert_eq!(map.bytes().to_vec()?, b"on DISK");
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MADV_DONTNEED")]
    pub fn discard(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.forget(range)
    }

    /// Maps the file again at its present length, and discards all changes.
    ///
    /// The mapping never exceeds a length set in its options. After an error the mapping is
    /// unchanged, with its changes.
    ///
    /// # Errors
    /// As for [`Mapping::remap`](crate::Mapping::remap).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-cow-remap-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 4])?;
    /// let mut map = MappingCow::open(&path)?;
    /// map.bytes().fill(0)?;
    /// map.remap()?;
    /// assert_eq!(map.bytes().to_vec()?, [7; 4]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn remap(&mut self) -> Result<()> {
        self.region.follow()
    }
}

region_kind!(MappingCow);
