//! What a writable mapping does to its file: flushes it, resizes it, frees a part of it, follows it.

use std::ops::RangeBounds;

use super::MappingMut;
use crate::error::Result;
use crate::mapping::flush::Flush;

impl MappingMut {
    /// Writes all changes to disk, blocking until they are durable.
    ///
    /// When the call returns, all earlier stores to this mapping are durable, with the metadata that
    /// is needed to find them: by `msync(MS_SYNC)` on Linux, by `msync` and `F_FULLFSYNC` on macOS, by
    /// `FlushViewOfFile` and `FlushFileBuffers` on Windows. Anonymous memory has nothing to flush.
    ///
    /// After a failed flush the contents of the disk are unknown, and the system reports the failure
    /// only once. This mapping remembers it: every later flush fails, too. Write the data to another
    /// file, or map the file again and start from its contents.
    ///
    /// # Errors
    /// - `FlushFailed` - this flush or an earlier one of this mapping failed.
    /// - `Unsupported` - the mapping [closed](crate::MapOptions::close_file) its file, on macOS and Windows.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-flush-{}", std::process::id()));
    /// # let map = sharemap::MappingMut::create(&path, 4096)?;
    /// map.bytes().write_at(0, b"hello")?;
    /// map.flush()?;
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    #[doc(alias = "msync")]
    #[doc(alias = "fsync")]
    #[doc(alias = "FlushViewOfFile")]
    pub fn flush(&self) -> Result<()> {
        self.region.flush(.., Flush::Durable)
    }

