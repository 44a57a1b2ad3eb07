//! Read-only mappings.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::layout::Element;
use crate::mapping::kinds::region_kind;
use crate::mapping::{MapOptions, Region, views};
use crate::sys::AsDescriptor;
use crate::view::{OwnedView, Reader, View};

/// A read-only mapping of a file.
///
/// Writes to the file by other processes are visible at once. If the file shrinks, an access past its
/// new end is an error of kind [`Fault`](crate::ErrorKind::Fault), and [`remap`](Self::remap) follows
/// the new length. Methods that all mappings have are those of [`Region`].
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-mapping-{}", std::process::id()));
/// # std::fs::write(&path, "GATTACA\nCAT\n")?;
/// use std::io::BufRead;
/// use sharemap::Mapping;
///
/// let map = Mapping::open(&path)?;
/// assert_eq!(map.bytes().get(0)?, b'G');
/// for line in map.reader().lines() {
///     println!("{}", line?);
/// }
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "mmap")]
#[doc(alias = "MapViewOfFile")]
#[doc(alias = "CreateFileMapping")]
pub struct Mapping {
    pub(super) region: Region,
}

impl Mapping {
    /// Opens a file for reading and maps the whole file.
    ///
    /// An empty file gives an empty mapping.
    ///
    /// # Errors
    /// As for [`MapOptions::open`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-open-{}", std::process::id()));
    /// # std::fs::write(&path, "GATTACA\n")?;
    /// use sharemap::Mapping;
    ///
    /// let map = Mapping::open(&path)?;
    /// assert_eq!(map.len(), 8);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        MapOptions::new().open(path)
    }

    /// Maps the whole file of an open descriptor. The caller may close the descriptor afterwards.
    ///
    /// # Errors
    /// As for [`MapOptions::map`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-map-{}", std::process::id()));
    /// # std::fs::write(&path, "GATTACA\n")?;
    /// use sharemap::Mapping;
    ///
    /// let file = std::fs::File::open(&path)?;
    /// let map = Mapping::map(&file)?;
    /// assert_eq!(map.bytes().get(0)?, b'G');
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    pub fn map(file: impl AsDescriptor) -> Result<Self> {
        MapOptions::new().map(file)
    }

    /// Returns options for a mapping: offset, length, huge pages, population. [`MapOptions::open`]
    /// then creates it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-map-options-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100])?;
    /// let map = Mapping::options().offset(99).open(&path)?;
    /// assert_eq!(map.len(), 1);
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
    /// # let path = std::env::temp_dir().join(format!("doc-map-bytes-{}", std::process::id()));
    /// # std::fs::write(&path, "some text")?;
    /// let map = Mapping::open(&path)?;
    /// assert_eq!(map.bytes().find_bytes(b"text")?, Some(5));
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn bytes(&self) -> View<'_, u8> {
        self.region.view().unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
    }

    /// Returns a view of the whole mapping as elements of type `T`.
    ///
    /// # Errors
    /// - `WrongSize` - the length of the mapping is not a multiple of the element's size.
    /// - `Alignment` - the mapping begins at an offset that is not aligned for the element.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-view-{}", std::process::id()));
    /// # std::fs::write(&path, [1, 0, 0, 0, 2, 0, 0, 0])?;
    /// use sharemap::{Mapping, zerocopy::little_endian::U32};
    ///
    /// let map = Mapping::open(&path)?;
    /// let numbers = map.view::<U32>()?;
    /// assert_eq!(numbers.get(1)?.get(), 2);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn view<T: Element>(&self) -> Result<View<'_, T>> {
        self.region.view()
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
    /// # let path = std::env::temp_dir().join(format!("doc-map-view-at-{}", std::process::id()));
    /// # std::fs::write(&path, [1, 2, 0, 0, 0, 3, 0, 0, 0])?;
    /// let map = Mapping::open(&path)?;
    /// let numbers = map.view_at::<[u8; 4]>(1, 2)?;
    /// assert_eq!(u32::from_le_bytes(numbers.get(1)?), 3);
    /// // An element with an alignment cannot begin at byte 1.
    /// assert_eq!(map.view_at::<u32>(1, 2).unwrap_err().kind(), ErrorKind::Alignment);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn view_at<T: Element>(&self, offset: usize, count: usize) -> Result<View<'_, T>> {
        self.region.view_at(offset, count)
    }

    /// Returns a view of the whole mapping that keeps it alive, for threads that outlive the scope of
    /// the mapping.
    ///
    /// # Errors
    /// As for [`view`](Self::view).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-owned-{}", std::process::id()));
    /// # std::fs::write(&path, "GATTACA\n")?;
    /// use std::sync::Arc;
    ///
    /// let map = Arc::new(sharemap::Mapping::open(&path)?);
    /// let bytes = map.owned_view::<u8>()?;
    /// drop(map);
    /// let thread = std::thread::spawn(move || bytes.as_view().get(0));
    /// assert_eq!(thread.join().unwrap()?, b'G');
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn owned_view<T: Element>(self: &Arc<Self>) -> Result<OwnedView<T>> {
        let len = self.len();
        views::owned(Arc::clone(self) as _, len)
    }

    /// Returns a stream over the bytes, with `Read`, `BufRead` and `Seek`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-map-reader-{}", std::process::id()));
    /// # std::fs::write(&path, "one\ntwo\n")?;
    /// use std::io::BufRead;
    ///
    /// let map = Mapping::open(&path)?;
    /// let mut lines = map.reader().lines();
    /// assert_eq!(lines.next().unwrap()?, "one");
    /// # drop(lines);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.bytes().reader()
    }

    /// Maps the file again at its present length: after a fault, or when the mapping is no longer
    /// [current](Region::is_current).
    ///
    /// The mapping never exceeds a length set in its options. After an error the mapping is
    /// unchanged.
    ///
    /// # Errors
    /// - `Unsupported` - the mapping [closed](MapOptions::close_file) its file.
    /// - `OutOfAddressSpace` - there is no address space for the file.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-remap-{}", std::process::id()));
    /// # std::fs::write(&path, "one\n")?;
    /// # use std::io::Write;
    /// let mut map = sharemap::Mapping::open(&path)?;
    /// std::fs::File::options().append(true).open(&path)?.write_all(b"two\n")?;
    /// assert!(!map.is_current()?);
    /// map.remap()?;
    /// assert_eq!(map.len(), 8);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mremap")]
    pub fn remap(&mut self) -> Result<()> {
        self.region.follow()
    }
}

region_kind!(Mapping);
