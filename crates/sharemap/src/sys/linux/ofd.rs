//! Locks of open file descriptions (`F_OFD_SETLK` and its relatives).
//!
//! Other kinds of lock either have no ranges (`flock`), or are lost when other code of the process closes the
//! file (`F_SETLK`).

#![allow(unsafe_code, reason = "a call that rustix does not have")]

use std::ops::Range;
use std::os::fd::RawFd;

use rustix::io::Errno;

use super::map::checked;

/// Queries, acquires or releases the lock on `len` bytes from `start` on, as `command` and `kind` tell. A `len`
/// of 0 extends to the end of the file, however long that grows.
///
/// Returns the kind of lock in the kernel's answer. A signal does not end a wait.
pub(super) fn lock(
    fd: RawFd,
    command: libc::c_int,
    kind: libc::c_int,
    start: u64,
    len: u64,
) -> std::result::Result<libc::c_int, Errno> {
    call(fd, command, kind, start, len).map(|answer| libc::c_int::from(answer.l_type))
}

/// Returns the range of a lock that another open file description holds on one of `bytes`. The
/// range may extend beyond `bytes`. `None` if there is no such lock.
pub(super) fn conflict(
    fd: RawFd,
    bytes: Range<u64>,
) -> std::result::Result<Option<Range<u64>>, Errno> {
    let len = bytes.end.saturating_sub(bytes.start);
    let answer = call(fd, libc::F_OFD_GETLK, libc::F_WRLCK, bytes.start, len)?;
    if libc::c_int::from(answer.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let start = u64::try_from(answer.l_start).unwrap_or(0);
    let end = match u64::try_from(answer.l_len) {
        // Zero means to the end of the file.
        Err(_) | Ok(0) => u64::MAX,
        Ok(len) => start.saturating_add(len),
    };
    Ok(Some(start..end))
}

/// Makes the system call, and repeats it if a signal interrupts it. Returns the kernel's answer.
fn call(
    fd: RawFd,
    command: libc::c_int,
    kind: libc::c_int,
    start: u64,
    len: u64,
) -> std::result::Result<libc::flock64, Errno> {
    let signed = |number| i64::try_from(number).map_err(|_| Errno::OVERFLOW);
    // SAFETY: the fields are numbers, for which all zeros are valid.
    let mut request: libc::flock64 = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = signed(start)?;
    request.l_len = signed(len)?;
    // The C library's `fcntl` takes 32-bit offsets on some 32-bit systems.
    #[cfg(target_pointer_width = "32")]
    const FCNTL: libc::c_long = libc::SYS_fcntl64;
    #[cfg(target_pointer_width = "64")]
    const FCNTL: libc::c_long = libc::SYS_fcntl;
    loop {
        // SAFETY: these commands take the structure with 64-bit offsets.
        let result = unsafe { libc::syscall(FCNTL, fd, command, &raw mut request) };
        match checked(result) {
            Ok(_) => return Ok(request),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
