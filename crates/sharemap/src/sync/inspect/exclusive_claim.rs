//! `ExclusiveClaim`: exclusive use of an object's file, granted by the kernel.

use crate::error::{ErrorKind, Result};
use crate::peer::ObjectObserver;
use crate::shm::Location;
use crate::sync::inspect::object_file::ObjectFile;
use crate::sys::exclusive::Exclusive;

/// A claim on the file of an object that no process uses, this process included.
///
/// The kernel grants the claim, across containers and pid namespaces. While the value lives, a process
/// that opens the object waits (Linux, for at most 45 s by default) or is refused (Windows). Keep the
/// value only briefly, and do not open the object meanwhile.
///
/// # Examples
/// ```no_run
/// use sharemap::inspect::ExclusiveClaim;
///
/// # fn main() -> sharemap::Result<()> {
/// match ExclusiveClaim::of("jobs")? {
///     Some(claim) => println!("removed: {}", claim.remove()?),
///     None => println!("in use"),
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "F_SETLEASE")]
#[derive(Debug)]
pub struct ExclusiveClaim {
    exclusive: Exclusive,
}

impl ExclusiveClaim {
    /// Claims an object, raw or with a header, in named shared memory or in a file.
    ///
    /// Returns `None` if a process uses the object or has claimed it, or if the use of the object cannot
    /// be determined from here.
    ///
    /// # Errors
    /// As for [`ObjectFile::open`], except `WouldBlock`, and for [`ObjectFile::claim`].
    pub fn of(location: impl Into<Location>) -> Result<Option<Self>> {
        match ObjectFile::open(location) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            file => file?.claim(),
        }
    }

    /// Returns `true` while no process waits to open the object.
    ///
    /// A waiting process opens the object when this value is dropped, or after the system's limit
    /// (45 s by default on Linux).
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive.is_exclusive()
    }

    /// Returns `true` if the claim also excludes mappings of raw memory.
    ///
    /// On overlayfs, the claim only excludes participants of an object with a header. Whether a process
    /// maps the file without being a participant is not known there.
    #[must_use]
    pub fn sees_mappings(&self) -> bool {
        self.exclusive.sees_mappings()
    }

    /// Removes the object's name. Returns `false`, and removes nothing, if a process waits to open
    /// the object (Linux) or maps it (Windows).
    ///
    /// Only the claimed file is removed, even if its name leads to another file by then. On Linux the name
    /// is first moved into a private directory beside it (mode 01700, `.sharemap-gone-…`). If the
    /// name still refers to this file there, it is removed, and otherwise moved back. If the
    /// process is killed in between, an [`InterruptedRemoval`](crate::sync::inspect::InterruptedRemoval)
    /// remains.
    ///
    /// # Errors
    /// - `NotFound` - the name is gone, or another file has it.
    /// - `PermissionDenied`, `NotWritable` - this user may not change the directory.
    /// - `NoSpace` - no inode is left for the private directory.
    /// - `Busy` - another process replaced or locked each private directory.
    /// - `Unsupported` - the file system cannot move the file there.
    /// - `AlreadyExists` - another file had the name, was moved, and could not be moved back because the
    ///   name is in use again; the error tells where the file is.
    ///
    /// Other kinds report a failed system call.
    pub fn remove(self) -> Result<bool> {
        self.exclusive.remove()
    }
}

impl ObjectFile {
    /// Claims the file for exclusive use. Returns `None` if another process uses the file, or if this
    /// process has it open elsewhere.
    ///
    /// # Errors
    /// - `Unsupported` - the kernel does not report the use of files: on macOS, and on network file
    ///   systems.
    /// - `PermissionDenied` - the kernel reports it only to the file's owner.
    /// - `NotFound` - another file has the name by now (Windows).
    /// - `WrongVersion`, `Malformed`, `Truncated` - on overlayfs, where only the object itself could tell,
    ///   its header cannot be used.
    ///
    /// Other kinds report a failed system call.
    pub fn claim(self) -> Result<Option<ExclusiveClaim>> {
        let ObjectFile { entry, location } = self;
        let named = |error: crate::Error| error.with_path(location.path());
        let Some(exclusive) = Exclusive::take(entry).map_err(named)? else { return Ok(None) };
        // A participant keeps the object mapped, and may have closed its descriptor. Where the claim
        // does not exclude mappings, the liveness locks tell whether a process is attached.
        if !exclusive.sees_mappings()
            && !ObjectObserver::is_surely_unattached(exclusive.file(), location.path(), None)
                .map_err(named)?
        {
            return Ok(None);
        }
        Ok(Some(ExclusiveClaim { exclusive }))
    }
}
