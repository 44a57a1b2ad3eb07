//! Locks of whole files (`flock`): each belongs to a description of its own, so that threads exclude
//! each other as processes do, and no `close` by other code lets it go.
//!
//! Locks of ranges belong to processes here, and go with any `close` of the file in the process:
//! there is no sound way to them through a public interface.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, file_lock as posix};
use crate::sys::{LOCK_END, LockMode, LockWait};

/// The same file, opened once more: by its name, as `/dev/fd` only duplicates.
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
            "it cannot be opened again by the name that the system has for it: it has none any \
             more, or may not be opened so",
        )),
    }
}

/// `false`: somebody else has it.
pub(crate) fn lock(
    file: &File,
    range: &Range<u64>,
    mode: LockMode,
    wait: LockWait,
) -> Result<bool> {
    if *range != (0..LOCK_END) {
        return Err(Error::new(ErrorKind::Unsupported, "lock a part of").with_detail(
            "macOS drops a process's locks of ranges when anything in it closes the file: lock the \
             whole file",
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

pub(crate) fn unlock(file: &File, _: &Range<u64>) -> Result<()> {
    rustix::fs::flock(file, FlockOperation::Unlock).map_err(|errno| errno::error("unlock", errno))
}
