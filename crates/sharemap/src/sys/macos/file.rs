//! Files on macOS: status, allocation, holes and durable flushes.

#![allow(unsafe_code, reason = "calls that rustix does not have")]

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

use rustix::io::{Errno, retry_on_intr};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, file as posix};
use crate::sys::{CacheStatus, FileIdentity, FileKind, FileStatus};

pub(crate) use crate::sys::plain_file_system::{FileSystem, kind_of_system};
pub(crate) use crate::sys::posix::objects::{open_object, remove_made, unlink_object};
pub use posix::AsDescriptor;
pub(crate) use posix::{
    data_extents, duplicate, free_space, is_linked, open, read_more, set_len, understates_size,
    wait_for_bytes,
};

/// Returns kind and length. An object of `shm_open` has no type in its mode, and counts as a regular file.
pub(crate) fn status(file: &File) -> Result<FileStatus> {
    let status = posix::status(file)?;
    if status.kind != FileKind::Special {
        return Ok(status);
    }
    let stat =
        rustix::fs::fstat(file).map_err(|errno| errno::error("determine the size of", errno))?;
    if stat.st_mode & libc::S_IFMT != 0 {
        return Ok(status);
    }
    Ok(FileStatus::new(FileKind::Regular, u64::try_from(stat.st_size).unwrap_or(0)))
}

/// Returns the identity of a file on a local file system, and `None` for others.
pub(crate) fn identity(file: &File) -> Option<FileIdentity> {
    posix::identity(file, |file| {
        file_system(file).is_ok_and(|name| name == "apfs" || name == "hfs")
    })
}

/// Returns `false`: macOS does not report whether two descriptors share a description.
pub(crate) fn is_duplicate(_: &File, _: &File) -> bool {
    false
}

/// Returns `false`: a descriptor shows all writes to its file.
pub(crate) fn may_be_superseded(_: &File) -> bool {
    false
}

/// Duplicates the descriptor, which shows later writes as well as a new one would.
pub(crate) fn reopen(file: &File) -> Result<File> {
    duplicate(file)
}

/// Returns the size of a block device: `DKIOCGETBLOCKSIZE` times `DKIOCGETBLOCKCOUNT`.
pub(crate) fn device_len(file: &File) -> Result<u64> {
    const BLOCK_SIZE: libc::c_ulong = 0x4004_6418;
    const BLOCK_COUNT: libc::c_ulong = 0x4008_6419;
    let (mut size, mut count) = (0u32, 0u64);
    // SAFETY: the first request writes 4 bytes, the second 8.
    let asked = unsafe {
        libc::ioctl(file.as_raw_fd(), BLOCK_SIZE, &raw mut size) == 0
            && libc::ioctl(file.as_raw_fd(), BLOCK_COUNT, &raw mut count) == 0
    };
    if asked {
        Ok(u64::from(size).saturating_mul(count))
    } else {
        Err(errno::error("determine the size of", errno::last()))
    }
}

/// Calls `fcntl` with a command that takes a pointer to `T`.
fn control<T>(file: &File, command: c_int, argument: &mut T) -> std::result::Result<(), Errno> {
    retry_on_intr(|| {
        // SAFETY: the callers pass the structure that belongs to the command.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut *argument) } {
            -1 => Err(errno::last()),
            _ => Ok(()),
        }
    })
}

/// Grows the file to the end of `range` with storage for every byte behind its end. A failure restores the length.
///
/// The call uses `F_PREALLOCATE` or, on file systems without it, writes zeros.
pub(crate) fn allocate(file: &File, range: Range<u64>) -> Result<()> {
    let len = range.end;
    posix::within_size_limit(file, len)?;
    let before = status(file)?.len;
    if before >= len {
        return Ok(());
    }
    let mut space = libc::fstore_t {
        fst_flags: libc::F_ALLOCATEALL,
        fst_posmode: libc::F_PEOFPOSMODE,
        fst_offset: 0,
        fst_length: (len - before) as libc::off_t,
        fst_bytesalloc: 0,
    };
    let result = match control(file, libc::F_PREALLOCATE, &mut space) {
        Ok(()) => retry_on_intr(|| rustix::fs::ftruncate(file, len)),
        Err(Errno::OPNOTSUPP | Errno::NOTSUP | Errno::INVAL) => {
            posix::write_zeros(file, before, len)
        }
        Err(errno) => Err(errno),
    };
    result.map_err(|errno| {
        let _ = rustix::fs::ftruncate(file, before);
        posix::size_error("allocate space for", len, errno)
    })
}

