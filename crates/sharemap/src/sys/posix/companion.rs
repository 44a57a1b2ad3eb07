//! Files that carry an object's slots where its own cannot, in directories that nobody else can put
//! anything into.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::time::Duration;

use super::errno;
use super::file::{deadline, open_leased};
use crate::error::{Error, ErrorKind, Result};

/// Refuses a directory that another than `owner` may write to: whoever can replace what is in it
/// decides who lives.
pub(crate) fn check_folder(
    folder: &Path,
    owner: u32,
    operation: &'static str,
    failed: fn(io::Error) -> Error,
) -> Result<()> {
    let found = std::fs::symlink_metadata(folder).map_err(failed)?;
    if found.is_dir() && found.uid() == owner && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PermissionDenied, operation).with_detail(format!(
        "{} is not a directory that only the object's owner may write to",
        folder.display()
    )))
}

/// Opens one, or makes it, as `owner`'s. `sharemap gc` may hold a lease on it for a moment.
pub(crate) fn open_or_create(path: &Path, owner: u32) -> io::Result<File> {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = opened(path, &mut options, TIMEOUT)?;
    if file.metadata()?.uid() != owner && rustix::process::geteuid().is_root() {
        // Of no use to the owner, so nobody else has it.
        fchown(&file, Some(owner), None).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })?;
    }
    Ok(file)
}

/// Opens one in this way, waiting for at most `timeout` for a process that holds a lease on it.
pub(crate) fn opened(
    path: &Path,
    options: &mut OpenOptions,
    timeout: Duration,
) -> io::Result<File> {
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let open = || options.open(path).map_err(|error| errno::of(&error));
    Ok(open_leased(deadline(timeout), open)?)
}
