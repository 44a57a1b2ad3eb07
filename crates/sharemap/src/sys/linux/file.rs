//! Files on Linux: allocation, holes, the page cache, seals.

// Calls that rustix does not have are made through libc.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};

use super::file_system::{self, is_on_hugetlbfs};
use super::map::{checked, page_size};
use super::unlinked::link_of;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::posix::{errno, file as posix};
use crate::sys::{Access, CacheStatus, FileIdentity};

pub(crate) use super::file_system::{FileSystem, file_system, kind_of_system};
pub(crate) use crate::sys::posix::objects::{open_object, remove_made, unlink_object};
pub use posix::AsDescriptor;
pub(crate) use posix::{
    data_extents, duplicate, free_space, is_linked, open, read_more, set_len, status, sync_data,
    wait_for_bytes,
};

/// Returns the size of a block device (`BLKGETSIZE64`).
pub(crate) fn device_len(file: &File) -> Result<u64> {
    // `_IOR(0x12, 114, size_t)`: the number encodes the size of a `size_t`, although the result has 64 bits.
    const BLKGETSIZE64: u32 = 0x8000_1272 | ((size_of::<usize>() as u32) << 16);
    let mut len = 0u64;
    // SAFETY: the kernel writes 8 bytes to `len`.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64 as _, &raw mut len) };
    checked(result.into())
        .map(|_| len)
        .map_err(|errno| errno::error("determine the size of", errno))
}

/// Identifies a file on a local file system. Other file systems may give two files one number: FUSE,
/// network file systems, and bcachefs, for a file and its snapshots.
#[inline]
pub(crate) fn identity(file: &File) -> Option<FileIdentity> {
    posix::identity(file, file_system::numbers_are_unique)
}

/// Returns `true` if both descriptors are duplicates of one, with its position and its locks; `false`
/// also if the kernel does not tell.
pub(crate) fn is_duplicate(one: &File, other: &File) -> bool {
    // Linux 6.10.
    const F_DUPFD_QUERY: libc::c_int = 1027;
    const KCMP_FILE: libc::c_int = 0;
    let (one, other) = (one.as_raw_fd(), other.as_raw_fd());
    // SAFETY: the calls take numbers only, and change nothing.
    unsafe {
        match libc::fcntl(one, F_DUPFD_QUERY, other) {
            -1 => {
                let own = libc::getpid();
                libc::syscall(libc::SYS_kcmp, own, own, KCMP_FILE, one, other) == 0
            }
            answer => answer == 1,
        }
    }
}

/// Returns `true` if a copy-up of an overlay file system may have left this descriptor with the
/// lower file. A descriptor open for writing already refers to the upper file.
pub(crate) fn may_be_superseded(file: &File) -> bool {
    let flags = rustix::fs::fcntl_getfl(file).unwrap_or(OFlags::empty());
    flags & OFlags::RWMODE == OFlags::RDONLY && file_system::is_overlayfs(file)
}

/// Opens the file that the descriptor's path leads to now.
pub(crate) fn reopen(file: &File) -> Result<File> {
    reopen_for(file, Access::Read)
}

/// Opens the file once more. The new description has its own position and its own locks.
pub(crate) fn reopen_for(file: &File, access: Access) -> Result<File> {
    let flags = match access {
        Access::Write => OFlags::RDWR,
        Access::Read | Access::CopyOnWrite => OFlags::RDONLY,
    };
    let link = link_of(file);
    retry_on_intr(|| rustix::fs::open(link.as_str(), flags | OFlags::CLOEXEC, Mode::empty()))
        .map(File::from)
        .map_err(|errno| {
            let error = errno::error("reopen", errno);
            match errno {
                Errno::NOENT => error.with_detail("reopening it needs /proc; mount it"),
                Errno::ACCESS | Errno::PERM if access == Access::Write => {
                    error.with_kind(ErrorKind::NotWritable)
                }
                _ => error,
            }
        })
}

/// Returns `true` if a regular file of length 0 has bytes nevertheless.
pub(crate) fn understates_size(file: &File) -> bool {
    file_system::is_without_sizes(file) || posix::understates_size(file)
}

/// Grows the file to the end of `range`, with storage behind every byte of the range. A failure restores the length.
///
/// Writes zeros if the file system has no `fallocate`, but only behind the end of the file.
pub(crate) fn allocate(file: &File, range: Range<u64>) -> Result<()> {
    // On tmpfs, a signal undoes the whole call that it interrupts. Pieces bound the work that is repeated.
    const PIECE: u64 = 1 << 30;
    let (mut at, len) = (range.start, range.end);
    if at >= len {
        return Ok(());
    }
    posix::within_size_limit(file, len)?;
    let before = status(file)?.len;
    if len.saturating_sub(before) > room_at_most(file) {
        // Refused here, because `fallocate` may fill the file system before it fails.
        return Err(allocation_error(file, len, Errno::NOSPC));
    }
    while at < len {
        let piece = PIECE.min(len - at);
        let result =
            retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), at, piece));
        let failure = match result {
            Ok(()) => {
                at += piece;
                continue;
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                match posix::write_zeros(file, before.max(at), len) {
                    Ok(()) => return Ok(()),
                    Err(errno) => errno,
                }
            }
            Err(errno) => errno,
        };
        if status(file)?.len > before {
            let _ = rustix::fs::ftruncate(file, before);
        }
        return Err(allocation_error(file, len, failure));
    }
    Ok(())
}

