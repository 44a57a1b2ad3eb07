//! Opens a directory once, for calls that take its descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// No flag: macOS has none that keeps an inspection from counting as an access.
pub(in crate::sys) const QUIETLY: OFlags = OFlags::empty();

/// Opens a directory, which must not be a link.
pub(in crate::sys) fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::open(path, flags, Mode::empty())
}
