//! Creates files that get their names once they are complete, as [`Draft`]s: a killed creator leaves nothing,
//! or, on file systems without unnamed files, a hidden file that the next creator there removes.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;

use super::file::allocate;
use super::unlinked::Draft;
use crate::error::Result;
use crate::sys::Owner;
use crate::sys::posix::errno;
use crate::sys::posix::walk::{self, Last};

const OPERATION: &str = "create";

/// Creates a file of `len` bytes, calls `fill`, and gives the file its name, which must be free.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let failed = |errno| errno::error(OPERATION, errno);
    let entry = walk::entry(path, Owner::Own, Last::Kept, OPERATION)?;
    if entry.stat().is_ok() {
        // Checked first to avoid a useless allocation. The name is checked again when it is given, atomically.
        return Err(failed(Errno::EXIST));
    }
    let draft = Draft::new(&entry.folder)?;
    allocate(&draft.file, 0..len)?;
    fill(&draft.file)?;
    draft.appear(entry.name()).map_err(failed)
}
