//! Creates files under a hidden name in the same directory, and names them once they are complete.
//!
//! A creator that is killed leaves the hidden file behind.

use std::fs::File;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::errno;
use super::walk::Entry;
use crate::error::Result;
use crate::sys::os::file::allocate;
use crate::sys::unique_name::hidden;

/// Creates a file of `len` bytes with a hidden name, calls `fill`, and gives the file the entry's
/// name, which must be free.
pub(crate) fn create_hidden(
    entry: &Entry,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let failed = |errno| errno::error("create", errno);
    let (folder, hidden) = (&entry.folder, hidden(entry.name()));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = retry_on_intr(|| rustix::fs::openat(folder, &*hidden, flags, mode))
        .map(File::from)
        .map_err(failed)?;
    // A link, unlike a rename, fails if the name is taken. The hidden name is removed in any case.
    let made = allocate(&file, len).and_then(|()| fill(&file)).and_then(|()| {
        rustix::fs::linkat(folder, &*hidden, folder, entry.name(), AtFlags::empty()).map_err(failed)
    });
    let _ = rustix::fs::unlinkat(folder, &*hidden, AtFlags::empty());
    made.map(|()| file)
}
