//! One step along a path, for `posix::walk`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::posix::walk::Step;

/// Opens a directory for searching if the system supports that (`O_SEARCH`), and otherwise for
/// reading.
pub(crate) const HOLD: OFlags = OFlags::from_bits_retain(libc::O_SEARCH as u32);

/// Reports that the call is missing, so that every path is walked: older systems ignore the flag
/// for it (`O_NOFOLLOW_ANY`).
pub(crate) fn open_without_links(_: &Path, _: OFlags) -> Result<File, Errno> {
    Err(Errno::NOSYS)
}

/// Inspects the entry `name`.
///
/// On macOS, a descriptor cannot refer to a link. The owner and target of a link are accepted only if the link
/// is unchanged after they were read.
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
