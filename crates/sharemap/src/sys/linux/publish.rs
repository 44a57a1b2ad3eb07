//! Files that get their name when they are whole: until then they have none (`O_TMPFILE`), so that
//! a creator that is killed leaves nothing.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::allocate;
use crate::error::Result;
use crate::sys::posix::{errno, publish};

/// Makes a file of `len` bytes that must not exist, has it filled, and gives it its name.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    if path.symlink_metadata().is_ok() {
        // Before space is set aside for nothing.
        return Err(errno::error("create", Errno::EXIST));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = match retry_on_intr(|| rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)) {
        Ok(file) => File::from(file),
        // A file system, or a kernel, without nameless files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            return publish::create_new(path, len, fill);
        }
        Err(errno) => return Err(errno::error("create", errno)),
    };
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    if !Path::new(&link).exists() {
        return publish::create_new(path, len, fill);
    }
    allocate(&file, len)?;
    fill(&file)?;
    rustix::fs::linkat(CWD, link.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW)
        .map_err(|errno| errno::error("create", errno))?;
    Ok(file)
}
