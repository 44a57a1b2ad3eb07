//! Creates files that get their name only after they are complete: a file is created under another name
//! in the same directory, and then renamed.

#![allow(unsafe_code, reason = "a call that std does not have")]

use std::fs::{File, OpenOptions};
use std::path::Path;

use windows_sys::Win32::Storage::FileSystem::MoveFileExW;

use super::names::wide;
use super::{code, file};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::unique_name::hidden;

const OPERATION: &str = "create";

/// Creates a file of `len` bytes, calls `fill`, and gives the file its name, which must be free.
///
/// A process that dies during the call leaves the file under its hidden name.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::IsDirectory, OPERATION));
    };
    if path.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION));
    }
    let draft = path.with_file_name(hidden(name));
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&draft)
        .map_err(|error| code::from_io(OPERATION, error))?;
    let published = file::allocate(&made, 0..len).and_then(|()| fill(&made)).and_then(|()| {
        // SAFETY: both names end with a zero. Without a flag, the call replaces no file.
        match unsafe { MoveFileExW(wide(&draft).as_ptr(), wide(path).as_ptr(), 0) } {
            0 => Err(code::last(OPERATION)),
            _ => Ok(()),
        }
    });
    if published.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    published.map(|()| made)
}
