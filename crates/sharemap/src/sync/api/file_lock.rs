//! Locks of files, which the operating system keeps.

use std::fs::File;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{self, AsDescriptor, Create, FileKind, LOCK_END, LockMode, LockWait, OpenRequest};

/// A lock of a file, or of a range of its bytes, between processes and between threads.
///
/// The operating system keeps it: it ends with its guard, and with its process, however that ends.
/// It needs nothing in the file, which may be empty and is not changed. It is advisory on Linux and
/// macOS: who does not ask is not held up.
///
/// ```
/// use sharemap::{FileLock, MappingMut};
/// use std::time::Duration;
///
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-file-lock-{}", std::process::id()));
/// let map = MappingMut::create(&path, 4096)?;
/// let lock = FileLock::open(&path)?;
/// let guard = lock.lock_timeout(Duration::from_secs(5))?;     // nobody else is in here now
/// let hits = map.view::<u64>()?;
/// hits.set(0, hits.get(0)? + 1)?;
/// guard.unlock()?;                                            // or drop it
/// # drop(map);
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
///
/// # Who excludes whom
///
/// Any number of shared locks, or one exclusive lock, cover a byte. Each guard has an open file of
/// its own, so that threads exclude each other as processes do, through the same `FileLock`, clones
/// of it, or different ones; opening and closing the file elsewhere changes nothing. A thread that
/// asks for what it has already waits for itself: nothing detects that.
///
/// | | Linux | macOS | Windows |
/// |---|---|---|---|
/// | made of | `F_OFD_SETLK` | `flock` | `LockFileEx` |
/// | ranges | yes | `Unsupported`: its locks of ranges are lost when anything in the process closes the file | yes |
/// | excludes other programs that use | `fcntl`, `lockf` (C, Python, SQLite, Boost), not `flock` | `flock`, `fcntl`, [`File::lock`] | `LockFileEx`, [`File::lock`] |
/// | others' reads and writes of the range | go on | go on | are refused while it is exclusive, writes also while it is shared, this process's through other handles too; mapped memory is not affected |
/// | an exclusive lock needs | write access | write access | read or write access |
///
/// # Waiting
///
/// [`lock`](Self::lock) sleeps in the kernel until it is its turn; signals do not end that. Systems
/// have no such sleep with a time limit, so [`lock_timeout`](Self::lock_timeout) asks again and
/// again, after naps that double from 50 µs to 4 ms, and once more when the time is over: it may
/// come up to one nap late to a lock that was let go, and others may come first. No order of waiters
/// is promised, here or there.
///
/// # Ends
///
/// A child made by `fork` shares the open file of every guard of its parent. Dropping the guard in
/// the child lets nothing go; but if the parent is killed, its locks last until such children have
/// ended or run another program. On a network file system the server decides what a lock is worth.
#[derive(Clone, Debug)]
pub struct FileLock {
    file: Arc<File>,
    path: Option<Arc<Path>>,
    range: Range<u64>,
}

