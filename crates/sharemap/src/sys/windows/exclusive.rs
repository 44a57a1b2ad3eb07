//! Exclusive use of a file by a handle with share mode 0. Windows opens it only while no other
//! handle exists, and opens no other handle beside it.

#![allow(unsafe_code, reason = "a call that std does not have")]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE, GENERIC_READ,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_DISPOSITION_INFO, FILE_FLAG_OPEN_REPARSE_POINT, FileDispositionInfo,
    SetFileInformationByHandle,
};

use super::{code, pass, shm};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::FileRole;

const OPERATION: &str = "ask which processes use";
const REMOVE: &str = "remove";

/// A regular file, opened by its name.
#[derive(Debug)]
pub(crate) struct Entry {
    path: PathBuf,
    file: File,
}

impl Entry {
    /// Opens a file for reading, without following a link. `Ok(None)` if another process has it
    /// open exclusively.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
        let Some(file) = open(path, &options)? else { return Ok(None) };
        Ok(Some(Self { path: path.to_path_buf(), file }))
    }

    /// Opens the file of named shared memory like [`open`](Self::open).
    pub(crate) fn open_named(name: &str) -> Result<Option<Self>> {
        Self::open(&shm::path(name))
    }

    /// The file, open for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// What the file is for: Windows has no names for files on their way.
    pub(crate) fn role(&self) -> FileRole {
        FileRole::Object
    }

    /// Takes the name away, whether or not a process uses the file.
    pub(crate) fn unlink(&self) -> Result<()> {
        let Some(now) = Self::open(&self.path)? else {
            return Err(Error::new(ErrorKind::Busy, REMOVE).with_detail("a process has it alone"));
        };
        if pass::identity(&now.file)? != pass::identity(&self.file)? {
            return Err(renamed());
        }
        shm::unlink_path(&self.path)
    }
}

/// Opens a regular file. `None` if the sharing of another handle does not allow it.
fn open(path: &Path, options: &OpenOptions) -> Result<Option<File>> {
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32) => {
            return Ok(None);
        }
        Err(error) => return Err(code::from_io(OPERATION, error)),
    };
    let known = file.metadata().map_err(|error| code::from_io(OPERATION, error))?;
    if !known.is_file() {
        return Err(
            Error::new(ErrorKind::NotAnObject, OPERATION).with_detail("it is no regular file")
        );
    }
    Ok(Some(file))
}

#[cold]
fn renamed() -> Error {
    Error::new(ErrorKind::NotFound, REMOVE).with_detail("its name is another file's by now")
}

/// A file that no other process has open. Dropping the value lets others open it.
#[derive(Debug)]
pub(crate) struct Exclusive {
    file: File,
}

impl Exclusive {
    /// Asks for a handle that shares with no other. `None` if another process uses the file.
    pub(crate) fn take(entry: Entry) -> Result<Option<Self>> {
        let Entry { path, file } = entry;
        let identity = pass::identity(&file)?;
        // It would be another handle.
        drop(file);
        let mut options = OpenOptions::new();
        options
            .access_mode(GENERIC_READ | DELETE)
            .share_mode(0)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
        let Some(file) = open(&path, &options)? else { return Ok(None) };
        if pass::identity(&file)? != identity {
            return Err(renamed());
        }
        Ok(Some(Self { file }))
    }

    /// The file, open for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether nobody has it mapped either: whoever is attached to an object has a handle, too.
    pub(crate) fn sees_mappings(&self) -> bool {
        true
    }

    /// Whether no process waits to open the file: others are refused, and do not wait.
    pub(crate) fn is_exclusive(&self) -> bool {
        true
    }

    /// Takes the name away, unless the file is mapped all the same: then `false`.
    pub(crate) fn remove(self) -> Result<bool> {
        let wish = FILE_DISPOSITION_INFO { DeleteFile: true };
        // SAFETY: an open handle with the right to delete; the information is of its class and size.
        let done = unsafe {
            SetFileInformationByHandle(
                self.file.as_raw_handle(),
                FileDispositionInfo,
                (&raw const wish).cast(),
                size_of::<FILE_DISPOSITION_INFO>() as u32,
            )
        };
        if done != 0 {
            return Ok(true);
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error().map(|code| code as u32) {
            Some(ERROR_USER_MAPPED_FILE | ERROR_ACCESS_DENIED) => Ok(false),
            _ => Err(code::from_io(REMOVE, error)),
        }
    }
}

/// A removal that its process did not finish: there is none, as a handle is what is removed.
#[derive(Debug)]
pub(crate) enum Interrupted {}

impl Interrupted {
    pub(crate) fn path(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn names(&self) -> &[OsString] {
        match *self {}
    }

    pub(crate) fn restore(&self) -> Result<()> {
        match *self {}
    }
}

/// The removals that their processes did not finish.
pub(crate) fn interrupted(_: Option<&Path>) -> Result<Vec<Interrupted>> {
    Ok(Vec::new())
}