/// Returns the error of an allocation of `len` bytes, with the remedy for huge pages.
#[cold]
fn allocation_error(file: &File, len: u64, errno: Errno) -> Error {
    let error = posix::size_error("allocate space for", len, errno);
    if errno == Errno::NOSPC && is_on_hugetlbfs(file) {
        return error.with_detail("too few huge pages are free; raise vm.nr_hugepages");
    }
    error
}

/// Returns an upper bound of the bytes that can be allocated; `u64::MAX` if the file system has no limit.
fn room_at_most(file: &File) -> u64 {
    match rustix::fs::fstatvfs(file) {
        Ok(volume) if volume.f_blocks > 0 => volume.f_bfree.saturating_mul(volume.f_frsize),
        _ => u64::MAX,
    }
}

/// Makes `range` a hole: zeros without storage (`FALLOC_FL_PUNCH_HOLE`). The length does not change.
pub(crate) fn punch_hole(file: &File, range: Range<u64>) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry_on_intr(|| rustix::fs::fallocate(file, flags, range.start, range.end - range.start))
        .map_err(|errno| {
            let error = errno::error("punch a hole in", errno)
                .with_offset(range.start)
                .with_length(range.end - range.start);
            match errno {
                Errno::BADF | Errno::PERM => error.with_kind(ErrorKind::NotWritable),
                Errno::OPNOTSUPP => error.with_detail("its file system has no holes"),
                _ => error,
            }
        })
}

/// Returns the state of the file's pages in the page cache (`cachestat`, Linux 6.5).
pub(crate) fn cache_status(file: &File, range: Range<u64>) -> Result<CacheStatus> {
    const CACHESTAT: libc::c_long = 451;
    if range.is_empty() {
        return Ok(CacheStatus::default());
    }
    let asked: [u64; 2] = [range.start, range.end - range.start];
    let mut told = [0u64; 5];
    // SAFETY: the kernel reads two and writes five 64-bit numbers.
    let result = unsafe {
        libc::syscall(CACHESTAT, file.as_raw_fd(), asked.as_ptr(), told.as_mut_ptr(), 0u32)
    };
    checked(result).map_err(|errno| {
        let error = errno::error("query the page cache for", errno);
        match errno {
            Errno::NOSYS => error.with_detail("cachestat needs Linux 6.5"),
            Errno::PERM => {
                error.with_detail("only its owner and users with write access may query it")
            }
            _ => error,
        }
    })?;
    let [cached, dirty, writeback, evicted, recently_evicted] = told;
    Ok(CacheStatus { cached, dirty, writeback, evicted, recently_evicted })
}

/// Drops the clean pages of `range` from the page cache (`POSIX_FADV_DONTNEED`).
pub(crate) fn evict(file: &File, range: Range<u64>) -> Result<()> {
    // The range is extended to whole pages: the kernel keeps pages that it covers in part. A length of
    // zero would mean "to the end".
    let page = page_size() as u64;
    let start = range.start / page * page;
    let Some(len) = range
        .end
        .checked_next_multiple_of(page)
        .and_then(|end| std::num::NonZeroU64::new(end.saturating_sub(start)))
    else {
        return Ok(());
    };
    rustix::fs::fadvise(file, start, Some(len), Advice::DontNeed)
        .map_err(|errno| errno::error("evict", errno))
}

/// Succeeds if the file's bytes can never change or disappear: for a memfd of normal pages that is sealed
/// against writing and shrinking. Otherwise fails with the missing condition.
pub(crate) fn immutable(file: &File) -> std::result::Result<(), String> {
    let Ok(seals) = rustix::fs::fcntl_get_seals(file) else {
        return Err("it is no memfd, and only memfds can be sealed".into());
    };
    let needed = SealFlags::WRITE | SealFlags::SHRINK;
    if !seals.contains(needed) {
        let missing = match (needed - seals).bits() {
            bits if bits == SealFlags::WRITE.bits() => "F_SEAL_WRITE is missing",
            bits if bits == SealFlags::SHRINK.bits() => "F_SEAL_SHRINK is missing",
            _ => "F_SEAL_WRITE and F_SEAL_SHRINK are missing",
        };
        return Err(format!("its bytes may still change or go away: {missing}"));
    }
    if is_on_hugetlbfs(file) {
        return Err("it consists of huge pages, and seals do not prevent their loss".into());
    }
    Ok(())
}
