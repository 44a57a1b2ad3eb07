//! Companions in shared memory: of each object's owner, in a directory of the owner's.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::Path;
use std::time::Duration;

use crate::sys::posix::companion::opened;
pub(super) use crate::sys::posix::companion::{check_folder, open_or_create};

/// Makes the directory of `owner`, if it is missing. Root makes it for others; what it left halfway is
/// theirs in the end, too.
pub(super) fn make_folder(folder: &Path, owner: u32) -> io::Result<()> {
    let made = match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        made => made.is_ok(),
    };
    let found = std::fs::symlink_metadata(folder)?;
    if found.uid() == owner || !rustix::process::geteuid().is_root() || found.uid() != 0 {
        return Ok(());
    }
    lchown(folder, Some(owner), None).inspect_err(|_| {
        if made {
            let _ = std::fs::remove_dir(folder);
        }
    })
}

/// Opens one that is there, for asking, without waiting.
pub(super) fn open(path: &Path) -> io::Result<File> {
    opened(path, &mut OpenOptions::new(), Duration::ZERO)
}