impl FileLock {
    /// A lock of the whole file at `path`, which must exist.
    ///
    /// It is opened for writing if it may be, else for reading, which on Unix is enough for shared
    /// locks only.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::with(path.as_ref(), Create::Never)
    }

    /// The same; where there is no file, an empty one is made.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Self::with(path.as_ref(), Create::IfMissing)
    }

    fn with(path: &Path, create: Create) -> Result<Self> {
        let open = |write, create| {
            let timeout = sys::LEASE_BREAK;
            sys::file::open(path, OpenRequest { write, create, exclusive: false, timeout })
        };
        let file = open(true, create).or_else(|error| match error.kind() {
            ErrorKind::NotWritable | ErrorKind::PermissionDenied => {
                open(false, Create::Never).map_err(|_| error)
            }
            _ => Err(error),
        });
        file.and_then(|file| Self::of(file, Some(path.into())))
            .map_err(|error| error.with_path(Some(path)))
    }

    /// A lock of the whole of a file that is open already: a mapping's
    /// [`file`](crate::Region::file), for one. The descriptor itself is left alone.
    ///
    /// For each lock the file is opened again, which takes `/proc` on Linux, and a name on macOS.
    pub fn new(file: impl AsDescriptor) -> Result<Self> {
        Self::of(file.duplicate_descriptor()?, None)
    }

    fn of(file: File, path: Option<Arc<Path>>) -> Result<Self> {
        match sys::file::status(&file)?.kind {
            FileKind::Regular => Ok(Self { file: Arc::new(file), path, range: 0..LOCK_END }),
            FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, "lock")),
            FileKind::Block | FileKind::Special => Err(Error::new(ErrorKind::Unsupported, "lock")
                .with_detail("only regular files have locks that mean the same everywhere")),
        }
    }

    /// A lock of some bytes of the same file. They may lie behind its end; a range without an end
    /// covers what the file will grow by, too.
    ///
    /// An empty range is an error of kind [`ZeroLength`](ErrorKind::ZeroLength).
    pub fn range(&self, range: impl RangeBounds<u64>) -> Result<Self> {
        let error = |kind| self.named(Error::new(kind, "lock a part of"));
        let after = |bound: u64| bound.checked_add(1).ok_or_else(|| error(ErrorKind::Overflow));
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => after(before)?,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => after(last)?,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => LOCK_END,
        };
        if end > LOCK_END {
            return Err(error(ErrorKind::Overflow).with_offset(end));
        }
        if start >= end {
            return Err(error(ErrorKind::ZeroLength).with_offset(start));
        }
        Ok(Self { range: start..end, ..self.clone() })
    }

    /// Returns `true` if the path by which the file was opened still leads to it.
    ///
    /// A lock excludes other locks of the same file, not of another file with the same name. If a
    /// process may remove or replace the lock file, check after acquiring, and open the file again
    /// if the path leads to another file or to none:
    ///
    /// ```
    /// use sharemap::FileLock;
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-linked-{}", std::process::id()));
    /// let guard = loop {
    ///     let lock = FileLock::open_or_create(&path)?;
    ///     let guard = lock.lock()?;
    ///     if lock.is_linked()? {
    ///         break guard; // the file that the path leads to is locked
    ///     }
    /// };
    /// # guard.unlock()?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    ///
    /// The answer describes the moment of the call. If a process removes the file later, while the
    /// lock is held, the next process locks a new file and runs beside the holder. Only the holder
    /// may therefore remove a lock file. On macOS, locking a file that has lost its name fails with
    /// [`NotFound`](ErrorKind::NotFound) or [`Unsupported`](ErrorKind::Unsupported); open the file
    /// again then, too. A relative path is resolved in the current directory at the time of the
    /// call.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) - the lock was made from an open file, by
    ///   [`new`](Self::new).
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied) - the path cannot be looked up.
    pub fn is_linked(&self) -> Result<bool> {
        match &self.path {
            Some(path) => sys::file::is_linked(path, &self.file).map_err(|e| self.named(e)),
            None => Err(Error::new(ErrorKind::Unsupported, "look up")
                .with_detail("the lock was made from an open file; use `FileLock::open`")),
        }
    }

    /// Waits until nobody else has any of it.
    pub fn lock(&self) -> Result<FileLockGuard> {
        self.wait(LockMode::Exclusive)
    }

    /// Takes it if nobody else has any of it; else the error is of kind
    /// [`WouldBlock`](ErrorKind::WouldBlock).
    pub fn try_lock(&self) -> Result<FileLockGuard> {
        self.attempt(LockMode::Exclusive)
    }

    /// Waits at most so long in monotonic time; then the error is of kind
    /// [`Timeout`](ErrorKind::Timeout).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<FileLockGuard> {
        self.wait_for(LockMode::Exclusive, timeout)
    }

    /// Waits until nobody has any of it exclusively.
    pub fn lock_shared(&self) -> Result<FileLockGuard> {
        self.wait(LockMode::Shared)
    }

    /// Takes it if nobody has any of it exclusively; else the error is of kind
    /// [`WouldBlock`](ErrorKind::WouldBlock).
    pub fn try_lock_shared(&self) -> Result<FileLockGuard> {
        self.attempt(LockMode::Shared)
    }

    /// Waits at most so long in monotonic time; then the error is of kind
    /// [`Timeout`](ErrorKind::Timeout).
    pub fn lock_shared_timeout(&self, timeout: Duration) -> Result<FileLockGuard> {
        self.wait_for(LockMode::Shared, timeout)
    }

    fn wait(&self, mode: LockMode) -> Result<FileLockGuard> {
        let file = self.description(mode)?;
        self.ask(&file, mode, LockWait::Forever)?;
        Ok(self.guard(file))
    }

    fn attempt(&self, mode: LockMode) -> Result<FileLockGuard> {
        let file = self.description(mode)?;
        if self.ask(&file, mode, LockWait::No)? {
            return Ok(self.guard(file));
        }
        Err(self.placed(Error::new(ErrorKind::WouldBlock, "lock")))
    }

    fn wait_for(&self, mode: LockMode, timeout: Duration) -> Result<FileLockGuard> {
        const FIRST: Duration = Duration::from_micros(50);
        const LONGEST: Duration = Duration::from_millis(4);
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            return self.wait(mode);
        };
        let file = self.description(mode)?;
        let mut nap = FIRST;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ask(&file, mode, LockWait::No)? {
                return Ok(self.guard(file));
            }
            if left.is_zero() {
                let detail = format!("{timeout:?} were allowed");
                return Err(self.placed(Error::new(ErrorKind::Timeout, "lock").with_detail(detail)));
            }
            doze(nap.min(left));
            nap = LONGEST.min(nap * 2);
        }
    }

    fn description(&self, mode: LockMode) -> Result<File> {
        sys::file_lock::description(&self.file, self.path.as_deref(), mode)
            .map_err(|error| self.named(error))
    }

    fn ask(&self, file: &File, mode: LockMode, wait: LockWait) -> Result<bool> {
        sys::file_lock::lock(file, &self.range, mode, wait).map_err(|error| self.placed(error))
    }

    fn guard(&self, file: File) -> FileLockGuard {
        let lock = Some(Self { file: Arc::new(file), ..self.clone() });
        FileLockGuard { lock, process: sys::fork::process() }
    }

    fn named(&self, error: Error) -> Error {
        error.with_path(self.path.as_deref())
    }

    /// Says which part, if it is one.
    fn placed(&self, error: Error) -> Error {
        let error = self.named(error);
        if self.range == (0..LOCK_END) {
            return error;
        }
        let error = error.with_offset(self.range.start);
        if self.range.end == LOCK_END {
            return error;
        }
        error.with_length(self.range.end - self.range.start)
    }
}

