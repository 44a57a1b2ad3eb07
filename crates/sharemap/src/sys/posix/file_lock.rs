//! Opening a file once more, to have a description that is nobody else's.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::errno;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::LockMode;

const OPERATION: &str = "lock";

pub(crate) fn is_same(one: &File, other: &File) -> Result<bool> {
    let identity = |file: &File| {
        rustix::fs::fstat(file)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|errno| errno::error(OPERATION, errno))
    };
    Ok(identity(one)? == identity(other)?)
}

/// What the path leads to, if that is still the file.
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
        .with_detail("its name belongs to another file now: open it again"))
}

#[cold]
pub(crate) fn open_error(error: &io::Error, mode: LockMode) -> Error {
    let errno = errno::of(error);
    let error = errno::error(OPERATION, errno);
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY
            if mode == LockMode::Exclusive =>
        {
            error.with_kind(ErrorKind::NotWritable).with_detail(
                "only who may write to a file locks it exclusively; a shared lock takes less",
            )
        }
        _ => error,
    }
}
