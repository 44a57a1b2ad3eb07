//! Copies of parts of a view, in a buffer that stays in the cache.

use super::View;
use crate::error::{Error, ErrorKind, Result};

impl View<'_, u8> {
    /// Calls `f` with each chunk of `size` bytes, in order: its offset in the view, and a private copy of
    /// its bytes. The last chunk may be shorter.
    ///
    /// The copy is a plain `&[u8]` that no other process can change, for hash functions, parsers and
    /// searches that take slices. All copies are made in one buffer of `size` bytes. Choose 32 KiB (`32
    /// << 10`): the buffer then stays in the processor's cache, and one call costs little beside its
    /// chunk. A loop that is as fast as the memory takes up to a third longer than over a slice of the
    /// mapping, a slower one hardly longer. Choose more, up to 1 MiB, only if the function itself
    /// needs long slices, for instance to distribute them to threads.
    ///
    /// The length of the file is queried after the last chunk has been copied. A file that was cut short
    /// by less than a page, which causes no fault, is therefore an error, too.
    ///
    /// # Errors
    /// - `ZeroLength` - `size` is zero.
    /// - `OutOfAddressSpace` - there is not enough memory for the buffer.
    /// - `Fault` - the memory could not be accessed, or the file ends before the view. `f` was called
    ///   with all chunks before the error. [`Error::completed`] returns the number of their bytes.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let map = MappingMut::anonymous(100_000)?;
    /// # map.bytes().set(70_000, 1)?;
    /// use std::hash::{DefaultHasher, Hasher};
    ///
    /// let mut hasher = DefaultHasher::new();
    /// map.bytes().for_each_chunk(32 << 10, |_, bytes| hasher.write(bytes))?;
    /// println!("{:x}", hasher.finish());
    /// # let mut at = Vec::new();
    /// # map.bytes().for_each_chunk(32 << 10, |offset, bytes| at.push((offset, bytes.len())))?;
    /// # assert_eq!(at, [(0, 32768), (32768, 32768), (65536, 32768), (98304, 1696)]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "chunks")]
    pub fn for_each_chunk(&self, size: usize, mut f: impl FnMut(usize, &[u8])) -> Result<()> {
        const OPERATION: &str = "read chunks of";
        let error = |kind| Error::new(kind, OPERATION).with_path(self.backing.path());
        if size == 0 {
            return Err(error(ErrorKind::ZeroLength).with_detail("a chunk has at least one byte"));
        }
        let size = size.min(self.len());
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(size).is_err() {
            return Err(error(ErrorKind::OutOfAddressSpace).with_length(size as u64));
        }
        buffer.resize(size, 0);
        let mut offset = 0;
        while offset < self.len() {
            let chunk = &mut buffer[..size.min(self.len() - offset)];
            self.read_at(offset, chunk).map_err(|error| error.with_completed(offset))?;
            if offset + chunk.len() == self.len() {
                let left = self.available_from(0);
                if let Some(left) = left.filter(|left| *left < self.len()) {
                    return Err(self.short(OPERATION, 0, left).with_completed(offset));
                }
            }
            f(offset, chunk);
            offset += chunk.len();
        }
        Ok(())
    }
}
