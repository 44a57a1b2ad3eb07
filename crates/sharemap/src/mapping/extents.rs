//! The parts of a sparse file that have storage.

use std::ops::Range;

use crate::error::Result;
use crate::mapping::region::Region;
use crate::sys;

impl Region {
    /// Returns the mapped parts of the file that have storage, as ranges of the file. The rest are
    /// holes, which read as zeros (`SEEK_DATA`, `FSCTL_QUERY_ALLOCATED_RANGES`).
    ///
    /// On a file system without holes, and for anonymous memory, there is one range. The call moves
    /// the position of the descriptor for a moment, except on Windows. If the descriptor was given by
    /// the caller, other threads must use explicit offsets meanwhile.
    ///
    /// # Errors
    /// - `Unsupported` - the mapping [closed](crate::MapOptions::close_file) its file.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-region-extents-{}", std::process::id()));
    /// let map = MapOptions::new().sparse().create(&path, 1 << 24)?;
    /// map.bytes().set(1 << 23, 1)?;
    /// for range in map.data_extents()? {
    ///     println!("bytes {range:?} have storage");
    /// }
    /// # drop(map);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "SEEK_DATA")]
    #[doc(alias = "SEEK_HOLE")]
    #[doc(alias = "FSCTL_QUERY_ALLOCATED_RANGES")]
    pub fn data_extents(&self) -> Result<Vec<Range<u64>>> {
        let mapped = self.file_range();
        if mapped.is_empty() {
            return Ok(Vec::new());
        }
        let Some(file) = self.file_for("list the data ranges of")? else {
            return Ok(vec![mapped]);
        };
        sys::file::data_extents(file, mapped).map_err(|error| self.named(error))
    }
}
