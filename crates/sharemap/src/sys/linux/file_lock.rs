//! Locks on files and on ranges of files (`F_OFD_SETLK`).
//!
//! Each lock belongs to an open file description of its own. Threads therefore exclude each other as processes
//! do, and a `close` by other code does not release the lock.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;

use super::ofd;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, file_lock as posix};
use crate::sys::{LockMode, LockWait};

const OPERATION: &str = "lock";

/// Opens the file once more, for one lock of this mode: through `/proc`, or else by its path.
pub(crate) fn description(file: &File, path: Option<&Path>, mode: LockMode) -> Result<File> {
    let mut options = OpenOptions::new();
    match mode {
        LockMode::Shared => options.read(true),
        LockMode::Exclusive => options.write(true),
    };
    options.custom_flags(libc::O_NONBLOCK);
    let error = match options.open(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Ok(again) if posix::is_same(&again, file)? => return Ok(again),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    match path {
        Some(path) => posix::open_same(&options, path, file, mode),
        None => Err(match error {
            Some(error) => posix::open_error(&error, mode),
            None => Error::new(ErrorKind::Unsupported, OPERATION)
                .with_detail("its name in /proc/self/fd is of another file; use `FileLock::open`"),
        }),
    }
}

/// Acquires a lock on the range. Returns `false` if another description holds a conflicting lock and `wait` is
/// [`LockWait::No`].
pub(crate) fn lock(
    file: &File,
    range: &Range<u64>,
    mode: LockMode,
    wait: LockWait,
) -> Result<bool> {
    let kind = match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    };
    let command = match wait {
        LockWait::No => libc::F_OFD_SETLK,
        LockWait::Forever => libc::F_OFD_SETLKW,
    };
    match change(file, command, kind, range) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) if wait == LockWait::No => Ok(false),
        Err(errno) => Err(refused(errno)),
    }
}

/// Releases the locks on the range.
pub(crate) fn unlock(file: &File, range: &Range<u64>) -> Result<()> {
    change(file, libc::F_OFD_SETLK, libc::F_UNLCK, range)
        .map_err(|errno| errno::error("unlock", errno))
}

/// Sets the lock of the range to `kind`.
fn change(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    range: &Range<u64>,
) -> std::result::Result<(), Errno> {
    let len = range.end - range.start;
    ofd::lock(file.as_raw_fd(), command, kind, range.start, len).map(drop)
}

/// Returns the error of a lock that could not be acquired for another reason than a conflict.
#[cold]
fn refused(errno: Errno) -> Error {
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::NOLCK => error.with_detail(
            "the kernel has no memory for a file lock, or the file server has no lock service",
        ),
        Errno::INVAL | Errno::OPNOTSUPP => error
            .with_kind(ErrorKind::Unsupported)
            .with_detail("its file system has no locks of open files (F_OFD_SETLK)"),
        _ => error,
    }
}
