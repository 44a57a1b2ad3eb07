//! Passes descriptors to other processes: over Unix sockets, and through `fork` and `exec`.

#![allow(unsafe_code, reason = "works between fork and exec, and with numbers of descriptors")]

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Stat;
use rustix::io::{FdFlags, retry_on_intr};

use super::{errno, socket};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::os;

/// Sends all the bytes, with the descriptor attached to the first of them (`SCM_RIGHTS`).
pub(crate) fn send(to: &File, bytes: &[u8], file: &File) -> Result<()> {
    let failed = |errno| errno::error("send", errno);
    // A socket that the receiver has closed is an error, and raises no signal.
    let flags = os::pass::QUIET;
    let mut sent = retry_on_intr(|| socket::send_file(to, bytes, file, flags)).map_err(failed)?;
    while sent < bytes.len() {
        sent += retry_on_intr(|| socket::send(to, &bytes[sent..], flags)).map_err(failed)?;
    }
    Ok(())
}

/// Fills `bytes` from the socket, and receives exactly one descriptor.
///
/// Fails with `Invalid` if the sender closes the socket early, or sends none or several descriptors.
pub(crate) fn receive(from: &File, bytes: &mut [u8]) -> Result<File> {
    const OPERATION: &str = "receive";
    // There is room for several descriptors, so a sender of several is detectable. All that arrive are closed
    // on an error.
    let received = retry_on_intr(|| socket::recv_files(from, bytes, os::pass::CLOSE_ON_EXEC))
        .map_err(|errno| errno::error(OPERATION, errno))?;
    let mut files = received.files;
    let mut got = received.bytes;
    while got > 0 && got < bytes.len() {
        let more = retry_on_intr(|| socket::recv(from, &mut bytes[got..], 0))
            .map_err(|errno| errno::error(OPERATION, errno))?;
        if more == 0 {
            break;
        }
        got += more;
    }
    let bad = |detail: String| Err(Error::new(ErrorKind::Invalid, OPERATION).with_detail(detail));
    if got < bytes.len() {
        return bad(format!("the sender closed the socket after {got} of {} bytes", bytes.len()));
    }
    if received.is_cut_off || files.len() > 1 {
        return bad("the message has more than one descriptor".into());
    }
    let Some(file) = files.pop() else {
        return bad("the message has no descriptor".into());
    };
    rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC)
        .map_err(|errno| errno::error(OPERATION, errno))?;
    Ok(file)
}

/// Makes the descriptor inheritable by the child of this command, and by no other child.
///
/// Returns its number in the child, and a file that must be kept open until the child is started.
pub(crate) fn inherit(command: &mut Command, file: File) -> Result<(u64, File)> {
    // The lower numbers become the child's standard streams.
    const FIRST: RawFd = 3;
    let kept = rustix::io::fcntl_dupfd_cloexec(&file, FIRST)
        .map(File::from)
        .map_err(|errno| errno::error("pass", errno))?;
    let number = kept.as_raw_fd();
    let keep = move || {
        // SAFETY: in the child, the number refers to a copy of the parent's descriptor. If the parent has
        // closed it before the start, the call fails.
        let kept = unsafe { BorrowedFd::borrow_raw(number) };
        Ok(rustix::io::fcntl_setfd(kept, FdFlags::empty())?)
    };
    // SAFETY: between fork and exec, the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(keep) };
    Ok((number as u64, kept))
}

/// Fails with `Unsupported`: a process cannot open a descriptor in another one.
pub(crate) fn duplicate_into(_: &File, _: u32) -> Result<u64> {
    Err(Error::new(ErrorKind::Unsupported, "duplicate")
        .with_detail("here descriptors go over a Unix socket (`send`), or to a child (`pass_to`)"))
}

/// Returns a duplicate of the inherited descriptor `number`, which must be of the file of this identity.
///
/// Makes `number` close on `exec`, so that this process's own children do not inherit it.
pub(crate) fn find(number: u64, identity: [u64; 2]) -> Result<File> {
    const OPERATION: &str = "find the inherited descriptor";
    let wrong = |detail: &str| Error::new(ErrorKind::NotFound, OPERATION).with_detail(detail);
    let number = RawFd::try_from(number).map_err(|_| wrong("the number is not a descriptor"))?;
    // SAFETY: the call takes numbers only.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(wrong("it is not open, so this process did not inherit it"));
    }
    // SAFETY: the descriptor was open a moment ago, and is borrowed for two calls. If another thread closes
    // it meanwhile, the calls fail, or refer to another file, which has another identity.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let file = rustix::io::fcntl_dupfd_cloexec(borrowed, 0)
        .map(File::from)
        .map_err(|errno| errno::error(OPERATION, errno))?;
    if self::identity(&file)? != identity {
        return Err(wrong("the descriptor refers to another file"));
    }
    let _ = rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC);
    Ok(file)
}

/// `true`: an open file keeps its identity when it is renamed.
pub(crate) const IDENTITY_OUTLIVES_NAME: bool = true;

/// Returns device and inode of an open file.
///
/// An object of `shm_open` on macOS has neither, and no file type. Its identity is bit 63 and its length.
pub(crate) fn identity(file: &File) -> Result<[u64; 2]> {
    rustix::fs::fstat(file)
        .map(|stat| identity_from(&stat))
        .map_err(|errno| errno::error("identify", errno))
}

/// Returns the identity that belongs to the status of an open file.
pub(crate) fn identity_from(stat: &Stat) -> [u64; 2] {
    const OBJECT: u64 = 1 << 63;
    #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
    match stat.st_mode & libc::S_IFMT {
        0 => [OBJECT, stat.st_size as u64],
        _ => [stat.st_dev as u64, stat.st_ino as u64],
    }
}
