//! `FileLockGuard`: an open file that carries the lock.

use super::FileLock;
use crate::error::Result;
use crate::sys;

/// An RAII guard that holds a [`FileLock`].
///
/// Dropping the guard releases the lock, and so does the end of the process. The guard keeps the file
/// open and does not borrow the `FileLock`, so it can be stored and sent to another thread. In a
/// forked child, the copy of the guard releases nothing.
///
/// # Examples
/// ```
/// use sharemap::{ErrorKind, FileLock, FileLockGuard};
///
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("sharemap-guard-{}", std::process::id()));
/// let guard: FileLockGuard = FileLock::open_or_create(&path)?.lock()?;
/// let error = FileLock::open(&path)?.try_lock().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::WouldBlock);
/// drop(guard);
/// drop(FileLock::open(&path)?.try_lock()?);
/// # std::fs::remove_file(&path)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct FileLockGuard {
    /// The lock, with an open file of its own; `None` after it was released.
    pub(super) lock: Option<FileLock>,
    /// The number of the process that acquired the lock.
    pub(super) process: u32,
}

impl FileLockGuard {
    /// Releases the lock now, as dropping does, and returns the error that dropping ignores.
    ///
    /// Even after an error, the lock is released, because the guard's file is closed.
    ///
    /// # Errors
    /// The error is that of a failed system call. There is none in a forked child.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::FileLock;
    /// # fn main() -> sharemap::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sharemap-file-unlock-{}", std::process::id()));
    /// let lock = FileLock::open_or_create(&path)?;
    /// let guard = lock.lock()?;
    /// guard.unlock()?;
    /// drop(lock.try_lock()?); // available again
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn unlock(mut self) -> Result<()> {
        self.release()
    }

    fn release(&mut self) -> Result<()> {
        match self.lock.take() {
            // A forked child has a copy of the guard and shares its open file: unlocking it there
            // would release the parent's lock.
            Some(lock) if self.process == sys::fork::process() => {
                sys::file_lock::unlock(&lock.file, &lock.range).map_err(|error| lock.placed(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for FileLockGuard {
    fn drop(&mut self) {
        // If unlocking fails, closing the file releases the lock.
        let _ = self.release();
    }
}
