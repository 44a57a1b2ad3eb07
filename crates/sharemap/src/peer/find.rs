//! The file of an object, found by its location.

use std::fs::File;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::options::OpenOptions;
use crate::shm::{Location, LocationKind};
use crate::sys::{self, Create, FileKind, OpenObject, OpenRequest, OpenedFile};

/// Opens the file of an object. Fails with `NotFound` for an anonymous location.
pub(super) fn find(location: &Location, terms: &OpenOptions, write: bool) -> Result<OpenedFile> {
    match location.checked()? {
        LocationKind::Name(name) => sys::shm::open(&OpenObject {
            name,
            write,
            owner: terms.owner,
            scope: terms.sharing.scope,
            timeout: terms.open_timeout,
        }),
        LocationKind::File(path) => {
            let timeout = terms.open_timeout;
            let request = OpenRequest { write, create: Create::Never, exclusive: false, timeout };
            let opened = sys::file::open_object(path, request, terms.owner)?;
            match opened.status.kind {
                FileKind::Regular => Ok(opened),
                FileKind::Directory => Err(Error::new(ErrorKind::IsDirectory, "open")),
                _ => {
                    Err(Error::new(ErrorKind::NotAnObject, "open")
                        .with_detail("it is a special file"))
                }
            }
        }
        LocationKind::Anonymous => Err(Error::new(ErrorKind::NotFound, "open")
            .with_detail("an anonymous object has no name; it is passed on as a descriptor")),
    }
}

/// Returns a path of the object that does not depend on the current directory; `None` if the object
/// is anonymous.
pub(super) fn real_path(location: &Location) -> Option<PathBuf> {
    match location.checked().ok()? {
        LocationKind::Name(name) => Some(sys::shm::path(name)),
        LocationKind::File(path) if path.is_absolute() => Some(path.clone()),
        LocationKind::File(path) => std::path::absolute(path).ok(),
        LocationKind::Anonymous => None,
    }
}

/// Returns `true` if objects at `location` get their names only after they are complete: all except
/// named shared memory on macOS and sections on Windows.
///
/// Such an object is never incomplete when it is found, except if its header was damaged later.
pub(super) fn is_named_when_whole(file: &File, location: &Location) -> bool {
    match location.checked() {
        Ok(LocationKind::Name(_)) => sys::shm::is_named_when_whole(file),
        Ok(LocationKind::File(_) | LocationKind::Anonymous) | Err(_) => true,
    }
}
