//! Creates files under a hidden name in the same directory, and renames them once they are complete.
//!
//! A creator that is killed leaves the hidden file behind.

use std::fs::File;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::retry_on_intr;

use super::file::allocate;
use crate::error::Result;
use crate::sys::Owner;
use crate::sys::posix::errno;
use crate::sys::posix::walk::{self, Last};
use crate::sys::unique_name::hidden;

const OPERATION: &str = "create";

/// Creates a file of `len` bytes, calls `fill`, and gives the file its name, which must be free.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let failed = |errno| errno::error(OPERATION, errno);
    let entry = walk::entry(path, Owner::Own, Last::Kept, OPERATION)?;
    let (folder, hidden) = (&entry.folder, hidden(entry.name()));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = retry_on_intr(|| rustix::fs::openat(folder, &*hidden, flags, mode))
        .map(File::from)
        .map_err(failed)?;
    // A rename, not a link: the file never has two names, which a death in between would leave, and which
    // openings refuse.
    let made = allocate(&file, 0..len).and_then(|()| fill(&file)).and_then(|()| {
        let kept = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(folder, &*hidden, folder, entry.name(), kept).map_err(failed)
    });
    if made.is_err() {
        let _ = rustix::fs::unlinkat(folder, &*hidden, AtFlags::empty());
    }
    made.map(|()| file)
}
