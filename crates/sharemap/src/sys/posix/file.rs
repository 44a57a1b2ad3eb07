//! Files: opening, lengths, contents and state.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::fs::{
    Access as AccessFlags, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, SeekFrom, Stat,
};
use rustix::io::{Errno, retry_on_intr};

use super::{errno, owner, process};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Create, FileIdentity, FileKind, FileStatus, OpenRequest, ReadStep, os};

/// A type that has a file descriptor: a file, a shared memory object, a device, a socket, or a borrowed or
/// owned descriptor.
///
/// Every type that implements [`AsFd`] (on Windows, `AsHandle`) implements this trait, so there is nothing
/// to implement.
///
/// # Examples
/// ```no_run
/// use sharemap::{AsDescriptor, MappingMut};
///
/// fn first_byte(file: impl AsDescriptor) -> sharemap::Result<u8> {
///     MappingMut::map(file)?.bytes().get(0)
/// }
/// ```
pub trait AsDescriptor: AsFd {
    /// Returns a new descriptor of the same open file description, which is closed on `exec`.
    #[doc(hidden)]
    fn duplicate_descriptor(&self) -> Result<File>;
}

impl<T: AsFd> AsDescriptor for T {
    fn duplicate_descriptor(&self) -> Result<File> {
        rustix::io::fcntl_dupfd_cloexec(self, 0)
            .map(File::from)
            .map_err(|errno| errno::error("duplicate the descriptor", errno))
    }
}

/// Returns a new descriptor of the same open file description.
pub(crate) fn duplicate(file: &File) -> Result<File> {
    file.duplicate_descriptor()
}

/// Opens a file, without waiting for the other end of a FIFO.
pub(crate) fn open(path: &Path, request: OpenRequest) -> Result<File> {
    let flags = flags_of(request);
    let file = match open_flags(path, flags) {
        // The holder of the lease may unlink the file, so each attempt looks the name up again.
        Err(Errno::AGAIN) => {
            open_named(request.timeout, || open_flags(path, flags)).map(|(file, _)| file)
        }
        opened => opened,
    }
    .map_err(|errno| open_error(path, request, errno))?;
    if request.exclusive {
        if let Err(error) = lock_exclusively(&file) {
            if request.create == Create::New {
                if let Ok(made) = super::pass::identity(&file) {
                    super::walk::remove_made(path, made);
                }
            }
            return Err(error);
        }
    }
    Ok(file)
}

/// Returns the flags of `open` for a request.
pub(super) fn flags_of(request: OpenRequest) -> OFlags {
    let mut flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags |= if request.write { OFlags::RDWR } else { OFlags::RDONLY };
    flags |= match request.create {
        Create::Never => OFlags::empty(),
        Create::New => OFlags::CREATE | OFlags::EXCL,
        Create::IfMissing => OFlags::CREATE,
    };
    flags
}

/// Opens a file that still has a name, and returns it with its status. A file that was unlinked during the
/// open is looked up again, a few times.
///
/// A path may lead to an unlinked file by itself (`/proc/self/fd/N`). The second open then returns the same
/// file, which is accepted. Fails with `EAGAIN` if another process holds a lease for longer than
/// `timeout`.
pub(crate) fn open_named(
    timeout: Duration,
    mut open: impl FnMut() -> std::result::Result<File, Errno>,
) -> std::result::Result<(File, Stat), Errno> {
    const ROUNDS: usize = 8;
    let deadline = deadline(timeout);
    let mut file = open_leased(deadline, &mut open)?;
    let mut stat = rustix::fs::fstat(&file)?;
    for _ in 0..ROUNDS {
        if stat.st_nlink > 0 {
            break;
        }
        let found = stat;
        file = open_leased(deadline, &mut open)?;
        stat = rustix::fs::fstat(&file)?;
        if (stat.st_dev, stat.st_ino) == (found.st_dev, found.st_ino) {
            break;
        }
    }
    Ok((file, stat))
}

/// Returns the deadline of a wait that begins now; `None` if `timeout` is too long to be
/// represented.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Opens a file on which another process may hold a lease, by calls that do not block. The first
/// attempt makes the kernel ask the holder to release the lease. Fails with `EAGAIN` at the
/// deadline. Each attempt resolves the name again, which may refer to another entry by then, such
/// as a FIFO.
pub(crate) fn open_leased(
    deadline: Option<Instant>,
    mut open: impl FnMut() -> std::result::Result<File, Errno>,
) -> std::result::Result<File, Errno> {
    const NAP: Duration = Duration::from_millis(1);
    loop {
        match open() {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
        let left = deadline.map_or(NAP, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Errno::AGAIN);
        }
        std::thread::sleep(NAP.min(left));
    }
}

/// Adds the reason why a leased file was not opened.
#[cold]
pub(crate) fn leased(error: Error, timeout: Duration) -> Error {
    error.with_detail(match timeout.is_zero() {
        true => {
            "its state cannot be seen at the moment: another process holds a lease on it; try again"
        }
        false => "another process holds a lease on it, and has not released it in time; try again",
    })
}

