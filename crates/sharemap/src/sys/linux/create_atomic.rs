//! Files that get their name when they are whole: until then they have none (`O_TMPFILE`), so that
//! a creator that is killed leaves nothing.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::allocate;
use super::unlinked::link_of;
use crate::error::Result;
use crate::sys::Owner;
use crate::sys::posix::create_atomic::create_hidden;
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
        // Before space is set aside for nothing.
        return Err(failed(Errno::EXIST));
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = match retry_on_intr(|| rustix::fs::openat(&entry.folder, ".", flags, mode)) {
        Ok(file) => File::from(file),
        // A file system, or a kernel, without nameless files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            return create_hidden(&entry, len, fill);
        }
        Err(errno) => return Err(failed(errno)),
    };
    let link = link_of(&file);
    if rustix::fs::access(link.as_str(), Access::EXISTS).is_err() {
        return create_hidden(&entry, len, fill);
    }
    allocate(&file, len)?;
    fill(&file)?;
    let follow = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, link.as_str(), &entry.folder, entry.name(), follow).map_err(failed)?;
    Ok(file)
}
