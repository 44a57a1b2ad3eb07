//! The cause of a fault, as far as the file and its file system show it.

use std::fs::File;
use std::sync::{Arc, Weak};

use crate::error::Error;
use crate::sys::{self, FileKind, SharedFile};

/// The remedy for a mapping whose file was truncated.
pub(crate) const REMAP: &str = "remap it to follow its length";

/// Returns the error of a fault at `offset` of `file`. `if_cut` is the remedy if the file was truncated.
///
/// The cause is determined when the text is formatted. A sandbox may kill for the system calls, and
/// a program that handles the error by its kind does not need them.
#[cold]
pub(crate) fn with_cause(
    error: Error,
    file: Option<SharedFile>,
    offset: u64,
    if_cut: &'static str,
) -> Error {
    let Some(file) = file.as_ref().map(Arc::downgrade) else { return error };
    error.with_cause(Box::new(move || cause(&file, offset, if_cut)))
}

/// Describes the cause. `None` if the mapping is gone, or its file has no length.
fn cause(file: &Weak<dyn AsRef<File> + Send + Sync>, offset: u64, if_cut: &str) -> Option<String> {
    let file = file.upgrade()?;
    let file = (*file).as_ref();
    let status = sys::file::status(file).ok().filter(|status| status.kind == FileKind::Regular)?;
    let len = status.len;
    if offset >= len {
        return Some(format!("the file has {len} bytes now; {if_cut}"));
    }
    let free = sys::file::free_space(file);
    Some(match free {
        Some(free) if free < sys::map::page_size() as u64 => format!(
            "the file has {len} bytes, some without storage, and its file system has {free} bytes \
             left for them; free some space"
        ),
        Some(free) => format!(
            "the file has {len} bytes now and its file system {free} bytes left: the device \
             failed, a quota is used up, or the page is protected"
        ),
        None => format!(
            "the file has {len} bytes now: the device failed, the file system is full, or the page \
             is protected"
        ),
    })
}
