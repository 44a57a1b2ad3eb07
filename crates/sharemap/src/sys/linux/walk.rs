//! The system calls of a step along a path, for `posix::walk`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::posix::walk::Step;

/// Opens a directory for lookups, which needs no permission to read it.
pub(crate) const HOLD: OFlags = OFlags::PATH;

/// Opens a path without symbolic links. Fails with `ELOOP` if there is one, and with other errors
/// (`ENOSYS`, `EPERM`) if the kernel or a sandbox does not know the call (`openat2`, Linux 5.6).
pub(crate) fn open_without_links(path: &Path, flags: OFlags) -> Result<File, Errno> {
    retry_on_intr(|| {
        rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    })
    .map(File::from)
}

/// Inspects the entry `name`. A link is held by a descriptor, so that owner and text are those of
/// one link.
pub(crate) fn step(folder: &OwnedFd, name: &OsStr) -> Result<Step, Errno> {
    const PROCFS: u64 = 0x9fa0;
    let held = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |flags| retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty()));
    match open(held | OFlags::DIRECTORY) {
        Err(Errno::NOTDIR | Errno::LOOP) => {}
        opened => return opened.map(Step::Folder),
    }
    let found = open(held)?;
    let stat = rustix::fs::fstat(&found)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {}
        FileType::Directory => return Ok(Step::Folder(found)),
        _ => return Ok(Step::Other),
    }
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    let is_of_procfs = rustix::fs::fstatfs(&found)?.f_type as u64 == PROCFS;
    let target = match is_of_procfs {
        true => None,
        false => Some(rustix::fs::readlinkat(&found, "", Vec::new())?.into_bytes()),
    };
    Ok(Step::Link { owner: stat.st_uid, target })
}
