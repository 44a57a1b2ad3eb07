//! Having a file alone: macOS does not say whether somebody else has it.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Nobody else has the file.
#[derive(Debug)]
pub(crate) enum Alone {}

impl Alone {
    pub(crate) fn take(_: &Path) -> Result<Option<Self>> {
        Err(Error::new(ErrorKind::Unsupported, "ask who has")
            .with_detail("macOS does not tell whether a process has a file open"))
    }

    pub(crate) fn file(&self) -> &File {
        match *self {}
    }

    pub(crate) fn sees_mappings(&self) -> bool {
        match *self {}
    }

    pub(crate) fn remove(self) -> Result<bool> {
        match self {}
    }
}
