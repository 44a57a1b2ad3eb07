//! Maps `errno` to an [`ErrorKind`] and a remedy: one function for calls on files and descriptors,
//! and one for calls on address space. Callers add details of their own.

use std::io;

use rustix::io::Errno;

use crate::error::{Error, ErrorKind};
use crate::sys::os;

/// Returns the error of a system call that failed in `operation`.
#[cold]
pub(crate) fn error(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(kind(errno), operation).with_source(io::Error::from(errno));
    match errno {
        Errno::MFILE => match os::process::limits().open_files {
            Some(limit) => error.with_detail(format!(
                "this process may have {limit} files open (RLIMIT_NOFILE); close some, or raise the \
                 limit"
            )),
            None => error,
        },
        Errno::FBIG => error.with_detail("its file system does not support files of that size"),
        Errno::ROFS => error.with_detail("its file system is mounted read-only"),
        _ => error,
    }
}

/// Returns the error of a failed system call that maps, unmaps or splits address space, or needs memory for
/// that.
///
/// The kernel returns `ENOMEM` or `EAGAIN` both for too many mappings and for too little memory. The number of
/// mappings distinguishes them.
#[cold]
pub(crate) fn memory_error(operation: &'static str, errno: Errno) -> Error {
    let error = error(operation, errno);
    if !matches!(errno, Errno::NOMEM | Errno::AGAIN) {
        return error;
    }
    // The count includes a few mappings of the kernel, and a call that splits a mapping needs two more.
    const NEAR: u64 = 8;
    let limit = os::process::limits().mappings;
    match (os::process::mapping_count(), limit) {
        (Some(count), Some(limit)) if count.saturating_add(NEAR) >= limit => {
            error.with_kind(ErrorKind::TooManyMappings).with_detail(format!(
                "it has {count}, and at most {limit} are allowed (vm.max_map_count); map fewer, larger \
                 ranges, or raise the limit"
            ))
        }
        _ => error.with_kind(ErrorKind::OutOfAddressSpace),
    }
}

/// Returns the `errno` of an error of the standard library; `EIO` if it has none.
#[cold]
pub(crate) fn of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Returns the `errno` of the call of the C library that has just failed.
#[cold]
pub(crate) fn last() -> Errno {
    of(&io::Error::last_os_error())
}

/// Returns the kind of error that an `errno` usually means.
pub(crate) fn kind(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT => ErrorKind::NotFound,
        Errno::EXIST => ErrorKind::AlreadyExists,
        Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
        Errno::ROFS | Errno::TXTBSY => ErrorKind::NotWritable,
        Errno::ISDIR => ErrorKind::IsDirectory,
        Errno::NOSPC | Errno::DQUOT => ErrorKind::NoSpace,
        Errno::FBIG => ErrorKind::TooLarge,
        Errno::NOMEM => ErrorKind::OutOfAddressSpace,
        Errno::MFILE | Errno::NFILE => ErrorKind::TooManyFiles,
        Errno::AGAIN | Errno::BUSY => ErrorKind::Busy,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV => ErrorKind::Unsupported,
        Errno::OVERFLOW => ErrorKind::Overflow,
        Errno::FAULT => ErrorKind::Fault,
        _ => ErrorKind::Io,
    }
}
