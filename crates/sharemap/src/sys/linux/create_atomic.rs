//! Creates files that get their names once they are complete. Until then a file has no name (`O_TMPFILE`), so
//! the kernel removes it if its creator is killed. On file systems without unnamed files it has a hidden name,
//! which a killed creator leaves behind.

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
        // Checked first to avoid a useless allocation. The link checks it again, atomically.
        return Err(failed(Errno::EXIST));
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = match retry_on_intr(|| rustix::fs::openat(&entry.folder, ".", flags, mode)) {
        Ok(file) => File::from(file),
        // The file system or the kernel has no unnamed files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            return create_hidden(&entry, len, fill);
        }
        Err(errno) => return Err(failed(errno)),
    };
    let link = link_of(&file);
    // An unnamed file can be linked only through `/proc`.
    if rustix::fs::access(link.as_str(), Access::EXISTS).is_err() {
        return create_hidden(&entry, len, fill);
    }
    allocate(&file, len)?;
    fill(&file)?;
    let follow = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, link.as_str(), &entry.folder, entry.name(), follow).map_err(failed)?;
    Ok(file)
}
