//! `ObjectFile`: the file of an object, opened once, for callers that inspect and then remove it.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::ObjectObserver;
use crate::shm::{Location, LocationKind};
use crate::sync::inspect::Inspection;
use crate::sys::FileRole;
use crate::sys::exclusive::{self, Entry};

/// The file of an object, opened by its name.
///
/// The directory and the file are opened once. All later queries and the removal apply to this
/// file, even if the name of the file or of its directory refers to something else by then.
///
/// # Examples
/// ```
/// use sharemap::inspect::ObjectFile;
/// use sharemap::{Location, Mutex, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// # let path = std::env::temp_dir().join(format!("doc-object-file-{}", std::process::id()));
/// drop(Shared::create_new(Location::file(&path), || Mutex::new(0_u64))?);
///
/// let file = ObjectFile::open(Location::file(&path))?;
/// println!("{:?} of {} bytes", file.role(), file.file().metadata()?.len());
/// if file.inspect()?.is_unattached()? == Some(true) {
///     file.unlink()?;
/// }
/// # let _ = std::fs::remove_file(&path);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ObjectFile {
    pub(in crate::sync) entry: Entry,
    pub(in crate::sync) location: Location,
}

impl ObjectFile {
    /// Opens the file of an object, raw or with a header, for reading.
    ///
    /// Only a regular file is opened. Neither the file nor its directory may be a symbolic link. On Linux,
    /// links further up in the path are followed if root or this user owns them.
    ///
    /// # Errors
    /// - `NotFound` - there is no such file, or the location is anonymous.
    /// - `NotAnObject` - the file is a link, a FIFO, a directory, a socket or a device, or its directory
    ///   is a link.
    /// - `PermissionDenied` - this user may not read the file.
    /// - `WouldBlock` - another process has claimed the file.
    /// - `NameEmpty`, `NameTooLong`, `NameCharacter` - not every system accepts the name.
    /// - `Unsupported` - on macOS, where named shared memory has no files.
    ///
    /// Other kinds report a failed system call.
    pub fn open(location: impl Into<Location>) -> Result<Self> {
        const OPERATION: &str = "inspect";
        let location = location.into();
        let named = |error: Error| error.with_path(location.path());
        let found = match location.checked().map_err(named)? {
            LocationKind::Name(name) => Entry::open_named(name),
            LocationKind::File(path) => Entry::open(path),
            LocationKind::Anonymous => {
                return Err(Error::new(ErrorKind::NotFound, OPERATION).with_detail(
                    "an anonymous object has no file; inspect it in a process that has it open",
                ));
            }
        };
        match found.map_err(named)? {
            Some(entry) => Ok(Self { entry, location }),
            None => Err(named(
                Error::new(ErrorKind::WouldBlock, OPERATION)
                    .with_detail("another process has claimed it; try again"),
            )),
        }
    }

    /// Returns the file, open for reading, for queries of its permissions, times and length.
    #[must_use]
    pub fn file(&self) -> &File {
        self.entry.file()
    }

    /// Returns the role of the file, judged by its place, name, owner and contents.
    #[must_use]
    pub fn role(&self) -> FileRole {
        self.entry.role()
    }

    /// Inspects the object in the file. On Windows, drop the result before calling
    /// [`claim`](Self::claim).
    ///
    /// # Errors
    /// As for [`Inspection::open`], except the errors about names, paths and leases.
    pub fn inspect(&self) -> Result<Inspection> {
        let look = ObjectObserver::over(self.entry.file(), self.location.path(), None)?;
        Ok(Inspection { look })
    }

    /// Removes the file's name, even if processes use the file.
    ///
    /// Those processes keep the file. Its memory is freed with the last of them.
    ///
    /// # Errors
    /// As for [`ExclusiveClaim::remove`](crate::sync::inspect::ExclusiveClaim::remove).
    pub fn unlink(self) -> Result<()> {
        self.entry.unlink().map_err(|error| error.with_path(self.location.path()))
    }
}

/// A removal that was interrupted by the death of its process: a private directory of this user
/// (`.sharemap-gone-…`) that contains the file to be removed, or nothing.
///
/// The killed process may not have identified the file, so the file can only be moved back. Other
/// processes do not touch the directory while this value lives.
///
/// # Examples
/// ```
/// use sharemap::inspect::InterruptedRemoval;
///
/// # fn main() -> sharemap::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("doc-interrupted-{}", std::process::id()));
/// # std::fs::create_dir(&directory)?;
/// for removal in InterruptedRemoval::find_in(&directory)? {
///     println!("{} contains {:?}", removal.path().display(), removal.names());
///     removal.restore()?;
/// }
/// # std::fs::remove_dir(&directory)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct InterruptedRemoval {
    interrupted: exclusive::Interrupted,
}

impl InterruptedRemoval {
    /// Finds the interrupted removals in a directory, without its subdirectories.
    ///
    /// # Errors
    /// - `NotFound` - the directory does not exist.
    /// - `NotAnObject` - a symbolic link or a file is in the place of the directory.
    /// - `PermissionDenied` - this user may not read the directory.
    ///
    /// Other kinds report a failed system call.
    pub fn find_in(directory: impl AsRef<Path>) -> Result<Vec<Self>> {
        let directory = directory.as_ref();
        Self::found(Some(directory)).map_err(|error| error.with_path(Some(directory)))
    }

    /// Finds the interrupted removals of named shared memory.
    ///
    /// # Errors
    /// As for [`find_in`](Self::find_in).
    pub fn find_in_shared_memory() -> Result<Vec<Self>> {
        Self::found(None)
    }

    fn found(directory: Option<&Path>) -> Result<Vec<Self>> {
        let found = exclusive::interrupted(directory)?;
        Ok(found.into_iter().map(|interrupted| Self { interrupted }).collect())
    }

    /// Returns the path of the private directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.interrupted.path()
    }

    /// Returns the names of the files in the directory, one or none. A file keeps the name that it
    /// had outside.
    #[must_use]
    pub fn names(&self) -> &[OsString] {
        self.interrupted.names()
    }

    /// Moves the file back to its name, and removes the private directory.
    ///
    /// # Errors
    /// - `AlreadyExists` - another file has the name by now; both files stay.
    /// - `PermissionDenied` - this user may not change the directory.
    ///
    /// Other kinds report a failed system call.
    pub fn restore(&self) -> Result<()> {
        self.interrupted.restore().map_err(|error| error.with_path(Some(self.path())))
    }
}
