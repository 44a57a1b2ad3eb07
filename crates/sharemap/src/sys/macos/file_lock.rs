//! Locks of whole files (`flock`).
//!
//! Each lock has an open file description of its own. So threads exclude each other as processes do, and
//! closing another descriptor of the file does not release the lock.
//!
//! macOS binds locks of ranges to processes: any `close` of the file in the process releases them. They are
//! therefore not supported.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, file_lock as posix};
use crate::sys::{LOCK_END, LockMode, LockWait};

/// Opens a new description of the file, for one lock. The file is opened by its name, because `/dev/fd` only
/// duplicates descriptors.
pub(crate) fn description(file: &File, path: Option<&Path>, mode: LockMode) -> Result<File> {
    let mut options = OpenOptions::new();
    match mode {
        LockMode::Shared => options.read(true),
        LockMode::Exclusive => options.write(true),
    };
    options.custom_flags(libc::O_NONBLOCK);
    if let Ok(name) = rustix::fs::getpath(file) {
        use std::os::unix::ffi::OsStringExt;
        let name = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
        if let Ok(again) = posix::open_same(&options, &name, file, mode) {
            return Ok(again);
        }
    }
    match path {
        Some(path) => posix::open_same(&options, path, file, mode),
        None => Err(Error::new(ErrorKind::Unsupported, "lock").with_detail(
            "it cannot be opened again by its name, because the name was removed or forbids the \
             access; open it by a path that leads to it",
        )),
    }
}

/// Locks the file. Returns `false` if the call must not wait and another description holds a conflicting
/// lock.
///
/// Fails with `Unsupported` for a range that is not the whole file.
pub(crate) fn lock(
    file: &File,
    range: &Range<u64>,
    mode: LockMode,
    wait: LockWait,
) -> Result<bool> {
    if *range != (0..LOCK_END) {
        return Err(Error::new(ErrorKind::Unsupported, "lock a part of").with_detail(
            "macOS releases a process's locks of ranges when any code in it closes the file; lock \
             the whole file",
        ));
    }
    let operation = match (mode, wait) {
        (LockMode::Shared, LockWait::Forever) => FlockOperation::LockShared,
        (LockMode::Shared, LockWait::No) => FlockOperation::NonBlockingLockShared,
        (LockMode::Exclusive, LockWait::Forever) => FlockOperation::LockExclusive,
        (LockMode::Exclusive, LockWait::No) => FlockOperation::NonBlockingLockExclusive,
    };
    match retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN) if wait == LockWait::No => Ok(false),
        Err(errno) => Err(errno::error("lock", errno)),
    }
}

/// Releases the lock of the file.
pub(crate) fn unlock(file: &File, _: &Range<u64>) -> Result<()> {
    rustix::fs::flock(file, FlockOperation::Unlock).map_err(|errno| errno::error("unlock", errno))
}
