//! One step along a path, for `posix::walk`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::posix::walk::Step;

/// Holds a directory: for searching, where the system knows that (`O_SEARCH`), else for reading.
pub(crate) const HOLD: OFlags = OFlags::from_bits_retain(libc::O_SEARCH as u32);

/// The system's flag for this (`O_NOFOLLOW_ANY`) is ignored by systems that do not know it, so every
/// path is walked.
pub(crate) fn open_without_links(_: &Path, _: OFlags) -> Result<File, Errno> {
    Err(Errno::NOSYS)
}

/// Looks at what `name` leads to. No descriptor holds a link here: its owner and text are taken for
/// those of one link if it is the same, and unchanged, before and after they were read.
pub(crate) fn step(folder: &OwnedFd, name: &OsStr) -> Result<Step, Errno> {
    let look = || rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = look()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = HOLD | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = || rustix::fs::openat(folder, name, flags, Mode::empty());
            retry_on_intr(open).map(Step::Folder)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes();
            let after = look()?;
            let of = |stat: &rustix::fs::Stat| {
                (stat.st_dev, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec, stat.st_uid)
            };
            if of(&stat) != of(&after) {
                return Err(Errno::LOOP);
            }
            Ok(Step::Link { owner: stat.st_uid, target: Some(target) })
        }
        _ => Ok(Step::Other),
    }
}
