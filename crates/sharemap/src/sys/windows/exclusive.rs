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

const OPERATION: &str = "find the processes that use";
const REMOVE: &str = "remove";

/// A regular file, opened by its name.
#[derive(Debug)]
pub(crate) struct Entry {
    path: PathBuf,
    file: File,
}

impl Entry {
    /// Opens a file for reading, without following a link. Returns `None` if another process has it
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

    /// Returns the file, open for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the role of the file, which is always an object here.
    pub(crate) fn role(&self) -> FileRole {
        FileRole::Object
    }

    /// Removes the file's name, even if processes use the file.
    pub(crate) fn unlink(&self) -> Result<()> {
        let Some(now) = Self::open(&self.path)? else {
            return Err(Error::new(ErrorKind::Busy, REMOVE)
                .with_detail("a process has it open exclusively; try again"));
        };
        if pass::identity(&now.file)? != pass::identity(&self.file)? {
            return Err(renamed());
        }
        shm::unlink_path(&self.path)
    }
}

/// Opens a regular file. Returns `None` if the share mode of another handle forbids it.
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
            Error::new(ErrorKind::NotAnObject, OPERATION).with_detail("it is not a regular file")
        );
    }
    Ok(Some(file))
}

#[cold]
fn renamed() -> Error {
    Error::new(ErrorKind::NotFound, REMOVE).with_detail("another file has its name now; try again")
}

/// A file that no other process has open. Dropping the value lets other processes open the file.
#[derive(Debug)]
pub(crate) struct Exclusive {
    file: File,
}

impl Exclusive {
    /// Opens a handle with share mode 0. Returns `None` if another process uses the file.
    pub(crate) fn take(entry: Entry) -> Result<Option<Self>> {
        let Entry { path, file } = entry;
        let identity = pass::identity(&file)?;
        // This handle would exclude the new one.
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

    /// Returns the file, open for reading.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns `true`: a process that is attached to an object also has a handle open.
    pub(crate) fn sees_mappings(&self) -> bool {
        true
    }

    /// Returns `true`: other processes are refused, and do not wait.
    pub(crate) fn is_exclusive(&self) -> bool {
        true
    }

    /// Removes the file's name. Returns `false`, and removes nothing, if the file is mapped.
    pub(crate) fn remove(self) -> Result<bool> {
        let wish = FILE_DISPOSITION_INFO { DeleteFile: true };
        // SAFETY: the handle is open with the right to delete; the information has the type and size of
        // its class.
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

/// An interrupted removal. There is none here, because a removal goes by a handle.
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

/// Returns no removals; see [`Interrupted`].
pub(crate) fn interrupted(_: Option<&Path>) -> Result<Vec<Interrupted>> {
    Ok(Vec::new())
}