/// Sleeps, perhaps not quite so long. Signals that come one upon the other prolong `thread::sleep`
/// without end, as it begins each time with what is left, rounded up; here the end is fixed.
fn doze(time: Duration) {
    let (nothing, never) = (Mutex::new(()), Condvar::new());
    let guard = nothing.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = never.wait_timeout(guard, time);
}

/// A lock that is held, until this is dropped or the process ends.
///
/// It keeps the file open, and no [`FileLock`]; it may go to another thread.
#[derive(Debug)]
#[must_use = "the lock is let go at once"]
pub struct FileLockGuard {
    /// With a file of its own; `None` when it has been let go.
    lock: Option<FileLock>,
    process: u32,
}

impl FileLockGuard {
    /// Lets it go, and says whether that went well.
    pub fn unlock(mut self) -> Result<()> {
        self.release()
    }

    fn release(&mut self) -> Result<()> {
        match self.lock.take() {
            // A child made by `fork` has the guard as well, and no part in the lock.
            Some(lock) if self.process == sys::fork::process() => {
                sys::file_lock::unlock(&lock.file, &lock.range).map_err(|error| lock.placed(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for FileLockGuard {
    fn drop(&mut self) {
        // If the system refuses, closing the file ends the lock.
        let _ = self.release();
    }
}
