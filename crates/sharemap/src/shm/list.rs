//! The named objects that the system has.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::Result;
use crate::shm::SharedMemory;
use crate::sys;

/// A named object, as the system tells of it; whoever made it. `None`: the system does not tell.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NamedObject {
    /// Its name, also one that [`Location::name`](crate::Location::name) does not take.
    pub name: OsString,
    /// The file that it is, where it is one.
    pub path: Option<PathBuf>,
    /// Bytes.
    pub len: Option<u64>,
    /// Bytes of memory that it takes up.
    pub allocated: Option<u64>,
    /// The number of the user it belongs to.
    pub user: Option<u32>,
    /// Its permissions.
    pub mode: Option<u32>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When it was last written to by `write`, or changed its length; stores do not count.
    pub modified: Option<SystemTime>,
}

impl SharedMemory {
    /// Every named object of this system, by name: on Linux what is in `/dev/shm`, on Windows this
    /// user's files of shared memory. macOS has no list.
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
