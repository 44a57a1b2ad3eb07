//! Unlinking objects, by call and by guard.

use crate::error::{Error, ErrorKind, Result};
use crate::shm::Location;
use crate::shm::location::LocationKind;
use crate::shm::location::named;
use crate::sys;

/// Unlinks an object: removes its name or its file.
///
/// Processes that have the object open keep it, and its memory is freed with the last of them.
///
/// The object's type does not matter: raw shared memory, locks, or an object of another program. If
/// the path is a symbolic link, its target is unlinked, and the link stays.
///
/// # Errors
/// - `NotFound` - there is no such name or file.
/// - `PermissionDenied` - the directory, or the object's owner, does not permit it.
/// - `NotAnObject` - a FIFO, a device or a symbolic link has the name; on macOS and Windows, of files
///   only.
/// - `IsDirectory` - the path leads to a directory.
/// - `ForeignOwner` - a symbolic link of another user is on the path.
/// - `NameEmpty` - the name is empty.
/// - `NameTooLong` - the name has more than 200 bytes.
/// - `NameCharacter` - the name contains a character that names cannot contain.
/// - `Unsupported` - the location is anonymous; or, on Windows, the object's
///   [`Lifetime`](crate::Lifetime) is `Attached`.
///
/// # Examples
/// ```
/// use sharemap::{Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let name = format!("doc-unlink-{}", std::process::id());
/// let jobs = Shared::create_new(&name, || Mutex::new(0_u64))?;
/// sharemap::unlink(&name)?;
/// *jobs.lock()? += 1; // still attached
/// # Ok(()) }
/// ```
#[doc(alias = "shm_unlink")]
pub fn unlink(location: impl Into<Location>) -> Result<()> {
    let location = location.into();
    let unlinked = match location.checked() {
        Ok(LocationKind::Name(name)) => sys::shm::unlink(name),
        Ok(LocationKind::File(path)) => sys::file::unlink_object(path, None),
        Ok(LocationKind::Anonymous) => Err(Error::new(ErrorKind::Unsupported, "unlink")
            .with_detail("an anonymous object has no name; drop it instead")),
        Err(error) => Err(error),
    };
    unlinked.map_err(|error| named(error, &location))
}

/// A guard that unlinks a location when it is dropped.
///
/// The drop unlinks any object that has the name then, so create the object first, or use a
/// [unique](Location::unique) name. The copy of the guard in a forked child unlinks nothing. If the
/// process is killed, the name stays; the form of a unique name shows that it may be removed.
///
/// # Examples
/// ```
/// use sharemap::{Location, SharedMemory, UnlinkOnDrop};
///
/// # fn main() -> sharemap::Result<()> {
/// let name = UnlinkOnDrop::new(Location::unique("frames")?);
/// let frames = SharedMemory::create_new(&name, 4096)?;
/// let location = name.location().clone();
/// drop(name);
/// assert!(SharedMemory::open(location).is_err());
/// frames.bytes().get(0)?; // still mapped
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the location is unlinked at once if the guard is not kept"]
pub struct UnlinkOnDrop {
    location: Location,
    /// The process that unlinks the location; 0 for none.
    process: u32,
}

impl UnlinkOnDrop {
    /// Creates a guard that unlinks `location` when it is dropped by this process.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-guard")?);
    /// let block = SharedMemory::create_new(&name, 4096)?;
    /// block.bytes().set(0, 7)?;
    /// drop(block);
    /// drop(name); // the memory is gone
    /// # Ok(()) }
    /// ```
    pub fn new(location: impl Into<Location>) -> Self {
        Self { location: location.into(), process: sys::fork::process() }
    }

    /// Returns the location.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the location without unlinking it.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let guard = UnlinkOnDrop::new(Location::unique("doc-keep")?);
    /// let block = SharedMemory::create_new(&guard, 4096)?;
    /// let name = guard.keep(); // all went well: the object stays
    /// # drop(block);
    /// unlink(&name)?;
    /// # Ok(()) }
    /// ```
    pub fn keep(mut self) -> Location {
        self.process = 0;
        self.location.clone()
    }

    /// Unlinks the location now, as dropping does, and returns the error that dropping ignores.
    ///
    /// # Errors
    /// As for [`unlink`](unlink()).
    pub fn unlink(mut self) -> Result<()> {
        let is_ours = self.is_ours();
        self.process = 0;
        if is_ours { unlink(&self.location) } else { Ok(()) }
    }

    fn is_ours(&self) -> bool {
        self.process == sys::fork::process()
    }
}

impl From<&UnlinkOnDrop> for Location {
    fn from(guard: &UnlinkOnDrop) -> Self {
        guard.location.clone()
    }
}

impl Drop for UnlinkOnDrop {
    fn drop(&mut self) {
        if self.is_ours() {
            // An object that is already gone, or was never created, needs no unlink.
            let _ = unlink(&self.location);
        }
    }
}
