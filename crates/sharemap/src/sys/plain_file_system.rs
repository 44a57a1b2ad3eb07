//! The kind of a file system, for ports where no kind needs other treatment.

use std::fs::File;

use crate::error::Result;

/// The kind of a file system. No kind that is known here needs other treatment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSystem;

impl FileSystem {
    /// Returns `true`.
    pub(crate) fn tells_files_apart(self) -> bool {
        true
    }

    /// Returns `false`.
    pub(crate) fn copies_up(self) -> bool {
        false
    }
}

/// Returns the kind of the file system, which is not queried.
pub(crate) fn kind_of_system(_: &File) -> Result<FileSystem> {
    Ok(FileSystem)
}
