//! Opens a file once more, because each lock needs an open file description of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::errno;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::LockMode;

const OPERATION: &str = "lock";

/// Returns `true` if both descriptors are of one file.
pub(crate) fn is_same(one: &File, other: &File) -> Result<bool> {
    let identity = |file: &File| {
        rustix::fs::fstat(file)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|errno| errno::error(OPERATION, errno))
    };
    Ok(identity(one)? == identity(other)?)
}

/// Opens the path, which must still lead to `file`.
pub(crate) fn open_same(
    options: &OpenOptions,
    path: &Path,
    file: &File,
    mode: LockMode,
) -> Result<File> {
    let again = options.open(path).map_err(|error| open_error(&error, mode))?;
    if is_same(&again, file)? {
        return Ok(again);
    }
    Err(Error::new(ErrorKind::NotFound, OPERATION)
        .with_detail("another file has its name now; open it again"))
}

/// Returns the error of a file that cannot be opened for a lock of this mode.
#[cold]
pub(crate) fn open_error(error: &io::Error, mode: LockMode) -> Error {
    let errno = errno::of(error);
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY
            if mode == LockMode::Exclusive =>
        {
            error.with_kind(ErrorKind::NotWritable).with_detail(
                "an exclusive lock needs permission to write to the file; use a shared lock",
            )
        }
        _ => error,
    }
}
