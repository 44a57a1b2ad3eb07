//! Guarded slices, which Windows does not have yet.

use std::convert::Infallible;
use std::fs::File;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::FileStatus;

/// A read-only mapping of a part of a file, of which lost pages become zeros. None can be created.
#[derive(Debug)]
pub(crate) struct GuardedSpan(Infallible);

impl GuardedSpan {
    /// Fails: a view of a file cannot be replaced in part, and pages cannot be committed in its place
    /// while other threads read them.
    pub(crate) fn map(_: &File, _: FileStatus, _: u64, _: usize) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "borrow a guarded slice of").with_detail(
            "Windows cannot replace a part of a mapping by zeros; a mapped file cannot be truncated \
             there, so `View::as_slice` faults only if the device fails",
        ))
    }

    /// Returns the address of the part's first byte.
    pub(crate) fn base(&self) -> *const u8 {
        match self.0 {}
    }

    /// Returns the offset in the part of the first byte that a fault has shown to be lost.
    pub(crate) fn lost(&self) -> Option<u64> {
        match self.0 {}
    }
}
