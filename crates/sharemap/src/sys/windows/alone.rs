//! Having a file alone: a handle that shares with nobody, which Windows gives only while there is no
//! other, and beside which it gives no other.

#![allow(unsafe_code, reason = "a call that std does not have")]

use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE, GENERIC_READ,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_DISPOSITION_INFO, FILE_FLAG_OPEN_REPARSE_POINT, FileDispositionInfo,
    SetFileInformationByHandle,
};

use super::code;
use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "ask who has";

/// Nobody else has the file. Given back with the value.
#[derive(Debug)]
pub(crate) struct Alone {
    file: File,
}

impl Alone {
    /// `None`: somebody has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let opened = OpenOptions::new()
            .access_mode(GENERIC_READ | DELETE)
            .share_mode(0)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
            .open(path);
        let file = match opened {
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
            _ => Err(code::from_io("remove", error)),
        }
    }
}
