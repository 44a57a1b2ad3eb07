//! `FileLock`: advisory locks of files, which the operating system keeps.

mod guard;

pub use guard::FileLockGuard;

use std::fs::File;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{self, AsDescriptor, Create, FileKind, LOCK_END, LockMode, LockWait, OpenRequest};

/// A reader-writer lock on a file, or on a range of its bytes, between processes and threads.
///
/// The operating system keeps the lock. It is released when its guard is dropped and when its process
/// ends, however it ends. Nothing is stored in the file, which may be empty. On Linux and macOS the
/// lock is advisory: programs that do not lock the file can still use it.
///
/// For locks that tell the next owner of a death, see [`Shared`](crate::Shared).
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use sharemap::{FileLock, MappingMut};
///
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-file-lock-{}", std::process::id()));
/// let map = MappingMut::create(&path, 4096)?;
/// let lock = FileLock::open(&path)?;
/// let guard = lock.lock_timeout(Duration::from_secs(5))?;
/// let hits = map.view::<u64>()?;
/// hits.set(0, hits.get(0)? + 1)?; // no other process is here now
/// guard.unlock()?; // or drop it
/// # drop(map);
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
///
/// # Exclusion
///
/// Any number of shared locks, or one exclusive lock, can cover a byte. Each guard has its own open file,
/// so threads exclude each other as processes do, through one `FileLock`, its clones, or separate
/// ones. Opening and closing the file elsewhere changes nothing. A thread that locks what it already
/// holds deadlocks, and the system does not detect that.
///
/// | | Linux | macOS | Windows |
/// |---|---|---|---|
/// | implemented by | `F_OFD_SETLK` | `flock` | `LockFileEx` |
/// | ranges | yes | `Unsupported`: the system drops locks of ranges when anything in the process closes the file | yes |
/// | excludes other programs that use | `fcntl`, `lockf` (C, Python, SQLite, Boost), not `flock` | `flock`, `fcntl`, [`File::lock`] | `LockFileEx`, [`File::lock`] |
/// | reads and writes of the range by others | not affected | not affected | fail while it is locked exclusively, and writes also while it is shared, also through other handles of this process; mapped memory is not affected |
/// | an exclusive lock requires | write access | write access | read or write access |
///
/// # Blocking
///
/// [`lock`](Self::lock) blocks in the kernel until the lock is available. Signals do not end the wait.
/// Systems have no such wait with a time limit, so [`lock_timeout`](Self::lock_timeout) retries, with
/// sleeps that double from 50 µs to 4 ms, and once more at the deadline. It can therefore acquire a
/// released lock up to one sleep late, after other waiters. Waiters are served in no particular
/// order.
///
/// # Fork
///
/// A child made by `fork` shares the open files of its parent's guards. Dropping a guard in the child
/// releases nothing. If the parent is killed, its locks remain held until such children have ended
/// or have run another program. On a network file system, the server decides what a lock is worth.
#[doc(alias("flock", "lockf", "fcntl", "F_OFD_SETLK", "LockFileEx"))]
#[derive(Clone, Debug)]
pub struct FileLock {
    file: Arc<File>,
    path: Option<Arc<Path>>,
    range: Range<u64>,
}

