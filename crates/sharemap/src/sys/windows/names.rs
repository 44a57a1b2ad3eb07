//! The names of shared memory objects, and of the files that carry them.
//!
//! The file name of an object is `shm-` and the object's name. The prefix keeps it from being the name of a
//! device. Each capital letter has a `^` before it, because the file system ignores case. An object under
//! creation has the name `new-…`. An object that was unlinked while it was mapped has the name `old-…` until
//! it can be removed.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Returns the directory of the objects that exist until they are unlinked.
pub(super) fn directory() -> Result<PathBuf> {
    user_directory("shm", "find the directory of shared memory")
}

/// Returns the directory `kind` among this user's files.
pub(super) fn user_directory(kind: &str, operation: &'static str) -> Result<PathBuf> {
    match std::env::var_os("LOCALAPPDATA") {
        Some(base) if !base.is_empty() => Ok(Path::new(&base).join("sharemap").join(kind)),
        _ => Err(Error::new(ErrorKind::NotFound, operation).with_detail(
            "the variable LOCALAPPDATA is not set; set it to the user's local directory",
        )),
    }
}

/// Returns the file name of an object.
pub(super) fn encoded(name: &str) -> String {
    let mut encoded = String::from("shm-");
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            encoded.push('^');
        }
        encoded.push(character);
    }
    encoded
}

/// Returns the name of the object in a file. `None` if the file name is not one of an object.
pub(super) fn decoded(file_name: &OsStr) -> Option<String> {
    let encoded = file_name.to_str()?.strip_prefix("shm-")?;
    Some(encoded.chars().filter(|&character| character != '^').collect())
}

/// Converts text to UTF-16 with a terminating zero.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// Returns `true` if a file has the name of this object.
pub(super) fn file_exists(name: &str) -> bool {
    directory().is_ok_and(|directory| directory.join(encoded(name)).exists())
}

/// Returns the error for a name that belongs to `what`, which is not an object.
pub(super) fn squatted(what: &str) -> Error {
    Error::new(ErrorKind::NotAnObject, "open").with_detail(format!("{what} has its name"))
}
