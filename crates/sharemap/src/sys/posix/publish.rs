//! Files that get their name when they are whole: made under another name beside it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::errno;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::os::file::allocate;

const OPERATION: &str = "create";

/// Makes a file of `len` bytes that must not exist, has it filled, and gives it its name.
pub(crate) fn create_new(
    path: &Path,
    len: u64,
    fill: &mut dyn FnMut(&File) -> Result<()>,
) -> Result<File> {
    let draft = temporary(path)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|error| errno::from_io(OPERATION, &error))?;
    let made = allocate(&file, len).and_then(|()| fill(&file)).and_then(|()| {
        std::fs::hard_link(&draft, path).map_err(|error| errno::from_io(OPERATION, &error))
    });
    let _ = std::fs::remove_file(&draft);
    made.map(|()| file)
}

/// A hidden name in the same directory.
fn temporary(path: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::IsDirectory, OPERATION));
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let unique = format!("-{}-{number}-{}", std::process::id(), now.as_nanos());
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(unique);
    Ok(path.with_file_name(hidden))
}