impl FileLock {
    /// Opens the existing file at `path`, for locking all of it.
    ///
    /// The file is opened for writing if that is permitted, and otherwise for reading, which on Unix
    /// is enough only for shared locks. No lock is acquired yet. On Linux, the call waits while another
    /// process holds a lease on the file, for at most 60 seconds.
    ///
    /// # Errors
    /// - `NotFound` - the file does not exist.
    /// - `PermissionDenied`, `NotWritable` - this user may neither write nor read the file.
    /// - `IsDirectory` - the path leads to a directory.
    /// - `Unsupported` - the file is not a regular one.
    /// - `Busy` - another process did not release its lease on the file.
    /// - `TooManyFiles` - no descriptor or handle is left.
    ///
    /// Other kinds report a failed system call.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), Create::Never)
    }

    /// Opens the file at `path` like [`open`](Self::open), or creates an empty file.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and
    ///
    /// - `NotFound` - the directory does not exist.
    /// - `PermissionDenied`, `NotWritable` - this user may not create files in the directory.
    /// - `NoSpace` - the file system is full.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, FileLock};
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-single-{}", std::process::id()));
    /// let lock = FileLock::open_or_create(&path)?;
    /// match lock.try_lock() {
    ///     Ok(guard) => drop(guard), // keep it while the program runs
    ///     Err(error) if error.kind() == ErrorKind::WouldBlock => println!("already running"),
    ///     Err(error) => return Err(error),
    /// }
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), Create::IfMissing)
    }

    fn open_with(path: &Path, create: Create) -> Result<Self> {
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

    /// Creates a lock of all of an open file, such as a mapping's [`file`](crate::Region::file).
    ///
    /// The descriptor is duplicated, and carries no lock itself. For each guard, the file is opened
    /// again, which requires `/proc` on Linux, and a name of the file on macOS.
    ///
    /// # Errors
    /// - `IsDirectory` - the descriptor is a directory's.
    /// - `Unsupported` - the file is not a regular one.
    /// - `TooManyFiles` - no descriptor or handle is left.
    ///
    /// Other kinds report a failed system call.
    pub fn new(file: impl AsDescriptor) -> Result<Self> {
        Self::of(file.duplicate_descriptor()?, None)
    }

    fn of(file: File, path: Option<Arc<Path>>) -> Result<Self> {
        match sys::file::status(&file)?.kind {
            FileKind::Regular => Ok(Self { file: Arc::new(file), path, range: 0..LOCK_END }),
            FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, "lock")),
            FileKind::Block | FileKind::Special => Err(Error::new(ErrorKind::Unsupported, "lock")
                .with_detail("it is not a regular file; lock a regular file instead")),
        }
    }

    /// Returns a lock of a range of bytes of this file.
    ///
    /// The range may lie past the end of the file, and counts from the start of the file even if this
    /// lock has a range already. A range without an end also covers bytes that the file gains later.
    /// On macOS, acquiring a lock of a range fails with [`Unsupported`](ErrorKind::Unsupported).
    ///
    /// # Errors
    /// - `ZeroLength` - the range is empty.
    /// - `Overflow` - the range ends past 2^62.
    ///
    /// # Examples
    /// ```no_run
    /// use sharemap::FileLock;
    ///
    /// # fn main() -> sharemap::Result<()> {
    /// let file = FileLock::open_or_create("table.db")?;
    /// let header = file.range(..4096)?.lock_shared()?;
    /// let record = file.range(8192..8704)?.lock()?; // does not wait for the other lock
    /// # drop((header, record));
    /// # Ok(()) }
    /// ```
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
    /// - `Unsupported` - the lock was created from an open file, by [`new`](Self::new).
    /// - `PermissionDenied` - the path cannot be looked up.
    ///
    /// Other kinds report a failed system call.
    pub fn is_linked(&self) -> Result<bool> {
        match &self.path {
            Some(path) => sys::file::is_linked(path, &self.file).map_err(|e| self.named(e)),
            None => Err(Error::new(ErrorKind::Unsupported, "look up")
                .with_detail("the lock was created from an open file; use `FileLock::open`")),
        }
    }

    /// Acquires the lock exclusively, blocking the current thread until it is available.
    ///
    /// # Errors
    /// - `NotWritable` - this user may not write to the file (Unix).
    /// - `PermissionDenied` - this user may not open the file again.
    /// - `NotFound` - the file could not be opened again except by its name, which leads to another file
    ///   or to none.
    /// - `Unsupported` - the file system has no such locks, the file cannot be opened again, or a
    ///   range is to be locked on macOS.
    /// - `Busy` - another process holds a lease on the file (Linux).
    /// - `TooManyFiles` - no descriptor or handle is left.
    ///
    /// Other kinds report a failed system call, for instance if the kernel or the file server has no
    /// room for another lock.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::FileLock;
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-lock-{}", std::process::id()));
    /// let lock = FileLock::open_or_create(&path)?;
    /// let guard = lock.lock()?; // held until `guard` is dropped
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn lock(&self) -> Result<FileLockGuard> {
        self.wait(LockMode::Exclusive)
    }

    /// Attempts to acquire the lock exclusively without blocking.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), and
    ///
    /// - `WouldBlock` - another guard covers a byte of the range.
    pub fn try_lock(&self) -> Result<FileLockGuard> {
        self.attempt(LockMode::Exclusive)
    }

    /// Acquires the lock exclusively like [`lock`](Self::lock), but blocks for at most `timeout`.
    ///
    /// Time is measured by the monotonic clock. With a `timeout` of zero, an available lock is still
    /// acquired.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), and
    ///
    /// - `Timeout` - the lock did not become available within `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<FileLockGuard> {
        self.wait_for(LockMode::Exclusive, timeout)
    }

    /// Acquires the lock shared, blocking the current thread until no other guard is exclusive.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except `NotWritable`: on Unix, a shared lock requires read access,
    /// and without it the error is of kind [`PermissionDenied`](ErrorKind::PermissionDenied).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::FileLock;
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-lock-shared-{}", std::process::id()));
    /// let lock = FileLock::open_or_create(&path)?;
    /// let guard = lock.lock_shared()?;
    /// drop(lock.try_lock_shared()?); // other readers are admitted
    /// assert!(lock.try_lock().is_err()); // `guard` is still held
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn lock_shared(&self) -> Result<FileLockGuard> {
        self.wait(LockMode::Shared)
    }

    /// Attempts to acquire the lock shared without blocking.
    ///
    /// # Errors
    /// As for [`lock_shared`](Self::lock_shared), and
    ///
    /// - `WouldBlock` - an exclusive guard covers a byte of the range.
    pub fn try_lock_shared(&self) -> Result<FileLockGuard> {
        self.attempt(LockMode::Shared)
    }

    /// Acquires the lock shared like [`lock_shared`](Self::lock_shared), but blocks for at most
    /// `timeout`.
    ///
    /// # Errors
    /// As for [`lock_shared`](Self::lock_shared), and
    ///
    /// - `Timeout` - the lock did not become available within `timeout`.
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
        // A deadline that the clock cannot express is no limit.
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            return self.wait(mode);
        };
        let file = self.description(mode)?;
        let mut nap = FIRST;
        loop {
            // Before the attempt, so that the last attempt is made at the deadline or after it.
            let left = deadline.saturating_duration_since(Instant::now());
            if self.ask(&file, mode, LockWait::No)? {
                return Ok(self.guard(file));
            }
            if left.is_zero() {
                let detail = format!("it was not released within {timeout:?}");
                return Err(self.placed(Error::new(ErrorKind::Timeout, "lock").with_detail(detail)));
            }
            sleep_at_most(nap.min(left));
            nap = LONGEST.min(nap * 2);
        }
    }

    /// Opens the file again, for one guard. Locks belong to open files, so each guard needs its own.
    fn description(&self, mode: LockMode) -> Result<File> {
        sys::file_lock::description(&self.file, self.path.as_deref(), mode)
            .map_err(|error| self.named(error))
    }

    /// Asks the system for the lock. Returns `false` if it is not available.
    fn ask(&self, file: &File, mode: LockMode, wait: LockWait) -> Result<bool> {
        sys::file_lock::lock(file, &self.range, mode, wait).map_err(|error| self.placed(error))
    }

    /// Returns the guard of a lock that `file` has acquired.
    fn guard(&self, file: File) -> FileLockGuard {
        let lock = Some(Self { file: Arc::new(file), ..self.clone() });
        FileLockGuard { lock, process: sys::fork::process() }
    }

    /// Adds the path of the file to an error.
    fn named(&self, error: Error) -> Error {
        error.with_path(self.path.as_deref())
    }

    /// Adds the path to an error, and the range unless it is the whole file.
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

/// Sleeps for at most `time`.
///
/// After each signal, `thread::sleep` sleeps again for the remaining time, rounded up, so frequent
/// signals can prolong it without end. A condition variable has a fixed deadline.
fn sleep_at_most(time: Duration) {
    let (nothing, never) = (Mutex::new(()), Condvar::new());
    let guard = nothing.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = never.wait_timeout(guard, time);
}