/// Opens a path with these flags. A new file gets mode 0666, less the umask.
#[inline]
fn open_flags(path: &Path, flags: OFlags) -> std::result::Result<File, Errno> {
    retry_on_intr(|| rustix::fs::open(path, flags, Mode::from_raw_mode(0o666))).map(File::from)
}

/// Returns the error of a failed open, with its cause and remedy.
#[cold]
pub(super) fn open_error(path: &Path, request: OpenRequest, errno: Errno) -> Error {
    let error = errno::error("open", errno);
    let readable =
        || rustix::fs::accessat(CWD, path, AccessFlags::READ_OK, AtFlags::EACCESS).is_ok();
    match errno {
        Errno::ACCESS | Errno::PERM if request.write && readable() => error
            .with_kind(ErrorKind::NotWritable)
            .with_detail("it may only be read; map it read-only or copy-on-write"),
        Errno::AGAIN => leased(error, request.timeout),
        Errno::NXIO | Errno::OPNOTSUPP => error
            .with_kind(ErrorKind::Unsupported)
            .with_detail("sockets and missing devices cannot be mapped"),
        _ => error,
    }
}

/// Acquires the advisory lock of an exclusive open (`flock`), without waiting.
fn lock_exclusively(file: &File) -> Result<()> {
    retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)).map_err(
        |errno| {
            let error = errno::error("lock", errno);
            match errno {
                Errno::AGAIN => error.with_detail("it is already open exclusively; close it first"),
                _ => error,
            }
        },
    )
}

/// Returns `true` if the path, links followed, leads to this file. No other file gets its device
/// and inode while it is open.
pub(crate) fn is_linked(path: &Path, file: &File) -> Result<bool> {
    const OPERATION: &str = "look up";
    let named = match retry_on_intr(|| rustix::fs::stat(path)) {
        Ok(named) => named,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno::error(OPERATION, errno)),
    };
    let own = rustix::fs::fstat(file).map_err(|errno| errno::error(OPERATION, errno))?;
    Ok((named.st_dev, named.st_ino) == (own.st_dev, own.st_ino))
}

/// Returns the kind, the length and the time of change, by one system call for regular files.
#[inline]
pub(crate) fn status(file: &File) -> Result<FileStatus> {
    let stat =
        rustix::fs::fstat(file).map_err(|errno| errno::error("determine the size of", errno))?;
    status_from(file, &stat)
}

/// Returns the status of an open file that `fstat` has just told.
#[inline]
pub(crate) fn status_from(file: &File, stat: &Stat) -> Result<FileStatus> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::BlockDevice => FileKind::Block,
        _ => FileKind::Special,
    };
    let len = match kind {
        FileKind::Regular => u64::try_from(stat.st_size).unwrap_or(0),
        FileKind::Block => os::file::device_len(file)?,
        FileKind::Directory | FileKind::Special => 0,
    };
    Ok(FileStatus { kind, len, changed: changed(stat), block: block(stat) })
}

/// Returns `true` if a regular file of length 0 has a byte at offset 0 nevertheless.
pub(crate) fn understates_size(file: &File) -> bool {
    match retry_on_intr(|| rustix::io::pread(file, &mut [0], 0)) {
        Ok(count) => count > 0,
        Err(errno) => errno == Errno::AGAIN,
    }
}

/// Appends the bytes of one read call.
pub(crate) fn read_more(file: &File, into: &mut Vec<u8>, from: Option<u64>) -> Result<ReadStep> {
    let mut read = |from: Option<u64>| {
        retry_on_intr(|| match from {
            Some(from) => rustix::io::pread(file, spare_capacity(into), from),
            None => rustix::io::read(file, spare_capacity(into)),
        })
    };
    let count = match read(from) {
        Err(Errno::SPIPE) if from.is_some() => read(None),
        result => result,
    };
    match count {
        Ok(0) => Ok(ReadStep::End),
        Ok(count) => Ok(ReadStep::Bytes(count)),
        Err(Errno::AGAIN) => Ok(ReadStep::NotYet),
        Err(errno) => Err(errno::error("read", errno)),
    }
}

/// Blocks until the file has bytes to read, or has ended (`poll`).
#[allow(unsafe_code, reason = "calls the C library")]
pub(crate) fn wait_for_bytes(file: &File) -> Result<()> {
    let mut polled = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    retry_on_intr(|| {
        // SAFETY: the call reads and writes one entry.
        let count = unsafe { libc::poll(&raw mut polled, 1, -1) };
        if count < 0 { Err(errno::last()) } else { Ok(()) }
    })
    .map_err(|errno| errno::error("wait for bytes of", errno))
}

/// Identifies a regular file or block device on a file system with unique inode numbers, and its
/// access mode. Returns `None` for the first few descriptors of a process, which are not worth
/// sharing.
#[inline]
pub(crate) fn identity(file: &File, is_unique: fn(&File) -> bool) -> Option<FileIdentity> {
    const SCARCE_FROM: i32 = 8;
    if file.as_raw_fd() < SCARCE_FROM { None } else { identity_of_scarce(file, is_unique) }
}

