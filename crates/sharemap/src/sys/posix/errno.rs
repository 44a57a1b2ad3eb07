//! From `errno` to [`ErrorKind`], where the operation makes no difference.

use std::io;

use rustix::io::Errno;

use crate::error::{Error, ErrorKind};
use crate::sys::os;

/// The error of a failed system call in `operation`.
#[cold]
pub(crate) fn error(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(kind(errno), operation).with_source(io::Error::from(errno));
    if errno != Errno::MFILE {
        return error;
    }
    match os::process::limits().open_files {
        Some(limit) => error.with_detail(format!(
            "this process may have {limit} open (RLIMIT_NOFILE): close some, or raise the limit"
        )),
        None => error,
    }
}

/// The same, as the standard library tells it.
#[cold]
pub(crate) fn from_io(operation: &'static str, source: &io::Error) -> Error {
    error(operation, of(source))
}

/// What an error of the standard library says.
#[cold]
pub(crate) fn of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Why a call of the C library has just failed.
#[cold]
pub(crate) fn last() -> Errno {
    of(&io::Error::last_os_error())
}

pub(crate) fn kind(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
        Errno::ROFS | Errno::TXTBSY => ErrorKind::NotWritable,
        Errno::ISDIR => ErrorKind::IsDirectory,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => ErrorKind::NoSpace,
        Errno::NOMEM => ErrorKind::AddressSpace,
        Errno::MFILE | Errno::NFILE => ErrorKind::TooManyFiles,
        Errno::AGAIN | Errno::BUSY => ErrorKind::Busy,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV => ErrorKind::Unsupported,
        Errno::OVERFLOW => ErrorKind::Overflow,
        Errno::FAULT => ErrorKind::Fault,
        _ => ErrorKind::Io,
    }
}
