//! Opens and checks companions: files that carry the liveness locks of objects, if the objects' own files
//! cannot. Companions are in directories that only the object's owner may write to.
//!
//! A directory is opened once, without following links, and checked by its descriptor. Its files are opened
//! by that descriptor, so an entry that is exchanged after the check is not used.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file::{deadline, open_leased};
use crate::sys::os::walk::HOLD;

/// The entry with the name of a companion directory.
pub(crate) enum Folder {
    /// The owner's directory, open, to which no other user may write.
    Usable(OwnedFd),
    /// There is no such entry.
    Missing,
    /// An entry that cannot be trusted.
    Unusable(Flaw),
}

/// The reason why a directory cannot be trusted. A user that can replace its files can make a dead process
/// seem alive, and a live one dead.
#[derive(Clone, Copy)]
pub(crate) enum Flaw {
    /// The directory belongs to this other user.
    Foreign(u32),
    /// The entry is not a directory, and belongs to this user.
    NoDirectory(u32),
    /// Other users may write to the directory.
    Writable,
}

/// Opens and checks the companion directory `name` of `owner` in `parent`.
pub(crate) fn folder(parent: impl AsFd, name: &str, owner: u32) -> Result<Folder, Errno> {
    let parent = parent.as_fd();
    let flags = HOLD | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match retry_on_intr(|| rustix::fs::openat(parent, name, flags, Mode::empty())) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(Folder::Missing),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Folder::Unusable(Flaw::NoDirectory(stat.st_uid))),
                Err(Errno::NOENT) => Ok(Folder::Missing),
                Err(errno) => Err(errno),
            };
        }
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&opened)?;
    Ok(if stat.st_uid != owner {
        Folder::Unusable(Flaw::Foreign(stat.st_uid))
    } else if stat.st_mode & 0o022 != 0 {
        Folder::Unusable(Flaw::Writable)
    } else {
        Folder::Usable(opened)
    })
}

/// The longest wait for the lease that `sharemap gc` holds on a companion.
pub(crate) const LEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The entry with the name of a companion.
pub(crate) enum Found {
    /// The owner's regular file.
    File(File),
    /// There is none, or the file lost its name while it was opened.
    Missing,
    /// Another kind of file, or one of another user. No process uses it as a companion.
    Foreign,
}

/// Opens and checks a companion in a trusted directory, waiting for at most `timeout` for a process that
/// holds a lease on it. With `O_CREAT` in `flags`, creates it if it is missing.
pub(crate) fn file(
    folder: &OwnedFd,
    name: &str,
    owner: u32,
    flags: OFlags,
    timeout: Duration,
) -> Result<Found, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let open = || retry_on_intr(|| rustix::fs::openat(folder, name, flags, mode)).map(File::from);
    let opened = match open_leased(deadline(timeout), open) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(Found::Missing),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(Found::Foreign),
        Err(errno) => return Err(errno),
    };
    let stat = rustix::fs::fstat(&opened)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(match stat.st_nlink {
        _ if !is_regular || stat.st_uid != owner => Found::Foreign,
        0 => Found::Missing,
        _ => Found::File(opened),
    })
}
