//! Exclusive use of a file, which macOS cannot grant: it does not report whether another process uses a file.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::FileRole;
use crate::sys::posix::removal;

pub(crate) use crate::sys::posix::entry::Entry;
pub(crate) use crate::sys::posix::removal::Interrupted;

/// A file that no other process uses. There is no value of this type on macOS.
#[derive(Debug)]
pub(crate) enum Exclusive {}

impl Exclusive {
    /// Fails with `Unsupported`.
    pub(crate) fn take(_: Entry) -> Result<Option<Self>> {
        Err(Error::new(ErrorKind::Unsupported, "find the processes that use")
            .with_detail("macOS does not report whether a process has a file open"))
    }

    pub(crate) fn file(&self) -> &File {
        match *self {}
    }

    pub(crate) fn sees_mappings(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        match *self {}
    }

    pub(crate) fn remove(self) -> Result<bool> {
        match self {}
    }
}

impl Entry {
    /// Fails with `Unsupported`.
    pub(crate) fn open_named(_: &str) -> Result<Option<Self>> {
        Err(Error::new(ErrorKind::Unsupported, "inspect")
            .with_detail("named shared memory has no files on macOS"))
    }

    /// Returns the role of the file: always an object, because shared memory has no directory here.
    pub(crate) fn role(&self) -> FileRole {
        FileRole::Object
    }
}

/// Returns the interrupted removals in a directory. Shared memory has no directory here.
pub(crate) fn interrupted(directory: Option<&Path>) -> Result<Vec<Interrupted>> {
    directory.map_or(Ok(Vec::new()), removal::interrupted)
}
