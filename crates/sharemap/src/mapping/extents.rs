//! Where a sparse file has data, and where it has holes.

use std::ops::Range;

use crate::error::Result;
use crate::mapping::region::Region;
use crate::sys;

impl Region {
    /// The mapped parts of the file that have storage, as ranges of the file; the rest are holes,
    /// which read as zeros (`SEEK_DATA`, `FSCTL_QUERY_ALLOCATED_RANGES`).
    ///
    /// A file system without holes has one range; anonymous memory counts as one too. With an
    /// adopted descriptor, another thread that reads through the same open file by its shared
    /// position may be disturbed: read at explicit offsets.
    pub fn data_extents(&self) -> Result<Vec<Range<u64>>> {
        let mapped = self.file_range();
        if mapped.is_empty() {
            return Ok(Vec::new());
        }
        let Some(file) = self.file_for("find the data of")? else {
            return Ok(vec![mapped]);
        };
        sys::file::data_extents(file, mapped).map_err(|error| self.named(error))
    }
}
