//! Mappings that write to their file.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::layout::Element;
use crate::mapping::flush::Flush;
use crate::mapping::kinds::region_kind;
use crate::mapping::{MapOptions, Region, views};
use crate::sys::AsDescriptor;
use crate::view::{OwnedViewMut, Reader, ViewMut, Writer};

/// A file in memory, for reading and writing.
///
/// What is written shows at once to everybody who maps or reads the file, and survives this
/// process: the system writes it out some time later. It survives the system only after a
/// [`flush`](Self::flush). Dropping the mapping flushes nothing.
///
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
pub struct MappingMut {
    pub(super) region: Region,
}

region_kind!(MappingMut);

impl MappingMut {
    /// Opens a file for reading and writing and maps it whole.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        MapOptions::new().open_mut(path)
    }

    /// Maps what an open descriptor refers to. The descriptor may be closed at once.
    pub fn map(file: impl AsDescriptor) -> Result<Self> {
        MapOptions::new().map_mut(file)
    }

    /// Makes a file of `len` zero bytes that must not exist yet, with space set aside for all.
    pub fn create_new(path: impl AsRef<Path>, len: u64) -> Result<Self> {
        MapOptions::new().create_new(path, len)
    }

    /// Makes a file of `len` zero bytes, emptying the one that exists.
    pub fn create(path: impl AsRef<Path>, len: u64) -> Result<Self> {
        MapOptions::new().create(path, len)
    }

    /// Maps the file if it exists, grown to `len` if shorter; else makes one of `len` zero bytes.
    pub fn open_or_create(path: impl AsRef<Path>, len: u64) -> Result<Self> {
        MapOptions::new().open_or_create(path, len)
    }

    /// Memory without a file, shared with the children of a `fork`.
    pub fn anonymous(len: usize) -> Result<Self> {
        MapOptions::new().anonymous(len)
    }

    /// Offset, length, room to grow, …: [`MapOptions::open_mut`] and others make it.
    pub fn options() -> MapOptions {
        MapOptions::new()
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> ViewMut<'_, u8> {
        self.region.view_mut().unwrap_or_else(|error| unreachable!("bytes fit anywhere: {error}"))
    }

    /// All of it as elements; its size and alignment must be right for them.
    pub fn view<T: Element>(&self) -> Result<ViewMut<'_, T>> {
        self.region.view_mut()
    }

    /// `count` elements from byte `offset` of the mapping on.
    pub fn view_at<T: Element>(&self, offset: usize, count: usize) -> Result<ViewMut<'_, T>> {
        self.region.view_mut_at(offset, count)
    }

    /// All of it as elements, in a form that threads can own.
    pub fn owned_view<T: Element>(self: &Arc<Self>) -> Result<OwnedViewMut<T>> {
        let len = self.len();
        views::owned_mut(Arc::clone(self) as _, len)
    }

    /// A stream of its bytes: `Read`, `BufRead` and `Seek`.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        self.bytes().reader()
    }

    /// A stream into its bytes: `Write` and `Seek`.
    #[must_use]
    pub fn writer(&self) -> Writer<'_> {
        self.bytes().writer()
    }

    /// Writes all changes to the disk and waits for it.
    ///
    /// When it returns, everything written to this mapping before is durable, with the metadata
    /// needed to find it: on Linux by `msync(MS_SYNC)`, on macOS by `msync` and `F_FULLFSYNC`, on
    /// Windows by `FlushViewOfFile` and `FlushFileBuffers`. Anonymous memory has nothing to flush.
    ///
    /// After a failure it is not known what is on disk, and the system may forget that there was
    /// one. This mapping does not: every later flush says
    /// [`FlushFailed`](crate::ErrorKind::FlushFailed). Write the data elsewhere, or map the file
    /// anew and start from what it holds.
    ///
    /// # Errors
    /// [`FlushFailed`](crate::ErrorKind::FlushFailed), for this flush or an earlier one.
    pub fn flush(&self) -> Result<()> {
        self.region.flush(.., Flush::Durable)
    }

    /// Writes the changes of the pages that hold a range to the disk and waits for it, as
    /// [`flush`](Self::flush) does for all.
    ///
    /// Each call waits for the disk. One range is cheaper than [`flush`](Self::flush) if only a
    /// small part of the changes must be durable. For many ranges,
    /// [`flush_ranges`](Self::flush_ranges) waits once.
    pub fn flush_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.flush(range, Flush::Durable)
    }

    /// Writes the changes of all these ranges to the disk and waits once. The ranges are as durable
    /// as after [`flush_range`](Self::flush_range) of each, and for scattered pages many times
    /// faster.
    ///
    /// Changes between the first and the last range are written, too.
    ///
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-ranges-{}", std::process::id()));
    /// # let map = sharemap::MappingMut::create(&path, 1 << 20)?;
    /// let records = [3, 17, 4000].map(|number| number * 64);
    /// for at in records {
    ///     map.bytes().write_at(at, &[1; 64])?;
    /// }
    /// map.flush_ranges(records.map(|at| at..at + 64))?;
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`OutOfBounds`](crate::ErrorKind::OutOfBounds) if a range does not lie in the mapping; no
    /// range is written then. Otherwise as for [`flush`](Self::flush).
    pub fn flush_ranges<R: RangeBounds<usize>>(
        &self,
        ranges: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        self.region.flush_ranges(ranges)
    }

    /// Starts writing the changes to the disk without waiting: nothing is durable because of it
    /// (`sync_file_range`, `msync(MS_ASYNC)`, `FlushViewOfFile`).
    pub fn flush_async(&self) -> Result<()> {
        self.region.flush(.., Flush::Started)
    }

    /// The same for the pages that hold a range.
    pub fn flush_range_async(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.flush(range, Flush::Started)
    }

    /// Grows the mapping to `new_len` bytes, and its file where that is shorter, inside the address
    /// space that was [reserved](MapOptions::reserve).
    ///
    /// Nothing moves: views and pointers stay valid, and views made afterwards see the new bytes.
    /// Space on disk is set aside unless the mapping is sparse. Beyond the reservation it is
    /// [`ExceedsReservation`](crate::ErrorKind::ExceedsReservation). A length that is not more than
    /// the current one changes nothing.
    ///
    /// # Errors
    /// [`ExceedsReservation`](crate::ErrorKind::ExceedsReservation),
    /// [`NoSpace`](crate::ErrorKind::NoSpace) and [`TooLarge`](crate::ErrorKind::TooLarge); the length is
    /// then as it was.
    pub fn grow(&self, new_len: usize) -> Result<()> {
        self.region.grow_in_place(new_len)
    }

    /// Grows or shrinks the mapping to `new_len` bytes together with its file.
    ///
    /// It stays in place where the reservation allows. A mapping of the middle of a file does not
    /// cut off what lies behind it: there only the mapping shrinks. Others who have the file mapped
    /// get errors of kind [`Fault`](crate::ErrorKind::Fault) behind its new end. Memory without a
    /// file cannot grow beyond its reservation.
    pub fn resize(&mut self, new_len: usize) -> Result<()> {
        self.region.resize_to(new_len)
    }

    /// Makes a range of the file a hole: it reads as zeros and takes no storage
    /// (`FALLOC_FL_PUNCH_HOLE`, `FSCTL_SET_ZERO_DATA`).
    pub fn punch_hole(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.punch(range)
    }

    /// Maps what the file has now: after a fault, or when it is no longer
    /// [current](Region::is_current).
    ///
    /// The mapping never exceeds a length set in its options. After an error the mapping is
    /// unchanged.
    pub fn remap(&mut self) -> Result<()> {
        self.region.follow()
    }
}
