//! That nobody has an object, on the kernel's word.

use crate::error::{ErrorKind, Result};
use crate::peer::ObjectObserver;
use crate::shm::Location;
use crate::sync::inspect::object_file::ObjectFile;
use crate::sys::exclusive::Exclusive;

/// That no other process has an object, nor any other part of this one: the kernel says so. While
/// the value lives, whoever opens the object has to wait, or is refused: keep it for a moment only,
/// and open nothing of it meanwhile.
///
/// ```no_run
/// use sharemap::inspect::ExclusiveClaim;
///
/// # fn main() -> sharemap::Result<()> {
/// match ExclusiveClaim::of("jobs")? {
///     Some(unused) => assert!(unused.remove()?),
///     None => println!("somebody has it"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ExclusiveClaim {
    exclusive: Exclusive,
}

impl ExclusiveClaim {
    /// Asks the kernel whether anybody has the object, raw or with a header: a file of memory or of
    /// disk. `None`: somebody has it, as far as can be told from here.
    ///
    /// # Errors
    /// As for [`ObjectFile::open`], except [`WouldBlock`](ErrorKind::WouldBlock), and for
    /// [`ObjectFile::claim`].
    pub fn of(location: impl Into<Location>) -> Result<Option<Self>> {
        match ObjectFile::open(location) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            file => file?.claim(),
        }
    }

    /// Claims a file that is already open.
    pub(in crate::sync) fn claim(file: ObjectFile) -> Result<Option<Self>> {
        let ObjectFile { entry, location } = file;
        let named = |error: crate::Error| error.with_path(location.path());
        let Some(exclusive) = Exclusive::take(entry).map_err(named)? else { return Ok(None) };
        // Whoever is attached has it mapped, and may have closed it.
        if !exclusive.sees_mappings()
            && !ObjectObserver::is_nobodys(exclusive.file(), location.path(), None)
                .map_err(named)?
        {
            return Ok(None);
        }
        Ok(Some(Self { exclusive }))
    }

    /// Returns `true` while no process waits to open the object. A waiting process opens it when
    /// this value is dropped, or after the system's limit (45 s on Linux).
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive.is_exclusive()
    }

    /// Whether that includes mappings of raw memory. On overlayfs it does not: who takes part in an
    /// object with a header is known, and whether somebody maps the file without that is not.
    #[must_use]
    pub fn sees_mappings(&self) -> bool {
        self.exclusive.sees_mappings()
    }

    /// Removes the object's name. Returns `false`, and removes nothing, if a process waits to open
    /// the object.
    ///
    /// Only the claimed file is removed, whatever happens to its name meanwhile. On Linux the name
    /// is first moved into a private directory beside it (mode 01700, `.sharemap-gone-…`). If the
    /// name still refers to this file there, it is removed, and otherwise moved back. If the
    /// process is killed in between, an [`InterruptedRemoval`](crate::sync::inspect::InterruptedRemoval)
    /// remains.
    ///
    /// # Errors
    /// - [`NotFound`](ErrorKind::NotFound) - the name is gone, or another file has it.
    /// - [`PermissionDenied`](ErrorKind::PermissionDenied), [`NotWritable`](ErrorKind::NotWritable) - the
    ///   directory may not be changed.
    /// - [`NoSpace`](ErrorKind::NoSpace) - no inode is left for the private directory.
    /// - [`Unsupported`](ErrorKind::Unsupported) - the file system cannot move the file there.
    /// - [`AlreadyExists`](ErrorKind::AlreadyExists) - another file had the name, was moved, and could
    ///   not be moved back because the name is taken again; the error says where it is.
    pub fn remove(self) -> Result<bool> {
        self.exclusive.remove()
    }
}
