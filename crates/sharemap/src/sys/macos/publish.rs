//! Files that get their name when they are whole.

use std::fs::File;
use std::path::Path;

use crate::error::Result;
use crate::sys::Owner;
use crate::sys::posix::publish::create_hidden;
use crate::sys::posix::walk::{self, Last};

/// Makes a file of `len` bytes that must not exist, has it filled, and gives it its name.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    create_hidden(&walk::entry(path, Owner::Own, Last::Kept, "create")?, len, fill)
}
