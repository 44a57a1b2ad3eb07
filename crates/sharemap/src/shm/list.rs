//! The list of the named objects of the system.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::Result;
use crate::shm::SharedMemory;
use crate::sys;

/// A named object in the list of [`SharedMemory::list`], created by this or any other program.
///
/// A field is `None` if the system does not report it.
///
/// # Examples
/// See [`SharedMemory::list`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NamedObject {
    /// The name. Names that [`Location::name`](crate::Location::name) does not accept are listed,
    /// too.
    pub name: OsString,
    /// The path of the object, where objects are files.
    pub path: Option<PathBuf>,
    /// The length in bytes.
    pub len: Option<u64>,
    /// The bytes of memory in use.
    pub allocated: Option<u64>,
    /// The user id of the owner.
    pub user: Option<u32>,
    /// The permission bits.
    pub mode: Option<u32>,
    /// The time of creation.
    pub created: Option<SystemTime>,
    /// The time of the last `write` or change of length. Stores through a mapping do not count.
    pub modified: Option<SystemTime>,
}

impl SharedMemory {
    /// Returns the named objects of this system, sorted by name.
    ///
    /// On Linux these are the files in `/dev/shm` and in its subdirectories, of all users. On Windows
    /// they are this user's files of shared memory.
    ///
    /// # Errors
    /// - `NotFound` - the directory of shared memory does not exist.
    /// - `Unsupported` - on macOS, which has no such list.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{ErrorKind, SharedMemory};
    ///
    /// match SharedMemory::list() {
    ///     Ok(objects) => {
    ///         for object in objects {
    ///             println!("{:?}: {:?} bytes", object.name, object.len);
    ///         }
    ///     }
    ///     Err(error) if error.kind() == ErrorKind::Unsupported => {} // macOS
    ///     Err(error) => eprintln!("{error}"),
    /// }
    /// ```
    pub fn list() -> Result<Vec<NamedObject>> {
        let found = sys::shm::list()?;
        let object = |status: sys::ObjectStatus| NamedObject {
            name: status.name,
            path: status.path,
            len: status.len,
            allocated: status.allocated,
            user: status.user,
            mode: status.mode,
            created: status.created,
            modified: status.modified,
        };
        Ok(found.into_iter().map(object).collect())
    }
}
