//! Maps codes of `GetLastError` to [`ErrorKind`]s, where the operation makes no difference.

use std::io;

use windows_sys::Win32::Foundation as codes;

use crate::error::{Error, ErrorKind};

/// Returns the error of the system call that has just failed in `operation`.
#[cold]
pub(crate) fn last(operation: &'static str) -> Error {
    from_io(operation, io::Error::last_os_error())
}

/// Returns the error of `operation` for `source`, with advice where the code has a known remedy.
#[cold]
pub(crate) fn from_io(operation: &'static str, source: io::Error) -> Error {
    let code = source.raw_os_error().unwrap_or(0) as u32;
    let error = Error::new(kind(code), operation).with_source(source);
    match code {
        codes::ERROR_USER_MAPPED_FILE => error.with_detail(
            "Windows cannot shorten, empty or punch a file while a part of it is mapped by any \
             process; drop its mappings first",
        ),
        codes::ERROR_SHARING_VIOLATION => error.with_detail(
            "the share mode of another open handle excludes this access; close that handle first",
        ),
        codes::ERROR_PRIVILEGE_NOT_HELD => {
            error.with_detail("the account lacks the required privilege")
        }
        codes::ERROR_COMMITMENT_LIMIT | codes::ERROR_COMMITMENT_MINIMUM => {
            error.with_detail("memory and paging files are full; enlarge the paging file")
        }
        _ => error,
    }
}

fn kind(code: u32) -> ErrorKind {
    match code {
        codes::ERROR_FILE_NOT_FOUND
        | codes::ERROR_PATH_NOT_FOUND
        | codes::ERROR_INVALID_DRIVE
        | codes::ERROR_BAD_NETPATH
        | codes::ERROR_BAD_NET_NAME => ErrorKind::NotFound,
        codes::ERROR_FILE_EXISTS | codes::ERROR_ALREADY_EXISTS => ErrorKind::AlreadyExists,
        codes::ERROR_ACCESS_DENIED | codes::ERROR_PRIVILEGE_NOT_HELD => ErrorKind::PermissionDenied,
        codes::ERROR_WRITE_PROTECT => ErrorKind::NotWritable,
        codes::ERROR_DISK_FULL
        | codes::ERROR_HANDLE_DISK_FULL
        | codes::ERROR_DISK_QUOTA_EXCEEDED
        | codes::ERROR_NOT_ENOUGH_QUOTA => ErrorKind::NoSpace,
        codes::ERROR_FILE_TOO_LARGE => ErrorKind::TooLarge,
        codes::ERROR_NOT_ENOUGH_MEMORY
        | codes::ERROR_OUTOFMEMORY
        | codes::ERROR_COMMITMENT_LIMIT
        | codes::ERROR_COMMITMENT_MINIMUM => ErrorKind::OutOfAddressSpace,
        codes::ERROR_TOO_MANY_OPEN_FILES | codes::ERROR_NO_SYSTEM_RESOURCES => {
            ErrorKind::TooManyFiles
        }
        codes::ERROR_USER_MAPPED_FILE
        | codes::ERROR_SHARING_VIOLATION
        | codes::ERROR_LOCK_VIOLATION => ErrorKind::Busy,
        codes::ERROR_WORKING_SET_QUOTA => ErrorKind::LockLimit,
        codes::ERROR_NOT_SUPPORTED
        | codes::ERROR_INVALID_FUNCTION
        | codes::ERROR_CALL_NOT_IMPLEMENTED => ErrorKind::Unsupported,
        codes::ERROR_INVALID_ADDRESS | codes::ERROR_NOACCESS => ErrorKind::Fault,
        _ => ErrorKind::Io,
    }
}