/// Makes the range zeros. Whole blocks become holes (`F_PUNCHHOLE`), and zeros are written to the parts of
/// blocks at the ends.
pub(crate) fn punch_hole(file: &File, range: Range<u64>) -> Result<()> {
    let failed = |errno| {
        let error = errno::error("punch a hole in", errno)
            .with_offset(range.start)
            .with_length(range.end - range.start);
        match errno {
            Errno::BADF | Errno::PERM => error.with_kind(ErrorKind::NotWritable),
            Errno::OPNOTSUPP | Errno::NOTSUP | Errno::INVAL => {
                error.with_kind(ErrorKind::Unsupported).with_detail("its file system has no holes")
            }
            _ => error,
        }
    };
    let stat = rustix::fs::fstat(file).map_err(failed)?;
    // Bytes beyond the end read as zeros anyway, and a write there would make the file grow.
    let end = range.end.min(stat.st_size as u64);
    let block = (stat.st_blksize as u64).max(1);
    let inner = range.start.next_multiple_of(block)..end / block * block;
    if inner.is_empty() {
        return posix::write_zeros(file, range.start, end).map_err(failed);
    }
    let mut hole = libc::fpunchhole_t {
        fp_flags: 0,
        reserved: 0,
        fp_offset: inner.start as libc::off_t,
        fp_length: (inner.end - inner.start) as libc::off_t,
    };
    control(file, libc::F_PUNCHHOLE, &mut hole).map_err(failed)?;
    posix::write_zeros(file, range.start, inner.start).map_err(failed)?;
    posix::write_zeros(file, inner.end, end).map_err(failed)
}

/// Fails with `Unsupported`.
pub(crate) fn cache_status(_: &File, _: Range<u64>) -> Result<CacheStatus> {
    Err(Error::new(ErrorKind::Unsupported, "query the page cache for")
        .with_detail("macOS does not report which pages of a file its cache holds"))
}

/// Fails with `Unsupported`.
pub(crate) fn evict(_: &File, _: Range<u64>) -> Result<()> {
    Err(Error::new(ErrorKind::Unsupported, "evict")
        .with_detail("macOS has no call that drops a file's cached pages"))
}

/// Makes the file's data durable (`F_FULLFSYNC`). `fsync` alone leaves the data in the drive's cache, so it
/// serves only file systems without `F_FULLFSYNC`.
pub(crate) fn sync_data(file: &File) -> Result<()> {
    posix::sync_data(file).or_else(|error| match error.os_code() {
        Some(libc::ENOTSUP | libc::ENOTTY | libc::EINVAL) => {
            retry_on_intr(|| rustix::fs::fsync(file))
                .map_err(|errno| errno::error("flush", errno).with_kind(ErrorKind::FlushFailed))
        }
        _ => Err(error),
    })
}

/// Returns the name of the file system, such as "apfs".
pub(crate) fn file_system(file: &File) -> Result<String> {
    let stat = retry_on_intr(|| rustix::fs::fstatfs(file))
        .map_err(|errno| errno::error("identify the file system of", errno))?;
    // SAFETY: the kernel ends the name with a zero.
    let name = unsafe { CStr::from_ptr(stat.f_fstypename.as_ptr()) };
    Ok(name.to_string_lossy().into_owned())
}

/// Fails with the reason why references to the file's bytes are unsound: other processes can change them.
pub(crate) fn immutable(_: &File) -> std::result::Result<(), String> {
    Err("macOS has no seals, so a process with write access can change the bytes of a reference"
        .into())
}