/// Returns the identity, for a process that has many descriptors open.
#[inline(never)]
fn identity_of_scarce(file: &File, is_unique: fn(&File) -> bool) -> Option<FileIdentity> {
    if !is_unique(file) {
        return None;
    }
    let stat = rustix::fs::fstat(file).ok()?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        return None;
    }
    let flags = rustix::fs::fcntl_getfl(file).ok()?;
    let superseded = os::file::may_be_superseded(file);
    Some(FileIdentity {
        device: device(&stat),
        file: stat.st_ino,
        flags: u64::from(flags.bits()),
        changed: if superseded { changed(&stat) } else { 0 },
    })
}

/// Returns the time of the last change in nanoseconds, for comparisons. It may wrap around.
// The fields' types differ between systems.
#[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap)]
fn changed(stat: &Stat) -> i64 {
    (stat.st_ctime as i64).wrapping_mul(1_000_000_000).wrapping_add(stat.st_ctime_nsec as i64)
}

/// Returns the preferred size of reads; 0 if it is out of range.
// The field's type differs between systems.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
fn block(stat: &Stat) -> u32 {
    u32::try_from(stat.st_blksize).unwrap_or(0)
}

#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
fn device(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

/// Changes the length (`ftruncate`). New bytes are zeros without storage.
pub(crate) fn set_len(file: &File, len: u64) -> Result<()> {
    within_size_limit(file, len)?;
    retry_on_intr(|| rustix::fs::ftruncate(file, len))
        .map_err(|errno| size_error("change the length of", len, errno))
}

/// Returns the error of an operation that should have given the file the length `len`.
#[cold]
pub(crate) fn size_error(operation: &'static str, len: u64, errno: Errno) -> Error {
    let error = errno::error(operation, errno).with_length(len);
    match errno {
        Errno::BADF | Errno::INVAL => error
            .with_kind(ErrorKind::NotWritable)
            .with_detail("the descriptor was not opened for writing, or has no length to change"),
        Errno::PERM => error
            .with_kind(ErrorKind::NotWritable)
            .with_detail("it is sealed against changes of its length"),
        _ => error,
    }
}

/// Returns the bytes that this process can still store in the file's file system, if that has a
/// limit.
pub(crate) fn free_space(file: &File) -> Option<u64> {
    let volume = rustix::fs::fstatvfs(file).ok().filter(|volume| volume.f_blocks > 0)?;
    let blocks = match owner::is_root() {
        true => volume.f_bfree,
        false => volume.f_bavail,
    };
    Some(blocks.saturating_mul(volume.f_frsize))
}

/// Returns an error if the file would grow past `RLIMIT_FSIZE`.
///
/// The system would also send `SIGXFSZ`, which ends the process by default.
pub(crate) fn within_size_limit(file: &File, len: u64) -> Result<()> {
    match process::file_size_limit() {
        Some(limit) if len > limit && len > status(file)?.len => {
            Err(errno::error("grow", Errno::FBIG).with_length(len).with_detail(format!(
                "this process may write files of {limit} bytes at most (RLIMIT_FSIZE)"
            )))
        }
        _ => Ok(()),
    }
}

/// Writes zeros to the range, for file systems that cannot allocate storage otherwise.
pub(crate) fn write_zeros(file: &File, from: u64, to: u64) -> std::result::Result<(), Errno> {
    const CHUNK: usize = 256 << 10;
    if from >= to {
        return Ok(());
    }
    let zeros = vec![0; CHUNK];
    let mut at = from;
    while at < to {
        let part = (to - at).min(CHUNK as u64) as usize;
        match file.write_at(&zeros[..part], at) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => at += written as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno::of(&error)),
        }
    }
    Ok(())
}

/// Returns the parts of a range that are not holes.
pub(crate) fn data_extents(file: &File, range: Range<u64>) -> Result<Vec<Range<u64>>> {
    // `lseek` moves the position that all descriptors of this open file description share, so it is
    // restored. A read at the position meanwhile finds another one.
    let position = rustix::fs::tell(file);
    let extents = seek_extents(file, range);
    if let Ok(position) = position {
        let _ = rustix::fs::seek(file, SeekFrom::Start(position));
    }
    extents.map_err(|errno| errno::error("list the data ranges of", errno))
}

/// Finds the extents by seeking to data and holes alternately. Moves the file's position.
fn seek_extents(file: &File, range: Range<u64>) -> std::result::Result<Vec<Range<u64>>, Errno> {
    let mut extents = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < range.end => start,
            // There is no more data in the range.
            Ok(_) | Err(Errno::NXIO) => break,
            // The file system has no holes: the whole range is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) if at == range.start => {
                extents.push(range);
                break;
            }
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(range.end);
        extents.push(start..end);
        at = end;
    }
    Ok(extents)
}

/// Makes the file's data durable, with the metadata needed to find it (`fdatasync`).
#[allow(dead_code, reason = "part of the contract, though not every port flushes by it")]
pub(crate) fn sync_data(file: &File) -> Result<()> {
    file.sync_data().map_err(|error| Error::new(ErrorKind::FlushFailed, "flush").with_source(error))
}
