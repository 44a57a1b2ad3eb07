//! Writable mappings that share their memory with the file.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::layout::Element;
use crate::mapping::kinds::region_kind;
use crate::mapping::{MapOptions, Region, views};
use crate::sys::AsDescriptor;
use crate::view::{OwnedViewMut, Reader, ViewMut, Writer};

/// A mapping of a file for reading and writing.
///
/// Stores are visible at once to all processes that map or read the file. They survive this process:
/// the system writes them to disk some time later. They survive a crash of the system only after a
/// [`flush`](Self::flush). Dropping the mapping flushes nothing. Methods that all mappings have are
/// those of [`Region`].
///
/// # Examples
/// ```
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-mut-{}", std::process::id()));
/// use sharemap::MappingMut;
///
/// let map = MappingMut::create(&path, 1024)?;
/// map.bytes().write_at(0, b"hello")?;
/// map.flush()?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(())
/// # }
/// ```
#[doc(alias = "mmap")]
#[doc(alias = "MAP_SHARED")]
#[doc(alias = "MapViewOfFile")]
#[doc(alias = "CreateFileMapping")]
pub struct MappingMut {
    pub(super) region: Region,
}

impl MappingMut {
    /// Opens a file for reading and writing and maps the whole file.
    ///
    /// # Errors
    /// As for [`MapOptions::open_mut`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-open-mut-{}", std::process::id()));
    /// # std::fs::write(&path, "hello")?;
    /// use sharemap::MappingMut;
    ///
    /// let map = MappingMut::open(&path)?;
    /// map.bytes().set(0, b'j')?;
    /// assert_eq!(std::fs::read(&path)?, b"jello");
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        MapOptions::new().open_mut(path)
    }

    /// Maps the whole file of an open descriptor. The caller may close the descriptor afterwards.
    ///
    /// # Errors
    /// As for [`MapOptions::map_mut`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-map-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 4])?;
    /// let file = std::fs::File::options().read(true).write(true).open(&path)?;
    /// let map = MappingMut::map(&file)?;
    /// map.bytes().set(0, 8)?;
    /// assert_eq!(std::fs::read(&path)?, [8, 7, 7, 7]);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mmap")]
    pub fn map(file: impl AsDescriptor) -> Result<Self> {
        MapOptions::new().map_mut(file)
    }

    /// Creates a file of `len` zero bytes, which must not exist yet, and maps it.
    ///
    /// Space on disk is allocated for all of it, so a full disk is an error here and not a fault
    /// later. After an error the file does not exist.
    ///
    /// # Errors
    /// As for [`MapOptions::create_new`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-new-{}", std::process::id()));
    /// let map = MappingMut::create_new(&path, 4096)?;
    /// let again = MappingMut::create_new(&path, 4096).unwrap_err();
    /// assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn create_new(path: impl AsRef<Path>, len: u64) -> Result<Self> {
        MapOptions::new().create_new(path, len)
    }

    /// Creates a file of `len` zero bytes, or empties the file that exists, and maps it.
    ///
    /// Space on disk is allocated for all of it.
    ///
    /// # Errors
    /// As for [`MapOptions::create`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-create-{}", std::process::id()));
    /// use sharemap::MappingMut;
    ///
    /// let map = MappingMut::create(&path, 4096)?;
    /// map.view::<u64>()?.set(0, 7)?;
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn create(path: impl AsRef<Path>, len: u64) -> Result<Self> {
        MapOptions::new().create(path, len)
    }

    /// Opens a file, growing it to `len` bytes if it is shorter, or creates one of `len` zero bytes,
    /// and maps it. A longer file keeps its length and is mapped whole.
    ///
    /// # Errors
    /// As for [`MapOptions::open_or_create`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-or-create-{}", std::process::id()));
    /// let counter = MappingMut::open_or_create(&path, 8)?;
    /// let runs = counter.view::<u64>()?;
    /// runs.set(0, runs.get(0)? + 1)?; // 0 before the first run
    /// # drop(counter);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>, len: u64) -> Result<Self> {
        MapOptions::new().open_or_create(path, len)
    }

    /// Maps `len` bytes of anonymous memory, which children of a `fork` share with this process.
    ///
    /// For memory of this process alone see [`AnonymousMapping`](crate::AnonymousMapping), for memory
    /// that other processes can open [`SharedMemory`](crate::SharedMemory).
    ///
    /// # Errors
    /// As for [`MapOptions::anonymous`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.view::<u64>()?.set(3, 7)?;
    /// assert_eq!(map.view::<u64>()?.get(3)?, 7);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "MAP_ANONYMOUS")]
    pub fn anonymous(len: usize) -> Result<Self> {
        MapOptions::new().anonymous(len)
    }

    /// Returns options for a mapping: offset, length, reservation, and others.
    /// [`MapOptions::open_mut`] then creates it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-options-{}", std::process::id()));
    /// let map = MappingMut::options().reserve(1 << 20).create(&path, 4096)?;
    /// assert_eq!(map.reserved(), 1 << 20);
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
    /// let map = MappingMut::anonymous(8)?;
    /// map.bytes().write_at(2, b"text")?;
    /// assert_eq!(map.bytes().to_vec()?, b"\0\0text\0\0");
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
    /// # fn main() -> sharemap::Result<()> {
    /// let map = sharemap::MappingMut::anonymous(4096)?;
    /// let numbers = map.view::<f32>()?;
    /// numbers.set(0, 1.5)?;
    /// assert_eq!(numbers.len(), 1024);
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
    /// let map = MappingMut::anonymous(4096)?;
    /// let (header, body) = (map.view_at::<u32>(0, 4)?, map.view_at::<u64>(16, 100)?);
    /// header.set(0, 1)?;
    /// body.fill(7)?;
    /// assert_eq!(map.bytes().get(16)?, 7);
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
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let map = std::sync::Arc::new(MappingMut::anonymous(4096)?);
    /// let numbers = map.owned_view::<u64>()?;
    /// let thread = std::thread::spawn(move || numbers.as_view().set(0, 7));
    /// thread.join().unwrap()?;
    /// assert_eq!(map.view::<u64>()?.get(0)?, 7);
    /// # Ok(()) }
    /// ```
    pub fn owned_view<T: Element>(self: &Arc<Self>) -> Result<OwnedViewMut<T>> {
        let len = self.len();
        views::owned_mut(Arc::clone(self) as _, len)
    }

    /// Returns a stream over the bytes, with `Read`, `BufRead` and `Seek`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::io::Read;
    ///
    /// let map = MappingMut::anonymous(4)?;
    /// map.bytes().write_at(0, b"text")?;
    /// let mut text = String::new();
    /// map.reader().read_to_string(&mut text)?;
    /// assert_eq!(text, "text");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.bytes().reader()
    }

    /// Returns a stream into the bytes, with `Write` and `Seek`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::io::Write;
    ///
    /// let map = MappingMut::anonymous(100)?;
    /// write!(map.writer(), "{} of {}", 3, 7)?;
    /// assert_eq!(map.bytes().subview(..6)?.to_vec()?, b"3 of 7");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn writer(&self) -> Writer<'_> {
        self.bytes().writer()
    }
}

region_kind!(MappingMut);

// Last, so that the documentation of the type begins with the methods above.
mod backing;
