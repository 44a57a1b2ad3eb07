//! Creates files that get their name only after they are complete.

use std::fs::File;
use std::path::Path;

use crate::error::Result;
use crate::sys::Owner;
use crate::sys::posix::create_atomic::create_hidden;
use crate::sys::posix::walk::{self, Last};

/// Creates a file of `len` bytes, calls `fill`, and gives the file its name, which must be free.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    create_hidden(&walk::entry(path, Owner::Own, Last::Kept, "create")?, len, fill)
}