    /// Writes the changes of the pages that contain a range to disk, blocking until they are durable.
    ///
    /// This is faster than [`flush`](Self::flush) if only a small part of the changes must be durable.
    /// Each call waits for the disk; for many ranges, [`flush_ranges`](Self::flush_ranges) waits once.
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`flush`](Self::flush).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-flush-range-{}", std::process::id()));
    /// let map = MappingMut::create(&path, 1 << 20)?;
    /// map.bytes().write_at(5000, b"record")?;
    /// map.flush_range(5000..5006)?; // the record is durable now
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "msync")]
    #[doc(alias = "FlushViewOfFile")]
    pub fn flush_range(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.flush(range, Flush::Durable)
    }

    /// Writes the changes of several ranges to disk, blocking once until all are durable.
    ///
    /// For scattered pages this is many times faster than [`flush_range`](Self::flush_range) of each.
    /// Changes between the first and the last range are written, too.
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - a range does not lie in the mapping; no range is written then.
    ///
    /// Otherwise as for [`flush`](Self::flush).
    ///
    /// # Examples
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
    #[doc(alias = "msync")]
    pub fn flush_ranges<R: RangeBounds<usize>>(
        &self,
        ranges: impl IntoIterator<Item = R>,
    ) -> Result<()> {
        self.region.flush_ranges(ranges)
    }

    /// Starts writing all changes to disk without waiting for it.
    ///
    /// Nothing is durable because of this call; it makes a later [`flush`](Self::flush) shorter. It
    /// calls `sync_file_range` on Linux, `msync(MS_ASYNC)` on macOS, `FlushViewOfFile` on Windows.
    ///
    /// # Errors
    /// - `FlushFailed` - this flush or an earlier one of this mapping failed.
    /// - `Unsupported` - the mapping [closed](crate::MapOptions::close_file) its file, on Linux.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-flush-async-{}", std::process::id()));
    /// let map = MappingMut::create(&path, 1 << 20)?;
    /// map.bytes().fill(1)?;
    /// map.flush_async()?; // the disk works while this thread goes on
    /// map.flush()?;
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "sync_file_range")]
    #[doc(alias = "MS_ASYNC")]
    pub fn flush_async(&self) -> Result<()> {
        self.region.flush(.., Flush::Started)
    }

    /// Starts writing the changes of the pages that contain a range, like
    /// [`flush_async`](Self::flush_async).
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    ///
    /// Otherwise as for [`flush_async`](Self::flush_async).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-range-async-{}", std::process::id()));
    /// let map = MappingMut::create(&path, 1 << 20)?;
    /// for start in (0..map.len()).step_by(1 << 16) {
    ///     map.bytes().subview(start..start + (1 << 16))?.fill(1)?;
    ///     map.flush_range_async(start..start + (1 << 16))?;
    /// }
    /// map.flush()?; // has little left to wait for
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn flush_range_async(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.flush(range, Flush::Started)
    }

    /// Grows the mapping in place to `new_len` bytes, within its [reservation](crate::MapOptions::reserve).
    /// The file grows, too, if it is shorter.
    ///
    /// Existing views and pointers stay valid, and views created afterwards show the new bytes. Space
    /// on disk is allocated unless the mapping is [sparse](crate::MapOptions::sparse). A `new_len` of at most
    /// the current length changes nothing. After an error the mapping has its old length.
    ///
    /// # Errors
    /// - `ExceedsReservation` - `new_len` is more than [`reserved`](crate::Region::reserved).
    /// - `NoSpace` - the file system has no space for the new bytes.
    /// - `TooLarge` - the file system or this process may not have a file of that size.
    /// - `Overflow` - the file would be longer than the system can express.
    /// - `NotWritable` - the file is sealed against growth.
    /// - `OutOfAddressSpace` - there is not enough memory for anonymous memory to grow (Windows).
    /// - `Unsupported` - the mapping is of a device, or [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-grow-{}", std::process::id()));
    /// use sharemap::MapOptions;
    ///
    /// let map = MapOptions::new().reserve(1 << 20).create(&path, 4096)?;
    /// map.grow(8192)?;
    /// map.bytes().set(8191, 1)?;
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ftruncate")]
    #[doc(alias = "mremap")]
    pub fn grow(&self, new_len: usize) -> Result<()> {
        self.region.grow_in_place(new_len)
    }

    /// Grows or shrinks the mapping, together with its file, to `new_len` bytes.
    ///
    /// The mapping stays in place if its reservation suffices; otherwise it moves. If the mapping ends
    /// before the end of the file, shrinking it leaves the file as it is. Other mappings of a file that
    /// shrank fault past its new end. Anonymous memory cannot grow beyond its reservation.
    ///
    /// # Errors
    /// - `Busy` - on Windows, if another mapping of the file exists while it shrinks.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Otherwise as for [`grow`](Self::grow).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-resize-{}", std::process::id()));
    /// let mut map = sharemap::MappingMut::create(&path, 4096)?;
    /// map.resize(100)?;
    /// assert_eq!(std::fs::metadata(&path)?.len(), 100);
    /// # drop(map);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ftruncate")]
    #[doc(alias = "mremap")]
    pub fn resize(&mut self, new_len: usize) -> Result<()> {
        self.region.resize_to(new_len)
    }

    /// Makes a range of the file a hole, which reads as zeros and occupies no storage
    /// (`FALLOC_FL_PUNCH_HOLE`, `F_PUNCHHOLE`, `FSCTL_SET_ZERO_DATA`).
    ///
    /// A range of anonymous memory is set to zero, and its whole pages are freed.
    ///
    /// # Errors
    /// - `OutOfBounds`, `Overflow` - the range does not lie in the mapping.
    /// - `Unsupported` - the file system has no holes, or the mapping
    ///   [closed](crate::MapOptions::close_file) its file.
    /// - `NotWritable` - the file is sealed against writing.
    /// - `Fault` - a page at the ends of a range of anonymous memory could not be accessed.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-punch-{}", std::process::id()));
    /// let map = MappingMut::create(&path, 1 << 20)?;
    /// map.bytes().fill(1)?;
    /// match map.punch_hole(..1 << 19) {
    ///     Ok(()) => assert_eq!(map.bytes().get(0)?, 0),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported), // a file system without holes
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "fallocate")]
    #[doc(alias = "FALLOC_FL_PUNCH_HOLE")]
    pub fn punch_hole(&self, range: impl RangeBounds<usize>) -> Result<()> {
        self.region.punch(range)
    }

    /// Maps the file again at its present length: after a fault, or when the mapping is no longer
    /// [current](crate::Region::is_current).
    ///
    /// The mapping never exceeds a length set in its options. After an error the mapping is
    /// unchanged.
    ///
    /// # Errors
    /// As for [`Mapping::remap`](crate::Mapping::remap).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-mut-remap-{}", std::process::id()));
    /// let mut map = MappingMut::create(&path, 4)?;
    /// let file = std::fs::File::options().write(true).open(&path)?;
    /// file.set_len(10)?; // usually in another process
    /// assert_eq!(map.len(), 4);
    /// map.remap()?;
    /// assert_eq!(map.len(), 10);
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "mremap")]
    pub fn remap(&mut self) -> Result<()> {
        self.region.follow()
    }
}
